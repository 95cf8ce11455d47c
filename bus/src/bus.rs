//! The handle of one worker's bus: starts its tasks, sends requests and events, reports state, and
//! drains.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bus_proto::node::NodeConfig;
use bus_proto::{Hello, Node, PipeId, Route};
use bytes::Bytes;
use tokio::sync::futures::OwnedNotified;
use tokio::sync::watch;
use tokio::task::spawn_local;

use crate::bind::Seed;
use crate::call::Call;
use crate::info::{PeerInfo, RouteInfo};
use crate::io::endpoint::Endpoint;
use crate::message::{Body, Head, Incoming, Options, Serve};
use crate::shadow::Shadow;
use crate::state::busy_poll::BusyPoll;
use crate::state::dials::{Dials, Unconnected};
use crate::state::finishing::Finish;
use crate::state::hold::{Held, Holding};
use crate::state::inner::Inner;
use crate::state::listening::Listening;
use crate::state::serving::Serving;
use crate::state::subscription::Subscription;
use crate::state::timer::Timer;
use crate::tasks::{accept, busy_poll, crossing, dialer, handlers, timer};

/// Interval at which a drain checks whether it has finished.
const DRAIN_LOOK: Duration = Duration::from_millis(5);
/// A drain ends when the bus has been idle for this long. The peer's other workers learn of the
/// drain a moment after the one that answered, and requests that they sent before are still on
/// their way.
const DRAIN_QUIET: Duration = Duration::from_millis(50);
/// How long a drain waits for peers to answer the ping behind the drain message. A stock guest
/// never answers it.
const DRAIN_READ: Duration = Duration::from_secs(1);

/// The handle of one worker's bus. Cheap to clone; it cannot leave its thread.
#[derive(Clone)]
pub struct Bus {
    pub(crate) inner: Rc<Inner>,
}

impl Bus {
    pub(crate) fn start(seed: Seed) -> Self {
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
            dials: RefCell::new(Dials::new()),
            places: seed.places,
            config: seed.config,
            timer: Timer::new(now),
            busy_poll: BusyPoll::default(),
            read_buffer: RefCell::default(),
            serving: Serving::default(),
            inboxes: seed.inboxes,
            worker: seed.worker,
            remotes: RefCell::default(),
            listening: watch::Sender::new(Listening::On),
            joined: Arc::default(),
            holding: Holding::default(),
            shadows: Cell::new(0),
            subscriptions: RefCell::default(),
            others: RefCell::default(),
        });
        spawn_local(timer::run(Rc::clone(&inner)));
        spawn_local(handlers::run(Rc::clone(&inner)));
        if !inner.config.busy_poll.is_zero() {
            spawn_local(busy_poll::run(Rc::clone(&inner), inner.config.busy_poll));
        }
        if seed.workers > 1 {
            spawn_local(crossing::receive(Rc::clone(&inner)));
        }
        for listener in seed.listeners {
            spawn_local(accept::accept(Rc::clone(&inner), listener));
        }
        let bus = Self { inner };
        bus.inner.config.dial.iter().for_each(|endpoint| bus.dial(endpoint));
        bus
    }

    /// The route of a request, without regard to the query. `None` when no service has claimed it.
    #[must_use]
    pub fn route(&self, method: &str, path: &str) -> Option<Route> {
        let path = path.split_once('?').map_or(path, |(path, _)| path);
        self.inner.node.borrow().directory.find(method, path)
    }

    /// Completes at the next accepted hello of any peer. Hellos count from this call on, not from
    /// the first poll.
    ///
    /// **Cancel safety**: safe.
    pub fn joined(&self) -> OwnedNotified {
        Arc::clone(&self.inner.joined).notified_owned()
    }

    /// A place among the requests that wait for an instance, for a request with a body of
    /// `body_len` bytes, until `end`. `None` when all places are taken or `end` has passed.
    /// [`Bus::request`] takes a place by itself; this is for a request whose path no service claims
    /// yet.
    #[must_use]
    pub fn hold(&self, body_len: usize, end: Instant) -> Option<Held> {
        let held = Held::new(&self.inner.holding, &self.inner.joined, body_len, end)?;
        self.inner.node.borrow_mut().counters.requests_held += 1;
        Some(held)
    }

    /// Sets the services that are expected: their routes do not give way to less specific routes of
    /// other services, however long they have no instance.
    pub fn expect(&self, services: &[String]) {
        self.inner.node.borrow_mut().directory.expect(services);
    }

    /// A number that changes whenever [`Bus::routes`] may have changed, so that derived data can be
    /// cached.
    #[must_use]
    pub fn routes_version(&self) -> u64 {
        self.inner.node.borrow().directory.version()
    }

    /// The pattern of a route, such as `GET /profiles/{id}`; empty when the route is no longer
    /// claimed.
    #[must_use]
    pub fn route_pattern(&self, route: Route) -> String {
        self.inner
            .node
            .borrow()
            .directory
            .entry(route)
            .map_or_else(String::new, |entry| entry.pattern.to_string())
    }

    /// Sends a request and waits for its reply. The first poll sends it. A lost request is sent
    /// again when [`bus_proto::retry::may_retry`] allows it.
    pub fn request<H: Head + Unpin>(&self, route: Route, head: H, body: Body, options: Options) -> Call<H> {
        Call::new(Rc::clone(&self.inner), route, head, body, options)
    }

    /// Sends a copy of a request at once, with the flag `shadow`, to one of the instances
    /// `options.to`. The copy is neither held nor sent again, and gets only places that leave half
    /// of an instance's limit and out-queue to other requests. `None` when it was dropped, which is
    /// counted: there is no such place, or [`SHADOWS_MAX`](bus_proto::limits::SHADOWS_MAX) copies
    /// are outstanding.
    pub fn shadow(&self, route: Route, head: &impl Head, body: &[Bytes], options: Options) -> Option<Shadow> {
        Shadow::send(&self.inner, route, head, body, options)
    }

    /// Calls `read` with the name of the service that a route belongs to; "" when it is forgotten.
    pub fn with_service<T>(&self, route: Route, read: impl FnOnce(&str) -> T) -> T {
        let node = self.inner.node.borrow();
        read(node.directory.service(route.service).map_or("", |service| &service.name))
    }

    /// The toggles that the instances of a route's service read, of any version: sorted, each once.
    /// They change only together with [`Bus::routes_version`].
    #[must_use]
    pub fn toggles(&self, route: Route) -> Vec<String> {
        let node = self.inner.node.borrow();
        let peers = node.directory.service(route.service).map_or(&[][..], |service| &service.peers);
        let hello = |peer: &PipeId| node.socket.pipe(*peer)?.hello.as_ref();
        let toggles = peers.iter().filter_map(hello).flat_map(|hello| hello.toggles.iter().cloned());
        toggles.collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// The last hello of the peer behind a pipe; `None` when the pipe is closed.
    #[must_use]
    pub fn hello_of(&self, pipe: PipeId) -> Option<Hello> {
        self.inner.node.borrow().socket.pipe(pipe)?.hello.clone()
    }

    /// Sets the handler of incoming requests. Without a handler they are dropped and counted.
    pub fn serve(&self, handler: Rc<dyn Serve>) {
        self.inner.serving.set_handler(handler);
    }

    /// Sends `hello` on every open pipe, and on every later one.
    pub fn set_hello(&self, hello: Hello) {
        self.inner.node.borrow_mut().set_hello(hello);
    }

    /// The hello that is sent now.
    #[must_use]
    pub fn hello(&self) -> Option<Hello> {
        self.inner.node.borrow().config().hello.clone()
    }

    /// Publishes an event to every peer that may want it. Returns the number of pipes it was queued
    /// on.
    pub fn publish(&self, topic: &str, fields: &[(&str, &str)], body: &Bytes) -> usize {
        self.inner.node.borrow_mut().publish(topic, fields, body)
    }

    /// Subscribes to the events of `topic`. The topic is added to the hello and stays there, so a
    /// bus without a hello gets no events. A slow subscriber loses the oldest events, which are
    /// counted.
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

    /// Accepts no more peers and closes the listeners, so that another process can listen there.
    /// The pipes stay. Peers of a bus without a hello, which sends requests and gets none, are told
    /// to dial again: another process may listen there soon. A bus with a hello tells its peers
    /// when it drains.
    pub fn stop_listening(&self) {
        let end = |listening: &mut Listening| {
            let was_on = matches!(listening, Listening::On | Listening::Paused);
            if was_on {
                *listening = Listening::Closed;
            }
            was_on
        };
        if self.inner.listening.send_if_modified(end) && self.hello().is_none() {
            self.inner.node.borrow_mut().leave();
        }
    }

    /// Lets new peers wait, for another process that accepts on the same sockets, and tells the
    /// present ones to dial again. They keep their pipes, and requests still go by them.
    ///
    /// Meant for a bus without a hello: the peers of one with a hello send it no more requests.
    pub fn pause_listening(&self) {
        self.set_listening(Listening::Paused);
        self.inner.node.borrow_mut().leave();
    }

    /// Adds the routes of a service before its first instance joins: they answer 503, not 404, and
    /// their requests may be held. Call it before any peer joins.
    pub fn remember(&self, hello: &Hello) {
        self.inner.node.borrow_mut().remember(hello);
    }

    /// Closes the pipes to these instances, `SERVICE/INSTANCE`, that have no request outstanding,
    /// so that they dial again: guests that do not when they are told to.
    pub fn dismiss(&self, instances: &[String]) {
        self.inner.dismiss(instances);
    }

    /// Accepts again after [`Bus::pause_listening`].
    pub fn resume_listening(&self) {
        self.set_listening(Listening::On);
    }

    /// Closes the listeners, and leaves the files of Unix sockets to the process that has got the
    /// sockets.
    pub fn hand_over_listening(&self) {
        self.set_listening(Listening::HandedOver);
    }

    /// What is closed stays closed.
    fn set_listening(&self, to: Listening) {
        self.inner.listening.send_if_modified(|listening| {
            let may_change = matches!(listening, Listening::On | Listening::Paused) && *listening != to;
            if may_change {
                *listening = to;
            }
            may_change
        });
    }

    /// Stops listening, asks every peer to send no new requests, and waits until nothing is being
    /// served or outstanding and every reply is written, but not longer than until `deadline`. True
    /// when everything was finished. Every [`Finish`] completes.
    ///
    /// **Cancel safety**: dropping the future ends only the wait; the drain continues.
    pub async fn drain(&self, deadline: Instant) -> bool {
        self.stop_listening();
        self.inner.node.borrow_mut().drain();
        self.inner.serving.finishing.tell_all();
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

    /// Asks for the answers to this worker's outstanding requests now, with what there is: long
    /// polls then end with an empty answer, and others are not affected.
    pub fn finish_outstanding(&self) {
        self.inner.node.borrow_mut().finish_outstanding();
    }

    /// Completes when `request`, which a handler of this bus has in hand, is to be answered now.
    pub fn finish(&self, request: &Incoming) -> Finish {
        let correlation = request.envelope.header().correlation;
        self.inner.serving.finishing.finish((request.pipe, correlation))
    }

    /// Number of requests whose handlers are waiting.
    #[must_use]
    pub fn in_service(&self) -> usize {
        self.inner.serving.waiting()
    }

    /// Number of outstanding requests.
    #[must_use]
    pub fn outstanding(&self) -> usize {
        self.inner.node.borrow().pending.len()
    }

    /// Every pipe of this worker, including those that stand for another worker's connection.
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

    /// Dials `endpoint` from now on, as those of [`Config::dial`](crate::Config::dial) are.
    pub fn dial(&self, endpoint: &Endpoint) {
        dialer::dial(Rc::clone(&self.inner), endpoint);
    }

    /// Dials `endpoint` no more and closes its pipe, if there is one. False when it was not
    /// dialled.
    pub fn undial(&self, endpoint: &Endpoint) -> bool {
        let removed = self.inner.dials.borrow_mut().remove(endpoint);
        removed.is_some_and(|at| {
            self.inner.close_dialled(at);
            true
        })
    }

    /// The endpoints that this worker dials and has no open pipe to.
    #[must_use]
    pub fn unconnected(&self) -> Vec<Unconnected> {
        self.inner.dials.borrow().unconnected()
    }

    /// Every claimed route.
    #[must_use]
    pub fn routes(&self) -> Vec<RouteInfo> {
        RouteInfo::list(&self.inner.node.borrow())
    }

    /// Every counter with its name, in the same order on each call.
    #[must_use]
    pub fn counters(&self) -> Vec<(&'static str, u64)> {
        self.inner.node.borrow().counters.list()
    }
}

impl Seed {
    /// Spawns the tasks of the pipes on the current thread's `LocalRuntime`.
    ///
    /// # Panics
    /// Outside a `LocalRuntime`.
    #[must_use]
    pub fn start(self) -> Bus {
        Bus::start(self)
    }
}
