//! Requests to Unleash's client API.
//!
//! Owns the headers, the bounds on waits and lengths, and what a status means. Leaves when to ask
//! to its parent. Invariant: every wait for an answer has a bound, and so has the silence of a
//! stream; the token is in a header and nowhere else.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use http::request::Builder;
use http::{Request, Response, StatusCode, header};
use http_body_util::combinators::MapFrame;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Frame, Incoming};
use hyper_rustls::ConfigBuilderExt;
use rustls::{ClientConfig, RootCertStore};
use serde_json::json;
use sse_stream::SseStream;

use super::pace::Polled;
use crate::source::error::SourceError;
use crate::source::http::{Http, client, innermost};
use crate::source::place::{Token, UnleashUrl};
use crate::source::settings::{PlanSettings, UnleashSettings};
use crate::toggle::state::{Delta, Features, State};

/// The version of Unleash's client specification whose cases `tests/specification.rs` runs. From
/// 4.2 on the server sends segments once rather than in each feature.
const SPECIFICATION: &str = "5.2.0";

/// What the process is called in Unleash's console.
const APPLICATION: &str = "stack";

/// Longest answer, or event of a stream, in bytes.
const ANSWER_LEN_MAX: usize = 64 * 1024 * 1024;

/// Longest wait for a whole answer, as in Unleash's SDKs: a hosted Unleash may be far away.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// Longest silence of a stream, as in Unleash's SDKs; the server sends a comment more often.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// Asks Unleash.
pub(in crate::source) struct Store {
    pub(in crate::source) url: UnleashUrl,
    pub(super) interval: Duration,
    http: Http,
    token: Option<Token>,
    instance: String,
}

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum CallError {
    /// No connection, or it broke, or nothing came in time.
    #[error("{0}")]
    Lost(String),
    /// The token is missing or wrong.
    #[error("{0}: give --plan-token a client (backend) token of the environment, from Unleash's console")]
    Forbidden(StatusCode),
    /// Another status that is no success.
    #[error("it answers {0}")]
    Refused(StatusCode),
    /// The server has no streams.
    #[error("it answers {0} to a stream")]
    NoStreaming(StatusCode),
    /// The server asks to poll.
    #[error("it asks to poll")]
    WantsPolling,
    /// An answer that is not the protocol's.
    #[error("an answer that is not Unleash's: {0}")]
    Unreadable(String),
}

/// A stream of changes.
pub(super) struct Stream {
    events: SseStream<Counted>,
    /// Bytes since the last event, so that one event has a bound and a comment is a sign of life.
    received: Arc<AtomicUsize>,
}

/// A body whose bytes are counted as they arrive.
type Counted = MapFrame<Incoming, Count>;

type Count = Box<dyn FnMut(Frame<Bytes>) -> Frame<Bytes> + Send>;

/// All that the server has, with its tag; `None` when it is what the tag of the question says.
type Answered = Option<(State, Option<String>)>;

impl Store {
    /// Reads the system's certificates for an https URL, and connects to nothing yet.
    pub(in crate::source) fn new(
        unleash: &UnleashSettings,
        settings: &PlanSettings,
    ) -> Result<Self, SourceError> {
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        Ok(Self {
            http: client(tls(&unleash.url)?, settings.times.request),
            url: unleash.url.clone(),
            interval: unleash.interval,
            token: unleash.token.clone(),
            instance: format!("{host}-{}", std::process::id()),
        })
    }

    /// Asks for all features; `etag` is that of what is known already.
    pub(super) async fn features(&self, etag: Option<&str>) -> Result<Answered, CallError> {
        let mut request = self.request(Request::get(self.url.at("/client/features")));
        if let Some(etag) = etag {
            request = request.header(header::IF_NONE_MATCH, etag);
        }
        self.in_time(async {
            let response = self.send(request, Bytes::new()).await?;
            if response.status() == StatusCode::NOT_MODIFIED && etag.is_some() {
                return Ok(None);
            }
            check(response.status())?;
            let etag = response.headers().get(header::ETAG).and_then(|etag| etag.to_str().ok());
            let etag = etag.map(str::to_owned);
            let body = Limited::new(response.into_body(), ANSWER_LEN_MAX).collect().await;
            let body = body.map_err(|error| CallError::Lost(innermost(&*error)))?.to_bytes();
            let features: Features = serde_json::from_slice(&body).map_err(unreadable)?;
            Ok(Some((State::try_from(features).map_err(unreadable)?, etag)))
        })
        .await
    }

    /// Opens a stream, which begins with all features.
    pub(super) async fn stream(&self) -> Result<Stream, CallError> {
        let request = self.request(Request::get(self.url.at("/client/streaming")));
        let request = request.header(header::ACCEPT, "text/event-stream");
        let response = self.in_time(self.send(request, Bytes::new())).await?;
        let status = response.status();
        let is_stream = response
            .headers()
            .get(header::CONTENT_TYPE)
            .is_some_and(|media| media.to_str().is_ok_and(|media| media.starts_with("text/event-stream")));
        match check(status) {
            // A proxy or a console may answer a page to every path that it does not know.
            Ok(()) if !is_stream => return Err(CallError::NoStreaming(status)),
            Ok(()) => {}
            Err(CallError::Refused(_))
                if status.is_client_error() && status != StatusCode::TOO_MANY_REQUESTS =>
            {
                return Err(CallError::NoStreaming(status));
            }
            Err(error) => return Err(error),
        }
        let received = Arc::<AtomicUsize>::default();
        let counter = Arc::clone(&received);
        let count = move |frame: Frame<Bytes>| {
            let len = frame.data_ref().map_or(0, Bytes::len);
            let before = counter.fetch_add(len, Ordering::Relaxed);
            // What is left of an event that is too long does not parse, which ends the stream.
            if before + len > ANSWER_LEN_MAX { Frame::data(Bytes::new()) } else { frame }
        };
        let body = response.into_body().map_frame(Box::new(count) as Count);
        Ok(Stream { events: SseStream::new(body), received })
    }

    /// Tells Unleash that this process reads its features, for the list of applications in its
    /// console. A failure changes nothing else.
    pub(super) async fn register(&self) {
        let started = humantime::format_rfc3339_millis(std::time::SystemTime::now());
        let body = json!({
            "appName": APPLICATION,
            "instanceId": self.instance,
            "sdkVersion": sdk(),
            "strategies": ["default", "userWithId", "gradualRolloutUserId", "gradualRolloutSessionId",
                "gradualRolloutRandom", "flexibleRollout", "remoteAddress", "applicationHostname"],
            "started": started.to_string(),
            "interval": u64::try_from(self.interval.as_millis()).unwrap_or(u64::MAX),
        });
        let request = self.request(Request::post(self.url.at("/client/register")));
        let request = request.header(header::CONTENT_TYPE, "application/json");
        let asked = self.in_time(self.send(request, body.to_string().into())).await;
        if let Err(error) = asked.and_then(|response| check(response.status())) {
            tracing::debug!("{}: is not registered: {error}", self.url);
        }
    }

    /// The headers that Unleash's SDKs send.
    fn request(&self, request: Builder) -> Builder {
        let interval = u64::try_from(self.interval.as_millis()).unwrap_or(u64::MAX);
        let mut request = request
            .header("unleash-appname", APPLICATION)
            .header("unleash-instanceid", &self.instance)
            .header("unleash-connection-id", &self.instance)
            .header("unleash-sdk", sdk())
            .header("unleash-client-spec", SPECIFICATION)
            .header("unleash-interval", interval);
        if let Some(token) = &self.token {
            let mut value = header::HeaderValue::from_str(token.as_str()).expect("a token is visible ASCII");
            value.set_sensitive(true);
            request = request.header(header::AUTHORIZATION, value);
        }
        request
    }

    async fn send(&self, request: Builder, body: Bytes) -> Result<Response<Incoming>, CallError> {
        let request = request.body(Full::new(body)).map_err(|error| CallError::Lost(error.to_string()))?;
        self.http.request(request).await.map_err(|error| CallError::Lost(innermost(&error)))
    }

    async fn in_time<T>(&self, answer: impl Future<Output = Result<T, CallError>>) -> Result<T, CallError> {
        let late = || CallError::Lost(format!("no answer within {ANSWER_WITHIN:?}"));
        tokio::time::timeout(ANSWER_WITHIN, answer).await.unwrap_or_else(|_| Err(late()))
    }
}

impl Stream {
    /// The next changes.
    pub(super) async fn next(&mut self) -> Result<Delta, CallError> {
        self.received.store(0, Ordering::Relaxed);
        let mut known = 0;
        loop {
            let next = tokio::time::timeout(SILENCE_MAX, self.events.next()).await;
            let received = self.received.load(Ordering::Relaxed);
            let event = match next {
                // A comment, or a part of an event, is no silence.
                Err(_) if received > known => {
                    known = received;
                    continue;
                }
                Err(_) => return Err(CallError::Lost(format!("silent for {SILENCE_MAX:?}"))),
                Ok(None) => return Err(CallError::Lost("the stream ended".to_owned())),
                Ok(Some(event)) => event.map_err(|error| CallError::Lost(innermost(&error)))?,
            };
            let data = event.data.unwrap_or_default();
            match event.event.as_deref() {
                Some("unleash-connected" | "unleash-updated") => {
                    return serde_json::from_str(&data).map_err(unreadable);
                }
                Some("fetch-mode") if data == "polling" => return Err(CallError::WantsPolling),
                _ => {}
            }
        }
    }
}

impl From<CallError> for Polled {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Forbidden(_) => Self::Forbidden,
            CallError::Lost(_) | CallError::WantsPolling => Self::Lost,
            CallError::Refused(_) | CallError::NoStreaming(_) | CallError::Unreadable(_) => Self::Refused,
        }
    }
}

impl From<CallError> for SourceError {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Lost(reason) => Self::Unavailable(format!("Unleash: {reason}")),
            error => Self::Refused(format!("Unleash: {error}")),
        }
    }
}

fn check(status: StatusCode) -> Result<(), CallError> {
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(CallError::Forbidden(status)),
        status if status.is_success() => Ok(()),
        status => Err(CallError::Refused(status)),
    }
}

fn unreadable(error: impl std::error::Error) -> CallError {
    CallError::Unreadable(error.to_string())
}

fn sdk() -> &'static str {
    concat!("stack-change:", env!("CARGO_PKG_VERSION"))
}

/// The system's authorities, or those in the file that `SSL_CERT_FILE` names.
fn tls(url: &UnleashUrl) -> Result<ClientConfig, SourceError> {
    let provider = rustls::crypto::ring::default_provider().into();
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring has cipher suites for them");
    if !url.is_tls() {
        return Ok(config.with_root_certificates(RootCertStore::empty()).with_no_client_auth());
    }
    let config = config.with_native_roots().map_err(|error| {
        SourceError::Settings(format!(
            "--plan unleash:{url}: no certificates of authorities on this system ({error}): install \
             ca-certificates, or name a file in SSL_CERT_FILE"
        ))
    })?;
    Ok(config.with_no_client_auth())
}
