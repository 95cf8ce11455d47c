//! The server's side of HTTP/1.1 (RFC 9112), without I/O: bytes in, events out, responses encoded
//! into a buffer.
//!
//! Owns parsing request heads, framing bodies, pipelining, persistence, `Expect`, `Upgrade`, the
//! limits of all of them, and the framing of responses. Leaves sockets, clocks and the content of
//! responses to the caller.
//!
//! A [`Connection`] is about 40 bytes and holds no buffer. The caller keeps the bytes that it has
//! read, gives them to [`Connection::receive`], and drops or takes what the returned [`Step`] says.
//! The parts of a head are ranges into those bytes ([`Head`]), and so are the bytes of a body. For
//! time-outs, the caller asks which phase the connection is in ([`Connection::phase`]) and how long
//! that may take ([`Timeouts`]).
//!
//! Invariant: the meaning of the bytes does not depend on how they are cut into reads. Every
//! verdict is a function of the bytes from the first of the connection to the one that decides it.
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
