//! The asking side: send, match the reply, expire. `choosing` picks the instance.
//!
//! A reply counts only when it comes by the pipe that got the request: no other peer can end a
//! request.

use std::task::{Poll, Waker};
use std::time::Instant;

use bytes::Bytes;

use super::choosing::{Choice, To};
use super::{Input, Node};
use crate::directory::Route;
use crate::envelope::{Correlation, EncodeError, Envelope, Flags, HeadWriter, Header, Kind, RequestId};
use crate::limits::{PART_COST, PARTS_BYTES_MAX};
use crate::outqueue::PushError;
use crate::pending::{Outcome, Parts, PartsEnd, Pending, State};
use crate::socket::PipeId;
use crate::version::VersionId;

/// How a request is sent.
#[derive(Clone, Copy, Debug)]
pub struct Ask {
    /// The route of the request.
    pub route: Route,
    /// The flag bits of its header.
    pub flags: Flags,
    /// When the asker gives up.
    pub deadline: Instant,
    /// The instances that may get it.
    pub to: To,
}

/// A request that was sent.
#[derive(Clone, Copy, Debug)]
pub struct Sent {
    /// The id to poll for the reply.
    pub id: RequestId,
    /// The pipe that it was sent on.
    pub pipe: PipeId,
    /// The version of the instance behind that pipe.
    pub version: VersionId,
}

/// Why a request was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// No instance takes new requests.
    #[error("no instance takes new requests")]
    NoInstance,
    /// Every instance is at its limit or has a full out-queue.
    #[error("all {instances} instances are at their limit, or read too slowly")]
    Busy {
        /// Number of instances that take requests in principle.
        instances: usize,
    },
    /// The table of outstanding requests is full.
    #[error("{limit} requests are outstanding, which is the limit of one worker")]
    Pending {
        /// The limit in force.
        limit: usize,
    },
    /// The message cannot be encoded.
    #[error(transparent)]
    Encode(#[from] EncodeError),
}

impl Node {
    /// Sends a request to the best instance that may get it.
    ///
    /// # Errors
    /// [`Refused`]. Nothing was sent then.
    pub fn request(
        &mut self,
        now: Instant,
        ask: Ask,
        head: impl FnOnce(&mut HeadWriter<'_>),
        body: &[Bytes],
    ) -> Result<Sent, Refused> {
        let sent = self.try_request(now, ask, head, body);
        match sent {
            Ok(_) => self.counters.requests_sent += 1,
            Err(_) => self.counters.requests_refused += 1,
        }
        if ask.flags.contains(Flags::SHADOW) {
            match sent {
                Ok(_) => self.counters.shadows_sent += 1,
                Err(_) => self.counters.shadows_dropped += 1,
            }
        }
        sent
    }

    fn try_request(
        &mut self,
        now: Instant,
        ask: Ask,
        head: impl FnOnce(&mut HeadWriter<'_>),
        body: &[Bytes],
    ) -> Result<Sent, Refused> {
        let Choice { pipe, mut virtual_time } = self.choose(now, ask.route, ask.flags, ask.to)?;
        let sent = self.send_request(now, ask, pipe, head, body);
        let to = self.socket.pipe_mut(pipe).expect("it was chosen a moment ago");
        if sent.is_err() {
            to.load.leave();
        } else if let Some((_, service)) = self.directory.entry_and_service(ask.route) {
            to.load.sent(now, to.share, &mut virtual_time);
            service.virtual_time = service.virtual_time.max(virtual_time);
        }
        let version = to.version;
        sent.map(|id| Sent { id, pipe, version })
    }

    fn send_request(
        &mut self,
        now: Instant,
        ask: Ask,
        pipe: PipeId,
        head: impl FnOnce(&mut HeadWriter<'_>),
        body: &[Bytes],
    ) -> Result<RequestId, Refused> {
        let limit = self.pending.limit();
        let id = self.pending.open(now, ask.deadline, pipe).ok_or(Refused::Pending { limit })?;
        let ttl_us = ask.deadline.saturating_duration_since(now).as_micros().clamp(1, u32::MAX.into());
        let header = Header {
            kind: Kind::Request,
            flags: ask.flags,
            ttl_us: u32::try_from(ttl_us).expect("clamped"),
            correlation: Correlation { origin: self.config.origin, request: id },
            status: 0,
        };
        match self.socket.send_to(pipe, &header, head, body) {
            Some(Ok(end)) => {
                self.pending.find(id).expect("opened a moment ago").end = end;
                Ok(id)
            }
            failed => {
                self.pending.close(id);
                Err(match failed {
                    Some(Err(PushError::Encode(error))) => error.into(),
                    _ => self.why_none(ask.route, ask.to),
                })
            }
        }
    }

    /// Returns the reply to `id` once. If the reply has several parts, this is the first one.
    pub fn poll_reply(&mut self, id: RequestId, waker: &Waker) -> Poll<Outcome> {
        let Some(slot) = self.pending.find(id) else { return Poll::Ready(Outcome::Lost { written: true }) };
        match std::mem::replace(&mut slot.state, State::Waiting) {
            State::Ended(outcome) => {
                self.pending.close(id);
                return Poll::Ready(outcome);
            }
            State::Streaming(mut parts) => {
                let first = parts.first.take();
                slot.state = State::Streaming(parts);
                if let Some(first) = first {
                    return Poll::Ready(Outcome::Reply(first));
                }
            }
            State::Waiting | State::Free => {}
        }
        register(&mut slot.waker, waker);
        Poll::Pending
    }

    /// The body of the next part of a reply in parts; `None` when the reply is complete.
    pub fn poll_part(&mut self, id: RequestId, waker: &Waker) -> Poll<Option<Result<Bytes, PartsEnd>>> {
        let Some(slot) = self.pending.find(id) else { return Poll::Ready(None) };
        let State::Streaming(parts) = &mut slot.state else { return Poll::Ready(None) };
        if let Some(part) = parts.waiting.pop_front() {
            parts.bytes -= part.len() + PART_COST;
            return Poll::Ready(Some(Ok(part)));
        }
        match parts.ended {
            Some(PartsEnd::Complete) => Poll::Ready(None),
            Some(broken) => Poll::Ready(Some(Err(broken))),
            None => {
                register(&mut slot.waker, waker);
                Poll::Pending
            }
        }
    }

    /// Ends a request because its asker no longer needs it. If it has not ended, the peer gets a
    /// cancel.
    pub fn close_request(&mut self, id: RequestId) {
        let Some(slot) = self.pending.find(id) else { return };
        let (pipe, is_waiting) = (slot.pipe, matches!(slot.state, State::Waiting));
        if slot.state.is_outstanding() {
            self.counters.requests_cancelled += 1;
            self.cancel(pipe, id, Flags::NONE);
        }
        if is_waiting && let Some(pipe) = self.socket.pipe_mut(pipe) {
            pipe.load.leave();
        }
        self.pending.close(id);
    }

    pub(super) fn handle_reply(&mut self, now: Instant, pipe: PipeId, envelope: Envelope) -> Input {
        let Header { correlation: Correlation { origin, request: id }, flags, .. } = envelope.header();
        if origin != self.config.origin {
            self.counters.reply_foreign += 1;
            return Input::Done;
        }
        if Pending::worker_of(id) != self.config.worker {
            let worker = Pending::worker_of(id);
            return Input::Forward { worker, request: id, message: envelope.message().clone() };
        }
        let worker = self.config.worker;
        if self.socket.pipe_mut(pipe).is_some_and(|pipe| pipe.has_lost(worker)) {
            // Which reply was lost is not known: it may have been an earlier part of this one.
            self.lose_outstanding(now, pipe, Some(true));
        }
        let Some(slot) = self.pending.find(id) else {
            self.counters.reply_late += 1;
            return Input::Done;
        };
        if slot.pipe != pipe {
            self.counters.reply_wrong_pipe += 1;
            return Input::Done;
        }
        let more = flags.contains(Flags::MORE);
        match &slot.state {
            State::Waiting => {
                let elapsed = now.saturating_duration_since(slot.sent_at);
                if let Some(pipe) = self.socket.pipe_mut(pipe) {
                    pipe.load.replied(now, elapsed);
                }
                self.counters.replies_received += 1;
                if more {
                    let patience = slot.deadline.saturating_duration_since(slot.sent_at);
                    let parts = Parts { first: Some(envelope), patience, ..Parts::default() };
                    slot.state = State::Streaming(Box::new(parts));
                    wake(&mut slot.waker);
                    self.pending.renew(id, now + patience);
                } else {
                    self.pending.end(id, Outcome::Reply(envelope));
                }
            }
            state if state.is_streaming() => self.handle_part(now, id, &envelope, more),
            _ => self.counters.reply_late += 1,
        }
        Input::Done
    }

    fn handle_part(&mut self, now: Instant, id: RequestId, envelope: &Envelope, more: bool) {
        let Some(slot) = self.pending.find(id) else { return };
        let State::Streaming(parts) = &mut slot.state else { return };
        let body = envelope.body_to_keep();
        if !body.is_empty() {
            parts.bytes += body.len() + PART_COST;
            parts.waiting.push_back(body);
        }
        if parts.bytes > PARTS_BYTES_MAX {
            parts.ended = Some(PartsEnd::Overflow);
        } else if !more {
            parts.ended = Some(PartsEnd::Complete);
        }
        let (ended, patience, pipe) = (parts.ended, parts.patience, slot.pipe);
        wake(&mut slot.waker);
        match ended {
            None => self.pending.renew(id, now + patience),
            Some(end) => {
                self.pending.disarm(id);
                if end == PartsEnd::Overflow {
                    self.cancel(pipe, id, Flags::NONE);
                }
            }
        }
    }

    /// Ends the requests whose deadline has passed.
    pub(super) fn expire(&mut self, now: Instant) {
        for id in self.pending.expired(now) {
            let Some(slot) = self.pending.find(id) else { continue };
            let (pipe, elapsed) = (slot.pipe, now.saturating_duration_since(slot.sent_at));
            self.counters.requests_expired += 1;
            if let State::Streaming(parts) = &mut slot.state {
                parts.ended = Some(PartsEnd::Deadline);
                wake(&mut slot.waker);
            } else {
                self.pending.end(id, Outcome::Deadline);
                if let Some(pipe) = self.socket.pipe_mut(pipe) {
                    pipe.load.failed(now, elapsed);
                }
            }
            self.cancel(pipe, id, Flags::NONE);
        }
    }

    /// Handles the loss of a reply to `id`, or of a part of it, which came by `pipe` and was
    /// dropped between two workers of this process. Later parts would leave a gap, so the request
    /// ends. Other requests are not affected.
    pub fn lose_reply(&mut self, now: Instant, pipe: PipeId, id: RequestId) {
        let is_outstanding =
            self.pending.find(id).is_some_and(|slot| slot.pipe == pipe && slot.state.is_outstanding());
        if is_outstanding {
            self.lose(now, pipe, id, true);
            // The service may send more parts, which are useless now.
            self.cancel(pipe, id, Flags::NONE);
        }
    }

    /// Ends every request that is outstanding on `pipe` as lost. `written` overrides what the
    /// out-queue knows about whether a request was written.
    pub(super) fn lose_outstanding(&mut self, now: Instant, pipe: PipeId, written: Option<bool>) {
        let Some(position) = self.socket.pipe(pipe).map(|pipe| pipe.out.written()) else { return };
        for id in self.pending.waiting_on(pipe) {
            let Some(slot) = self.pending.find(id) else { continue };
            let written = written.unwrap_or(slot.end <= position);
            self.lose(now, pipe, id, written);
        }
    }

    fn lose(&mut self, now: Instant, pipe: PipeId, id: RequestId, written: bool) {
        let Some(slot) = self.pending.find(id) else { return };
        let elapsed = now.saturating_duration_since(slot.sent_at);
        self.counters.requests_lost += 1;
        if let State::Streaming(parts) = &mut slot.state {
            parts.ended = Some(PartsEnd::Lost);
            wake(&mut slot.waker);
            self.pending.disarm(id);
        } else {
            self.pending.end(id, Outcome::Lost { written });
            if let Some(pipe) = self.socket.pipe_mut(pipe) {
                pipe.load.failed(now, elapsed);
            }
        }
    }

    /// Asks for the answers to all outstanding requests now: long polls have one at any time.
    pub fn finish_outstanding(&mut self) {
        for (id, pipe) in self.pending.outstanding() {
            self.cancel(pipe, id, Flags::FINISH);
        }
    }

    fn cancel(&mut self, pipe: PipeId, id: RequestId, flags: Flags) {
        let correlation = Correlation { origin: self.config.origin, request: id };
        self.send_plain(pipe, &Header { correlation, flags, ..Header::new(Kind::Cancel) });
    }
}

fn register(place: &mut Option<Waker>, waker: &Waker) {
    match place {
        Some(current) => current.clone_from(waker),
        None => *place = Some(waker.clone()),
    }
}

fn wake(place: &mut Option<Waker>) {
    if let Some(waker) = place.take() {
        waker.wake();
    }
}
