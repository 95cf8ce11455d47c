//! What a new hyper is told of a request whose own hyper was sent away while it waited.
//!
//! Invariant: after this head hyper writes the response that it would have written after the request's own.

use bytes::Bytes;

/// What of a request decides how its response is written (RFC 9112 sections 6.3 and 9.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Replay {
    /// It is HEAD: its response has no body.
    pub is_head: bool,
    /// It is HTTP/1.0.
    pub is_1_0: bool,
    /// Its client wants the connection to stay.
    pub persists: bool,
}

impl Replay {
    /// The head, and what the client sent `behind` the request.
    pub(super) fn before(self, behind: &[u8]) -> Bytes {
        let method = if self.is_head { "HEAD" } else { "GET" };
        let minor = u8::from(!self.is_1_0);
        let connection = if self.persists { "keep-alive" } else { "close" };
        let mut bytes = format!("{method} / HTTP/1.{minor}\r\nconnection: {connection}\r\n\r\n").into_bytes();
        bytes.extend_from_slice(behind);
        bytes.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_head_says_what_the_request_said() {
        let replay = Replay { is_head: true, is_1_0: true, persists: true };
        assert_eq!(replay.before(b"GET"), "HEAD / HTTP/1.0\r\nconnection: keep-alive\r\n\r\nGET");
        assert_eq!(Replay::default().before(b""), "GET / HTTP/1.1\r\nconnection: close\r\n\r\n");
    }
}
