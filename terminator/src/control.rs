//! The main thread: binds, starts the workers, then waits for signals, flushes statsd and answers
//! operators.
//!
//! Owns: the life of the process from the checked settings to its end. Does not: touch a request.
//! Invariant: nothing is served before everything is bound; after SIGTERM nothing new is taken and
//! what is in flight finishes or its time runs out.

mod drain;
mod files;

use std::io;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use role::admin::{Admin, AdminAddress};
use role::observer::Observer;
use role::telemetry::{Destination, Flush, Statsd};
use role::worker::{self, Workers};
use tokio::runtime::{Builder, LocalOptions};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::access_log::{self, AccessLog, Writer};
use crate::config::Config;
use crate::limits::SIGNAL_REPEAT;
use crate::listen::{self, Bound, SocketFile, Unstarted};
use crate::views::VIEWS;
use crate::worker::Worker;

/// Serves until a signal ends it.
///
/// # Errors
/// What cannot be bound or started, by name; and a second signal.
pub fn run(mut config: Config) -> Result<()> {
    files::make_room(&mut config);
    let config = Arc::new(config);
    let statsd = statsd(&config)?;
    let bound = bind_http(&config)?;
    let seeds = bus::bind(&config.bus, config.workers).context("--bus-listen")?;
    let bus = seeds.first().map(bus::Seed::listening).unwrap_or_default();
    let (log, writer) = access_log::start(&config.access_log)
        .with_context(|| format!("--access-log {}: cannot be written", config.access_log))?
        .unzip();
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default())
        .context("cannot start the main thread's runtime")?;
    runtime.block_on(async {
        let signals = Signals::new().context("cannot listen for signals")?;
        let (addresses, files, sockets) = split(bound, config.workers);
        let admin = Admin::bind(&config.admin)
            .with_context(|| format!("--admin {}: cannot be bound", config.admin))?;
        let workers = start_workers(&config, seeds, sockets, log).context("cannot start the workers")?;
        announce(&config, &addresses, admin.address(), &bus);
        let control = Control { config, workers: Rc::new(workers), writer, files };
        control.serve(admin, statsd, signals).await
    })
}

/// What the main thread holds while serving.
struct Control {
    config: Arc<Config>,
    workers: Rc<Workers<Rc<Worker>>>,
    writer: Option<Writer>,
    files: Vec<SocketFile>,
}

impl Control {
    fn observer(&self) -> Rc<Observer<Rc<Worker>>> {
        let identity = self.config.identity.clone();
        Observer::new(identity, Rc::clone(&self.workers), self.config.workers, VIEWS)
    }

    async fn serve(
        mut self,
        admin: Admin,
        statsd: Option<(Statsd, Duration)>,
        mut signals: Signals,
    ) -> Result<()> {
        let observer = self.observer();
        let admin = admin.serve(Rc::clone(&observer)).context("--admin: cannot be served")?;
        let flush = Flush::start(observer, statsd);
        while let Asked::Reopen = signals.next().await {
            if let Some(writer) = &self.writer {
                writer.reopen();
            }
        }
        admin.set_draining();
        tokio::select! {
            () = drain::lame_duck(&self.workers, self.config.drain_delay) => {}
            () = signals.stopped_again() => bail!("second signal: ended with requests in flight"),
        }
        self.files.clear();
        let drained = tokio::select! {
            drained = drain::connections(&self.workers, self.config.drain_deadline) => drained,
            () = signals.stopped_again() => bail!("second signal: ended with requests in flight"),
        };
        flush.last().await;
        admin.stop().await;
        let workers = Rc::try_unwrap(self.workers).ok().context("somebody still asks the workers")?;
        tokio::select! {
            () = drain::bus(workers, drained) => {}
            () = signals.stopped_again() => bail!("second signal: ended with requests in flight"),
        }
        if let Some(writer) = self.writer {
            let dropped = writer.stop();
            if dropped > 0 {
                tracing::warn!(dropped, "access log: lines were dropped");
            }
        }
        tracing::info!("stopped");
        Ok(())
    }
}

/// The client of the statsd daemon, and the interval.
fn statsd(config: &Config) -> Result<Option<(Statsd, Duration)>> {
    let connect = |to: &Destination| to.connect(&config.identity).map(|statsd| (statsd, to.interval));
    config.statsd.as_ref().map(connect).transpose().map_err(anyhow::Error::msg)
}

fn bind_http(config: &Config) -> Result<Vec<Bound>> {
    listen::check_congestion(&config.congestion)?;
    let bind = |address| {
        listen::bind(address, config.workers, &config.congestion)
            .with_context(|| format!("--http {address}: cannot be bound"))
    };
    config.http.iter().map(bind).collect()
}

/// Addresses, files, and the sockets by worker.
fn split(bound: Vec<Bound>, workers: usize) -> (Vec<String>, Vec<SocketFile>, Vec<Vec<Unstarted>>) {
    let mut sockets: Vec<Vec<Unstarted>> = (0..workers).map(|_| Vec::new()).collect();
    let (mut addresses, mut files) = (Vec::new(), Vec::new());
    for one in bound {
        addresses.push(one.address.to_string());
        files.extend(one.file);
        for (worker, socket) in sockets.iter_mut().zip(one.sockets) {
            worker.push(socket);
        }
    }
    (addresses, files, sockets)
}

fn start_workers(
    config: &Arc<Config>,
    seeds: Vec<bus::Seed>,
    sockets: Vec<Vec<Unstarted>>,
    log: Option<AccessLog>,
) -> io::Result<Workers<Rc<Worker>>> {
    let sockets = Arc::new(Mutex::new(sockets));
    let config = Arc::clone(config);
    worker::start("terminator", config.scheduling, seeds, move |id, bus| {
        let own =
            std::mem::take(&mut sockets.lock().expect("no worker panics while it takes its sockets")[id]);
        let listeners = own.into_iter().map(Unstarted::start).collect::<io::Result<_>>()?;
        Ok(Worker::start(id, bus, Arc::clone(&config), listeners, log.clone()))
    })
}

/// One line that says where everything is: `listening http=ADDR,ADDR admin=ADDR ...`.
fn announce(config: &Config, http: &[String], admin: &AdminAddress, bus: &[bus::Endpoint]) {
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

/// What a signal asks for.
enum Asked {
    Stop,
    Reopen,
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    /// When the first signal to stop came.
    stopped: Option<Instant>,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            stopped: None,
        })
    }

    async fn next(&mut self) -> Asked {
        let asked = tokio::select! {
            _ = self.terminate.recv() => Asked::Stop,
            _ = self.interrupt.recv() => Asked::Stop,
            _ = self.hangup.recv() => Asked::Reopen,
        };
        if matches!(asked, Asked::Stop) {
            self.stopped.get_or_insert_with(Instant::now);
        }
        asked
    }

    /// A second signal that somebody meant: `timeout` and shells send one to a process and to its
    /// group at once.
    async fn stopped_again(&mut self) {
        loop {
            let asked = self.next().await;
            let again = self.stopped.is_some_and(|first| first.elapsed() >= SIGNAL_REPEAT);
            if again && matches!(asked, Asked::Stop) {
                return;
            }
        }
    }
}
