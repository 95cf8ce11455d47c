#![allow(clippy::todo, missing_docs)]
//! STUB: replaced by the real driver; the signatures stay.

use std::future::Future;
use std::io;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bus_proto::{Hello, Limits};
use bytes::Bytes;

use crate::endpoint::Endpoint;
use crate::message::{Body, Event, Head, Options, Reply, RequestError, Serve};

/// TCP keepalive and ping liveness.
#[derive(Clone, Copy, Debug)]
pub struct Keepalive {
    pub idle: Duration,
    pub interval: Duration,
    pub count: u32,
}
impl Default for Keepalive {
    fn default() -> Self {
        Self { idle: Duration::from_secs(10), interval: Duration::from_secs(3), count: 3 }
    }
}

/// What a process's bus is made of.
#[derive(Clone, Debug, Default)]
pub struct Config {
    pub listen: Vec<Endpoint>,
    pub dial: Vec<Endpoint>,
    pub limits: Limits,
    pub keepalive: Keepalive,
    /// Said on every new pipe; `None` for one who only asks.
    pub hello: Option<Hello>,
    /// Pass events on to the peers whose hello asks for their topic (the terminator does).
    pub relay_events: bool,
}

/// One worker's share of a bound bus; `Send`, started on its thread.
pub struct Seed {
    _p: (),
}

/// Binds every listener and checks everything before a thread starts.
///
/// # Errors
/// Names the endpoint that cannot be bound.
pub fn bind(config: &Config, workers: usize) -> io::Result<Vec<Seed>> {
    let _ = (config, workers);
    todo!()
}

impl Seed {
    /// Spawns the pipes' tasks on the current `LocalRuntime` (worker::start calls this).
    pub fn start(self) -> Bus {
        todo!()
    }
}

/// The handle of one worker's bus.
#[derive(Clone)]
pub struct Bus {
    _p: PhantomData<std::rc::Rc<()>>,
}

/// A route found: valid on the worker that found it, `Copy`, cheap.
#[derive(Clone, Copy, Debug)]
pub struct Route {
    pub service: u32,
    pub pattern: u32,
}

#[derive(Clone, Debug)]
pub struct PeerInfo {
    pub pipe: u64,
    /// The other end, e.g. `tcp://127.0.0.1:40112` or `ipc:///run/a.sock`.
    pub endpoint: String,
    /// Whether this side dialled.
    pub dialled: bool,
    pub hello: Option<Hello>,
    pub draining: bool,
    /// Answers pings, and has been silent for too long.
    pub silent: bool,
    pub in_flight: u32,
    /// Peak EWMA of the reply time.
    pub latency: Duration,
    /// Requests sent to it, replies from it, failures (expired, lost).
    pub requests: u64,
    pub replies: u64,
    pub failures: u64,
    pub queued_messages: usize,
    pub queued_bytes: usize,
}

#[derive(Clone, Debug)]
pub struct RouteInfo {
    pub pattern: String,
    pub service: String,
    /** connected instances that take requests */
    pub instances: usize,
}

impl Bus {
    /// The route of a request, its query ignored; `None` = nobody ever claimed it.
    pub fn route(&self, method: &str, path: &str) -> Option<Route> {
        let _ = (method, path);
        todo!()
    }
    /// `GET /profiles/{id}` of a route.
    pub fn route_pattern(&self, route: Route) -> String {
        let _ = route;
        todo!()
    }
    /// Sends a request and waits for its reply. First poll sends. Retries by the rules of the contract while time is left.
    pub fn request<H: Head + Unpin>(&self, route: Route, head: H, body: Body, options: Options) -> Call<H> {
        let _ = (route, head, body, options);
        todo!()
    }
    /// Sets what serves incoming requests; without it they are dropped and counted.
    pub fn serve(&self, serve: std::rc::Rc<dyn Serve>) {
        let _ = serve;
        todo!()
    }
    /// Says hello again on every pipe.
    pub fn set_hello(&self, hello: Hello) {
        let _ = hello;
        todo!()
    }
    /// The hello said now.
    pub fn hello(&self) -> Option<Hello> {
        todo!()
    }
    /// Publishes an event to every peer that may want it; the number of pipes it was queued on.
    pub fn publish(&self, topic: &str, fields: &[(&str, &str)], body: Bytes) -> usize {
        let _ = (topic, fields, body);
        todo!()
    }
    /// Events of `topic`; the hello's topics are kept in step. A slow subscriber loses the oldest ones, counted.
    pub fn subscribe(&self, topic: &str) -> Subscription {
        let _ = topic;
        todo!()
    }
    /// Says drain to every peer and waits until nothing is in service and nothing is outstanding and the out-queues are written, at most until `deadline`.
    /// True when all was finished.
    pub async fn drain(&self, deadline: Instant) -> bool {
        let _ = deadline;
        todo!()
    }
    /// Requests being served here now (tasks).
    pub fn in_service(&self) -> usize {
        todo!()
    }
    /// Requests outstanding now.
    pub fn outstanding(&self) -> usize {
        todo!()
    }
    pub fn peers(&self) -> Vec<PeerInfo> {
        todo!()
    }
    pub fn routes(&self) -> Vec<RouteInfo> {
        todo!()
    }
    /// Every counter by name, e.g. ("bus.rejected.version", 3). Names are the same in every call and order.
    pub fn counters(&self) -> Vec<(&'static str, u64)> {
        todo!()
    }
}

/// A request under way. Dropping it frees its slot and tells the peer to cancel.
#[must_use = "a call does nothing until it is polled"]
pub struct Call<H> {
    _h: H,
}
impl<H: Head + Unpin> Future for Call<H> {
    type Output = Result<Reply, RequestError>;
    fn poll(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Self::Output> {
        todo!()
    }
}

/// The further parts of a reply, in order.
#[derive(Debug)]
pub struct Parts {
    _p: (),
}
impl Parts {
    /// The next part's body; `None` after the last one.
    pub fn poll_next(&mut self, _cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, RequestError>>> {
        todo!()
    }
}

/// Events of one topic.
pub struct Subscription {
    _p: (),
}
impl Subscription {
    /// The next event. **Cancel safety**: safe, no event is lost.
    pub async fn recv(&mut self) -> Event {
        todo!()
    }
}
