//! From settings to a running service.
//!
//! Owns: the order of starting, and the control thread. Leaves the end to `role::life`, what is on
//! a worker's thread to `site`, and inherited sockets to `sockets`. Invariant: settings are checked
//! and endpoints bound before a worker starts; exit codes are 0 stopped as asked, 1 failure, 2
//! usage.

use std::io::Write;
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bus::{Bus, Seed};
use clap::error::ErrorKind;
use role::admin::{self, Admin};
use role::handover::{Stand, Successor};
use role::identity::Identity;
use role::life::{self, Role, Times};
use role::metrics::{Group, Latencies, Picture};
use role::observer::{Observer, Views};
use role::signals::Signals;
use role::sockets::Inherited;
use role::telemetry::{Destination, Flush, Statsd};
use role::worker::{self, Workers};

use crate::announce::announcement;
use crate::bound::{Bound, hello, versions};
use crate::context::Context;
use crate::discovery::{self, Finding};
use crate::options::{Options, Settings, Upstream};
use crate::router::Router;
use crate::site::Site;
use crate::sockets::{self, Passed, Sockets};
use crate::views;

/// How long a process that replaces another one waits for its peers: this or `--join-wait`, the
/// longer of the two. Then it takes requests even if peers are missing.
const SETTLE: Duration = Duration::from_secs(1);
/// Between two looks whether it is connected to its peers.
const DIALLED_LOOK: Duration = Duration::from_millis(5);

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
    begin(&args);
    run_with(args, Kind::Stateless, build)
}

/// What a service is, besides its routes.
pub(crate) enum Kind {
    /// It keeps no data.
    Stateless,
    /// It keeps data: there are metrics of a store. The sockets, when it has replaced a process
    /// that had to close the store first.
    #[cfg_attr(not(feature = "store"), expect(dead_code, reason = "only services with a store keep data"))]
    KeepsData(Option<Passed>),
}

/// Starts the log, and exits with a usage error when the settings cannot be used.
pub(crate) fn begin<A: Settings>(args: &A) {
    let level = &args.options().log;
    if let Err(usage) = role::telemetry::trace(level) {
        A::command().error(ErrorKind::InvalidValue, format!("--log {level:?}: {usage}")).exit();
    }
    require_bus(args);
}

/// As [`run`], after [`begin`].
pub(crate) fn run_with<A: Settings>(
    args: A,
    kind: Kind,
    build: impl Fn(&Context<A>) -> anyhow::Result<Router> + Clone + Send + 'static,
) -> ExitCode {
    match start_and_wait(args, kind, build) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed::<A>(&error),
    }
}

/// Writes the error with its causes to stderr, whatever the log level.
pub(crate) fn failed<A: Settings>(error: &anyhow::Error) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "{}: {error:#}", A::command().get_name());
    ExitCode::FAILURE
}

/// Exits with a usage error when the settings name no bus, or one that cannot be found. [`run`]
/// checks this itself; a service that opens something before it runs calls it first.
pub fn require_bus<A: Settings>(args: &A) {
    let options = args.options();
    if options.bus_listen.is_empty() && options.bus_dial.is_empty() && !options.discovery.bus().joins() {
        let usage = "the service has no bus: give --bus-listen URL to be dialled by others, \
            --bus-dial URL to dial a terminator's bus, e.g. --bus-dial tcp://127.0.0.1:5555, \
            or --bus-join NAME with --etcd URL to find terminators";
        A::command().error(ErrorKind::MissingRequiredArgument, usage).exit();
    }
    if let Err(usage) = discovery::check(args) {
        A::command().error(ErrorKind::ValueValidation, usage).exit();
    }
}

fn start_and_wait<A: Settings>(
    args: A,
    kind: Kind,
    build: impl Fn(&Context<A>) -> anyhow::Result<Router> + Clone + Send + 'static,
) -> anyhow::Result<()> {
    let control = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(tokio::runtime::LocalOptions::default())?;
    control.block_on(async {
        // From here on a signal is answered, not obeyed by dying.
        let mut signals = Signals::new()?;
        let options = args.options().clone();
        let times = Times { delay: options.drain_delay, deadline: options.drain_deadline };
        let started = tokio::select! {
            started = start(args, kind, build) => started?,
            () = signals.stopped() => return Ok(()),
        };
        let Started { control, workers, stand } = started;
        Ok(life::live(control, workers, signals, times, stand).await?)
    })
}

/// A service that takes requests.
struct Started {
    control: Control,
    workers: Rc<Workers<Site>>,
    stand: Option<Stand>,
}

async fn start<A: Settings>(
    args: A,
    kind: Kind,
    build: impl Fn(&Context<A>) -> anyhow::Result<Router> + Clone + Send + 'static,
) -> anyhow::Result<Started> {
    let options = args.options().clone();
    let identity = identity(&args);
    let statsd = statsd(&options, &identity)?;
    let keeps_data = matches!(kind, Kind::KeepsData(_));
    let groups = views::groups(keeps_data, args.upstream().is_some_and(Upstream::is_given));
    let settle = args.upstream().map_or(SETTLE, |upstream| upstream.join_wait.max(SETTLE));
    let (mut successor, passed) = match kind {
        Kind::KeepsData(Some(passed)) => (None, passed),
        _ => take_over(&args).await?,
    };
    let Sockets { own, upstream, admin } = Sockets::new(&args, passed)?;
    let admin = bind_admin(&options, admin)?;
    let hello = hello(&identity, &options);
    let bound = Bound::new(&args, &identity, own, upstream)?;
    let passed = sockets::duplicates(&args, &bound.own, &bound.upstream, admin.as_ref())?;
    let places = bound.places(&args);
    let upstream = args.upstream().cloned();
    let workers = Rc::new(start_workers(args, &hello.service, bound, build)?);
    tracing::info!("{}", announcement(&hello, &options, &places, admin.as_ref()));
    let mut finding = Finding::start(&options, upstream.as_ref(), &identity, &workers)?;
    if let Some(successor) = &mut successor {
        if let Some(finding) = &finding {
            finding.loaded().await;
        }
        dial(&workers, settle).await;
        successor.get_ready::<Control>(&workers, settle).await?;
    }
    if let Some(finding) = &mut finding {
        finding.publish(&options, upstream.as_ref(), &identity, &places)?;
    }
    let control = Control::start(&workers, &options, identity, groups, admin, statsd, finding)?;
    let stand = Stand::bind(&options.handover, passed)?;
    if let Some(successor) = successor {
        successor.serving().await?;
    }
    workers.ask(Site::enter).await;
    Ok(Started { control, workers, stand })
}

/// The process that this one replaces, if there is one, and its sockets.
async fn take_over<A: Settings>(args: &A) -> anyhow::Result<(Option<Successor>, Passed)> {
    let wanted = sockets::wanted(args);
    let none = || (None, wanted.iter().map(|_| Vec::new()).collect());
    let asked = Successor::ask(&args.options().handover, &wanted).await?;
    Ok(asked.map_or_else(none, |(successor, passed)| (Some(successor), passed)))
}

/// Waits until every worker has a pipe to each peer that it dials, for `time` at most.
async fn dial(workers: &Workers<Site>, time: Duration) {
    let end = Instant::now() + time;
    while workers.ask(Site::has_dialled).await.contains(&false) && Instant::now() < end {
        tokio::time::sleep(DIALLED_LOOK).await;
    }
}

/// What the control thread holds while serving, and what a service does at each step of its life.
struct Control {
    admin: Option<admin::Serving>,
    flush: Option<Flush<Site>>,
    finding: Option<Finding>,
}

impl Control {
    fn start(
        workers: &Rc<Workers<Site>>,
        options: &Options,
        identity: Identity,
        groups: &'static [Group],
        admin: Option<Admin>,
        statsd: Option<(Statsd, Duration)>,
        finding: Option<Finding>,
    ) -> anyhow::Result<Self> {
        let views = Views { groups, picture, health, needs_peer: true };
        let observer = Observer::new(identity, Rc::clone(workers), usize::from(options.workers), views);
        let admin =
            admin.map(|admin| admin.serve(Rc::clone(&observer), None)).transpose().context("--admin")?;
        Ok(Self { admin, flush: Some(Flush::start(observer, statsd)), finding })
    }
}

impl Role for Control {
    type Worker = Site;

    /// First the requests in hand, which may still ask; then what was asked.
    fn buses(site: &Site) -> Vec<Bus> {
        site.serving().into_iter().chain(site.upstream.clone()).collect()
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
        if let Some(finding) = &mut self.finding {
            finding.withdraw();
        }
    }

    fn drain(&mut self) {
        if let Some(admin) = &mut self.admin {
            admin.release();
        }
    }

    fn hand_over(&mut self) {
        if let Some(admin) = &mut self.admin {
            admin.keep_file();
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
        if let Some(finding) = self.finding.take() {
            finding.stop().await;
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

fn bind_admin(options: &Options, inherited: Option<Inherited>) -> anyhow::Result<Option<Admin>> {
    let Some(address) = &options.admin else { return Ok(None) };
    let admin = inherited.map_or_else(|| Admin::bind(address), Admin::adopt);
    admin.map(Some).with_context(|| format!("--admin {address}: cannot be bound"))
}

/// Starts the workers, which take no requests yet.
fn start_workers<A: Settings>(
    args: A,
    name: &str,
    bound: Bound,
    build: impl Fn(&Context<A>) -> anyhow::Result<Router> + Clone + Send + 'static,
) -> anyhow::Result<Workers<Site>> {
    let Bound { own, upstream, others, versions } = bound;
    // Of each, one seed for each worker.
    let seeds = Arc::new(Mutex::new((upstream, others)));
    let args = Arc::new(args);
    let started = worker::start(name, args.options().scheduling, own, move |number, bus| {
        tokio::task::spawn_local(role::memory::give_back());
        let mut seeds = seeds.lock().expect("no worker panics while it takes its seeds");
        let upstream = seeds.0.pop().map(Seed::start);
        let others: Vec<Bus> = seeds.1.iter_mut().filter_map(Vec::pop).map(Seed::start).collect();
        drop(seeds);
        let contexts = std::iter::once(bus).chain(others).zip(&versions).map(|(bus, version)| {
            let (args, upstream, version) = (Arc::clone(&args), upstream.clone(), version.clone());
            Context { args, worker: number, bus, upstream, version }
        });
        let contexts: Vec<Context<A>> = contexts.collect();
        Site::build(contexts, &build).map_err(|error| std::io::Error::other(format!("{error:#}")))
    });
    Ok(started?)
}

/// The client of the statsd daemon, and the interval.
fn statsd(options: &Options, identity: &Identity) -> anyhow::Result<Option<(Statsd, Duration)>> {
    let connect = |to: Destination| to.connect(identity).map(|statsd| (statsd, to.interval));
    options.destination().map(connect).transpose().map_err(anyhow::Error::msg)
}

fn identity<A: Settings>(args: &A) -> Identity {
    let version = &versions(args)[0];
    Identity::new(A::command().get_name(), version, args.options().instance.clone())
}
