//! One connection: where its client's bytes stand, and what its requests want of their responses.
//!
//! Owns: the order of events and responses. One request is under way at a time: those behind it
//! stay in the caller's buffer until [`Connection::finish`], so pipelined requests are answered in
//! their order and bounded by that buffer. Invariant: after an error, and after the last response,
//! no byte is read as a request.

use crate::chunked::Chunked;
use crate::event::{Event, Step};
use crate::head::Progress;
use crate::semantics::Body;
use crate::{Error, Head, Limits, Phase};

/// The protocol's state of one connection; some forty bytes.
#[derive(Debug, Default)]
pub struct Connection {
    reading: Reading,
    /// No head has come.
    is_first: bool,
    is_head: bool,
    pub(crate) is_1_0: bool,
    pub(crate) persists: bool,
    expects: bool,
}

/// What the next byte of the client belongs to.
#[derive(Debug, Default)]
enum Reading {
    /// A head, or an empty line before it.
    #[default]
    Between,
    Head(Progress),
    Length(u64),
    Chunked(Chunked),
    /// The request is whole; what follows is a further one.
    Whole,
    /// Nothing that is read any more.
    Over,
}

impl Connection {
    /// A connection that was just accepted.
    #[must_use]
    pub fn new() -> Self {
        Self { is_first: true, ..Self::default() }
    }

    /// The next event at the front of `input`: all bytes that were read and not used so far.
    ///
    /// Names of fields are put in lower case in place. Every call may be given more bytes than the
    /// one before, but never fewer or others, less those that a step said to drop or take. While a
    /// request is whole and not answered, and after the end, there are no events.
    ///
    /// # Errors
    /// What is wrong with the bytes. The connection is over but for the response that says so.
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
            // A client that sends the body does not wait to be told to.
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
        // Half an empty line is not the beginning of a head.
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

    /// Checks the length that the head announced against the limit, before any of the body is read.
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

    /// Bytes of the body that are still to come, where the head said so.
    #[must_use]
    pub fn body_left(&self) -> Option<u64> {
        match self.reading {
            Reading::Length(left) => Some(left),
            _ => None,
        }
    }

    /// True when the client waits for `100 Continue` before it sends the body: its head said so and
    /// nothing of the body has come (RFC 9110 section 10.1.1). The caller writes
    /// [`crate::CONTINUE`] when it wants the body.
    #[must_use]
    pub fn expects_continue(&self) -> bool {
        self.expects
            && match self.reading {
                Reading::Length(_) => true,
                Reading::Chunked(chunked) => chunked.is_untouched(),
                _ => false,
            }
    }

    /// The client has been told to send the body.
    pub fn continued(&mut self) {
        self.expects = false;
    }

    /// The client sends nothing more.
    ///
    /// # Errors
    /// [`Error::HeadTruncated`], [`Error::BodyTruncated`]. A client that ends its side behind a
    /// whole request gets its response, the last one.
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

    /// Nothing further is read as a request: the response under way is the last.
    pub fn end(&mut self) {
        self.persists = false;
        self.reading = Reading::Over;
    }

    /// The response is written. True when the connection takes a further request: the last one was
    /// read to its end, and neither side wanted to close.
    #[inline]
    pub fn finish(&mut self) -> bool {
        let goes_on = self.persists && self.is_whole();
        self.reading = if goes_on { Reading::Between } else { Reading::Over };
        (self.is_head, self.expects) = (false, false);
        goes_on
    }

    /// True when the connection is between two requests, or before the first: nothing of a head has
    /// come.
    #[inline]
    #[must_use]
    pub fn is_between_requests(&self) -> bool {
        matches!(self.reading, Reading::Between)
    }

    /// True when the request under way has been read to its end, whether or not the caller has been
    /// told.
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

    /// True when the request under way is HEAD: its response has no body.
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

/// Bytes of the empty lines at the front of `input`, which mean nothing there (RFC 9112 section
/// 2.2).
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
