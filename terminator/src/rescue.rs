//! Turns whatever went wrong into a response: the only place that chooses an error status.
//!
//! Owns: the map from cause to status, text, limit and remedy. Does not: detect anything, nor write to a socket.
//! Invariant: every error response is `application/problem+json` (RFC 9457) and names its reason; its reason is counted
//! exactly once.

mod problem;
mod reason;

use std::time::Duration;

use bus::RequestError;
use bus::proto::EncodeError;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};

pub use problem::{Problem, bare};
pub use reason::Reason;

use crate::limits::{REPLY_HEAD_BYTES, RETRY_AFTER_SECONDS};

/// Why a request, or a connection, gets no answer from a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// `Content-Length` beside `Transfer-Encoding`: the start of request smuggling (RFC 9112 section 6.1).
    Framing,
    /// A `Transfer-Encoding` other than `chunked` alone (RFC 9112 section 6.1).
    Coding,
    /// Not HTTP/1.1; found by hyper, which does not say what exactly.
    Malformed,
    /// `Host` is missing in HTTP/1.1, is there twice, or is no host (RFC 9112 section 3.2).
    Host,
    /// The body broke off or its chunks are malformed.
    BodyBroken,
    /// Nobody claims the path.
    NoRoute,
    /// Nobody claims it yet: services are still dialling.
    Settling {
        /// For so long after the start.
        limit: Duration,
    },
    /// The path is claimed, for these methods only.
    Method {
        /// As in `Allow`.
        allow: String,
    },
    /// The head took too long.
    HeadTimeout {
        /// The limit.
        limit: Duration,
    },
    /// The body took too long.
    BodyTimeout {
        /// The limit.
        limit: Duration,
    },
    /// The body is over the limit.
    BodyTooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// The request line alone is over the limit.
    UriTooLong {
        /// The limit of the head, in bytes.
        limit: usize,
    },
    /// The head is over one of the limits.
    HeadTooLarge {
        /// In bytes.
        bytes: usize,
        /// In headers.
        count: usize,
    },
    /// The reply cannot be turned into a response.
    BadReply {
        /// Its status.
        status: u16,
    },
    /// The reply's head is longer than one may be.
    ReplyHead {
        /// Its bytes.
        bytes: usize,
    },
    /// The worker has as many requests in flight as it may.
    Shedding {
        /// The limit.
        limit: usize,
    },
    /// The worker has as many connections as it may.
    Connections {
        /// The limit.
        limit: usize,
    },
    /// The bus could not get a reply.
    Bus(RequestError),
}

impl From<RequestError> for Refusal {
    fn from(error: RequestError) -> Self {
        Self::Bus(error)
    }
}

impl Refusal {
    /// What it is counted as.
    #[must_use]
    pub const fn reason(&self) -> Reason {
        match self {
            Self::Framing => Reason::Framing,
            Self::Coding => Reason::Coding,
            Self::Malformed => Reason::Malformed,
            Self::Host => Reason::Host,
            Self::BodyBroken => Reason::BodyBroken,
            Self::NoRoute => Reason::NoRoute,
            Self::Settling { .. } => Reason::NoInstance,
            Self::Method { .. } => Reason::Method,
            Self::HeadTimeout { .. } => Reason::HeadTimeout,
            Self::BodyTimeout { .. } => Reason::BodyTimeout,
            Self::BodyTooLarge { .. } => Reason::BodyTooLarge,
            Self::UriTooLong { .. } => Reason::UriTooLong,
            Self::HeadTooLarge { .. } => Reason::HeadTooLarge,
            Self::BadReply { .. } | Self::ReplyHead { .. } => Reason::BadReply,
            Self::Shedding { .. } => Reason::Shedding,
            Self::Connections { .. } => Reason::Connections,
            Self::Bus(error) => match error {
                RequestError::NoInstance { .. } => Reason::NoInstance,
                RequestError::Busy { .. } => Reason::Busy,
                RequestError::Pending { .. } => Reason::Pending,
                RequestError::Deadline { .. } => Reason::Deadline,
                RequestError::Lost { .. } => Reason::Lost,
                RequestError::Encode(EncodeError::Field { .. }) => Reason::HeadTooLarge,
                RequestError::Encode(EncodeError::TooLarge { .. }) => Reason::BodyTooLarge,
                _ => Reason::Other,
            },
        }
    }

    /// Whether the connection has to end with the response, since what follows on it cannot be told from the body.
    #[must_use]
    pub const fn closes(&self) -> bool {
        matches!(
            self.reason(),
            Reason::Framing
                | Reason::Coding
                | Reason::Malformed
                | Reason::BodyBroken
                | Reason::HeadTimeout
                | Reason::BodyTimeout
                | Reason::BodyTooLarge
                | Reason::UriTooLong
                | Reason::HeadTooLarge
                | Reason::Connections
        )
    }

    /// The problem's members that depend on the cause alone.
    #[must_use]
    pub fn problem(&self) -> Problem<'static> {
        let reason = self.reason();
        let (title, remedy) = reason::words(reason);
        Problem {
            reason: reason.name(),
            title,
            status: reason.status(),
            detail: self.detail(),
            limit: self.limit(),
            remedy,
            request_id: "",
            instance: "",
        }
    }

    fn detail(&self) -> String {
        match self {
            Self::Framing => "the request has both Content-Length and Transfer-Encoding".into(),
            Self::Coding => "the body has a transfer coding that is not chunked, or one more".into(),
            Self::Malformed => "the request is not HTTP/1.1 as RFC 9112 has it".into(),
            Self::Host => {
                "the request has no Host header, several, or one that is not HOST or HOST:PORT".into()
            }
            Self::BodyBroken => "the request's body broke off, or its chunks are malformed".into(),
            Self::NoRoute => "no service that has ever connected claims this path".into(),
            Self::Settling { limit } => format!(
                "no service claims this path yet; this terminator started within the last {} (--settle)",
                humantime::format_duration(*limit)
            ),
            Self::Method { allow } => format!("the path takes {allow} only"),
            Self::HeadTimeout { limit } => {
                format!("the head was not complete after {}", humantime::format_duration(*limit))
            }
            Self::BodyTimeout { limit } => {
                format!("the body was not complete after {}", humantime::format_duration(*limit))
            }
            Self::BodyTooLarge { limit } => format!("the body is over {limit} bytes"),
            Self::UriTooLong { limit } => format!("the request line alone is over {limit} bytes"),
            Self::HeadTooLarge { bytes, count } => {
                format!("the head is over {bytes} bytes or has more than {count} headers")
            }
            Self::ReplyHead { bytes } => {
                format!("the service's reply has a head of {bytes} bytes; {REPLY_HEAD_BYTES} are the limit")
            }
            Self::BadReply { status } => format!("the service's reply has status {status}, not 200 to 599"),
            Self::Shedding { limit } => format!("{limit} requests are in flight on this worker"),
            Self::Connections { limit } => format!("{limit} connections are open on this worker"),
            Self::Bus(error) => error.to_string(),
        }
    }

    fn limit(&self) -> Option<u64> {
        let milliseconds = |time: &Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        match self {
            Self::HeadTimeout { limit } | Self::BodyTimeout { limit } => Some(milliseconds(limit)),
            Self::BodyTooLarge { limit }
            | Self::UriTooLong { limit }
            | Self::Shedding { limit }
            | Self::Connections { limit } => Some(*limit as u64),
            Self::HeadTooLarge { bytes, .. } => Some(*bytes as u64),
            Self::Bus(RequestError::Pending { limit }) => Some(*limit as u64),
            Self::Bus(RequestError::Encode(EncodeError::TooLarge { limit, .. })) => Some(*limit as u64),
            _ => None,
        }
    }

    /// Adds the headers that the status asks for.
    pub fn headers(&self, headers: &mut HeaderMap) {
        let reason = self.reason();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(problem::CONTENT_TYPE));
        if reason.status() == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER_SECONDS));
        }
        if let Self::Method { allow } = self
            && let Ok(allow) = HeaderValue::from_str(allow)
        {
            headers.insert(header::ALLOW, allow);
        }
        if self.closes() {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
    }

    /// The refusal behind a response that hyper made by itself. hyper's 431 covers a long request line too.
    #[must_use]
    pub fn of_parse_error(status: StatusCode, start_line_bytes: usize, bytes: usize, count: usize) -> Self {
        match status {
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE | StatusCode::URI_TOO_LONG => {
                if start_line_bytes >= bytes {
                    Self::UriTooLong { limit: bytes }
                } else {
                    Self::HeadTooLarge { bytes, count }
                }
            }
            _ => Self::Malformed,
        }
    }
}

/// What a method that the terminator itself has no use for is answered.
#[must_use]
pub fn connect_refused() -> Refusal {
    Refusal::Method { allow: METHODS.map(|method| method.as_str().to_owned()).join(", ") }
}

/// The methods tried when telling 405 from 404.
pub const METHODS: [Method; 7] =
    [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::OPTIONS];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_follow_the_cause() {
        let service = || "s".to_owned();
        for (refusal, status) in [
            (Refusal::Framing, 400),
            (Refusal::Coding, 501),
            (Refusal::Host, 400),
            (Refusal::NoRoute, 404),
            (connect_refused(), 405),
            (Refusal::BodyTimeout { limit: Duration::from_secs(1) }, 408),
            (Refusal::BodyTooLarge { limit: 1 }, 413),
            (RequestError::Encode(EncodeError::TooLarge { len: 2, limit: 1 }).into(), 413),
            (Refusal::UriTooLong { limit: 1 }, 414),
            (Refusal::HeadTooLarge { bytes: 1, count: 1 }, 431),
            (Refusal::BadReply { status: 7 }, 502),
            (RequestError::Lost { service: service() }.into(), 502),
            (RequestError::NoInstance { service: service() }.into(), 503),
            (RequestError::Busy { service: service(), instances: 3 }.into(), 503),
            (RequestError::Pending { limit: 9 }.into(), 503),
            (RequestError::Deadline { service: service() }.into(), 504),
        ] {
            assert_eq!(refusal.problem().status.as_u16(), status, "{refusal:?}");
            let mut headers = HeaderMap::new();
            refusal.headers(&mut headers);
            assert_eq!(headers.contains_key(header::RETRY_AFTER), status == 503, "{refusal:?}");
        }
    }

    #[test]
    fn the_limit_that_was_hit_is_a_number() {
        let problem = Refusal::BodyTimeout { limit: Duration::from_millis(1500) }.problem();
        assert_eq!(problem.limit, Some(1500));
        assert!(problem.detail.contains("1s 500ms"));
    }
}
