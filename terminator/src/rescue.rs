//! Error responses: the only module that chooses an error status.
//!
//! Owns the map from cause ([`Refusal`]) to status, text, limit and remedy. Leaves detecting errors
//! to the other modules, which return a [`Refusal`], and writing to `response` and `serve`.
//! Invariant: every error response is a problem (RFC 9457) with a reason, as JSON or, for browsers,
//! as a page.

mod problem;
mod reason;

use std::time::Duration;

use bus::RequestError;
use bus::proto::EncodeError;
use http::{Method, StatusCode};
use http1::{Fields, Response};
use role::problem::Problem;

pub use problem::body;
pub use reason::Reason;

use crate::limits::{REPLY_HEAD_BYTES, RETRY_AFTER_SECONDS};
use crate::trace::{REQUEST_ID, RequestId};

/// Why a request or a connection is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The request is not valid HTTP or exceeds a limit; the connection cannot be read further.
    Request(http1::Error),
    /// No service claims the path.
    NoRoute,
    /// No service claims the path yet, and services may still be dialling.
    Settling {
        /// How long after the start that is assumed (`--settle`).
        limit: Duration,
        /// Expected services that have not joined yet, comma-separated.
        missing: String,
    },
    /// The path is claimed for other methods only.
    Method {
        /// The value of `Allow`.
        allow: String,
    },
    /// The head was not complete in time.
    HeadTimeout {
        /// The limit.
        limit: Duration,
    },
    /// The client shut down its sending side, and the service did not answer in time for that.
    HalfClosed {
        /// The limit.
        limit: Duration,
    },
    /// The body was not complete in time.
    BodyTimeout {
        /// The limit.
        limit: Duration,
    },
    /// The reply's status is not one of a response.
    BadReply {
        /// Its status.
        status: u16,
    },
    /// The reply's head exceeds [`REPLY_HEAD_BYTES`].
    ReplyHead {
        /// Its length in bytes.
        bytes: usize,
    },
    /// The reply's `Connection` has more options than a reply can have fields.
    ReplyOptions,
    /// The worker has `limit` requests in flight.
    Shedding {
        /// The limit.
        limit: usize,
    },
    /// The worker has `limit` connections open.
    Connections {
        /// The limit.
        limit: usize,
    },
    /// The bus returned an error instead of a reply.
    Bus(RequestError),
}

impl From<http1::Error> for Refusal {
    fn from(error: http1::Error) -> Self {
        Self::Request(error)
    }
}

impl From<RequestError> for Refusal {
    fn from(error: RequestError) -> Self {
        Self::Bus(error)
    }
}

impl Refusal {
    /// The reason, by which it is counted and named to the client.
    #[must_use]
    pub const fn reason(&self) -> Reason {
        match self {
            Self::Request(error) => Reason::of(*error),
            Self::NoRoute => Reason::NoRoute,
            Self::Settling { .. } => Reason::NoInstance,
            Self::Method { .. } => Reason::Method,
            Self::HeadTimeout { .. } => Reason::HeadTimeout,
            Self::BodyTimeout { .. } => Reason::BodyTimeout,
            Self::HalfClosed { .. } => Reason::Deadline,
            Self::BadReply { .. } | Self::ReplyHead { .. } | Self::ReplyOptions => Reason::BadReply,
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

    /// True when the connection must close after the response, because the next request on it
    /// cannot be told from the rest of this one.
    #[must_use]
    pub const fn closes(&self) -> bool {
        matches!(
            self,
            Self::Request(_) | Self::HeadTimeout { .. } | Self::BodyTimeout { .. } | Self::Connections { .. }
        )
    }

    /// The problem, without the members that depend on the request: its id and its path.
    #[must_use]
    pub fn problem(&self) -> Problem {
        let problem = Problem::because(self.reason().problem_type(), self.detail());
        match self.limit() {
            Some(limit) => problem.limit(limit),
            None => problem,
        }
    }

    fn detail(&self) -> String {
        match self {
            Self::Request(error) => error.to_string(),
            Self::NoRoute => "no service that has ever connected claims this path".into(),
            Self::Settling { missing, .. } if !missing.is_empty() => {
                format!(
                    "no service claims this path yet, and expected services have not joined: {missing} (--expect)"
                )
            }
            Self::Settling { limit, .. } => format!(
                "no service claims this path yet; this terminator started within the last {} (--settle)",
                humantime::format_duration(*limit)
            ),
            Self::Method { allow } => format!("the path takes {allow} only"),
            Self::HeadTimeout { limit } => {
                format!("the head was not complete after {}", humantime::format_duration(*limit))
            }
            Self::HalfClosed { limit } => format!(
                "the client shut down its side of the connection, and the service did not answer within {} (--deadline)",
                humantime::format_duration(*limit)
            ),
            Self::BodyTimeout { limit } => {
                format!("the body was not complete after {}", humantime::format_duration(*limit))
            }
            Self::ReplyHead { bytes } => {
                format!("the service's reply has a head of {bytes} bytes; {REPLY_HEAD_BYTES} are the limit")
            }
            Self::ReplyOptions => {
                "the Connection header of the service's reply names more fields than a reply can have".into()
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
            Self::HeadTimeout { limit } | Self::BodyTimeout { limit } | Self::HalfClosed { limit } => {
                Some(milliseconds(limit))
            }
            Self::Request(error) => limit_of(*error),
            Self::Shedding { limit } | Self::Connections { limit } => Some(*limit as u64),
            Self::Bus(RequestError::Pending { limit }) => Some(*limit as u64),
            Self::Bus(RequestError::Encode(EncodeError::TooLarge { limit, .. })) => Some(*limit as u64),
            _ => None,
        }
    }

    /// Writes the headers of the error response, whose body has the media type `media`.
    pub fn write_fields(&self, media: &str, fields: &mut Fields<'_>) {
        fields.add(b"content-type", media.as_bytes());
        fields.add(b"vary", b"accept");
        if self.reason().status() == StatusCode::SERVICE_UNAVAILABLE {
            fields.add(b"retry-after", RETRY_AFTER_SECONDS.to_string().as_bytes());
        }
        if let Self::Method { allow } = self {
            fields.add(b"allow", allow.as_bytes());
        }
    }
}

/// The limit that was exceeded.
const fn limit_of(error: http1::Error) -> Option<u64> {
    use http1::Error;
    match error {
        Error::TargetTooLong { limit }
        | Error::HeadTooLong { limit }
        | Error::TooManyFields { limit }
        | Error::TooManyOptions { limit }
        | Error::TrailersTooLong { bytes: limit, .. } => Some(limit as u64),
        Error::BodyTooLong { limit } => Some(limit),
        _ => None,
    }
}

/// Appends a whole response that answers no request to `out`; the connection closes after it.
/// Returns the request id generated for it.
pub fn write_bare(
    refusal: &Refusal,
    protocol: &mut http1::Connection,
    date: &str,
    out: &mut Vec<u8>,
) -> String {
    let id = RequestId::made([fastrand::u64(..), fastrand::u64(..)]);
    let id = String::from_utf8_lossy(id.as_bytes()).into_owned();
    let status = refusal.reason().status();
    let (media, body) = body(&refusal.problem().request_id(&id), false);
    let response = Response {
        status: status.as_u16(),
        reason: status.canonical_reason().unwrap_or_default(),
        length: Some(body.len() as u64),
        close: true,
        date,
    };
    protocol.respond(&response, out, |fields| {
        refusal.write_fields(media, fields);
        fields.add(REQUEST_ID.as_bytes(), id.as_bytes());
    });
    out.extend_from_slice(&body);
    id
}

/// The refusal of CONNECT, which no service can claim.
#[must_use]
pub fn connect_refused() -> Refusal {
    Refusal::Method { allow: METHODS.map(|method| method.as_str().to_owned()).join(", ") }
}

/// The methods that are looked up to decide between 405 and 404.
pub const METHODS: [Method; 7] =
    [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::OPTIONS];

#[cfg(test)]
mod tests {
    use super::*;

    fn bare(refusal: &Refusal) -> String {
        let mut out = Vec::new();
        write_bare(refusal, &mut http1::Connection::new(), "now", &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn statuses_follow_the_cause() {
        let service = || "s".to_owned();
        for (refusal, status) in [
            (http1::Error::LengthAndCoding.into(), 400),
            (http1::Error::CodingUnknown.into(), 501),
            (http1::Error::Version.into(), 505),
            (http1::Error::BodyTooLong { limit: 1 }.into(), 413),
            (http1::Error::TargetTooLong { limit: 1 }.into(), 414),
            (http1::Error::HeadTooLong { limit: 1 }.into(), 431),
            (Refusal::NoRoute, 404),
            (connect_refused(), 405),
            (Refusal::BodyTimeout { limit: Duration::from_secs(1) }, 408),
            (RequestError::Encode(EncodeError::TooLarge { len: 2, limit: 1 }).into(), 413),
            (Refusal::BadReply { status: 7 }, 502),
            (RequestError::Lost { service: service() }.into(), 502),
            (RequestError::NoInstance { service: service() }.into(), 503),
            (RequestError::Busy { service: service(), instances: 3 }.into(), 503),
            (RequestError::Pending { limit: 9 }.into(), 503),
            (RequestError::Deadline { service: service() }.into(), 504),
        ] {
            assert_eq!(refusal.problem().status, status, "{refusal:?}");
            if let Refusal::Request(error) = refusal {
                assert_eq!(error.status(), status, "the protocol and the problem agree");
            }
            assert_eq!(bare(&refusal).contains("\r\nretry-after: 1\r\n"), status == 503, "{refusal:?}");
        }
    }

    #[test]
    fn the_limit_that_was_hit_is_a_number() {
        let problem = Refusal::BodyTimeout { limit: Duration::from_millis(1500) }.problem();
        assert_eq!(problem.limit, Some(1500));
        assert!(problem.detail.contains("1s 500ms"));
    }

    #[test]
    fn a_bare_response_has_the_length_it_says_and_closes() {
        let text = bare(&Refusal::Connections { limit: 7 });
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "{head}");
        assert!(head.contains(&format!("content-length: {}", body.len())), "{head}");
        assert!(head.contains("connection: close"), "{head}");
    }
}
