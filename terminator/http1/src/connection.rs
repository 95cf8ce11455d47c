//! The protocol state of one connection.
//!
//! Owns the order of events and responses, persistence, and `Expect`. Leaves parsing to `head` and
//! `chunked`, and writing responses to `response`. One request is served at a time; pipelined ones
//! stay in the caller's buffer until [`Connection::finish`], so they are answered in order and are
//! bounded by that buffer. Invariant: after an error, and after the last response, no byte is read
//! as a request.

use crate::chunked::Chunked;
use crate::event::{Event, Step};
use crate::head::Progress;
use crate::semantics::Body;
use crate::{Error, Head, Limits, Phase};

/// The protocol state of one connection; about 40 bytes.
#[derive(Debug, Default)]
pub struct Connection {
    reading: Reading,
    /// True until the first head is complete.
    is_first: bool,
    is_head: bool,
    pub(crate) is_1_0: bool,
    pub(crate) persists: bool,
    expects: bool,
}

/// What the next byte from the client belongs to.
#[derive(Debug, Default)]
enum Reading {
    /// A head, or an empty line before it.
    #[default]
    Between,
    Head(Progress),
    Length(u64),
    Chunked(Chunked),
    /// The next request: this one is complete and not answered yet.
    Whole,
    /// Nothing: no further byte is read as HTTP.
    Over,
}

impl Connection {
    /// A connection that was just accepted.
    #[must_use]
    pub fn new() -> Self {
        Self { is_first: true, ..Self::default() }
    }

    /// Returns the next event at the front of `input`, which is all bytes that were read and not
    /// yet dropped or taken.
    ///
    /// Converts field names to lower case in place. Each call must be given the same bytes as the
    /// previous one, without those that its step said to drop or take, and possibly more. There are
    /// no events while a complete request is not answered, and after the end.
    ///
    /// # Errors
    /// When the bytes are not a valid request or exceed a limit. The connection then only takes the
    /// response to that.
    #[inline]
    pub fn receive(&mut self, input: &mut [u8], head: &mut Head, limits: &Limits) -> Result<Step, Error> {
        let step = match &mut self.reading {
            Reading::Between | Reading::Head(_) => self.receive_head(input, head, limits),
            Reading::Length(0) => Ok(Step { skip: 0, event: Some(Event::End) }),
            Reading::Length(left) => {
                let len = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
                *left -= len as u64;
                Ok(Step { skip: 0, event: (len > 0).then_some(Event::Data(len)) })
            }
            Reading::Chunked(chunked) => chunked.receive(input, limits),
            Reading::Whole | Reading::Over => return Ok(Step { skip: 0, event: None }),
        };
        match step {
            Ok(Step { event: Some(Event::End), .. }) => self.reading = Reading::Whole,
            // A client that sends the body does not wait for `100 Continue`.
            Ok(Step { event: Some(Event::Data(_)), .. }) => self.expects = false,
            Ok(_) => {}
            Err(_) => self.end(),
        }
        step
    }

    #[inline]
    fn receive_head(&mut self, input: &mut [u8], head: &mut Head, limits: &Limits) -> Result<Step, Error> {
        let mut skip = 0;
        let mut progress = match self.reading {
            Reading::Head(progress) => progress,
            _ => {
                skip = empty_lines(input)?;
                Progress::default()
            }
        };
        let rest = &mut input[skip..];
        // A lone CR may be the first half of an empty line.
        if matches!(rest, [] | [b'\r']) {
            return Ok(Step { skip, event: None });
        }
        let Some((len, body)) = head.read(&mut progress, rest, limits)? else {
            self.reading = Reading::Head(progress);
            return Ok(Step { skip, event: None });
        };
        let semantics = &head.semantics;
        self.is_first = false;
        self.is_head = head.is_head(rest);
        self.is_1_0 = head.request(rest).is_1_0();
        self.persists = semantics.wishes.persists(self.is_1_0);
        self.expects = semantics.expects && !self.is_1_0 && body != Body::Length(0);
        self.reading = match body {
            Body::Length(length) => Reading::Length(length),
            Body::Chunked => Reading::Chunked(Chunked::default()),
        };
        Ok(Step { skip, event: Some(Event::Head(len)) })
    }

    /// Checks the announced length of the body against the limit, before the body is read.
    ///
    /// # Errors
    /// [`Error::BodyTooLong`].
    #[inline]
    pub fn check_length(&mut self, limits: &Limits) -> Result<(), Error> {
        match self.reading {
            Reading::Length(length) if length > limits.body_len_max => {
                self.end();
                Err(Error::BodyTooLong { limit: limits.body_len_max })
            }
            _ => Ok(()),
        }
    }

    /// Bytes of the body that have not been read; `None` when the body has no announced length.
    #[must_use]
    pub fn body_left(&self) -> Option<u64> {
        match self.reading {
            Reading::Length(left) => Some(left),
            _ => None,
        }
    }

    /// True when the client waits for `100 Continue` before it sends the body: the head says so and
    /// no byte of the body has been read (RFC 9110 section 10.1.1). A caller that wants the body
    /// writes [`crate::CONTINUE`].
    #[must_use]
    pub fn expects_continue(&self) -> bool {
        self.expects
            && match self.reading {
                Reading::Length(_) => true,
                Reading::Chunked(chunked) => chunked.is_untouched(),
                _ => false,
            }
    }

    /// Notes that [`crate::CONTINUE`] has been written.
    pub fn continued(&mut self) {
        self.expects = false;
    }

    /// Notes that the client has shut down its sending side. A complete request is still answered;
    /// its response is the last.
    ///
    /// # Errors
    /// [`Error::HeadTruncated`], [`Error::BodyTruncated`].
    pub fn end_of_input(&mut self) -> Result<(), Error> {
        let ended = match self.reading {
            Reading::Head(_) => Err(Error::HeadTruncated),
            Reading::Length(1..) | Reading::Chunked(_) => Err(Error::BodyTruncated),
            Reading::Between | Reading::Length(0) | Reading::Whole | Reading::Over => Ok(()),
        };
        self.persists = false;
        if !self.is_whole() {
            self.reading = Reading::Over;
        }
        ended
    }

    /// Stops reading requests: the current response is the last.
    pub fn end(&mut self) {
        self.persists = false;
        self.reading = Reading::Over;
    }

    /// Notes that the response is written. True when the connection takes a further request: the
    /// last one was read completely, and neither side wants to close.
    #[inline]
    pub fn finish(&mut self) -> bool {
        let persists = self.persists && self.is_whole();
        self.reading = if persists { Reading::Between } else { Reading::Over };
        (self.is_head, self.expects) = (false, false);
        persists
    }

    /// True when the connection is between two requests, or before the first: no byte of a head has
    /// been read.
    #[inline]
    #[must_use]
    pub fn is_between_requests(&self) -> bool {
        matches!(self.reading, Reading::Between)
    }

    /// True when the current request has been read completely, even if [`Event::End`] has not been
    /// returned yet.
    #[inline]
    fn is_whole(&self) -> bool {
        matches!(self.reading, Reading::Length(0) | Reading::Whole)
    }

    /// True when bytes of the request's body have not been read.
    #[inline]
    #[must_use]
    pub fn has_body_left(&self) -> bool {
        matches!(self.reading, Reading::Length(1..) | Reading::Chunked(_))
    }

    /// True when the current request is HEAD, so its response has no body.
    #[inline]
    #[must_use]
    pub fn is_head(&self) -> bool {
        self.is_head
    }

    /// What the connection waits for. The caller tracks the phases of a response itself.
    #[must_use]
    pub fn phase(&self) -> Phase {
        match self.reading {
            Reading::Between if self.is_first => Phase::Accepted,
            Reading::Between => Phase::Idle,
            Reading::Head(_) => Phase::Head,
            Reading::Length(1..) | Reading::Chunked(_) => Phase::Body,
            Reading::Length(0) | Reading::Whole => Phase::Service,
            Reading::Over => Phase::Linger,
        }
    }
}

/// Length of the empty lines at the front of `input`, which are ignored before a request line (RFC
/// 9112 section 2.2).
#[inline]
fn empty_lines(input: &[u8]) -> Result<usize, Error> {
    let mut len = 0;
    loop {
        match &input[len..] {
            [b'\r', b'\n', ..] => len += 2,
            [b'\r', _, ..] | [b'\n', ..] => return Err(Error::LineEnd),
            _ => return Ok(len),
        }
    }
}
