//! A naive model of the asking side: maps and linear searches, without a wheel or a slab.
//!
//! Invariant: after the same operations it agrees with the node on every outcome, counter and load.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bus_proto::limits::{PART_COST, PARTS_BYTES_MAX};
use bus_proto::pending::PartsEnd;
use bus_proto::{Counters, PipeId, Refused, RequestId};

use crate::peer::Flag;

const QUIET: Duration = Duration::from_millis(500);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Reply { len: usize },
    Deadline,
    Lost { written: bool },
}

#[derive(Debug)]
pub(crate) enum State {
    Waiting,
    Ended(End),
    Streaming { first: Option<usize>, waiting: VecDeque<usize>, bytes: usize, ended: Option<PartsEnd> },
}

pub(crate) struct Request {
    pub(crate) pipe: PipeId,
    pub(crate) flag: Arc<Flag>,
    /// True when it has been polled and must be woken before the next poll.
    pub(crate) parked: bool,
    pub(crate) woken: bool,
    pub(crate) state: State,
    deadline: Instant,
    patience: Duration,
    written: bool,
}

impl Request {
    fn is_open(&self) -> bool {
        matches!(self.state, State::Waiting | State::Streaming { ended: None, .. })
    }

    fn wake(&mut self) {
        self.woken |= std::mem::take(&mut self.parked);
    }

    /// Ends a request without a complete reply. True when the instance had not replied yet.
    fn break_off(&mut self, end: End, parts_end: PartsEnd) -> bool {
        self.wake();
        match &mut self.state {
            State::Streaming { ended, .. } => {
                *ended = Some(parts_end);
                false
            }
            state => {
                *state = State::Ended(end);
                true
            }
        }
    }
}

#[derive(Debug)]
pub(crate) struct Pipe {
    pub(crate) id: PipeId,
    pub(crate) in_flight: u32,
    pub(crate) silent: bool,
    hello: Option<(u32, u32)>,
    draining: bool,
    heard: Instant,
    answers: bool,
    unanswered: u32,
}

impl Pipe {
    pub(crate) fn new(id: PipeId, now: Instant) -> Self {
        Self {
            id,
            in_flight: 0,
            silent: false,
            hello: None,
            draining: false,
            heard: now,
            answers: false,
            unanswered: 0,
        }
    }

    fn takes(&self) -> bool {
        !self.draining && !self.silent && self.hello.is_some_and(|(weight, _)| weight > 0)
    }

    fn has_room(&self) -> bool {
        self.hello.is_some_and(|(_, limit)| limit == 0 || self.in_flight < limit)
    }
}

pub(crate) struct Naive {
    pub(crate) requests: HashMap<RequestId, Request>,
    pub(crate) pipes: Vec<Pipe>,
    pub(crate) counters: Counters,
    pending_max: usize,
    look_at: Instant,
}

impl Naive {
    pub(crate) fn new(pipes: Vec<Pipe>, pending_max: usize, now: Instant) -> Self {
        Self { requests: HashMap::new(), pipes, counters: Counters::default(), pending_max, look_at: now }
    }

    fn pipe(&mut self, id: PipeId) -> Option<&mut Pipe> {
        self.pipes.iter_mut().find(|pipe| pipe.id == id)
    }

    fn answered(&mut self, id: PipeId) {
        if let Some(pipe) = self.pipe(id) {
            pipe.in_flight -= 1;
        }
    }

    fn heard(&mut self, id: PipeId, now: Instant) {
        if let Some(pipe) = self.pipe(id) {
            (pipe.heard, pipe.unanswered, pipe.silent) = (now, 0, false);
        }
    }

    pub(crate) fn hello(&mut self, id: PipeId, weight: u32, limit: u32, now: Instant) {
        self.heard(id, now);
        let pipe = self.pipe(id).expect("open");
        (pipe.hello, pipe.draining) = (Some((weight, limit)), false);
    }

    pub(crate) fn drain(&mut self, id: PipeId, now: Instant) {
        self.heard(id, now);
        self.pipe(id).expect("open").draining = true;
    }

    pub(crate) fn pong(&mut self, id: PipeId, now: Instant) {
        self.heard(id, now);
        self.pipe(id).expect("open").answers = true;
    }

    /// Records the node's result for a request. The choice of the pipe in `sent` must be allowed.
    pub(crate) fn request(
        &mut self,
        now: Instant,
        deadline: Instant,
        sent: Result<(RequestId, PipeId), Refused>,
    ) {
        let takes: Vec<&Pipe> = self.pipes.iter().filter(|pipe| pipe.takes()).collect();
        let room: Vec<PipeId> = takes.iter().filter(|pipe| pipe.has_room()).map(|pipe| pipe.id).collect();
        let refused = match (takes.len(), room.len()) {
            (0, _) => Some(Refused::NoInstance),
            (instances, 0) => Some(Refused::Busy { instances }),
            _ if self.requests.len() == self.pending_max => {
                Some(Refused::Pending { limit: self.pending_max })
            }
            _ => None,
        };
        assert_eq!(sent.err(), refused);
        let Ok((id, pipe)) = sent else {
            self.counters.requests_refused += 1;
            return;
        };
        assert!(room.contains(&pipe), "{pipe:?} takes nothing");
        self.counters.requests_sent += 1;
        self.pipe(pipe).expect("has room").in_flight += 1;
        let request = Request {
            pipe,
            flag: Arc::default(),
            parked: false,
            woken: false,
            state: State::Waiting,
            deadline,
            patience: deadline - now,
            written: false,
        };
        self.requests.insert(id, request);
    }

    pub(crate) fn reply(&mut self, now: Instant, by: PipeId, id: RequestId, more: bool, len: usize) {
        self.heard(by, now);
        let Some(request) = self.requests.get_mut(&id) else {
            self.counters.reply_late += 1;
            return;
        };
        if request.pipe != by {
            self.counters.reply_wrong_pipe += 1;
            return;
        }
        if !request.is_open() {
            self.counters.reply_late += 1;
            return;
        }
        request.wake();
        if more {
            request.deadline = now + request.patience;
        }
        if let State::Streaming { waiting, bytes, ended, .. } = &mut request.state {
            if len > 0 {
                waiting.push_back(len);
                *bytes += len + PART_COST;
            }
            *ended = if *bytes > PARTS_BYTES_MAX {
                Some(PartsEnd::Overflow)
            } else {
                (!more).then_some(PartsEnd::Complete)
            };
            return;
        }
        request.state = if more {
            State::Streaming { first: Some(len), waiting: VecDeque::new(), bytes: 0, ended: None }
        } else {
            State::Ended(End::Reply { len })
        };
        self.counters.replies_received += 1;
        self.answered(by);
    }

    pub(crate) fn foreign_reply(&mut self, now: Instant, by: PipeId) {
        self.heard(by, now);
        self.counters.reply_foreign += 1;
    }

    pub(crate) fn write(&mut self, pipe: PipeId) {
        for request in self.requests.values_mut().filter(|request| request.pipe == pipe) {
            request.written = true;
        }
    }

    pub(crate) fn close_pipe(&mut self, at: usize, successor: Pipe) {
        self.lose(self.pipes[at].id, None);
        assert_eq!(self.pipes[at].in_flight, 0);
        self.pipes[at] = successor;
        self.counters.pipes_closed += 1;
    }

    fn lose(&mut self, pipe: PipeId, written: Option<bool>) {
        let mut answered = 0;
        let on_pipe = |request: &&mut Request| request.pipe == pipe && request.is_open();
        for request in self.requests.values_mut().filter(on_pipe) {
            let written = written.unwrap_or(request.written);
            self.counters.requests_lost += 1;
            answered += u32::from(request.break_off(End::Lost { written }, PartsEnd::Lost));
        }
        self.pipe(pipe).expect("open").in_flight -= answered;
    }

    pub(crate) fn cancel(&mut self, id: RequestId) {
        let Some(request) = self.requests.remove(&id) else { return };
        if request.is_open() {
            self.counters.requests_cancelled += 1;
        }
        if matches!(request.state, State::Waiting) {
            self.answered(request.pipe);
        }
    }

    pub(crate) fn advance(&mut self, now: Instant) {
        let mut answered = Vec::new();
        let due = |request: &&mut Request| request.is_open() && request.deadline < now;
        for request in self.requests.values_mut().filter(due) {
            self.counters.requests_expired += 1;
            if request.break_off(End::Deadline, PartsEnd::Deadline) {
                answered.push(request.pipe);
            }
        }
        for pipe in answered {
            self.answered(pipe);
        }
        if now >= self.look_at {
            self.look_at = now + QUIET;
            for at in 0..self.pipes.len() {
                self.look_after(at, now);
            }
        }
    }

    fn look_after(&mut self, at: usize, now: Instant) {
        let pipe = &mut self.pipes[at];
        if pipe.hello.is_none() || now - pipe.heard < QUIET {
            return;
        }
        let falls_silent = pipe.answers && !pipe.silent && pipe.unanswered >= 2;
        pipe.unanswered += 1;
        if falls_silent {
            pipe.silent = true;
            self.counters.peers_silent += 1;
            self.lose(self.pipes[at].id, Some(true));
        }
    }
}
