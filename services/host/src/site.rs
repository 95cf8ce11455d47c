//! A worker of a service: what lives on its thread, and when it takes requests.
//!
//! Owns building the routes and claiming them. Leaves starting threads to `run`, and requests to
//! `serve`. Invariant: a worker has no share of the requests before [`Site::enter`].

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use anyhow::Context as _;
use bus::Bus;

use crate::background::Background;
use crate::context::Context;
use crate::gate::Gate;
use crate::options::{Settings, Upstream};
use crate::router::{Ready, Router};
use crate::serve::{Server, Worker};

/// Between two looks whether those that a service asks are there.
const READY_LOOK: Duration = Duration::from_millis(10);

/// What lives on a worker's thread.
pub(crate) struct Site {
    pub(crate) number: usize,
    /// Its share of the requests once it has joined.
    pub(crate) weight: u32,
    pub(crate) bus: Bus,
    pub(crate) upstream: Option<Bus>,
    pub(crate) worker: Rc<Worker>,
    pub(crate) background: Option<Rc<dyn Background>>,
    /// True once the services that it asks are there; `None` when it needs none.
    ready: RefCell<Option<Ready>>,
    join_wait: Duration,
    /// Further versions of the service, each with a bus of its own.
    others: Vec<(Bus, Rc<Worker>)>,
}

impl Site {
    /// Builds the routes of every version, one for each of `contexts`, and claims them without a
    /// share of the requests: without another instance they are 503, not 404.
    pub(crate) fn build<A: Settings>(
        contexts: Vec<Context<A>>,
        build: &impl Fn(&Context<A>) -> anyhow::Result<Router>,
    ) -> anyhow::Result<Self> {
        let mut contexts = contexts.into_iter();
        let context = contexts.next().expect("a service has a version");
        let mut routes = build(&context)?.finish()?;
        let options = context.args.options();
        let join_wait =
            context.args.upstream().map_or(Duration::ZERO, |upstream: &Upstream| upstream.join_wait);
        let ready = RefCell::new(routes.ready.take());
        let background = routes.background.take();
        let gate = Gate::new(options.limit_per_worker(), options.queue_per_worker());
        let weight = options.weight;
        let Context { bus, upstream, worker: number, .. } = context;
        let worker = Worker::new(routes, gate);
        bus.serve(Rc::new(Server(Rc::clone(&worker))));
        join(&bus, upstream.as_ref(), &worker, 0);
        if let Some(upstream) = &upstream {
            let toggles = Rc::clone(&worker.routes.toggles);
            tokio::task::spawn_local(toggles.relay(bus.clone(), upstream.clone()));
        }
        let other = |context: Context<A>| -> anyhow::Result<(Bus, Rc<Worker>)> {
            let (routes, version) = (build(&context)?.finish()?, context.version);
            let worker = worker.sharing(routes);
            let worker = worker.with_context(|| format!("version {version} has other routes"))?;
            context.bus.serve(Rc::new(Server(Rc::clone(&worker))));
            join(&context.bus, upstream.as_ref(), &worker, 0);
            Ok((context.bus, worker))
        };
        let others = contexts.map(other).collect::<anyhow::Result<_>>()?;
        let background = background.map(|start| start());
        Ok(Self { number, weight, bus, upstream, worker, background, ready, join_wait, others })
    }

    /// Takes its share of the requests, once the services that it asks are there or `--join-wait`
    /// has passed. Must be called inside the worker's runtime.
    pub(crate) fn enter(&self) {
        let own = (self.bus.clone(), Rc::clone(&self.worker));
        let all: Vec<_> = std::iter::once(own).chain(self.others.iter().cloned()).collect();
        let (upstream, weight, join_wait) = (self.upstream.clone(), self.weight, self.join_wait);
        let join = move || all.iter().for_each(|(bus, worker)| join(bus, upstream.as_ref(), worker, weight));
        match self.ready.take() {
            Some(ready) if !ready() && !join_wait.is_zero() => drop(tokio::task::spawn_local(async move {
                if tokio::time::timeout(join_wait, until(ready)).await.is_err() {
                    tracing::warn!(
                        "takes requests although those it asks are not there; --join-wait is longer"
                    );
                }
                join();
            })),
            _ => join(),
        }
    }

    /// The buses by which requests come, one for each version.
    pub(crate) fn serving(&self) -> Vec<Bus> {
        std::iter::once(&self.bus).chain(self.others.iter().map(|(bus, _)| bus)).cloned().collect()
    }

    /// True when no pipe is missing that it dials.
    pub(crate) fn has_dialled(&self) -> bool {
        self.serving().iter().chain(&self.upstream).all(|bus| bus.unconnected().is_empty())
    }
}

/// Claims the routes, for a share of the requests. The bus's own hello has the topics that were
/// subscribed to.
fn join(bus: &Bus, upstream: Option<&Bus>, worker: &Worker, weight: u32) {
    if let Some(mut hello) = bus.hello() {
        hello.routes.clone_from(&worker.routes.patterns);
        hello.toggles = worker.routes.toggles.announced(upstream);
        hello.weight = weight;
        bus.set_hello(hello);
    }
}

async fn until(ready: Ready) {
    let mut looks = tokio::time::interval(READY_LOOK);
    while !ready() {
        looks.tick().await;
    }
}
