//! One worker's bus as a state machine: pipes, the peers behind them, and outstanding requests.
//!
//! The driver reports opened and closed pipes, received messages, and the time. It writes the bytes
//! that the out-queues hold. What the driver has to do about a message is returned as an [`Input`].
//! This module never calls the driver and never waits.

mod answering;
mod asking;
mod choosing;
mod liveness;
mod shares;

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use crate::balancer::Shared;
use crate::claims::Claims;
use crate::counters::Counters;
use crate::directory::{Claimed, Directory};
use crate::envelope::{Correlation, DecodeError, Envelope, Flags, Header, Kind, Origin, RequestId};
use crate::hello::{Hello, HelloError, Pattern};
use crate::limits::Limits;
use crate::pending::Pending;
use crate::recent::Recent;
use crate::socket::{PipeId, Remote, Socket};
use crate::sp::{Framing, SpError};
use crate::version::VersionId;

pub use asking::{Ask, Refused, Sent};
pub use choosing::To;

/// The configuration of one worker's node.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// The bounds.
    pub limits: Limits,
    /// The number of this worker. Request ids contain it.
    pub worker: u8,
    /// The number of workers of the process.
    pub workers: u32,
    /// The origin of the process.
    pub origin: Origin,
    /// The seed of the random numbers.
    pub seed: u64,
    /// The hello that is sent on every new pipe; `None` to send none.
    pub hello: Option<Hello>,
    /// True to relay events to the peers that want their topic.
    pub relay_events: bool,
}

/// What the driver has to do about a message.
#[derive(Debug)]
pub enum Input {
    /// Nothing.
    Done,
    /// Pass the request to the handler, and its answer to [`Node::reply`].
    Serve {
        /// The request.
        envelope: Envelope,
        /// When the asker gives up.
        deadline: Option<Instant>,
    },
    /// Stop serving this request.
    Cancelled(Correlation),
    /// The asker of this request wants its answer now.
    Finish(Correlation),
    /// Pass the event to the subscribers.
    Event(Envelope),
    /// Pass a reply on to the worker of this process that asked. If that fails,
    /// [`Node::lose_reply`] must be called on that worker's node.
    Forward {
        /// The worker that asked.
        worker: u8,
        /// The id of the request.
        request: RequestId,
        /// The message.
        message: Bytes,
    },
    /// A hello was accepted.
    Hello {
        /// Patterns that another service holds, each with the name of that service.
        conflicts: Vec<(Pattern, String)>,
        /// Patterns that [`Node::restrict`] does not allow.
        forbidden: Vec<Pattern>,
        /// Patterns that other peers lost to this one.
        displaced: Vec<(PipeId, Pattern)>,
    },
    /// The peer's hello was refused.
    HelloRefused(HelloError),
    /// The peer takes no new requests from now on.
    Drain,
}

/// One worker's bus.
#[derive(Debug)]
pub struct Node {
    config: NodeConfig,
    rng: fastrand::Rng,
    /// The pipes.
    pub socket: Socket,
    /// The route table.
    pub directory: Directory,
    /// The outstanding requests.
    pub pending: Pending,
    /// Counts of what happened.
    pub counters: Counters,
    recent: Recent,
    /// The number of the last ping or event of this node: their ids name no request.
    sequence: u64,
    liveness_at: Instant,
    draining: bool,
}

impl Node {
    /// A node without pipes.
    #[must_use]
    pub fn new(config: NodeConfig, now: Instant) -> Self {
        Self {
            rng: fastrand::Rng::with_seed(config.seed),
            socket: Socket::new(config.limits),
            directory: Directory::new(now),
            pending: Pending::new(config.worker, config.limits.pending_max, now),
            counters: Counters::default(),
            recent: Recent::new(config.seed),
            sequence: 0,
            liveness_at: now,
            draining: false,
            config,
        }
    }

    /// The configuration, with the hello that new pipes get.
    #[must_use]
    pub const fn config(&self) -> &NodeConfig {
        &self.config
    }

    /// Adds a pipe for a new connection. Queues the opening, and the hello if there is one.
    pub fn open_pipe(&mut self, now: Instant, framing: Framing) -> PipeId {
        let workers = self.config.workers;
        let shared = (workers > 1).then(|| Arc::new(Shared::new(workers)));
        let pipe = self.socket.open(now, framing, None, shared);
        self.introduce(pipe);
        pipe
    }

    /// From now on accepts only those claims of the peer behind `pipe` that `claims` allows. `None`
    /// allows everything.
    pub fn restrict(&mut self, pipe: PipeId, claims: Option<Arc<Claims>>) {
        if let Some(pipe) = self.socket.pipe_mut(pipe) {
            pipe.claims = claims;
        }
    }

    /// Adds a pipe that stands for another worker's connection. `shared` is the shared state of
    /// that connection.
    pub fn open_remote(
        &mut self,
        now: Instant,
        framing: Framing,
        remote: Remote,
        shared: Arc<Shared>,
    ) -> PipeId {
        let pipe = self.socket.open(now, framing, Some(remote), Some(shared));
        if let Some(pipe) = self.socket.pipe_mut(pipe) {
            // Earlier losses do not concern this pipe, which has no requests yet.
            pipe.has_lost(self.config.worker);
        }
        pipe
    }

    /// Removes a pipe whose connection has ended. Its outstanding requests are lost.
    pub fn close_pipe(&mut self, now: Instant, pipe: PipeId) {
        self.lose_outstanding(now, pipe, None);
        let Some(closed) = self.socket.close(pipe) else { return };
        if closed.remote.is_none() {
            self.counters.pipes_closed += 1;
        }
        if closed.hello.is_some() {
            self.directory.tick(now);
            self.directory.release(pipe);
            self.claim_refused();
            self.update_shares();
        }
    }

    /// Adds the routes of a service that has no instance here yet, as if its last instance had just
    /// left: they answer 503 and not 404.
    pub fn remember(&mut self, hello: &Hello) {
        // No pipe has this id: the driver's limit of pipes is far below.
        let gone = PipeId { index: u32::MAX, generation: u32::MAX };
        if self.directory.claim(gone, hello).is_ok() {
            self.directory.release(gone);
        }
    }

    /// Counts the error that ended a stream.
    pub fn count_stream_error(&mut self, error: SpError) {
        let counter = match error {
            SpError::Opening => &mut self.counters.rejected_opening,
            SpError::Protocol(_) => &mut self.counters.rejected_protocol,
            SpError::MessageType(_) => &mut self.counters.rejected_message_type,
            SpError::TooLong { .. } => &mut self.counters.rejected_too_long,
        };
        *counter += 1;
    }

    /// Handles one message received on `pipe`.
    pub fn handle_message(&mut self, now: Instant, pipe: PipeId, message: Bytes) -> Input {
        if let Some(from) = self.socket.pipe_mut(pipe) {
            from.heard = now;
            from.has_spoken = true;
            from.pings_unanswered = 0;
            if from.silent {
                from.set_silent(false);
                self.update_shares();
            }
        }
        let envelope = match Envelope::decode(message) {
            Ok(envelope) => envelope,
            Err(error) => {
                self.count_decode_error(error);
                return Input::Done;
            }
        };
        let header = envelope.header();
        match header.kind {
            Kind::Reply => self.handle_reply(now, pipe, envelope),
            Kind::Request => {
                let ttl = header.ttl_us;
                let deadline = (ttl > 0).then(|| now + std::time::Duration::from_micros(ttl.into()));
                Input::Serve { envelope, deadline }
            }
            Kind::Cancel => {
                self.counters.cancels_received += 1;
                if header.flags.contains(Flags::FINISH) {
                    return Input::Finish(header.correlation);
                }
                Input::Cancelled(header.correlation)
            }
            Kind::Event => self.handle_event(pipe, envelope),
            Kind::Hello => self.handle_hello(now, pipe, &envelope),
            Kind::Drain => {
                if let Some(pipe) = self.socket.pipe_mut(pipe) {
                    pipe.draining = true;
                }
                self.update_shares();
                Input::Drain
            }
            Kind::Ping => self.handle_ping(pipe, &header),
            Kind::Pong => self.handle_pong(pipe, &header),
        }
    }

    fn handle_hello(&mut self, now: Instant, pipe: PipeId, envelope: &Envelope) -> Input {
        let mut hello = match Hello::decode(envelope) {
            Ok(hello) => hello,
            Err(error) => {
                self.counters.rejected_hello += 1;
                return Input::HelloRefused(error);
            }
        };
        let Some(from) = self.socket.pipe(pipe) else { return Input::Done };
        let mut forbidden = Vec::new();
        if let Some(claims) = &from.claims {
            forbidden = hello.routes.extract_if(.., |route| !claims.allow(&hello.service, route)).collect();
        }
        if from.remote.is_none() {
            self.counters.claims_forbidden += forbidden.len() as u64;
        }
        let claimed = match self.directory.claim(pipe, &hello) {
            Ok(claimed) => claimed,
            Err(error) => {
                self.counters.rejected_hello += 1;
                return Input::HelloRefused(error);
            }
        };
        let Claimed { service, conflicts, displaced } = claimed;
        self.counters.route_conflicts += (conflicts.len() + displaced.len()) as u64;
        for (loser, _) in &displaced {
            if let Some(loser) = self.socket.pipe_mut(*loser) {
                loser.refused = true;
            }
        }
        let virtual_time = self.directory.service(service).map_or(0, |service| service.virtual_time);
        if let Some(pipe) = self.socket.pipe_mut(pipe) {
            let same = pipe.hello.as_ref().is_some_and(|known| known.service == hello.service);
            if !same {
                pipe.load.restart(now, virtual_time);
            }
            pipe.paced = !hello.announces_limit;
            pipe.out.release();
            pipe.version = VersionId::of(&hello.version);
            pipe.hello = Some(hello);
            pipe.refused = !conflicts.is_empty();
            pipe.draining = false;
        }
        self.claim_refused();
        self.update_shares();
        Input::Hello { conflicts, forbidden, displaced }
    }

    /// Claims the refused patterns again: the service that held them may have left.
    fn claim_refused(&mut self) {
        let refused = self.socket.pipes().filter(|(_, pipe)| pipe.refused);
        let refused: Vec<_> = refused.filter_map(|(id, pipe)| Some((id, pipe.hello.clone()?))).collect();
        for (id, hello) in refused {
            let claimed = self.directory.claim(id, &hello);
            if let (Ok(claimed), Some(pipe)) = (claimed, self.socket.pipe_mut(id)) {
                pipe.refused = !claimed.conflicts.is_empty();
            }
        }
    }

    /// The next correlation id for a ping or an event, which is never the id of a request.
    fn next_correlation(&mut self) -> Correlation {
        self.sequence += 1;
        let worker = u64::from(self.config.worker) << 56;
        Correlation { origin: self.config.origin, request: RequestId(worker | self.sequence) }
    }

    fn send_plain(&mut self, pipe: PipeId, header: &Header) {
        // A full queue means that the peer does not read, so it would not see this message either.
        if let Some(Err(_)) = self.socket.send_to(pipe, header, |_| {}, &[]) {
            self.counters.control_dropped += 1;
        }
    }

    const fn count_decode_error(&mut self, error: DecodeError) {
        let counter = match error {
            DecodeError::Short(_) => &mut self.counters.rejected_short,
            DecodeError::Version(_) => &mut self.counters.rejected_version,
            DecodeError::Kind(_) => &mut self.counters.rejected_kind,
            DecodeError::HeadLength { .. } => &mut self.counters.rejected_head_length,
            DecodeError::Field(_) => &mut self.counters.rejected_field,
        };
        *counter += 1;
    }
}
