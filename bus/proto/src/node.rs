//! One worker's bus as a state machine: pipes, who is behind them, what is outstanding.
//!
//! The driver reports pipes that open and close, the messages they bring, and the time; it writes what the pipes'
//! out-queues hold. Everything that is left to do comes back as an [`Input`]. Never calls up, never waits.

mod answering;
mod asking;
mod liveness;
mod shares;

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use crate::balancer::Shared;
use crate::claims::Claims;
use crate::counters::Counters;
use crate::directory::{Claimed, Directory};
use crate::envelope::{Correlation, DecodeError, Envelope, Header, Kind, Origin, RequestId};
use crate::hello::{Hello, HelloError, Pattern};
use crate::limits::Limits;
use crate::pending::Pending;
use crate::recent::Recent;
use crate::socket::{PipeId, Remote, Socket};
use crate::sp::{Framing, SpError};

pub use asking::{Ask, Refused};

/// What one worker's node is made of.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// The bounds.
    pub limits: Limits,
    /// Which worker this is; request ids carry it.
    pub worker: u8,
    /// How many workers the process has.
    pub workers: u32,
    /// The process's origin.
    pub origin: Origin,
    /// Of the random numbers.
    pub seed: u64,
    /// Said on every new pipe.
    pub hello: Option<Hello>,
    /// Events go on to the peers that want them.
    pub relay_events: bool,
}

/// What the driver has to do about a message.
#[derive(Debug)]
pub enum Input {
    /// Nothing: it is dealt with.
    Done,
    /// Hand it to the handler, and the answer to [`Node::reply`].
    Serve {
        /// The request.
        envelope: Envelope,
        /// When the asker gives up.
        deadline: Option<Instant>,
    },
    /// Stop serving this request.
    Cancelled(Correlation),
    /// Hand it to the subscribers.
    Event(Envelope),
    /// A reply to a request of another worker of this process. When it cannot be passed on, that
    /// worker's [`Node::lose_reply`] is to be called.
    Forward {
        /// The worker that asked.
        worker: u8,
        /// The request that is replied to.
        request: RequestId,
        /// The message.
        message: Bytes,
    },
    /// The peer said who it is.
    Hello {
        /// Patterns that another service holds, with its name.
        conflicts: Vec<(Pattern, String)>,
        /// Patterns that [`Node::restrict`] does not allow.
        forbidden: Vec<Pattern>,
        /// Patterns that other peers have lost to it.
        displaced: Vec<(PipeId, Pattern)>,
    },
    /// The peer's hello was refused.
    HelloRefused(HelloError),
    /// The peer drains.
    Drain,
}

/// One worker's bus.
#[derive(Debug)]
pub struct Node {
    config: NodeConfig,
    rng: fastrand::Rng,
    /// The pipes.
    pub socket: Socket,
    /// Who serves what.
    pub directory: Directory,
    /// What is outstanding.
    pub pending: Pending,
    /// What happened.
    pub counters: Counters,
    recent: Recent,
    /// Numbers pings and events: ids of this process that are no requests.
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

    /// What it is made of; its hello is the one said now.
    #[must_use]
    pub const fn config(&self) -> &NodeConfig {
        &self.config
    }

    /// A connection: queues the opening, and the hello when there is one.
    pub fn open_pipe(&mut self, now: Instant, framing: Framing) -> PipeId {
        let workers = self.config.workers;
        let shared = (workers > 1).then(|| Arc::new(Shared::new(workers)));
        let pipe = self.socket.open(now, framing, None, shared);
        self.introduce(pipe);
        pipe
    }

    /// Of what the peer behind `pipe` claims, only what `claims` allows counts from now on.
    pub fn restrict(&mut self, pipe: PipeId, claims: Option<Arc<Claims>>) {
        if let Some(pipe) = self.socket.pipe_mut(pipe) {
            pipe.claims = claims;
        }
    }

    /// A pipe that stands for another worker's; `shared` is that one's.
    pub fn open_remote(
        &mut self,
        now: Instant,
        framing: Framing,
        remote: Remote,
        shared: Arc<Shared>,
    ) -> PipeId {
        let pipe = self.socket.open(now, framing, Some(remote), Some(shared));
        if let Some(pipe) = self.socket.pipe_mut(pipe) {
            // What was lost before concerns no request of this pipe: it has none yet.
            pipe.has_lost(self.config.worker);
        }
        pipe
    }

    /// The connection is gone: what was outstanding there has ended.
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

    /// Knows the routes of a service that has no instance here yet, as if its last one had just
    /// gone: they answer 503 and not 404.
    pub fn remember(&mut self, hello: &Hello) {
        // No pipe has this id: the driver bounds the number of pipes far below.
        let gone = PipeId { index: u32::MAX, generation: u32::MAX };
        if self.directory.claim(gone, hello).is_ok() {
            self.directory.release(gone);
        }
    }

    /// Counts why a stream was given up.
    pub fn count_stream_error(&mut self, error: SpError) {
        let counter = match error {
            SpError::Opening => &mut self.counters.rejected_opening,
            SpError::Protocol(_) => &mut self.counters.rejected_protocol,
            SpError::MessageType(_) => &mut self.counters.rejected_message_type,
            SpError::TooLong { .. } => &mut self.counters.rejected_too_long,
        };
        *counter += 1;
    }

    /// Takes one message that came by `pipe`.
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
            pipe.hello = Some(hello);
            pipe.refused = !conflicts.is_empty();
            pipe.draining = false;
        }
        self.claim_refused();
        self.update_shares();
        Input::Hello { conflicts, forbidden, displaced }
    }

    /// Somebody may have left: those who were refused a pattern claim it again.
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

    /// The next id of this process that is no request's.
    fn next_correlation(&mut self) -> Correlation {
        self.sequence += 1;
        let worker = u64::from(self.config.worker) << 56;
        Correlation { origin: self.config.origin, request: RequestId(worker | self.sequence) }
    }

    fn send_plain(&mut self, pipe: PipeId, header: &Header) {
        // A full queue means that the peer does not read: it would not see this either.
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
