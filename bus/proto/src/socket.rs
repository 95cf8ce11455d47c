//! The BUS socket: a set of pipes, each with a bounded out-queue. `send_to` sends to one pipe,
//! `send_all` to several.
//!
//! BUS has no header and does not guarantee delivery. A message that is not queued is reported to
//! the caller, who counts it. A pipe's id contains a generation, so a closed pipe is never confused
//! with its successor.

use std::sync::Arc;
use std::task::Waker;
use std::time::Instant;

use bytes::Bytes;

use crate::balancer::{Load, Shared};
use crate::claims::Claims;
use crate::envelope::{HeadWriter, Header, Kind, RequestId};
use crate::hello::Hello;
use crate::limits::{BATCH_MESSAGES, GUEST_QUEUE, Limits};
use crate::outqueue::{OutQueue, PushError};
use crate::sp::Framing;
use crate::version::VersionId;

/// Identifies one pipe of one worker. It is never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PipeId {
    /// The pipe's place in the table.
    pub index: u32,
    /// Counts the pipes that had this place before.
    pub generation: u32,
}

/// One pipe, as the protocol sees it. With several workers it may stand for another worker's
/// connection. It then has no connection itself: `crossing::ferry` of crate `bus` passes its queue
/// to the worker that owns the connection, and only that worker handles the opening, silence and
/// drain barriers.
#[derive(Debug)]
pub struct Pipe {
    /// The messages still to be written.
    pub out: OutQueue,
    /// Wakes the writer, once per batch.
    waker: Option<Waker>,
    /// The peer's last hello.
    pub hello: Option<Hello>,
    /// The version in that hello, and the version "" before it.
    pub version: VersionId,
    /// True when another service holds a pattern that this peer claims. The claim is repeated when
    /// a holder leaves.
    pub refused: bool,
    /// True when the hello announces no `limit`: the peer is sent at most as much at once as a
    /// stock peer's queue holds.
    pub paced: bool,
    /// The claims that are accepted; `None` accepts all.
    pub claims: Option<Arc<Claims>>,
    /// True when the peer takes no new requests.
    pub draining: bool,
    /// The load of its instance as this worker sees it.
    pub load: Load,
    /// When its last message was received; before the first one, when the pipe was opened.
    pub heard: Instant,
    /// True after the first message of any kind.
    pub has_spoken: bool,
    /// True after the first pong. Only such a peer can become silent.
    pub answers_pings: bool,
    /// Pings since the last message was received.
    pub pings_unanswered: u32,
    /// True when it used to answer pings and has not for too long. It gets no new requests until
    /// its next message.
    pub silent: bool,
    /// The other worker's pipe that this one stands for; `None` for a connection of this worker.
    pub remote: Option<Remote>,
    /// Stream offset of the end of the last message that must be written before the process ends.
    owed: u64,
    /// The last value of [`Shared::lost`] that this worker has read.
    lost: u32,
    /// Set on a pipe that stands for another worker's connection while this worker has a connection
    /// to the same instance: the id of that connection's pipe.
    pub redundant_to: Option<PipeId>,
    /// This pipe's part of the weight of its instance, in units of `1 / balancer::UNIT` of a
    /// weight. The pipes of one worker to one instance share the instance's weight.
    pub share: u32,
    /// The ping whose pong shows that the peer has read everything sent before it.
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
    /// True when the pipe may get a new request now, apart from its limits.
    #[inline]
    #[must_use]
    pub fn takes_requests(&self) -> bool {
        self.redundant_to.is_none() && self.is_willing()
    }

    /// True when its peer takes requests, on this pipe or another.
    #[inline]
    #[must_use]
    pub fn is_willing(&self) -> bool {
        !self.draining && !self.silent && self.hello.as_ref().is_some_and(|hello| hello.weight > 0)
    }

    /// Records that the peer became silent, or is no longer silent. The worker that owns the
    /// connection tells the others through [`Shared`].
    pub(crate) fn set_silent(&mut self, silent: bool) {
        self.silent = silent;
        if let (None, Some(shared)) = (self.remote, &self.load.shared) {
            shared.set_silent(silent);
        }
    }

    /// True when a reply to `worker` was lost since the last call and it is not known which. Every
    /// reply outstanding on this pipe may then miss a part.
    pub(crate) fn has_lost(&mut self, worker: u8) -> bool {
        let (Some(_), Some(shared)) = (self.remote, &self.load.shared) else { return false };
        let lost = shared.lost(worker);
        std::mem::replace(&mut self.lost, lost) != lost
    }

    /// True when both the limit of its hello and its out-queue have room for a request.
    #[inline]
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.load.is_below(self.limit()) && self.out.has_room()
    }

    /// True when a copy, the first request to be dropped, leaves half of the limit and of the
    /// out-queue to others. The queue of a paced peer is as short as a stock peer's.
    #[must_use]
    pub fn has_room_to_spare(&self) -> bool {
        self.load.is_below(self.limit().div_ceil(2))
            && self.out.is_below_half()
            && (!self.paced || self.out.messages() < GUEST_QUEUE / 2)
    }

    /// Requests that the peer takes at once; 0 means no limit.
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
    /// A pipe whose batch is full.
    due: Option<PipeId>,
}

impl Socket {
    /// A socket without pipes.
    #[must_use]
    pub const fn new(limits: Limits) -> Self {
        Self { limits, pipes: Vec::new(), free: Vec::new(), due: None }
    }

    /// Adds a pipe. Its out-queue starts with the opening, unless it stands for another worker's
    /// connection.
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
            version: VersionId::of(""),
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

    /// Removes a pipe with everything in its out-queue. `None` when it was removed before.
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

    /// The pipe with this id; `None` when it is closed.
    #[inline]
    #[must_use]
    pub fn pipe(&self, id: PipeId) -> Option<&Pipe> {
        let (generation, pipe) = self.pipes.get(id.index as usize)?;
        pipe.as_ref().filter(|_| *generation == id.generation)
    }

    /// The pipe with this id, mutably; `None` when it is closed.
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

    /// Number of open pipes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.pipes.len() - self.free.len()
    }

    /// True when no pipe is open.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Queues a message on one pipe and wakes its writer. Returns the stream offset of the
    /// message's end, or `None` when the pipe is closed.
    ///
    /// # Errors
    /// [`PushError`] when the message was not queued.
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

    /// A pipe whose batch is full and should be written now, before the writer's turn. Each batch
    /// is reported once.
    #[inline]
    pub fn take_due(&mut self) -> Option<PipeId> {
        self.due.take()
    }

    /// Queues a message on every pipe for which `wants` is true. Returns how many pipes accepted it
    /// and how many had no room. `owed` tells whether it must be written before the process ends.
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

    /// Queues messages that another worker encoded, see [`OutQueue::push_encoded`]. `owed` is
    /// [`Pipe::owes`] of that worker's pipe.
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

    /// True when the out-queue holds a message that must be written before the process ends: a
    /// reply, or an event that this process published. Relayed events, pings and cancels may be cut
    /// off.
    #[must_use]
    pub const fn owes(&self) -> bool {
        self.owed > self.out.written()
    }

    /// Registers the writer, which waits for the next message.
    pub fn await_message(&mut self, waker: &Waker) {
        match &mut self.waker {
            Some(current) => current.clone_from(waker),
            None => self.waker = Some(waker.clone()),
        }
    }

    /// Wakes the writer. Only the first message of a batch costs a wake-up.
    #[inline]
    pub fn wake_writer(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}
