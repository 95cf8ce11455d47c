//! A minimal caller of the crate: keeps the bytes that were read, takes the events, and answers
//! every request with an empty 200.
//!
//! Owns the caller's half of the contract (buffer, skip, take, finish). Invariant: it reports what
//! a server built on the crate would do, and asserts what the crate promises about steps.

use http1::{Connection, Error, Event, Head, Limits, Phase, Response};

use crate::outcome::{Field, Outcome, Request};

/// What came of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Log {
    /// The requests in order, then the refusal, if any.
    pub(crate) outcomes: Vec<Outcome>,
    /// Why the last outcome is a refusal.
    pub(crate) error: Option<Error>,
    /// Where the input ends.
    pub(crate) end: End,
}

/// Where the input ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Between two requests.
    Between,
    /// Within one.
    Within(Error),
    /// After the end of HTTP: behind a refusal, or behind a request that closes the connection.
    Behind,
}

impl Log {
    /// The outcomes; a truncated request counts as a refusal.
    pub(crate) fn flat(self) -> Vec<Outcome> {
        let mut outcomes = self.outcomes;
        if let End::Within(error) = self.end {
            outcomes.push(Outcome::Refused(error.status()));
        }
        outcomes
    }
}

/// Gives the connection `input` in pieces that end at `cuts` (ascending) and at its end.
pub(crate) fn run(input: &[u8], cuts: impl IntoIterator<Item = usize>, limits: &Limits) -> Log {
    let mut caller = Caller::new(limits);
    let mut start = 0;
    for cut in cuts.into_iter().chain([input.len()]) {
        let cut = cut.clamp(start, input.len());
        caller.read(&input[start..cut]);
        start = cut;
    }
    caller.end()
}

/// A server's connection.
struct Caller {
    connection: Connection,
    head: Head,
    limits: Limits,
    buffer: Vec<u8>,
    request: Request,
    outcomes: Vec<Outcome>,
    error: Option<Error>,
    is_over: bool,
}

impl Caller {
    fn new(limits: &Limits) -> Self {
        let connection = Connection::new();
        assert_eq!(connection.phase(), Phase::Accepted);
        Self {
            connection,
            head: Head::default(),
            limits: *limits,
            buffer: Vec::new(),
            request: Request::default(),
            outcomes: Vec::new(),
            error: None,
            is_over: false,
        }
    }

    fn read(&mut self, piece: &[u8]) {
        if self.is_over {
            let mut rest = piece.to_vec();
            let step = self.connection.receive(&mut rest, &mut self.head, &self.limits).expect("it is over");
            assert_eq!(
                (step.skip, step.event, &rest[..]),
                (0, None, piece),
                "nothing behind the end is read"
            );
            return;
        }
        self.buffer.extend_from_slice(piece);
        while !self.is_over && self.step() {}
    }

    /// True when there may be another event.
    fn step(&mut self) -> bool {
        let step = match self.connection.receive(&mut self.buffer, &mut self.head, &self.limits) {
            Ok(step) => step,
            Err(error) => {
                self.refuse(error);
                return false;
            }
        };
        self.buffer.drain(..step.skip);
        match step.event {
            Some(Event::Head(len)) => {
                self.request = self.take_head(len);
                if let Err(error) = self.connection.check_length(&self.limits) {
                    self.refuse(error);
                }
            }
            Some(Event::Data(len)) => self.request.body.extend(self.buffer.drain(..len)),
            Some(Event::Trailer(len)) => {
                let line: Vec<u8> = self.buffer.drain(..len).collect();
                let line = line.strip_suffix(b"\r\n").expect("a trailer ends with CRLF");
                self.request.trailers.push(line.to_vec());
            }
            Some(Event::End) => self.answer(),
            None => return false,
        }
        true
    }

    fn take_head(&mut self, len: usize) -> Request {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("ASCII");
        let bytes: Vec<u8> = self.buffer.drain(..len).collect();
        assert!(bytes.ends_with(b"\r\n\r\n"), "a head ends with an empty line");
        let head = self.head.request(&bytes);
        let fields = head.fields().map(|field| Field {
            name: text(field.name),
            value: field.value.to_vec(),
            ends_here: field.ends_here,
        });
        Request {
            method: head.method().to_owned(),
            target: head.target().to_owned(),
            path: head.path().to_owned(),
            authority: head.authority().map(text),
            is_1_0: head.is_1_0(),
            fields: fields.collect(),
            expects: self.connection.expects_continue(),
            upgrade: head.upgrade().map(<[u8]>::to_vec),
            ..Request::default()
        }
    }

    fn answer(&mut self) {
        assert_eq!(self.connection.phase(), Phase::Service);
        let response = Response { status: 200, reason: "OK", length: Some(0), close: false, date: "now" };
        let mut out = Vec::new();
        self.connection.respond(&response, &mut out, |_| {});
        let says_close = out.windows(19).any(|bytes| bytes == b"connection: close\r\n");
        let mut request = std::mem::take(&mut self.request);
        request.goes_on = self.connection.finish();
        assert_eq!(says_close, !request.goes_on, "the response tells whether the connection stays");
        self.is_over = !request.goes_on;
        assert_eq!(self.connection.phase(), if self.is_over { Phase::Linger } else { Phase::Idle });
        self.outcomes.push(Outcome::Request(Box::new(request)));
    }

    fn refuse(&mut self, error: Error) {
        let status = error.status();
        let response = Response { status, reason: "", length: Some(0), close: false, date: "now" };
        let mut out = Vec::new();
        self.connection.respond(&response, &mut out, |_| {});
        assert!(
            out.windows(19).any(|bytes| bytes == b"connection: close\r\n"),
            "a refusal is the last answer"
        );
        assert!(!self.connection.finish(), "a refusal is the last answer");
        self.outcomes.push(Outcome::Refused(status));
        (self.error, self.is_over) = (Some(error), true);
    }

    /// Ends the input.
    fn end(mut self) -> Log {
        let end = match self.connection.end_of_input() {
            Err(error) if !self.is_over => End::Within(error),
            ended => {
                assert_eq!(ended, Ok(()), "a connection that is over is not cut off");
                if self.is_over { End::Behind } else { End::Between }
            }
        };
        Log { outcomes: self.outcomes, error: self.error, end }
    }
}
