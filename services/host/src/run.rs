//! From settings to a running service, and from SIGTERM to exit code 0.
//!
//! Owns: the order of starting and stopping, the control thread, the flush to statsd. Does not own: requests.
//! Invariant: settings are checked and endpoints bound before a worker starts; exit codes are 0 stopped as asked,
//! 1 failure, 2 usage.

use std::io::Write;
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bus::{Bus, Endpoint, Hello, Seed};
use clap::error::ErrorKind;
use role::telemetry::Statsd;
use tokio::sync::watch;

use role::worker::{self, Workers};

use crate::context::Context;
use crate::gate::Gate;
use crate::options::{Options, Settings, Upstream};
use crate::router::{Ready, Router};
use crate::serve::{Server, Worker};
use crate::stats::{Report, Summary};
use crate::stop::Stop;

/// Between two looks whether those that a service asks are there.
const READY_LOOK: Duration = Duration::from_millis(10);

/// A service's `main`: reads the settings and [`run`]s.
pub fn main<A: Settings>(
    build: impl Fn(&Context<A>) -> anyhow::Result<Router> + Clone + Send + 'static,
) -> ExitCode {
    run(role::settings::load::<A>(), build)
}

/// Runs a service until SIGTERM or SIGINT. `build` makes the routes of one worker, on its thread; the name and
/// version of `A`'s clap command are the service's.
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
        Ok(code) => code,
        Err(error) => {
            // The last words are said whatever the log level.
            let _ = writeln!(std::io::stderr(), "{}: {error:#}", A::command().get_name());
            ExitCode::FAILURE
        }
    }
}

/// Exits with a usage error when the settings name no bus. [`run`] checks this itself; a service that opens something
/// before it runs calls it first.
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
) -> anyhow::Result<ExitCode> {
    let control = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    control.block_on(async {
        // From here on a signal is answered, not obeyed by dying.
        let mut stop = Stop::new()?;
        let statsd = statsd::<A>(args.options())?;
        let options = args.options().clone();
        let hello = hello::<A>(&options);
        let (drains, draining) = watch::channel(false);
        let (workers, places) = start(args, hello.clone(), draining, build)?;
        tracing::info!("{}", announcement(&hello, &options, &places));
        let mut metrics = Metrics { statsd, summary: Summary::default() };
        attend(&workers, &mut metrics, &options, &mut stop).await;
        drains.send_replace(true);
        Ok(drain(workers, &mut metrics, &options, &mut stop).await)
    })
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
    let seeds = bus::bind(&config, workers).context("the service's bus")?;
    let upstreams = upstream_seeds(args.upstream(), options, workers)?;
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
            // It holds its routes meanwhile: they are 503, not 404, when there is no other instance.
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

/// Claims the routes, for a share of the requests. The bus's own hello has the topics that were subscribed to.
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

/// One seed per worker, or none when the service asks on its own bus.
fn upstream_seeds(
    upstream: Option<&Upstream>,
    options: &Options,
    workers: usize,
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
    bus::bind(&config, workers).context("the upstream bus")
}

/// Where the figures of all workers go, if somebody wants them.
struct Metrics {
    statsd: Option<Statsd>,
    summary: Summary,
}

impl Metrics {
    fn flush(&mut self, reports: Vec<Report>) {
        if let Some(statsd) = &mut self.statsd {
            statsd.flush(&self.summary.sum(reports));
        }
    }
}

/// Flushes metrics until it is time to stop.
async fn attend(workers: &Workers<Site>, metrics: &mut Metrics, options: &Options, stop: &mut Stop) {
    let mut ticks = tokio::time::interval(options.statsd_interval);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.asked() => break,
            _ = ticks.tick(), if metrics.statsd.is_some() => metrics.flush(workers.ask(report).await),
        }
    }
}

fn report(site: &Site) -> Report {
    let Worker { gate, tally, .. } = &*site.worker;
    let mut counters = tally.stats.counters();
    counters.extend(site.bus.counters());
    let patterns = tally.patterns.iter().cloned();
    Report {
        counters,
        upstream: site.upstream.as_ref().map(Bus::counters).unwrap_or_default(),
        running: gate.running(),
        queued: gate.queued(),
        outstanding: site.upstream.as_ref().unwrap_or(&site.bus).outstanding(),
        latencies: patterns.zip(tally.stats.take_latencies()).collect(),
    }
}

/// Finishes the requests in hand, and flushes what they added. A second signal ends the wait.
async fn drain(
    workers: Workers<Site>,
    metrics: &mut Metrics,
    options: &Options,
    stop: &mut Stop,
) -> ExitCode {
    tracing::info!(deadline = ?options.drain_deadline, "draining; a second signal stops at once");
    let deadline = Instant::now() + options.drain_deadline;
    let drained = workers.stop(move |site| async move {
        // First the requests in hand, which may still ask; then what was asked.
        let served = site.bus.drain(deadline).await;
        let finished = match &site.upstream {
            Some(upstream) => upstream.drain(deadline).await && served,
            None => served,
        };
        (finished, report(&site))
    });
    tokio::select! {
        drained = drained => {
            let (finished, reports): (Vec<bool>, _) = drained.into_iter().unzip();
            metrics.flush(reports);
            if finished.iter().all(|&finished| finished) {
                tracing::info!("stopped; every request in hand was answered");
            } else {
                tracing::warn!("stopped at the drain deadline with requests in hand; --drain-deadline is longer");
            }
            ExitCode::SUCCESS
        }
        () = stop.asked_again() => {
            tracing::warn!("stopped by a second signal with requests in hand");
            ExitCode::FAILURE
        }
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

/// HOST-PID-RANDOM: what an operator looks for, and different after a restart in a container with the same pid.
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
