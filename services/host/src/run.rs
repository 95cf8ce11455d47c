//! From settings to a running service.
//!
//! Owns: the order of starting, and the control thread. Leaves the end to `role::life`, and
//! requests to `serve`. Invariant: settings are checked and endpoints bound before a worker starts;
//! exit codes are 0 stopped as asked, 1 failure, 2 usage.

use std::io::Write;
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Context as _;
use bus::{Bus, Endpoint, Hello, Seed};
use clap::error::ErrorKind;
use role::admin::{self, Admin};
use role::identity::Identity;
use role::life::{self, Role, Times};
use role::metrics::{Group, Latencies, Picture};
use role::observer::{Observer, Views};
use role::signals::Signals;
use role::sockets::{self, Kind, Wanted};
use role::telemetry::{Destination, Flush, Statsd};
use role::worker::{self, Workers};

use crate::background::Background;
use crate::context::Context;
use crate::gate::Gate;
use crate::options::{Options, Settings, Upstream};
use crate::router::{Ready, Router};
use crate::serve::{Server, Worker};
use crate::views;

/// Between two looks whether those that a service asks are there.
const READY_LOOK: Duration = Duration::from_millis(10);

/// A service's `main`: reads the settings and [`run`]s.
pub fn main<A: Settings>(
    build: impl Fn(&Context<A>) -> anyhow::Result<Router> + Clone + Send + 'static,
) -> ExitCode {
    run(role::settings::load::<A>(), build)
}

/// Runs a service until SIGTERM or SIGINT. `build` makes the routes of one worker, on its thread;
/// the name and version of `A`'s clap command are the service's.
pub fn run<A: Settings>(
    args: A,
    build: impl Fn(&Context<A>) -> anyhow::Result<Router> + Clone + Send + 'static,
) -> ExitCode {
    run_with(args, false, build)
}

/// As [`run`]; `keeps_data` adds the metrics of a store.
pub(crate) fn run_with<A: Settings>(
    args: A,
    keeps_data: bool,
    build: impl Fn(&Context<A>) -> anyhow::Result<Router> + Clone + Send + 'static,
) -> ExitCode {
    let options = args.options();
    if let Err(usage) = role::telemetry::trace(&options.log) {
        A::command().error(ErrorKind::InvalidValue, format!("--log {:?}: {usage}", options.log)).exit();
    }
    require_bus(&args);
    match start_and_wait(args, keeps_data, build) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The last words are said whatever the log level.
            let _ = writeln!(std::io::stderr(), "{}: {error:#}", A::command().get_name());
            ExitCode::FAILURE
        }
    }
}

/// Exits with a usage error when the settings name no bus. [`run`] checks this itself; a service
/// that opens something before it runs calls it first.
pub fn require_bus<A: Settings>(args: &A) {
    let options = args.options();
    if options.bus_listen.is_empty() && options.bus_dial.is_empty() {
        let usage = "the service has no bus: give --bus-listen URL to be dialled by others, \
            --bus-dial URL to dial a terminator's bus, or both, e.g. --bus-dial tcp://127.0.0.1:5555";
        A::command().error(ErrorKind::MissingRequiredArgument, usage).exit();
    }
}

fn start_and_wait<A: Settings>(
    args: A,
    keeps_data: bool,
    build: impl Fn(&Context<A>) -> anyhow::Result<Router> + Clone + Send + 'static,
) -> anyhow::Result<()> {
    let control = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(tokio::runtime::LocalOptions::default())?;
    control.block_on(async {
        // From here on a signal is answered, not obeyed by dying.
        let signals = Signals::new()?;
        let options = args.options().clone();
        let identity = identity::<A>(&options);
        let statsd = statsd(&options, &identity)?;
        let groups = views::groups(keeps_data, args.upstream().is_some_and(Upstream::is_given));
        let Inherited { own, upstream, admin } = Inherited::take(&args)?;
        let admin = bind_admin(&options, admin)?;
        let hello = hello(&identity, &options);
        let (workers, places) = start(args, hello.clone(), own, upstream, build)?;
        tracing::info!("{}", announcement(&hello, &options, &places, admin.as_ref()));
        let workers = Rc::new(workers);
        let control = Control::start(&workers, &options, identity, groups, admin, statsd)?;
        let times = Times { delay: options.drain_delay, deadline: options.drain_deadline };
        Ok(life::live(control, workers, signals, times, None).await?)
    })
}

/// What the control thread holds while serving, and what a service does at each step of its life.
struct Control {
    admin: Option<admin::Serving>,
    flush: Option<Flush<Site>>,
}

impl Control {
    fn start(
        workers: &Rc<Workers<Site>>,
        options: &Options,
        identity: Identity,
        groups: &'static [Group],
        admin: Option<Admin>,
        statsd: Option<(Statsd, Duration)>,
    ) -> anyhow::Result<Self> {
        let views = Views { groups, picture, health, needs_peer: true };
        let observer = Observer::new(identity, Rc::clone(workers), usize::from(options.workers), views);
        let admin =
            admin.map(|admin| admin.serve(Rc::clone(&observer), None)).transpose().context("--admin")?;
        Ok(Self { admin, flush: Some(Flush::start(observer, statsd)) })
    }
}

impl Role for Control {
    type Worker = Site;

    /// First the requests in hand, which may still ask; then what was asked.
    fn buses(site: &Site) -> Vec<Bus> {
        std::iter::once(&site.bus).chain(&site.upstream).cloned().collect()
    }

    /// Nothing begins that another instance can do.
    fn leave_worker(site: &Site) {
        if let Some(background) = &site.background {
            background.stop();
        }
    }

    fn close_worker(site: &Site) {
        Self::leave_worker(site);
    }

    /// What runs beside the requests ends before the buses drain, because it may ask others.
    fn open(site: &Site) -> usize {
        site.background.as_ref().map_or(0, |background| background.running())
    }

    fn leave(&mut self) {
        if let Some(admin) = &self.admin {
            admin.set_draining();
        }
    }

    fn drain(&mut self) {
        if let Some(admin) = &mut self.admin {
            admin.release();
        }
    }

    async fn finish(&mut self) {
        if let Some(flush) = self.flush.take() {
            flush.last().await;
        }
        if let Some(admin) = self.admin.take() {
            admin.stop().await;
        }
    }
}

fn picture(site: &Site, latencies: Latencies) -> Picture {
    let mut picture = views::picture(site.number, &site.worker, &site.bus, site.upstream.as_ref(), latencies);
    if let Some(background) = &site.background {
        background.add_to(&mut picture);
    }
    picture
}

fn health(site: &Site) -> role::readiness::Health {
    views::health(&site.worker, &site.bus, site.upstream.as_ref(), site.weight)
}

fn bind_admin(options: &Options, inherited: Option<sockets::Inherited>) -> anyhow::Result<Option<Admin>> {
    let Some(address) = &options.admin else { return Ok(None) };
    let admin = inherited.map_or_else(|| Admin::bind(address), Admin::adopt);
    admin.map(Some).with_context(|| format!("--admin {address}: cannot be bound"))
}

/// What lives on a worker's thread.
struct Site {
    number: usize,
    /// Its share of the requests once it has joined.
    weight: u32,
    bus: Bus,
    upstream: Option<Bus>,
    worker: Rc<Worker>,
    background: Option<Rc<dyn Background>>,
}

fn start<A: Settings>(
    args: A,
    hello: Hello,
    own: Activated,
    of_upstream: Activated,
    build: impl Fn(&Context<A>) -> anyhow::Result<Router> + Clone + Send + 'static,
) -> anyhow::Result<(Workers<Site>, Places)> {
    let options = args.options();
    let workers = usize::from(options.workers);
    let name = hello.service.clone();
    let config = bus::Config {
        listen: options.bus_listen.clone(),
        dial: options.bus_dial.clone(),
        hello: Some(hello),
        limits: options.limits(),
        ..bus::Config::default()
    };
    let seeds = bus::bind_with(&config, workers, own).context("the service's bus")?;
    let upstreams = upstream_seeds(args.upstream(), options, workers, of_upstream)?;
    let places = Places {
        listening: seeds.first().map(Seed::listening).unwrap_or_default(),
        dialling: options.bus_dial.clone(),
        upstream_listening: upstreams.first().map(Seed::listening).unwrap_or_default(),
        upstream_dialling: args.upstream().map(|upstream| upstream.upstream_dial.clone()).unwrap_or_default(),
    };
    let upstreams = Arc::new(Mutex::new(upstreams));
    let args = Arc::new(args);
    let started = worker::start(&name, args.options().scheduling, seeds, move |number, bus| {
        tokio::task::spawn_local(role::memory::give_back());
        let seed = upstreams.lock().ok().and_then(|mut seeds| seeds.pop());
        let upstream = seed.map(Seed::start);
        let args = Arc::clone(&args);
        let context = Context { args, worker: number, bus, upstream };
        serve(context, &build).map_err(|error| std::io::Error::other(format!("{error:#}")))
    });
    Ok((started?, places))
}

/// Builds the routes, says hello with them, and serves.
fn serve<A: Settings>(
    context: Context<A>,
    build: &impl Fn(&Context<A>) -> anyhow::Result<Router>,
) -> anyhow::Result<Site> {
    let mut routes = build(&context)?.finish()?;
    let options = context.args.options();
    let join_wait = context.args.upstream().map_or(Duration::ZERO, |upstream| upstream.join_wait);
    let ready = routes.ready.take();
    let background = routes.background.take();
    let gate = Gate::new(options.limit_per_worker(), options.queue_per_worker());
    let Context { bus, upstream, worker: number, .. } = context;
    let worker = Worker::new(routes, gate);
    bus.serve(Rc::new(Server(Rc::clone(&worker))));
    let weight = options.weight;
    match ready {
        Some(ready) if !ready() && !join_wait.is_zero() => {
            // It claims its routes meanwhile: without another instance they are 503, not 404.
            join(&bus, upstream.as_ref(), &worker, 0);
            let (bus, upstream, worker) = (bus.clone(), upstream.clone(), Rc::clone(&worker));
            tokio::task::spawn_local(async move {
                if tokio::time::timeout(join_wait, until(ready)).await.is_err() {
                    tracing::warn!(
                        "takes requests although those it asks are not there; --join-wait is longer"
                    );
                }
                join(&bus, upstream.as_ref(), &worker, weight);
            });
        }
        _ => join(&bus, upstream.as_ref(), &worker, weight),
    }
    if let Some(upstream) = &upstream {
        let toggles = Rc::clone(&worker.routes.toggles);
        tokio::task::spawn_local(toggles.relay(bus.clone(), upstream.clone()));
    }
    let background = background.map(|start| start());
    Ok(Site { number, weight, bus, upstream, worker, background })
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

/// For each listener of a bus the socket that the service manager passed.
type Activated = Vec<Option<bus::Inherited>>;

/// The sockets that the service manager passed.
struct Inherited {
    own: Activated,
    upstream: Activated,
    admin: Option<sockets::Inherited>,
}

impl Inherited {
    fn take<A: Settings>(args: &A) -> anyhow::Result<Self> {
        let options = args.options();
        let upstream = args.upstream().map(|upstream| &upstream.upstream_listen[..]).unwrap_or_default();
        let buses = options.bus_listen.iter().chain(upstream).map(Wanted::bus);
        let wanted: Vec<Wanted> =
            buses.chain(options.admin.as_ref().map(|admin| Wanted::at(Kind::Admin, admin))).collect();
        let mut all: Vec<_> = wanted.iter().map(|_| Vec::new()).collect();
        sockets::add_activated(&wanted, &mut all)?;
        let mut all = all.into_iter().map(|mut sockets| sockets.pop());
        let of_bus = |socket: Option<sockets::Inherited>| socket.map(sockets::Inherited::into_bus);
        Ok(Self {
            own: all.by_ref().take(options.bus_listen.len()).map(of_bus).collect(),
            upstream: all.by_ref().take(upstream.len()).map(of_bus).collect(),
            admin: all.next().flatten(),
        })
    }
}

/// One seed per worker, or none when the service asks on its own bus.
fn upstream_seeds(
    upstream: Option<&Upstream>,
    options: &Options,
    workers: usize,
    inherited: Activated,
) -> anyhow::Result<Vec<Seed>> {
    let Some(upstream) = upstream else { return Ok(Vec::new()) };
    if !upstream.is_given() {
        return Ok(Vec::new());
    }
    let config = bus::Config {
        listen: upstream.upstream_listen.clone(),
        dial: upstream.upstream_dial.clone(),
        limits: options.limits(),
        ..bus::Config::default()
    };
    bus::bind_with(&config, workers, inherited).context("the upstream bus")
}

/// The client of the statsd daemon, and the interval.
fn statsd(options: &Options, identity: &Identity) -> anyhow::Result<Option<(Statsd, Duration)>> {
    let connect = |to: Destination| to.connect(identity).map(|statsd| (statsd, to.interval));
    options.destination().map(connect).transpose().map_err(anyhow::Error::msg)
}

fn identity<A: Settings>(options: &Options) -> Identity {
    let command = A::command();
    Identity::new(command.get_name(), command.get_version().unwrap_or("0"), options.instance.clone())
}

/// The hello before the routes are known.
fn hello(identity: &Identity, options: &Options) -> Hello {
    let mut hello = Hello::new(&identity.service, &identity.version, &identity.instance);
    hello.weight = options.weight;
    hello.limit = options.limit_per_worker();
    hello
}

/// Where the service is to be found, and whom it looks for.
struct Places {
    /// With the ports that the system chose.
    listening: Vec<Endpoint>,
    dialling: Vec<Endpoint>,
    upstream_listening: Vec<Endpoint>,
    upstream_dialling: Vec<Endpoint>,
}

fn announcement(hello: &Hello, options: &Options, places: &Places, admin: Option<&Admin>) -> String {
    let mut text = format!("{} {} {}", hello.service, hello.version, hello.instance);
    let mut say = |verb: &str, endpoints: &[Endpoint]| {
        if !endpoints.is_empty() {
            let list: Vec<String> = endpoints.iter().map(ToString::to_string).collect();
            text.push_str(&format!(", {verb} {}", list.join(" ")));
        }
    };
    say("listens on", &places.listening);
    say("dials", &places.dialling);
    say("listens for upstreams on", &places.upstream_listening);
    say("dials upstreams at", &places.upstream_dialling);
    if let Some(admin) = admin {
        text.push_str(&format!(", admin={}", admin.address()));
    }
    let Options { workers, limit, weight, .. } = options;
    text + &format!("; workers {workers}, limit {limit}, weight {weight}")
}
