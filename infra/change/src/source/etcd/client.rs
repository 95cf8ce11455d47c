//! Requests to etcd's gateway: which endpoint is asked, with which token, and how long.
//!
//! Owns connections (hyper's pool), the order of endpoints, authentication, and what may be asked
//! again elsewhere. Leaves what is asked to its callers. Invariant: a request that etcd may have
//! done is not repeated unless repeating it is harmless; every wait for an answer has a bound.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use ::http::{Method, Request, Response, StatusCode, Uri, header};
use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::message::{Failure, StreamError, Streamed, Token};
use super::tls;
use crate::source::error::SourceError;
use crate::source::http::{self, Http, innermost};
use crate::source::settings::{EtcdUrl, PlanSettings, Times, User};

/// Longest response or line of a stream, in bytes: a page of the largest values that etcd takes by
/// default (1.5 MiB), in base64.
const RESPONSE_LEN_MAX: usize = 256 * 1024 * 1024;

/// gRPC's codes (`google.golang.org/grpc/codes`).
const CODE_OUT_OF_RANGE: u32 = 11;
const CODE_UNAVAILABLE: u32 = 14;
const CODE_UNAUTHENTICATED: u32 = 16;

/// Asks etcd.
pub(super) struct Client {
    http: Http,
    endpoints: Vec<EtcdUrl>,
    /// The endpoint that is asked first: the last one that answered.
    preferred: AtomicUsize,
    user: Option<User>,
    token: Mutex<Option<String>>,
    pub(super) times: Times,
}

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum CallError {
    /// No connection: etcd has not seen the request.
    #[error("{0}")]
    NotSent(String),
    /// The connection broke, or the answer did not come in time.
    #[error("{0}")]
    NotAnswered(String),
    /// etcd answered that it does not do it.
    #[error("{message}")]
    Refused {
        /// gRPC's code.
        code: u32,
        /// etcd's sentence.
        message: String,
    },
}

/// The lines of a streamed response.
pub(super) struct Lines {
    body: Incoming,
    buffer: BytesMut,
}

impl Client {
    pub(super) fn new(settings: &PlanSettings) -> Result<Self, SourceError> {
        Ok(Self {
            http: http::client(tls::config(settings)?, settings.times.request),
            endpoints: settings.etcd.clone(),
            preferred: AtomicUsize::new(0),
            user: settings.user().cloned(),
            token: Mutex::new(None),
            times: settings.times,
        })
    }

    /// Asks until an endpoint answers. Without `repeatable` a request that an endpoint may have
    /// done is not asked of the next one.
    pub(super) async fn call<R: DeserializeOwned>(
        &self,
        path: &str,
        body: &Value,
        repeatable: bool,
    ) -> Result<R, CallError> {
        let bytes = Bytes::from(body.to_string());
        let ask = async |endpoint: &EtcdUrl| {
            let answer = self.post(endpoint, path, bytes.clone(), true);
            let answer = self.in_time(async { collect(answer.await?).await }).await?;
            serde_json::from_slice(&answer).map_err(|error| unreadable(&error))
        };
        self.each_endpoint(repeatable, ask).await
    }

    /// Asks for a streamed response of one line.
    pub(super) async fn call_streamed<R: DeserializeOwned>(
        &self,
        path: &str,
        body: &Value,
    ) -> Result<R, CallError> {
        let line: Streamed<R> = self.call(path, body, true).await?;
        line.into_result()
    }

    /// Opens a streamed response at the preferred endpoint.
    pub(super) async fn stream(&self, path: &str, body: &Value) -> Result<Lines, CallError> {
        let bytes = Bytes::from(body.to_string());
        let open =
            async |endpoint: &EtcdUrl| self.in_time(self.post(endpoint, path, bytes.clone(), true)).await;
        let response = self.each_endpoint(true, open).await?;
        Ok(Lines { body: response.into_body(), buffer: BytesMut::new() })
    }

    /// The next request begins with another endpoint.
    pub(super) fn rotate(&self) {
        self.preferred.fetch_add(1, Ordering::Relaxed);
    }

    /// The next request authenticates anew.
    pub(super) fn forget_token(&self) {
        *self.token.lock().expect("no holder of the lock panics") = None;
    }

    async fn each_endpoint<T>(
        &self,
        repeatable: bool,
        ask: impl AsyncFn(&EtcdUrl) -> Result<T, CallError>,
    ) -> Result<T, CallError> {
        let mut reauthenticated = false;
        let mut asked = 1;
        loop {
            let at = self.preferred.load(Ordering::Relaxed) % self.endpoints.len();
            let endpoint = &self.endpoints[at];
            let error = match ask(endpoint).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            if error.is_unauthenticated() && self.user.is_some() && !reauthenticated {
                // Tokens end after some minutes, and with a restart of etcd.
                reauthenticated = true;
                self.forget_token();
            } else if asked < self.endpoints.len() && error.elsewhere(repeatable) {
                asked += 1;
                tracing::debug!("{endpoint}: {error}; asks the next one");
                self.rotate();
            } else {
                return Err(error.at(endpoint));
            }
        }
    }

    async fn post(
        &self,
        endpoint: &EtcdUrl,
        path: &str,
        body: Bytes,
        authenticated: bool,
    ) -> Result<Response<Incoming>, CallError> {
        let mut parts = endpoint.origin.clone().into_parts();
        parts.path_and_query = Some(path.parse().expect("paths of the gateway are valid"));
        let uri = Uri::from_parts(parts).expect("an origin and a path are a URI");
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(uri)
            .header(header::CONTENT_TYPE, "application/json")
            // A member without a leader would answer from what it knew before it was cut off.
            .header("grpc-metadata-hasleader", "true");
        if authenticated && let Some(token) = self.token(endpoint).await? {
            request = request.header(header::AUTHORIZATION, token);
        }
        let request = request.body(Full::new(body)).map_err(|error| CallError::NotSent(error.to_string()))?;
        let response = self.http.request(request).await.map_err(|error| {
            let reason = innermost(&error);
            if error.is_connect() { CallError::NotSent(reason) } else { CallError::NotAnswered(reason) }
        })?;
        if response.status() == StatusCode::OK {
            return Ok(response);
        }
        let status = response.status();
        let body = collect(response).await?;
        let Ok(failure) = serde_json::from_slice::<Failure>(&body) else {
            // A proxy's answer rather than etcd's.
            return Err(CallError::NotAnswered(status.to_string()));
        };
        let message = if failure.message.is_empty() { failure.error } else { failure.message };
        Err(CallError::Refused { code: failure.code, message })
    }

    async fn token(&self, endpoint: &EtcdUrl) -> Result<Option<String>, CallError> {
        let Some(user) = &self.user else { return Ok(None) };
        if let Some(token) = &*self.token.lock().expect("no holder of the lock panics") {
            return Ok(Some(token.clone()));
        }
        let body = json!({"name": user.name, "password": user.password}).to_string();
        let answer = Box::pin(self.post(endpoint, "/v3/auth/authenticate", body.into(), false)).await?;
        let token: Token =
            serde_json::from_slice(&collect(answer).await?).map_err(|error| unreadable(&error))?;
        *self.token.lock().expect("no holder of the lock panics") = Some(token.token.clone());
        Ok(Some(token.token))
    }

    async fn in_time<T>(&self, answer: impl Future<Output = Result<T, CallError>>) -> Result<T, CallError> {
        let late = || CallError::NotAnswered(format!("no answer within {:?}", self.times.request));
        tokio::time::timeout(self.times.request, answer).await.unwrap_or_else(|_| Err(late()))
    }
}

impl CallError {
    pub(super) fn is_unauthenticated(&self) -> bool {
        // 3.4 has no code of its own for a token of an older state of its users.
        matches!(self, Self::Refused { code, message }
            if *code == CODE_UNAUTHENTICATED || message.contains("revision of auth store is old"))
    }

    pub(super) fn is_compacted(&self) -> bool {
        matches!(self, Self::Refused { code: CODE_OUT_OF_RANGE, message } if message.contains("compacted"))
    }

    /// True when etcd does not know the lease: it has ended, or etcd has lost its data.
    pub(super) fn is_lease_unknown(&self) -> bool {
        matches!(self, Self::Refused { message, .. } if message.contains("lease not found"))
    }

    /// True when another member may do what this one did not.
    fn elsewhere(&self, repeatable: bool) -> bool {
        match self {
            Self::NotSent(_) => true,
            Self::NotAnswered(_) => repeatable,
            Self::Refused { code, message } => {
                *code == CODE_UNAVAILABLE && (repeatable || message.contains("no leader"))
            }
        }
    }

    /// The error of a request that etcd may have done.
    pub(super) fn of_write(self) -> SourceError {
        let sent = !matches!(self, Self::NotSent(_)) && self.elsewhere(true) && !self.elsewhere(false);
        if sent { SourceError::OutcomeUnknown(self.to_string()) } else { self.into() }
    }

    fn at(self, endpoint: &EtcdUrl) -> Self {
        let place = |reason: String| format!("{endpoint}: {reason}");
        match self {
            Self::NotSent(reason) => Self::NotSent(place(reason)),
            Self::NotAnswered(reason) => Self::NotAnswered(place(reason)),
            Self::Refused { code, message } => Self::Refused { code, message: place(message) },
        }
    }
}

/// For requests that change nothing; `of_write` is for the others.
impl From<CallError> for SourceError {
    fn from(error: CallError) -> Self {
        match error {
            CallError::NotSent(reason) | CallError::NotAnswered(reason) => Self::Unavailable(reason),
            CallError::Refused { message, code: CODE_UNAVAILABLE } => Self::Unavailable(message),
            CallError::Refused { message, .. } => Self::Refused(message),
        }
    }
}

impl Lines {
    /// The next object of the stream.
    ///
    /// # Cancel safety
    /// Cancel safe: a part of a line is kept.
    pub(super) async fn next<T: DeserializeOwned>(&mut self) -> Result<T, CallError> {
        let mut searched = 0;
        loop {
            if let Some(end) = self.buffer[searched..].iter().position(|byte| *byte == b'\n') {
                let line = self.buffer.split_to(searched + end + 1);
                let line: Streamed<T> = serde_json::from_slice(&line).map_err(|error| unreadable(&error))?;
                return line.into_result();
            }
            searched = self.buffer.len();
            if searched > RESPONSE_LEN_MAX {
                return Err(CallError::NotAnswered(format!("a line of more than {RESPONSE_LEN_MAX} bytes")));
            }
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.buffer.extend_from_slice(&data);
                    }
                }
                Some(Err(error)) => return Err(CallError::NotAnswered(innermost(&error))),
                None => return Err(CallError::NotAnswered("the stream ended".to_owned())),
            }
        }
    }
}

impl<T> Streamed<T> {
    fn into_result(self) -> Result<T, CallError> {
        let StreamError { grpc_code: code, message } = self.error.unwrap_or_default();
        self.result.ok_or(CallError::Refused { code, message })
    }
}

async fn collect(response: Response<Incoming>) -> Result<Bytes, CallError> {
    let body = Limited::new(response.into_body(), RESPONSE_LEN_MAX).collect().await;
    Ok(body.map_err(|error| CallError::NotAnswered(innermost(&*error)))?.to_bytes())
}

fn unreadable(error: &serde_json::Error) -> CallError {
    CallError::NotAnswered(format!("an answer that is not the gateway's: {error}"))
}
