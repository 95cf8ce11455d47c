//! The BUS socket: a set of pipes, each with its bounded out-queue. `send_to` one, or `send_all`.
//!
//! BUS has no header and no delivery promise; what is not queued is returned to the caller, who counts it.
//! A pipe's id carries a generation: one that closed is never mistaken for its successor.

use std::sync::Arc;
use std::task::Waker;
use std::time::Instant;

use bytes::Bytes;

use crate::balancer::{Load, Shared};
use crate::claims::Claims;
use crate::envelope::{HeadWriter, Header, Kind, RequestId};
use crate::hello::Hello;
use crate::limits::{BATCH_MESSAGES, Limits};
use crate::outqueue::{OutQueue, PushError};
use crate::sp::Framing;

/// Names one pipe of one worker for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PipeId {
    /// Its place.
    pub index: u32,
    /// Which of the pipes that had this place.
    pub generation: u32,
}

/// One pipe, as the protocol sees it. With several workers it may stand for another's: it has no connection then, and what is queued
/// goes to the worker that has it (`crossing::ferry` of crate `bus`), which alone knows the opening, silence and drain barriers.
#[derive(Debug)]
pub struct Pipe {
    /// What it still has to write.
    pub out: OutQueue,
    /// The writer, told once per batch.
    waker: Option<Waker>,
    /// What the peer said of itself.
    pub hello: Option<Hello>,
    /// Another service held a pattern that it claims: it gets it when that one has gone.
    pub refused: bool,
    /// Its hello announces no `limit`: it is sent no more at once than a stock peer's queue holds.
    pub paced: bool,
    /// What its hello may claim; `None` is everything.
    pub claims: Option<Arc<Claims>>,
    /// The peer takes no new requests.
    pub draining: bool,
    /// Its load, seen from here.
    pub load: Load,
    /// When its last message came; before the first one, when it was opened.
    pub heard: Instant,
    /// A message has come by it, of whatever kind.
    pub has_spoken: bool,
    /// It has answered a ping once: its silence means something.
    pub answers_pings: bool,
    /// Pings since it was last heard.
    pub pings_unanswered: u32,
    /// It answers pings, and has not for too long: no new requests until it speaks.
    pub silent: bool,
    /// Stands for a pipe of another worker.
    pub remote: Option<Remote>,
    /// Stream offset behind the last message that has to be written before the process ends.
    owed: u64,
    /// The value of [`Shared::lost`] that this worker has seen last.
    lost: u32,
    /// Set on a pipe that stands for another worker's while this worker has a connection of its own
    /// to the same instance: that connection.
    pub redundant_to: Option<PipeId>,
    /// This pipe's part of the weight of its instance, in units of `1 / balancer::UNIT` of a weight.
    /// The pipes of one worker to one instance share the instance's weight.
    pub share: u32,
    /// The ping whose pong shows that the peer has read all that was sent before it.
    pub barrier: Option<RequestId>,
}

/// The pipe of another worker that a local one stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Remote {
    /// The worker that has the connection.
    pub worker: u8,
    /// The pipe's id there.
    pub pipe: PipeId,
}

impl Pipe {
    /// True when it may get a new request now.
    #[inline]
    #[must_use]
    pub fn takes_requests(&self) -> bool {
        self.redundant_to.is_none() && self.is_willing()
    }

    /// True when its peer takes requests, by this pipe or another.
    #[inline]
    #[must_use]
    pub fn is_willing(&self) -> bool {
        !self.draining && !self.silent && self.hello.as_ref().is_some_and(|hello| hello.weight > 0)
    }

    /// The peer has fallen silent, or spoken again. Told to the other workers by the one that has the connection.
    pub(crate) fn set_silent(&mut self, silent: bool) {
        self.silent = silent;
        if let (None, Some(shared)) = (self.remote, &self.load.shared) {
            shared.set_silent(silent);
        }
    }

    /// True when a reply to `worker`, which one is not known, was lost since the last call: every
    /// reply that is outstanding on this pipe may have a hole.
    pub(crate) fn has_lost(&mut self, worker: u8) -> bool {
        let (Some(_), Some(shared)) = (self.remote, &self.load.shared) else { return false };
        let lost = shared.lost(worker);
        std::mem::replace(&mut self.lost, lost) != lost
    }

    /// Whether it has room for one: its hello's limit and its out-queue.
    #[inline]
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.load.is_below(self.limit()) && self.out.has_room()
    }

    /// Requests it takes at once; 0 is no limit.
    #[inline]
    #[must_use]
    pub fn limit(&self) -> u32 {
        self.hello.as_ref().map_or(0, |hello| hello.limit)
    }
}

/// The pipes of one worker.
#[derive(Debug)]
pub struct Socket {
    limits: Limits,
    pipes: Vec<(u32, Option<Pipe>)>,
    free: Vec<u32>,
    /// The pipe whose batch is full.
    due: Option<PipeId>,
}

impl Socket {
    /// No pipes yet.
    #[must_use]
    pub const fn new(limits: Limits) -> Self {
        Self { limits, pipes: Vec::new(), free: Vec::new(), due: None }
    }

    /// A new pipe; its out-queue starts with the opening, unless it stands for another worker's.
    pub fn open(
        &mut self,
        now: Instant,
        framing: Framing,
        remote: Option<Remote>,
        shared: Option<Arc<Shared>>,
    ) -> PipeId {
        let out = match remote {
            None => OutQueue::new(framing, self.limits),
            Some(_) => OutQueue::without_opening(framing, self.limits),
        };
        let pipe = Pipe {
            out,
            waker: None,
            hello: None,
            refused: false,
            paced: false,
            claims: None,
            draining: false,
            load: Load::new(now, 0, shared),
            heard: now,
            has_spoken: false,
            answers_pings: false,
            pings_unanswered: 0,
            silent: false,
            remote,
            owed: 0,
            lost: 0,
            redundant_to: None,
            share: 0,
            barrier: None,
        };
        let index = self.free.pop().unwrap_or_else(|| {
            self.pipes.push((0, None));
            u32::try_from(self.pipes.len() - 1).expect("the driver bounds the number of pipes")
        });
        let (generation, place) = &mut self.pipes[index as usize];
        *place = Some(pipe);
        PipeId { index, generation: *generation }
    }

    /// Ends a pipe; what it had queued is gone.
    pub fn close(&mut self, id: PipeId) -> Option<Pipe> {
        let (generation, place) = self.pipes.get_mut(id.index as usize)?;
        if *generation != id.generation {
            return None;
        }
        let pipe = place.take()?;
        *generation = generation.wrapping_add(1);
        self.free.push(id.index);
        Some(pipe)
    }

    /// A pipe that is still open.
    #[inline]
    #[must_use]
    pub fn pipe(&self, id: PipeId) -> Option<&Pipe> {
        let (generation, pipe) = self.pipes.get(id.index as usize)?;
        pipe.as_ref().filter(|_| *generation == id.generation)
    }

    /// The same, to change it.
    #[inline]
    pub fn pipe_mut(&mut self, id: PipeId) -> Option<&mut Pipe> {
        open(&mut self.pipes, id)
    }

    /// Every open pipe.
    pub fn pipes(&self) -> impl Iterator<Item = (PipeId, &Pipe)> {
        let id = |index: usize, generation| PipeId {
            index: u32::try_from(index).expect("as in open"),
            generation,
        };
        self.pipes
            .iter()
            .enumerate()
            .filter_map(move |(at, (generation, pipe))| Some((id(at, *generation), pipe.as_ref()?)))
    }

    /// Open pipes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.pipes.len() - self.free.len()
    }

    /// Whether no pipe is open.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Queues a message on one pipe and tells its writer; the stream offset behind it, `None` when the pipe is gone.
    ///
    /// # Errors
    /// [`PushError`] when it was not queued.
    #[inline]
    pub fn send_to(
        &mut self,
        id: PipeId,
        header: &Header,
        head: impl FnOnce(&mut HeadWriter<'_>),
        body: &[Bytes],
    ) -> Option<Result<u64, PushError>> {
        let pipe = open(&mut self.pipes, id)?;
        Some(pipe.send(id, &mut self.due, header, head, body))
    }

    /// A pipe whose batch is full: worth a write now, before the writer's turn comes. Said once a batch.
    #[inline]
    pub fn take_due(&mut self) -> Option<PipeId> {
        self.due.take()
    }

    /// Queues a message on every pipe for which `wants` holds: how many took it, and how many had no room.
    /// `owed` says whether it has to be written before the process ends.
    pub fn send_all(
        &mut self,
        wants: impl Fn(PipeId, &Pipe) -> bool,
        owed: bool,
        header: &Header,
        head: impl Fn(&mut HeadWriter<'_>),
        body: &[Bytes],
    ) -> (usize, usize) {
        let (mut taken, mut dropped) = (0, 0);
        for (index, (generation, pipe)) in (0..).zip(&mut self.pipes) {
            let id = PipeId { index, generation: *generation };
            let Some(pipe) = pipe.as_mut().filter(|pipe| wants(id, pipe)) else { continue };
            match pipe.send(id, &mut self.due, header, &head, body) {
                Ok(end) => {
                    taken += 1;
                    if owed {
                        pipe.owed = end;
                    }
                }
                Err(_) => dropped += 1,
            }
        }
        (taken, dropped)
    }
}

#[inline]
fn open(pipes: &mut [(u32, Option<Pipe>)], id: PipeId) -> Option<&mut Pipe> {
    let (generation, pipe) = pipes.get_mut(id.index as usize)?;
    pipe.as_mut().filter(|_| *generation == id.generation)
}

impl Pipe {
    #[inline]
    fn send(
        &mut self,
        id: PipeId,
        due: &mut Option<PipeId>,
        header: &Header,
        head: impl FnOnce(&mut HeadWriter<'_>),
        body: &[Bytes],
    ) -> Result<u64, PushError> {
        let pushed = self.out.push(header, head, body);
        if header.kind == Kind::Reply
            && let Ok(end) = pushed
        {
            self.owed = end;
        }
        self.wake_writer();
        if self.out.messages().is_multiple_of(BATCH_MESSAGES) && self.remote.is_none() && !self.paced {
            *due = Some(id);
        }
        pushed
    }

    /// Queues messages that another worker encoded; see [`OutQueue::push_encoded`]. `owed` is that
    /// worker's [`Pipe::owes`].
    ///
    /// # Errors
    /// [`PushError::Full`]; the queue is then as it was.
    pub fn send_encoded(&mut self, chunks: &[Bytes], messages: usize, owed: bool) -> Result<(), PushError> {
        let pushed = self.out.push_encoded(chunks, messages);
        if owed && pushed.is_ok() {
            self.owed = self.out.end();
        }
        self.wake_writer();
        pushed
    }

    /// True when the out-queue holds something that has to be written before the process ends: a reply or
    /// an event of this process. Events that it only relays, pings and cancels may be cut off.
    #[must_use]
    pub const fn owes(&self) -> bool {
        self.owed > self.out.written()
    }

    /// The writer waits for the next message.
    pub fn await_message(&mut self, waker: &Waker) {
        match &mut self.waker {
            Some(current) => current.clone_from(waker),
            None => self.waker = Some(waker.clone()),
        }
    }

    /// Tells the writer; only the first message of a batch costs something.
    #[inline]
    pub fn wake_writer(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}
