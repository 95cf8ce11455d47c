//! One request from its head to its response, for counting and logging.
//!
//! Owns that each request is counted exactly once: as answered, by [`Exchange::end`], or as
//! abandoned by its client, when [`Counted`] is dropped before. Leaves the answer to `forward`.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use crate::access_log::Record;
use crate::connection::Connection;
use crate::request::RequestHead;
use crate::response::Answer;
use crate::route::Line;

/// A request in progress. Dropping it before [`Exchange::end`] counts a client that left.
#[derive(Debug)]
pub(crate) struct Counted {
    pub(super) connection: Rc<Connection>,
    pub(super) started: Instant,
    ended: bool,
}

impl Counted {
    #[inline]
    pub(super) fn begin(connection: Rc<Connection>) -> Self {
        connection.worker.stats.requests.increment();
        Self { connection, started: Instant::now(), ended: false }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        if !self.ended {
            self.connection.worker.stats.cancelled.increment();
        }
    }
}

/// A request whose answer is known and about to be written.
#[derive(Debug)]
pub struct Exchange<'a> {
    pub(super) counted: &'a mut Counted,
    /// The request.
    pub head: &'a RequestHead,
    pub(super) line: Option<&'a Rc<Line>>,
}

impl Exchange<'_> {
    /// Counts and logs the response; `body_len` is the length of its body in bytes, where that is
    /// known. Returns the time since the request's head was read.
    #[inline]
    pub fn end(self, answer: &Answer, body_len: Option<u64>) -> Duration {
        let elapsed = self.counted.started.elapsed();
        self.counted.ended = true;
        let worker = &self.counted.connection.worker;
        if let Answer::Refusal(refusal) = answer {
            worker.stats.reject(refusal.reason());
        }
        worker.stats.count_status(answer.status());
        if let Some(line) = self.line {
            line.record(answer.status(), elapsed);
        }
        if let Some(decision) = self.head.decision() {
            worker.decisions.record(decision, elapsed, answer.status().is_server_error());
        }
        worker.log(|| self.record(answer, body_len, elapsed));
        elapsed
    }

    fn record(&self, answer: &Answer, body_bytes: Option<u64>, elapsed: Duration) -> Record {
        Record {
            at: SystemTime::now(),
            worker: self.counted.connection.worker.id,
            client: self.head.client(),
            method: Some(self.head.method().clone()),
            target: self.head.target().into(),
            status: answer.status().as_u16(),
            body_bytes,
            elapsed,
            route: self.line.map(|line| Arc::clone(&line.pattern)),
            id: self.head.id().into(),
        }
    }
}
