//! The handle of one worker's bus, and what its tasks share.
//!
//! Everything here belongs to one thread. The node is borrowed for single calls only: never while a handler runs,
//! never across an await.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bus_proto::node::NodeConfig;
use bus_proto::{Hello, Input, Node, Pattern, PipeId, Route};
use bytes::{Bytes, BytesMut};
use tokio::sync::futures::OwnedNotified;
use tokio::sync::{Notify, watch};
use tokio::task::spawn_local;
use tracing::{debug, info, warn};

use crate::bind::{Config, Seed};
use crate::busy_poll::{self, BusyPoll, Traffic};
use crate::call::Call;
use crate::crossing::{self, Crossing, Inboxes, Remotes};
use crate::dialer;
use crate::dials::{Dials, Unconnected};
use crate::info::{PeerInfo, RouteInfo};
use crate::listener;
use crate::message::{Body, Head, Options, Serve};
use crate::places::Places;
use crate::serving::Serving;
use crate::subscription::{Subscription, Subscriptions};
use crate::timer::{self, Timer};
use crate::transport::Writer;
use crate::waiting;

/// How often the end of a drain is looked for.
const DRAIN_LOOK: Duration = Duration::from_millis(5);
/// A drain ends when nothing has been left for so long: a peer's other workers hear of it a moment after the one that answered, and
/// what they sent before is on its way.
const DRAIN_QUIET: Duration = Duration::from_millis(50);
/// How long a drain waits for peers to show that they have read it: a stock guest never does.
const DRAIN_READ: Duration = Duration::from_secs(1);

/// The handle of one worker's bus: cheap to clone, never leaves its thread.
#[derive(Clone)]
pub struct Bus {
    pub(crate) inner: Rc<Inner>,
}

/// What the tasks of one worker's bus share.
pub(crate) struct Inner {
    pub(crate) node: RefCell<Node>,
    pub(crate) config: Config,
    pub(crate) timer: Timer,
    pub(crate) busy_poll: BusyPoll,
    /// What the pipes read into, in turn (`pipe`).
    pub(crate) read_buffer: RefCell<BytesMut>,
    pub(crate) serving: Serving,
    pub(crate) inboxes: Arc<Inboxes>,
    pub(crate) worker: u8,
    pub(crate) remotes: RefCell<Remotes>,
    /// Set when a drain begins: nobody is accepted any more.
    pub(crate) drains: watch::Sender<bool>,
    /// Told of every hello.
    joined: Arc<Notify>,
    subscriptions: RefCell<Subscriptions>,
    pub(crate) dials: RefCell<Dials>,
    pub(crate) places: Arc<Places>,
    /// The other end of each pipe of this worker.
    others: RefCell<HashMap<PipeId, Other>>,
}

/// What is to be done behind a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Handled {
    /// Nothing.
    Done,
    /// It was a hello, which costs its peer.
    Hello,
    /// A subscriber ought to have its turn before more is read.
    Behind,
}

/// The other end of a pipe.
pub(crate) struct Other {
    pub(crate) from: String,
    /// The endpoint's place in the configuration when this side dialled.
    pub(crate) dialled: Option<usize>,
    writer: Rc<Writer>,
    /// Its connection was closed to make room.
    evicted: Cell<bool>,
}

impl Other {
    pub(crate) const fn new(from: String, dialled: Option<usize>, writer: Rc<Writer>) -> Self {
        Self { from, dialled, writer, evicted: Cell::new(false) }
    }
}

impl Bus {
    pub(crate) fn start(seed: Seed) -> Self {
        let bus = Self::start_without_dialling(seed);
        for at in 0..bus.inner.config.dial.len() {
            spawn_local(dialer::dial(Rc::clone(&bus.inner), at));
        }
        bus
    }

    pub(crate) fn start_without_dialling(seed: Seed) -> Self {
        let now = Instant::now();
        let node = Node::new(
            NodeConfig {
                limits: seed.config.limits,
                worker: seed.worker,
                workers: seed.workers,
                origin: seed.origin,
                seed: fastrand::u64(..),
                hello: seed.config.hello.clone(),
                relay_events: seed.config.relay_events,
            },
            now,
        );
        let inner = Rc::new(Inner {
            node: RefCell::new(node),
            dials: RefCell::new(Dials::new(&seed.config.dial, now)),
            places: seed.places,
            config: seed.config,
            timer: Timer::new(now),
            busy_poll: BusyPoll::default(),
            read_buffer: RefCell::default(),
            serving: Serving::default(),
            inboxes: seed.inboxes,
            worker: seed.worker,
            remotes: RefCell::default(),
            drains: watch::Sender::new(false),
            joined: Arc::default(),
            subscriptions: RefCell::default(),
            others: RefCell::default(),
        });
        spawn_local(timer::run(Rc::clone(&inner)));
        spawn_local(waiting::run(Rc::clone(&inner)));
        if !inner.config.busy_poll.is_zero() {
            spawn_local(busy_poll::run(Rc::clone(&inner), inner.config.busy_poll));
        }
        if seed.workers > 1 {
            spawn_local(crossing::receive(Rc::clone(&inner)));
        }
        for listener in seed.listeners {
            spawn_local(listener::accept(Rc::clone(&inner), listener));
        }
        Self { inner }
    }

    /// The route of a request, its query ignored; `None` when nobody ever claimed it.
    #[must_use]
    pub fn route(&self, method: &str, path: &str) -> Option<Route> {
        let path = path.split_once('?').map_or(path, |(path, _)| path);
        self.inner.node.borrow().directory.find(method, path)
    }

    /// Completes when a further peer has said what it serves, or one has said so anew: what nobody could be asked for may now
    /// be served. Hellos count from this call on, not from the first poll.
    ///
    /// **Cancel safety**: safe.
    pub fn joined(&self) -> OwnedNotified {
        Arc::clone(&self.inner.joined).notified_owned()
    }

    /// The services that are expected to be there: routes of one that is away, however long, do not give way to less specific
    /// routes of others.
    pub fn expect(&self, services: &[String]) {
        self.inner.node.borrow_mut().directory.expect(services);
    }

    /// Another number whenever [`Bus::routes`] may have changed: what was worked out from them holds until then.
    #[must_use]
    pub fn routes_version(&self) -> u64 {
        self.inner.node.borrow().directory.version()
    }

    /// The pattern of a route, `GET /profiles/{id}`; empty when it is no longer claimed.
    #[must_use]
    pub fn route_pattern(&self, route: Route) -> String {
        self.inner
            .node
            .borrow()
            .directory
            .entry(route)
            .map_or_else(String::new, |entry| entry.pattern.to_string())
    }

    /// Sends a request and waits for its reply. The first poll sends. Retries while the contract allows it and time is left.
    pub fn request<H: Head + Unpin>(&self, route: Route, head: H, body: Body, options: Options) -> Call<H> {
        Call::new(Rc::clone(&self.inner), route, head, body, options)
    }

    /// Sets what serves incoming requests; without it they are dropped and counted.
    pub fn serve(&self, handler: Rc<dyn Serve>) {
        self.inner.serving.set_handler(handler);
    }

    /// Says hello again on every pipe, and this hello on every later one.
    pub fn set_hello(&self, hello: Hello) {
        self.inner.node.borrow_mut().set_hello(hello);
    }

    /// The hello said now.
    #[must_use]
    pub fn hello(&self) -> Option<Hello> {
        self.inner.node.borrow().config().hello.clone()
    }

    /// Publishes an event to every peer that may want it; the number of pipes it was queued on.
    pub fn publish(&self, topic: &str, fields: &[(&str, &str)], body: &Bytes) -> usize {
        self.inner.node.borrow_mut().publish(topic, fields, body)
    }

    /// Events of `topic`, which joins the hello's topics and stays there; so a bus without a hello gets none. A slow subscriber loses the oldest ones, counted.
    #[must_use]
    pub fn subscribe(&self, topic: &str) -> Subscription {
        let (subscription, is_first) = self.inner.subscriptions.borrow_mut().add(topic);
        if is_first
            && let Some(mut hello) = self.hello()
            && !hello.topics.iter().any(|known| known == topic)
        {
            hello.topics.push(topic.to_owned());
            self.set_hello(hello);
        }
        subscription
    }

    /// Stops listening, asks every peer for no new requests, and waits until nothing is served or
    /// outstanding and every reply is written, until `deadline` at most. True when all was finished.
    ///
    /// **Cancel safety**: the drain goes on, only the wait ends.
    pub async fn drain(&self, deadline: Instant) -> bool {
        self.inner.drains.send_replace(true);
        self.inner.node.borrow_mut().drain();
        let read_by = deadline.min(Instant::now() + DRAIN_READ);
        let mut idle_since = None;
        loop {
            let now = Instant::now();
            if self.inner.is_idle(now >= read_by) {
                let idle_since = *idle_since.get_or_insert(now);
                if now - idle_since >= DRAIN_QUIET || now >= deadline {
                    return true;
                }
            } else {
                idle_since = None;
            }
            if now >= deadline {
                return false;
            }
            tokio::time::sleep(DRAIN_LOOK).await;
        }
    }

    /// Requests being served here now that could not be answered at once.
    #[must_use]
    pub fn in_service(&self) -> usize {
        self.inner.serving.waiting()
    }

    /// Requests outstanding now.
    #[must_use]
    pub fn outstanding(&self) -> usize {
        self.inner.node.borrow().pending.len()
    }

    /// Every pipe of this worker, those that stand for another worker's included.
    #[must_use]
    pub fn peers(&self) -> Vec<PeerInfo> {
        let node = self.inner.node.borrow();
        let others = self.inner.others.borrow();
        let describe = |id| {
            others
                .get(&id)
                .map_or_else(Default::default, |other| (other.from.clone(), other.dialled.is_some()))
        };
        PeerInfo::list(&node, Instant::now(), describe)
    }

    /// The endpoints that this worker dials and has no open pipe to.
    #[must_use]
    pub fn unconnected(&self) -> Vec<Unconnected> {
        self.inner.dials.borrow().unconnected()
    }

    /// Every route that somebody claimed.
    #[must_use]
    pub fn routes(&self) -> Vec<RouteInfo> {
        RouteInfo::list(&self.inner.node.borrow())
    }

    /// Every counter by its name, in the same order at every call.
    #[must_use]
    pub fn counters(&self) -> Vec<(&'static str, u64)> {
        self.inner.node.borrow().counters.list()
    }
}

impl Inner {
    /// Takes one message of a pipe, of this worker or standing for another's.
    pub(crate) fn handle_message(self: &Rc<Self>, now: Instant, pipe: PipeId, message: Bytes) -> Handled {
        let shared = (self.inboxes.len() > 1).then(|| message.clone());
        let input = self.node.borrow_mut().handle_message(now, pipe, message);
        match input {
            Input::Done => {}
            Input::Serve { envelope, deadline } => self.serve(now, pipe, envelope, deadline),
            Input::Cancelled(correlation) => self.cancel_serving(pipe, correlation),
            Input::Event(envelope) => {
                self.share(pipe, || Crossing::Event(envelope.message().clone()));
                if self.deliver(envelope) {
                    return Handled::Behind;
                }
            }
            Input::Forward { worker, request, message } => self.forward(pipe, worker, request, message),
            Input::Hello { conflicts, forbidden, displaced } => {
                self.log_hello(pipe, &conflicts, &forbidden);
                self.joined.notify_waiters();
                for (loser, pattern) in displaced {
                    let (peer, route) = (self.describe(loser), pattern.to_string());
                    warn!(%peer, route = %route.escape_debug(), by = %self.describe(pipe), "route lost");
                }
                self.share_message(pipe, shared);
                return Handled::Hello;
            }
            Input::HelloRefused(error) => {
                warn!(peer = %self.describe(pipe), %error, "hello refused");
                return Handled::Hello;
            }
            Input::Drain => {
                info!(peer = %self.describe(pipe), "peer drains");
                self.share_message(pipe, shared);
            }
        }
        Handled::Done
    }

    /// How far requests and replies have come.
    pub(crate) fn traffic(&self) -> Traffic {
        let node = self.node.borrow();
        Traffic { sent: node.counters.requests_sent, outstanding: node.pending.len() }
    }

    /// Hands an event to this worker's subscribers. True when one of them ought to have its turn before more is read.
    #[inline]
    pub(crate) fn deliver(&self, envelope: bus_proto::Envelope) -> bool {
        let delivered = self.subscriptions.borrow_mut().deliver(envelope);
        if delivered.dropped > 0 {
            self.node.borrow_mut().counters.events_dropped += delivered.dropped;
        }
        delivered.behind
    }

    /// Closes the connection of the oldest peer of this worker that dialled in and never said anything.
    /// False when there is none. Its task ends, and its place is free, a moment later.
    ///
    /// A stock peer that only listens to events never says anything either, so this is done only when
    /// places are scarce.
    pub(crate) fn evict_silent(&self) -> bool {
        let mut node = self.node.borrow_mut();
        let others = self.others.borrow();
        let candidate = |(id, pipe): (PipeId, &bus_proto::socket::Pipe)| {
            let other = others.get(&id).filter(|other| other.dialled.is_none() && !other.evicted.get())?;
            (!pipe.has_spoken).then_some((pipe.heard, other))
        };
        let oldest = node.socket.pipes().filter_map(candidate).min_by_key(|(since, _)| *since);
        let Some((_, other)) = oldest else { return false };
        other.evicted.set(true);
        other.writer.shut_down();
        node.counters.pipes_evicted += 1;
        debug!(peer = %other.from, "closed for want of places: it never said anything");
        true
    }

    pub(crate) fn pipe_opened(&self, pipe: PipeId, other: Other) {
        self.others.borrow_mut().insert(pipe, other);
    }

    /// Writes the batch that is full, if one is. What the system does not take now, and errors, are for the pipe's task.
    pub(crate) fn flush_due(&self, node: &mut Node) {
        let Some(id) = node.socket.take_due() else { return };
        if let (Some(pipe), Some(other)) = (node.socket.pipe_mut(id), self.others.borrow().get(&id)) {
            let _ = other.writer.try_flush(&mut pipe.out);
        }
    }

    pub(crate) fn pipe_closed(&self, pipe: PipeId) {
        self.node.borrow_mut().close_pipe(Instant::now(), pipe);
        self.others.borrow_mut().remove(&pipe);
        self.cancel_all(pipe);
        self.share(pipe, || Crossing::Closed);
    }

    /// A pipe's other side, for logs.
    pub(crate) fn describe(&self, pipe: PipeId) -> String {
        let node = self.node.borrow();
        let hello = node.socket.pipe(pipe).and_then(|pipe| pipe.hello.as_ref());
        let name = hello.map(name_for_log).unwrap_or_default();
        let others = self.others.borrow();
        format!("{name}{}", others.get(&pipe).map_or("another worker", |other| other.from.as_str()))
    }

    fn log_hello(&self, pipe: PipeId, conflicts: &[(Pattern, String)], forbidden: &[Pattern]) {
        let peer = self.describe(pipe);
        for pattern in forbidden {
            let route = pattern.to_string();
            warn!(%peer, route = %route.escape_debug(), "route refused: it may not be claimed on this listener");
        }
        for (pattern, holder) in conflicts {
            let (route, holder) = (pattern.to_string(), holder.escape_debug());
            warn!(%peer, route = %route.escape_debug(), %holder, "route refused: another service holds it");
        }
        debug!(%peer, "hello");
    }

    fn is_idle(&self, may_be_unread: bool) -> bool {
        let node = self.node.borrow();
        self.serving.waiting() == 0
            && node.pending.is_empty()
            && (may_be_unread || node.drain_was_read())
            && node.is_flushed()
    }
}

/// A peer's own words: escaped, or they could forge lines of the log.
fn name_for_log(hello: &Hello) -> String {
    format!("{}/{} at ", hello.service.escape_debug(), hello.instance.escape_debug())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peers_name_cannot_break_out_of_its_log_line() {
        let name = name_for_log(&Hello::new("a\nforged", "1", "\0\u{1b}[31m"));
        assert!(!name.contains(char::is_control), "{name:?}");
        assert!(name.contains("forged"), "{name:?}");
    }
}
