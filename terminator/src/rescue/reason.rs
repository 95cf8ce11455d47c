//! The reasons of refusals: the name, status, title and remedy of each.
//!
//! Owns the list, and which reason an error of the HTTP protocol has. Leaves the reason of every
//! other refusal to `rescue`, and the counters to `stats`. Invariant: names are stable, because
//! dashboards and clients compare them.

use http::StatusCode;
use role::problem::ProblemType;

/// The reason of a refusal: the name of its counter and the last part of its problem's `type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The length of the body is ambiguous, which request smuggling relies on.
    Framing,
    /// A transfer coding that is not chunked.
    Coding,
    /// The request does not follow the grammar of RFC 9112.
    Malformed,
    /// The major version of HTTP is not 1.
    Version,
    /// `Host` is missing, repeated, or not valid.
    Host,
    /// The body is incomplete, or its chunks are malformed.
    BodyBroken,
    /// [`super::Refusal::NoRoute`].
    NoRoute,
    /// [`super::Refusal::Method`].
    Method,
    /// [`super::Refusal::HeadTimeout`].
    HeadTimeout,
    /// The client left before its head was complete. It is counted and not answered.
    HeadTruncated,
    /// [`super::Refusal::BodyTimeout`].
    BodyTimeout,
    /// The body, or the message on the bus, exceeds its limit.
    BodyTooLarge,
    /// The request line exceeds the limit of the head.
    UriTooLong,
    /// The head exceeds one of its limits, or has a field that is too long for the envelope.
    HeadTooLarge,
    /// [`super::Refusal::BadReply`].
    BadReply,
    /// [`super::Refusal::Shedding`].
    Shedding,
    /// [`super::Refusal::Connections`].
    Connections,
    /// [`bus::RequestError::NoInstance`].
    NoInstance,
    /// [`bus::RequestError::Busy`].
    Busy,
    /// [`bus::RequestError::Pending`].
    Pending,
    /// [`bus::RequestError::Deadline`].
    Deadline,
    /// [`bus::RequestError::Lost`].
    Lost,
    /// An error of the bus that this version of the terminator has no reason for.
    Other,
}

impl Reason {
    /// The number of reasons.
    pub const COUNT: usize = Self::ALL.len();

    /// All reasons, in the order of [`Reason::index`].
    pub const ALL: [Self; 23] = [
        Self::Framing,
        Self::Coding,
        Self::Malformed,
        Self::Version,
        Self::Host,
        Self::BodyBroken,
        Self::NoRoute,
        Self::Method,
        Self::HeadTimeout,
        Self::HeadTruncated,
        Self::BodyTimeout,
        Self::BodyTooLarge,
        Self::UriTooLong,
        Self::HeadTooLarge,
        Self::BadReply,
        Self::Shedding,
        Self::Connections,
        Self::NoInstance,
        Self::Busy,
        Self::Pending,
        Self::Deadline,
        Self::Lost,
        Self::Other,
    ];

    /// The reason of an error of the HTTP protocol.
    #[must_use]
    pub const fn of(error: http1::Error) -> Self {
        use http1::Error;
        match error {
            Error::LineEnd
            | Error::RequestLine
            | Error::Target
            | Error::FieldName
            | Error::Folded
            | Error::FieldValue => Self::Malformed,
            Error::Version => Self::Version,
            Error::Host => Self::Host,
            Error::Length
            | Error::LengthRepeated
            | Error::LengthAndCoding
            | Error::CodingVersion
            | Error::Coding => Self::Framing,
            Error::CodingUnknown => Self::Coding,
            Error::TargetTooLong { .. } => Self::UriTooLong,
            Error::HeadTooLong { .. }
            | Error::TooManyFields { .. }
            | Error::TooManyOptions { .. }
            | Error::TrailersTooLong { .. } => Self::HeadTooLarge,
            Error::ChunkSize
            | Error::ChunkLineEnd
            | Error::ChunkExtension
            | Error::ChunkEnd
            | Error::Trailer
            | Error::BodyTruncated => Self::BodyBroken,
            Error::BodyTooLong { .. } => Self::BodyTooLarge,
            Error::HeadTruncated => Self::HeadTruncated,
        }
    }

    /// Its index in [`Reason::ALL`].
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The stable name, as used in `/stats`, in statsd and in the problem's `reason`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Framing => "framing",
            Self::Coding => "coding",
            Self::Malformed => "malformed",
            Self::Version => "version",
            Self::Host => "host",
            Self::BodyBroken => "body_broken",
            Self::NoRoute => "no_route",
            Self::Method => "method",
            Self::HeadTimeout => "head_timeout",
            Self::HeadTruncated => "head_truncated",
            Self::BodyTimeout => "body_timeout",
            Self::BodyTooLarge => "body_too_large",
            Self::UriTooLong => "uri_too_long",
            Self::HeadTooLarge => "head_too_large",
            Self::BadReply => "bad_reply",
            Self::Shedding => "shedding",
            Self::Connections => "connections",
            Self::NoInstance => "no_instance",
            Self::Busy => "busy",
            Self::Pending => "pending",
            Self::Deadline => "deadline",
            Self::Lost => "lost",
            Self::Other => "other",
        }
    }

    /// The response's status. [`Reason::HeadTruncated`] has one although it is never sent.
    #[must_use]
    pub const fn status(self) -> StatusCode {
        match self {
            Self::Framing | Self::Malformed | Self::Host | Self::HeadTruncated | Self::BodyBroken => {
                StatusCode::BAD_REQUEST
            }
            Self::Coding => StatusCode::NOT_IMPLEMENTED,
            Self::Version => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            Self::NoRoute => StatusCode::NOT_FOUND,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::HeadTimeout | Self::BodyTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UriTooLong => StatusCode::URI_TOO_LONG,
            Self::HeadTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::BadReply | Self::Lost | Self::Other => StatusCode::BAD_GATEWAY,
            Self::Shedding | Self::Connections | Self::NoInstance => StatusCode::SERVICE_UNAVAILABLE,
            Self::Busy | Self::Pending => StatusCode::SERVICE_UNAVAILABLE,
            Self::Deadline => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    /// The kind of problem that clients see.
    #[must_use]
    pub fn problem_type(self) -> ProblemType {
        let (title, remedy) = words(self);
        ProblemType::new(self.name(), self.status().as_u16(), title).remedy(remedy)
    }
}

/// The title and the remedy of a problem.
const fn words(reason: Reason) -> (&'static str, &'static str) {
    match reason {
        Reason::Framing => (
            "Ambiguous length",
            "send one Content-Length with a number, or Transfer-Encoding: chunked in HTTP/1.1, not both",
        ),
        Reason::Coding => (
            "Transfer coding not implemented",
            "send Transfer-Encoding: chunked alone; name any other coding of the body in Content-Encoding",
        ),
        Reason::Malformed => {
            ("Malformed request", "send HTTP/1.1; check the proxies between you and this server")
        }
        Reason::Version => ("HTTP version not supported", "send HTTP/1.1 or HTTP/1.0"),
        Reason::Host => ("Bad Host", "send one Host header with the host, and the port if there is one"),
        Reason::BodyBroken => ("Malformed body", "send the whole body; check the sizes of its chunks"),
        Reason::NoRoute => {
            ("No such route", "check the path; the admin listener's /routes lists what services claim")
        }
        Reason::Method => ("Method not allowed", "use a method that Allow lists"),
        Reason::HeadTimeout => ("Head too slow", "send the head faster, or raise --header-timeout"),
        Reason::HeadTruncated => ("Head broke off", "send the head to its end"),
        Reason::BodyTimeout => ("Body too slow", "send the body faster, or raise --body-timeout"),
        Reason::BodyTooLarge => (
            "Body too large",
            "send less, or raise --body-limit and --message-limit here and at the services",
        ),
        Reason::UriTooLong => ("Target too long", "send long values in the body"),
        Reason::HeadTooLarge => {
            ("Head too large", "send fewer or shorter headers, or raise --header-limit or --header-count")
        }
        Reason::BadReply => ("Bad reply", "correct the service"),
        Reason::Shedding => ("Too many requests in flight", "retry later, or raise --in-flight-limit"),
        Reason::Connections => ("Too many connections", "retry later, or raise --connection-limit"),
        Reason::NoInstance => {
            ("No instance", "retry later; start an instance, or look at the admin listener's /peers")
        }
        Reason::Busy => ("Every instance is busy", "retry later, or start more instances"),
        Reason::Pending => ("Too many requests outstanding", "retry later, or raise --pending-limit"),
        Reason::Deadline => (
            "Deadline passed",
            "find out what the service waits for, or raise --deadline or this route's --route-deadline",
        ),
        Reason::Lost => {
            ("Instance lost", "the request may have been carried out: check before sending it again")
        }
        Reason::Other => ("Bus failure", "retry; report it with the request id"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_own_name_and_an_error_status() {
        for (index, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason.index(), index);
            assert!(reason.status().is_client_error() || reason.status().is_server_error());
            assert_eq!(Reason::ALL.iter().filter(|other| other.name() == reason.name()).count(), 1);
        }
    }

    #[test]
    fn every_reason_is_in_the_documentation() {
        let table = include_str!("../../../docs/problems.md");
        for reason in Reason::ALL {
            let kind = reason.problem_type();
            let row = format!("| `{}` | {} | {} | terminator", kind.reason, kind.status, kind.title);
            assert!(table.contains(&row), "docs/problems.md has no row {row}");
        }
    }
}
