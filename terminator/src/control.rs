//! The control thread: binds, starts the workers, then lives until a signal ends the process.
//!
//! Owns: the start from the checked settings, and what the terminator does at each step of its
//! life. Leaves the order of these steps to `role::life`, and requests to the workers. Invariant:
//! nothing is served before everything is bound.

mod files;
mod ghosts;
mod page;
mod plan;
mod questions;
mod rollouts;
mod series;
mod toggles;
mod writes;

use std::io;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result};
use role::address::Address;
use role::admin::{self, Admin};
use role::discovery::Discovery;
use role::handover::{Stand, Successor};
use role::life::{self, Role, Times};
use role::observer::Observer;
use role::signals::Signals;
use role::sockets::{self, Inherited, Kind, Wanted};
use role::telemetry::{Destination, Flush, Statsd};
use role::unix::SocketFile;
use role::worker::{self, Workers};
use tokio::runtime::{Builder, LocalOptions};

use crate::access_log::{self, AccessLog, Writer};
use crate::config::Config;
use crate::listen::{self, Bound, Unstarted};
use crate::views::VIEWS;
use crate::worker::Worker;
use plan::Follower;

/// How often a drain asks services to answer what is outstanding.
const FINISH_INTERVAL: Duration = Duration::from_millis(100);

/// Serves until a signal or a successor ends it.
///
/// # Errors
/// What cannot be bound or started, by name; a predecessor that does not hand over; and a second
/// signal.
pub fn run(mut config: Config) -> Result<()> {
    files::make_room(&mut config);
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default())
        .context("cannot start the main thread's runtime")?;
    runtime.block_on(async {
        let mut signals = Signals::new().context("cannot listen for signals")?;
        let started = tokio::select! {
            started = start(config) => started?,
            () = signals.stopped() => return Ok(()),
        };
        let Started { control, workers, times, stand } = started;
        Ok(life::live(control, workers, signals, times, stand).await?)
    })
}

/// A terminator that serves.
struct Started {
    control: Control,
    workers: Rc<Workers<Rc<Worker>>>,
    times: Times,
    stand: Option<Stand>,
}

async fn start(mut config: Config) -> Result<Started> {
    let statsd = statsd(&config)?;
    let wanted = wanted(&config);
    let (mut successor, mut inherited) = match Successor::ask(&config.handover, &wanted).await? {
        Some((successor, inherited)) => (Some(successor), inherited),
        None => (None, wanted.iter().map(|_| Vec::new()).collect()),
    };
    let settle = config.settle;
    if successor.is_some() {
        // It serves no client before the services have had this time.
        config.settle = Duration::ZERO;
    }
    let config = Arc::new(config);
    sockets::add_activated(&wanted, &mut inherited)?;
    let Sockets { http, bus, admin, passed } = Sockets::bind(&config, &wanted, inherited)?;
    let listening = bus.first().map(bus::Seed::listening).unwrap_or_default();
    let (log, writer) = access_log::start(&config.access_log)
        .with_context(|| format!("--access-log {}: cannot be written", config.access_log))?
        .unzip();
    let (addresses, files, http) = split(http, config.workers)?;
    let known = successor.as_ref().map(Successor::hellos).unwrap_or_default();
    let workers = Rc::new(start_workers(&config, bus, known, log).context("cannot start the workers")?);
    let plan = match &config.plan {
        Some(settings) => {
            let instance = &config.identity.instance;
            Some(Rc::new(Follower::start(settings, instance, Rc::clone(&workers)).await?))
        }
        None => None,
    };
    let mut discovery = Discovery::default();
    let (named, source) = (config.discovery.bus(), plan.as_ref().map(|plan| plan.source.clone()));
    if let Some(source) = &source {
        discovery.join(named, source, &config.identity, &workers, Control::buses);
    }
    if let Some(successor) = &mut successor {
        successor.get_ready::<Control>(&workers, settle).await?;
    }
    if let Some(source) = &source {
        discovery.publish(named, source, &config.identity, &listening)?;
    }
    accept(&workers, http).await.context("cannot accept clients")?;
    let operators = admin.address().clone();
    let observer = Observer::new(config.identity.clone(), Rc::clone(&workers), config.workers, VIEWS);
    let paths = questions::extension(plan.clone(), config.write_token.clone());
    let admin = admin.serve(Rc::clone(&observer), Some(paths)).context("--admin: cannot be served")?;
    let stand = Stand::bind(&config.handover, passed)?;
    if let Some(successor) = successor {
        successor.serving().await?;
    }
    announce(&config, &addresses, &operators, &listening);
    let flush = Flush::start(observer, statsd);
    let control = Control { admin: Some(admin), flush: Some(flush), plan, discovery, writer, files };
    let times = Times { delay: config.drain_delay, deadline: config.drain_deadline };
    Ok(Started { control, workers, times, stand })
}

/// The flags that a socket may be for: `--http`, `--bus-listen`, `--admin`, in this order.
fn wanted(config: &Config) -> Vec<Wanted> {
    let http = config.http.iter().map(|http| Wanted::at(Kind::Http, http));
    let admin = Wanted::at(Kind::Admin, &config.admin);
    http.chain(config.bus.listen.iter().map(Wanted::bus)).chain([admin]).collect()
}

/// Everything that is bound.
struct Sockets {
    http: Vec<Bound>,
    bus: Vec<bus::Seed>,
    admin: Admin,
    /// Duplicates of all of it, for a successor.
    passed: Vec<Inherited>,
}

impl Sockets {
    /// Binds what is not `inherited`: the sockets of each of `wanted`.
    fn bind(config: &Config, wanted: &[Wanted], inherited: Vec<Vec<Inherited>>) -> Result<Self> {
        listen::check_congestion(&config.congestion)?;
        let mut inherited = inherited.into_iter();
        let mut passed = Vec::new();
        let mut http = Vec::new();
        for address in &config.http {
            let inherited = inherited.next().unwrap_or_default();
            let bound = match inherited.is_empty() {
                true => listen::bind(address, config.workers, &config.congestion),
                false => listen::adopt(inherited, &config.congestion),
            };
            let bound = bound.with_context(|| format!("--http {address}: cannot be bound"))?;
            passed.extend(bound.duplicates(&address.to_string())?);
            http.push(bound);
        }
        let of_bus = inherited.by_ref().take(config.bus.listen.len());
        let of_bus = of_bus.map(|mut sockets| sockets.pop().map(Inherited::into_bus)).collect();
        let bus = bus::bind_with(&config.bus, config.workers, of_bus).context("--bus-listen")?;
        for (wanted, socket) in wanted[config.http.len()..].iter().zip(bus[0].sockets()?) {
            passed.extend(socket.map(|socket| Inherited::from_bus(wanted, socket)));
        }
        let admin = match inherited.next().and_then(|mut sockets| sockets.pop()) {
            Some(inherited) => Admin::adopt(inherited),
            None => Admin::bind(&config.admin),
        };
        let admin = admin.with_context(|| format!("--admin {}: cannot be bound", config.admin))?;
        passed.push(admin.duplicate(&config.admin)?);
        Ok(Self { http, bus, admin, passed })
    }
}

/// What the control thread holds while serving, and what the terminator does at each step of its
/// life.
struct Control {
    admin: Option<admin::Serving>,
    flush: Option<Flush<Rc<Worker>>>,
    plan: Option<Rc<Follower>>,
    discovery: Discovery,
    writer: Option<Writer>,
    files: Vec<SocketFile>,
}

impl Role for Control {
    type Worker = Rc<Worker>;

    fn buses(worker: &Rc<Worker>) -> Vec<bus::Bus> {
        vec![worker.bus.0.clone()]
    }

    fn reload(&mut self) {
        if let Some(writer) = &self.writer {
            writer.reopen();
        }
    }

    fn leave(&mut self) {
        if let Some(admin) = &self.admin {
            admin.set_draining();
        }
        self.discovery.withdraw();
    }

    fn leave_worker(worker: &Rc<Worker>) {
        worker.begin_to_leave();
    }

    fn drain(&mut self) {
        self.files.clear();
        if let Some(admin) = &mut self.admin {
            admin.release();
        }
    }

    fn close_worker(worker: &Rc<Worker>) {
        if worker.begin_to_close() {
            tokio::task::spawn_local(finish_outstanding(worker.bus.0.clone()));
        }
    }

    fn drain_worker(worker: &Rc<Worker>) {
        worker.begin_drain();
    }

    fn hand_over(&mut self) {
        self.files.drain(..).for_each(SocketFile::keep);
        if let Some(admin) = &mut self.admin {
            admin.keep_file();
            admin.release();
        }
    }

    fn open(worker: &Rc<Worker>) -> usize {
        worker.connections.len()
    }

    async fn finish(&mut self) {
        if let Some(flush) = self.flush.take() {
            flush.last().await;
        }
        if let Some(admin) = self.admin.take() {
            admin.stop().await;
        }
        // Its tasks hold the workers.
        self.discovery = Discovery::default();
        // The admin listener has ended, so this is the only reference.
        if let Some(plan) = self.plan.take().and_then(Rc::into_inner) {
            plan.stop().await;
        }
        if let Some(writer) = self.writer.take() {
            let dropped = writer.stop();
            if dropped > 0 {
                tracing::warn!(dropped, "access log: lines were dropped");
            }
        }
    }
}

/// Asks services to answer what is outstanding, long polls above all, for as long as the worker
/// runs: a request may be read during the drain, and a full queue drops what is asked.
async fn finish_outstanding(bus: bus::Bus) {
    loop {
        bus.finish_outstanding();
        tokio::time::sleep(FINISH_INTERVAL).await;
    }
}

/// The client of the statsd daemon, and the interval.
fn statsd(config: &Config) -> Result<Option<(Statsd, Duration)>> {
    let connect = |to: &Destination| to.connect(&config.identity).map(|statsd| (statsd, to.interval));
    config.statsd.as_ref().map(connect).transpose().map_err(anyhow::Error::msg)
}

/// Addresses, files, and the sockets by worker.
type Split = (Vec<String>, Vec<SocketFile>, Vec<Vec<Unstarted>>);

fn split(bound: Vec<Bound>, workers: usize) -> io::Result<Split> {
    let mut of_workers: Vec<Vec<Unstarted>> = (0..workers).map(|_| Vec::new()).collect();
    let (mut addresses, mut files) = (Vec::new(), Vec::new());
    for one in bound {
        addresses.push(one.address.to_string());
        files.extend(one.file);
        for (worker, sockets) in of_workers.iter_mut().zip(listen::share(one.sockets, workers)?) {
            worker.extend(sockets);
        }
    }
    Ok((addresses, files, of_workers))
}

fn start_workers(
    config: &Arc<Config>,
    seeds: Vec<bus::Seed>,
    known: Vec<bus::Hello>,
    log: Option<AccessLog>,
) -> io::Result<Workers<Rc<Worker>>> {
    let config = Arc::clone(config);
    worker::start("terminator", config.scheduling, seeds, move |id, bus| {
        known.iter().for_each(|hello| bus.remember(hello));
        Ok(Worker::start(id, bus, Arc::clone(&config), log.clone()))
    })
}

/// Has every worker accept clients on its own of `sockets`.
async fn accept(workers: &Workers<Rc<Worker>>, sockets: Vec<Vec<Unstarted>>) -> io::Result<()> {
    let sockets = Arc::new(Mutex::new(sockets));
    let accept = move |worker: &Rc<Worker>| {
        let mut all = sockets.lock().expect("no worker panics while it takes its sockets");
        let own = std::mem::take(&mut all[worker.id]).into_iter();
        worker.accept(own.map(Unstarted::start).collect::<io::Result<_>>()?);
        Ok(())
    };
    workers.ask(accept).await.into_iter().collect()
}

/// One line that says where everything is: `listening http=ADDR,ADDR admin=ADDR ...`.
fn announce(config: &Config, http: &[String], admin: &Address, bus: &[bus::Endpoint]) {
    let join =
        |endpoints: &[bus::Endpoint]| endpoints.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    tracing::info!(
        "listening http={} admin={admin} bus-listen={} bus-dial={} workers={}",
        http.join(","),
        join(bus),
        join(&config.bus.dial),
        config.workers,
    );
}
