//! One way to the target, and one request on it until it is answered.
//!
//! Owns what an answer means, repetitions, and keep-alive connections; `direct` owns the processes
//! that write into stores. Invariant: a way has one request at a time; an answer is bounded in time
//! and bytes.

use std::fmt;
use std::io;
use std::rc::Rc;
use std::str::FromStr;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, RETRY_AFTER};
use http::{HeaderMap, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use super::direct::Direct;
use super::request::Request;
use crate::backoff::Backoff;

/// Longer than any route of the stack takes.
const ANSWER_WITHIN: Duration = Duration::from_secs(35);
/// Longest wait for a connection.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// Longest answer, more than any service returns for a write.
const ANSWER_BYTES_MAX: usize = 2 << 20;
/// Longest excerpt of a refusal that is not problem+json.
const REASON_CHARS_MAX: usize = 200;

/// `http://HOST:PORT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    host: String,
    port: u16,
}

/// The outcome of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A 2xx status.
    Taken,
    /// The request will never be accepted as it is; holds the reason.
    Refused(String),
    /// The request was not accepted in time; holds the last reason.
    GaveUp(String),
    /// Nothing will answer any more; holds the reason.
    Ended(String),
}

/// Where requests are sent.
#[derive(Clone, Debug)]
pub enum Destination {
    /// A stack that serves.
    Http(Target),
    /// Programs that write into the services' stores.
    Direct(Rc<Direct>),
}

/// Why the request must be repeated.
struct Again {
    reason: String,
    /// The pause that the answer asked for.
    after: Duration,
}

/// A way to the target for one request at a time.
pub struct Connection {
    way: Way,
    patience: Duration,
    rng: fastrand::Rng,
}

enum Way {
    Http(Http),
    Direct(Rc<Direct>),
}

/// A connection, opened when it is needed.
struct Http {
    target: Target,
    sender: Option<SendRequest<Full<Bytes>>>,
}

impl Target {
    /// Checks that a process listens at the target.
    ///
    /// # Errors
    /// The connection cannot be opened.
    pub async fn check(&self) -> io::Result<()> {
        timeout(CONNECT_WITHIN, self.connect()).await?.map(drop)
    }

    async fn connect(&self) -> io::Result<TcpStream> {
        let stream = TcpStream::connect((self.host.trim_matches(['[', ']']), self.port)).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not http://HOST:PORT");
        let uri: Uri = text.parse().map_err(|_| wrong())?;
        let bare = uri.path_and_query().is_none_or(|path| path == "/");
        match (uri.scheme_str(), uri.host()) {
            (Some("http"), Some(host)) if bare => {
                Ok(Self { host: host.to_owned(), port: uri.port_u16().unwrap_or(80) })
            }
            (Some("https"), _) => {
                Err("https is not supported; give http://HOST:PORT behind the proxy".to_owned())
            }
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}:{}", self.host, self.port)
    }
}

impl Connection {
    /// A way that is not open yet.
    #[must_use]
    pub fn new(destination: Destination, patience: Duration) -> Self {
        let way = match destination {
            Destination::Http(target) => Way::Http(Http { target, sender: None }),
            Destination::Direct(direct) => Way::Direct(direct),
        };
        Self { way, patience, rng: fastrand::Rng::new() }
    }

    /// Sends `request` until it is accepted or refused; calls `again` before each repetition.
    pub async fn send(&mut self, request: &Request, again: impl Fn()) -> Outcome {
        let (started, mut backoff) = (Instant::now(), Backoff::default());
        loop {
            let failed = match timeout(ANSWER_WITHIN, self.attempt(request)).await {
                Ok(Ok(outcome)) => return outcome,
                Ok(Err(failed)) => failed,
                Err(_) => Again { reason: "no answer".to_owned(), after: Duration::ZERO },
            };
            let pause = backoff.after(Duration::ZERO, &mut self.rng).max(failed.after);
            if started.elapsed() + pause > self.patience {
                return Outcome::GaveUp(failed.reason);
            }
            again();
            sleep(pause).await;
        }
    }

    /// Sends `request` once.
    async fn attempt(&mut self, request: &Request) -> Result<Outcome, Again> {
        match &mut self.way {
            Way::Http(http) => {
                let again = |error: AnyError| Again { reason: error.to_string(), after: Duration::ZERO };
                let (head, body) = http.exchange(request).await.map_err(again)?;
                outcome(head.status, retry_after(&head.headers), &body)
            }
            Way::Direct(direct) => match direct.ask(request).await {
                Ok(answer) => {
                    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::BAD_GATEWAY);
                    outcome(status, Duration::ZERO, answer.body.as_bytes())
                }
                Err(reason) => Ok(Outcome::Ended(reason)),
            },
        }
    }
}

type AnyError = Box<dyn std::error::Error + Send + Sync>;

fn outcome(status: StatusCode, after: Duration, body: &[u8]) -> Result<Outcome, Again> {
    match status {
        _ if status.is_success() => Ok(Outcome::Taken),
        StatusCode::REQUEST_TIMEOUT
        | StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => Err(Again { reason: reason(status, body), after }),
        _ => Ok(Outcome::Refused(reason(status, body))),
    }
}

impl Http {
    /// Sends `request`, and reads the answer. Invariant: a connection whose answer was not read to
    /// its end is not used again.
    async fn exchange(&mut self, request: &Request) -> Result<(http::response::Parts, Bytes), AnyError> {
        let mut sender = match self.sender.take().filter(|sender| !sender.is_closed()) {
            Some(sender) => sender,
            None => self.open().await?,
        };
        sender.ready().await?;
        let message = http::Request::builder()
            .method(&request.method)
            .uri(request.path.as_str())
            .header(HOST, format!("{}:{}", self.target.host, self.target.port))
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(request.body.clone()))
            .expect("method and path were checked");
        let (head, body) = sender.send_request(message).await?.into_parts();
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await?.to_bytes();
        self.sender = Some(sender);
        Ok((head, body))
    }

    async fn open(&self) -> io::Result<SendRequest<Full<Bytes>>> {
        let stream = timeout(CONNECT_WITHIN, self.target.connect()).await??;
        let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
        // Ends with the sender, which reports errors.
        tokio::task::spawn_local(async move {
            let _ = connection.await;
        });
        Ok(sender)
    }
}

/// `Retry-After` in seconds; a date is ignored in favour of our own pause.
fn retry_after(headers: &HeaderMap) -> Duration {
    let seconds = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
    Duration::from_secs(seconds.unwrap_or(0))
}

/// `409: The id "1" belongs to ...`.
fn reason(status: StatusCode, body: &[u8]) -> String {
    let problem: Option<serde_json::Value> = serde_json::from_slice(body).ok();
    let detail = problem.as_ref().and_then(|problem| problem["detail"].as_str().map(str::to_owned));
    let text = || String::from_utf8_lossy(body).chars().take(REASON_CHARS_MAX).collect();
    let said = detail.unwrap_or_else(text);
    format!("{}: {}", status.as_u16(), said.trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::{StatusCode, Target, reason};

    #[test]
    fn target_is_an_address_and_nothing_behind_it() {
        for (text, shown) in [
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
            ("http://stack/", "http://stack:80"),
            ("http://[::1]:8080", "http://[::1]:8080"),
        ] {
            assert_eq!(text.parse::<Target>().map(|target| target.to_string()), Ok(shown.to_owned()));
        }
        for text in ["", "127.0.0.1:8080", "https://x", "http://x/y", "ftp://x", "http://"] {
            text.parse::<Target>().expect_err(text);
        }
    }

    #[test]
    fn reason_is_the_detail_of_a_problem_or_what_was_said() {
        let problem = br#"{"type":"urn:stack:problem:field_missing","detail":"`text` is missing."}"#;
        assert_eq!(reason(StatusCode::UNPROCESSABLE_ENTITY, problem), "422: `text` is missing");
        assert_eq!(reason(StatusCode::NOT_FOUND, b"<html>"), "404: <html>");
    }
}
