//! From settings to a running service.
//!
//! Owns: the order of starting, the control thread, the flush to statsd. Leaves the end to
//! `role::life`, and requests to `serve`. Invariant: settings are checked and endpoints bound
//! before a worker starts; exit codes are 0 stopped as asked, 1 failure, 2 usage.

use std::io::Write;
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Context as _;
use bus::{Bus, Endpoint, Hello, Seed};
use clap::error::ErrorKind;
use role::life::{self, Role, Times};
use role::signals::Signals;
use role::sockets::{self, Inherited, Wanted};
use role::telemetry::Statsd;
use role::worker::{self, Workers};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use crate::context::Context;
use crate::gate::Gate;
use crate::options::{Options, Settings, Upstream};
use crate::router::{Ready, Router};
use crate::serve::{Server, Worker};
use crate::stats::{Report, Summary};

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
    let options = args.options();
    if let Err(usage) = role::telemetry::trace(&options.log) {
        A::command().error(ErrorKind::InvalidValue, format!("--log {:?}: {usage}", options.log)).exit();
    }
    require_bus(&args);
    match start_and_wait(args, build) {
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
    build: impl Fn(&Context<A>) -> anyhow::Result<Router> + Clone + Send + 'static,
) -> anyhow::Result<()> {
    let control = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(tokio::runtime::LocalOptions::default())?;
    control.block_on(async {
        // From here on a signal is answered, not obeyed by dying.
        let signals = Signals::new()?;
        let statsd = statsd::<A>(args.options())?;
        let options = args.options().clone();
        let hello = hello::<A>(&options);
        let (drains, draining) = watch::channel(false);
        let (workers, places) = start(args, hello.clone(), draining, build)?;
        tracing::info!("{}", announcement(&hello, &options, &places));
        let workers = Rc::new(workers);
        let flush = Flush::start(statsd, options.statsd_interval, Rc::clone(&workers));
        let times = Times { delay: options.drain_delay, deadline: options.drain_deadline };
        Ok(life::live(Control { drains, flush: Some(flush) }, workers, signals, times, None).await?)
    })
}

/// What the control thread holds while serving, and what a service does at each step of its life.
struct Control {
    /// Told when the drain begins; see [`Context::draining`].
    drains: watch::Sender<bool>,
    flush: Option<Flush>,
}

impl Role for Control {
    type Worker = Site;

    /// First the requests in hand, which may still ask; then what was asked.
    fn buses(site: &Site) -> Vec<Bus> {
        std::iter::once(&site.bus).chain(&site.upstream).cloned().collect()
    }

    fn drain(&mut self) {
        self.drains.send_replace(true);
    }

    async fn finish(&mut self) {
        if let Some(flush) = self.flush.take() {
            flush.last().await;
        }
    }
}

/// What lives on a worker's thread.
struct Site {
    bus: Bus,
    upstream: Option<Bus>,
    worker: Rc<Worker>,
}

fn start<A: Settings>(
    args: A,
    hello: Hello,
    draining: watch::Receiver<bool>,
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
    let (own, of_upstream) = inherited(&args)?;
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
        let context = Context { args, worker: number, bus, upstream, draining: draining.clone() };
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
    let gate = Gate::new(options.limit_per_worker(), options.queue_per_worker());
    let Context { bus, upstream, .. } = context;
    let worker = Worker::new(routes, gate);
    bus.serve(Rc::new(Server(Rc::clone(&worker))));
    let weight = options.weight;
    match ready {
        Some(ready) if !ready() && !join_wait.is_zero() => {
            // It claims its routes meanwhile: without another instance they are 503, not 404.
            join(&bus, &worker, 0);
            let (bus, worker) = (bus.clone(), Rc::clone(&worker));
            tokio::task::spawn_local(async move {
                if tokio::time::timeout(join_wait, until(ready)).await.is_err() {
                    tracing::warn!(
                        "takes requests although those it asks are not there; --join-wait is longer"
                    );
                }
                join(&bus, &worker, weight);
            });
        }
        _ => join(&bus, &worker, weight),
    }
    Ok(Site { bus, upstream, worker })
}

/// Claims the routes, for a share of the requests. The bus's own hello has the topics that were
/// subscribed to.
fn join(bus: &Bus, worker: &Worker, weight: u32) {
    if let Some(mut hello) = bus.hello() {
        hello.routes.clone_from(&worker.routes.patterns);
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

/// The sockets that the service manager passed: for the service's bus, and for the upstream one.
fn inherited<A: Settings>(args: &A) -> anyhow::Result<(Activated, Activated)> {
    let own = &args.options().bus_listen;
    let upstream = args.upstream().map(|upstream| &upstream.upstream_listen[..]).unwrap_or_default();
    let wanted: Vec<Wanted> = own.iter().chain(upstream).map(Wanted::bus).collect();
    let mut all: Vec<_> = wanted.iter().map(|_| Vec::new()).collect();
    sockets::add_activated(&wanted, &mut all)?;
    let mut all = all.into_iter().map(|mut sockets| sockets.pop().map(Inherited::into_bus));
    Ok((all.by_ref().take(own.len()).collect(), all.collect()))
}

/// One seed per worker, or none when the service asks on its own bus.
fn upstream_seeds(
    upstream: Option<&Upstream>,
    options: &Options,
    workers: usize,
    inherited: Activated,
) -> anyhow::Result<Vec<Seed>> {
    let Some(upstream) = upstream else { return Ok(Vec::new()) };
    if upstream.upstream_listen.is_empty() && upstream.upstream_dial.is_empty() {
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

/// The task that sends the figures of all workers to statsd, if somebody wants them.
struct Flush(Option<(JoinHandle<()>, oneshot::Sender<()>)>);

impl Flush {
    fn start(statsd: Option<Statsd>, interval: Duration, workers: Rc<Workers<Site>>) -> Self {
        let Some(mut statsd) = statsd else { return Self(None) };
        let (stop, mut stopped) = oneshot::channel();
        let task = tokio::task::spawn_local(async move {
            let mut summary = Summary::default();
            let mut ticks = tokio::time::interval(interval);
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            let mut last = false;
            while !last {
                last = tokio::select! {
                    _ = ticks.tick() => false,
                    _ = &mut stopped => true,
                };
                statsd.flush(&summary.sum(workers.ask(report).await));
            }
        });
        Self(Some((task, stop)))
    }

    /// Sends what the drain has added and ends the task.
    async fn last(self) {
        if let Some((task, stop)) = self.0 {
            drop(stop);
            if task.await.is_err() {
                tracing::error!("the statsd task panicked");
            }
        }
    }
}

fn report(site: &Site) -> Report {
    let Worker { routes, gate, stats } = &*site.worker;
    let mut counters = stats.counters();
    counters.extend(site.bus.counters());
    let patterns = routes.entries.iter().map(|entry| entry.pattern.clone());
    Report {
        counters,
        upstream: site.upstream.as_ref().map(Bus::counters).unwrap_or_default(),
        running: gate.running(),
        queued: gate.queued(),
        outstanding: site.upstream.as_ref().unwrap_or(&site.bus).outstanding(),
        latencies: patterns.zip(stats.take_latencies()).collect(),
    }
}

fn statsd<A: Settings>(options: &Options) -> anyhow::Result<Option<Statsd>> {
    let Some(target) = &options.statsd else { return Ok(None) };
    let statsd = Statsd::new(target, A::command().get_name(), options.dogstatsd);
    statsd.map(Some).map_err(|error| anyhow::anyhow!("--statsd {target}: {error}"))
}

/// The hello before the routes are known.
fn hello<A: Settings>(options: &Options) -> Hello {
    let command = A::command();
    let instance = options.instance.clone().unwrap_or_else(instance);
    let mut hello = Hello::new(command.get_name(), command.get_version().unwrap_or("0"), instance);
    hello.weight = options.weight;
    hello.limit = options.limit_per_worker();
    hello
}

/// HOST-PID-RANDOM: what an operator looks for, and different after a restart in a container with
/// the same pid.
fn instance() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname")
        .ok()
        .or_else(|| std::env::var("HOSTNAME").ok())
        .map_or_else(|| "host".to_owned(), |name| name.trim().to_owned());
    format!("{host}-{}-{:06x}", std::process::id(), fastrand::u32(..1 << 24))
}

/// Where the service is to be found, and whom it looks for.
struct Places {
    /// With the ports that the system chose.
    listening: Vec<Endpoint>,
    dialling: Vec<Endpoint>,
    upstream_listening: Vec<Endpoint>,
    upstream_dialling: Vec<Endpoint>,
}

fn announcement(hello: &Hello, options: &Options, places: &Places) -> String {
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
    text.push_str(&format!(
        "; workers {}, limit {}, weight {}",
        options.workers, options.limit, options.weight
    ));
    text
}
