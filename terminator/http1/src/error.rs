//! The errors of requests, all of which are the client's.
//!
//! Owns the list, the text and the status of each. Leaves the error response to the caller.

/// Why the bytes of a connection are not a request that can be served. The connection closes after
/// the response to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Error {
    /// RFC 9112 section 2.2.
    #[error("a line does not end with CRLF")]
    LineEnd,
    /// RFC 9112 section 3.
    #[error("the request line is not METHOD TARGET VERSION with one space between")]
    RequestLine,
    /// RFC 9112 section 3.2.
    #[error(
        "the request's target is not one that its method takes: a path with a query, a URL, HOST:PORT for CONNECT, * for OPTIONS"
    )]
    Target,
    /// RFC 9112 section 2.3.
    #[error("the request's version is not HTTP/1.x")]
    Version,
    /// RFC 9112 section 5.1: also white space before the colon.
    #[error("a line of the head is not NAME: VALUE, or its name is not a token")]
    FieldName,
    /// RFC 9112 section 5.2.
    #[error("a line of the head begins with white space: folded lines are obsolete")]
    Folded,
    /// RFC 9110 section 5.5.
    #[error("the value of a header has a control character")]
    FieldValue,
    /// RFC 9112 section 3.2.
    #[error("the request has no Host header, several, or one that is not HOST or HOST:PORT")]
    Host,
    /// RFC 9112 section 6.3.
    #[error("the value of Content-Length is not a number")]
    Length,
    /// RFC 9112 section 6.3. Equal values are refused as well, because no client needs to repeat
    /// them.
    #[error("the request has several Content-Length values")]
    LengthRepeated,
    /// RFC 9112 section 6.1; a means of request smuggling.
    #[error("the request has both Content-Length and Transfer-Encoding")]
    LengthAndCoding,
    /// RFC 9112 section 6.1.
    #[error("the request is HTTP/1.0 and has Transfer-Encoding")]
    CodingVersion,
    /// RFC 9112 section 6.1.
    #[error("Transfer-Encoding is empty, or names chunked more than once")]
    Coding,
    /// RFC 9112 section 6.1.
    #[error("the body has a transfer coding that is not chunked")]
    CodingUnknown,
    /// RFC 9112 section 3: only the target can make the request line that long.
    #[error("the request line is over {limit} bytes")]
    TargetTooLong {
        /// The limit of the head.
        limit: usize,
    },
    /// RFC 6585 section 5.
    #[error("the head is over {limit} bytes")]
    HeadTooLong {
        /// The limit.
        limit: usize,
    },
    /// RFC 6585 section 5.
    #[error("the head has more than {limit} headers")]
    TooManyFields {
        /// The limit.
        limit: usize,
    },
    /// Protects against a head whose options times fields would take long to compare.
    #[error("Connection has more than {limit} options")]
    TooManyOptions {
        /// The limit.
        limit: usize,
    },
    /// RFC 9112 section 7.1.
    #[error("the size of a chunk is not a hexadecimal number")]
    ChunkSize,
    /// RFC 9112 section 7.1.
    #[error("a line of the body's chunks does not end with CRLF")]
    ChunkLineEnd,
    /// RFC 9112 section 7.1.1.
    #[error("the extensions of a chunk are malformed or too long")]
    ChunkExtension,
    /// RFC 9112 section 7.1.
    #[error("a chunk is not as long as it says")]
    ChunkEnd,
    /// RFC 9112 section 7.1.2.
    #[error("a trailer is malformed")]
    Trailer,
    /// RFC 6585 section 5. The limits are those of a head.
    #[error("the trailers are over {bytes} bytes or more than {count}")]
    TrailersTooLong {
        /// The limit of their bytes.
        bytes: usize,
        /// The limit of their number.
        count: usize,
    },
    /// RFC 9110 section 15.5.14.
    #[error("the body is over {limit} bytes")]
    BodyTooLong {
        /// The limit.
        limit: u64,
    },
    /// RFC 9112 section 8.
    #[error("the connection ended within a head")]
    HeadTruncated,
    /// RFC 9112 section 8.
    #[error("the connection ended within a body")]
    BodyTruncated,
}

impl Error {
    /// The status of the error response.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::CodingUnknown => 501,
            Self::Version => 505,
            Self::TargetTooLong { .. } => 414,
            Self::HeadTooLong { .. }
            | Self::TooManyFields { .. }
            | Self::TooManyOptions { .. }
            | Self::TrailersTooLong { .. } => 431,
            Self::BodyTooLong { .. } => 413,
            _ => 400,
        }
    }
}
