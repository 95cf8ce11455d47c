//! The server's side of HTTP/1.1 (RFC 9112), without I/O: bytes in, events out, responses encoded
//! into a buffer.
//!
//! Owns: parsing request heads, framing bodies, pipelining, persistence, `Expect`, `Upgrade`, the
//! limits of all of them, and the framing of responses. Does not: read or write a socket, look at a
//! clock, or decide what is answered.
//!
//! A [`Connection`] is some forty bytes and holds no buffer. The caller keeps what it has read,
//! gives the unused front of it to [`Connection::receive`], and drops what the returned [`Step`]
//! says. Parts of a head are ranges into those bytes ([`Head`]), and so are the bytes of a body.
//! Time-outs are a matter of [`Connection::phase`]: the caller asks which phase the connection is
//! in and how long that may take ([`Timeouts`]).
//!
//! Invariant: what the bytes mean does not depend on how they are cut into reads. Every verdict is
//! a function of the bytes from the connection's first to the one that decides it.
//!
//! ```
//! use http1::{Connection, Event, Head, Limits, Response};
//!
//! let (mut connection, mut head) = (Connection::new(), Head::default());
//! let mut input = *b"GET /members/1?full HTTP/1.1\r\nHost: example.org\r\n\r\n";
//! let step = connection.receive(&mut input, &mut head, &Limits::default())?;
//! assert_eq!((step.skip, step.event), (0, Some(Event::Head(input.len()))));
//! let request = head.request(&input);
//! assert_eq!((request.method(), request.target(), request.path()), ("GET", "/members/1?full", "/members/1"));
//!
//! let step = connection.receive(&mut [], &mut head, &Limits::default())?;
//! assert_eq!(step.event, Some(Event::End));
//! let mut out = Vec::new();
//! let response = Response { status: 200, reason: "OK", length: Some(2), close: false, date: "today" };
//! connection.respond(&response, &mut out, |fields| {
//!     fields.add(b"content-type", b"text/plain");
//! });
//! out.extend_from_slice(b"ok");
//! assert!(connection.finish(), "the connection takes a further request");
//! # Ok::<_, http1::Error>(())
//! ```

mod chunked;
mod connection;
mod error;
mod event;
mod field;
mod grammar;
mod head;
mod host;
mod limits;
mod options;
mod response;
mod semantics;
mod target;

pub use connection::Connection;
pub use error::Error;
pub use event::{Event, Step};
pub use field::Field;
pub use grammar::{is_field_value, is_token};
pub use head::{Head, Request};
pub use host::is_host;
pub use limits::{Limits, Phase, Timeouts};
pub use options::Options;
pub use response::{CHUNK_END, CONTINUE, Fields, Response, Sending, begin_chunk, last_chunk};
