//! What a service that keeps data has beyond [`crate::main`]: the flag `--store`, and a store that
//! is open while the service runs.
//!
//! Owns the flag, opening and closing the store, and what is said when it cannot be opened. `probe`
//! asks if it answers, `store` owns what an address means, a service what it keeps. Invariant: exit
//! codes are those of [`crate::run`]; a store that is missing or that this build cannot open is a
//! usage error (2), one that fails to open is a failure (1).
//!
//! ```no_run
//! use service_host::data::{StoreOptions, StoreSettings};
//! use service_host::{Failure, Options, Request, Response, Router, Settings};
//!
//! /// Answers with what is stored under a key.
//! #[derive(Clone, clap::Parser)]
//! #[command(name = "keys", version)]
//! struct Args {
//!     #[command(flatten)]
//!     host: Options,
//!     #[command(flatten)]
//!     store: StoreOptions,
//! }
//!
//! impl Settings for Args {
//!     fn options(&self) -> &Options {
//!         &self.host
//!     }
//! }
//!
//! impl StoreSettings for Args {
//!     const OWNER: store::Owner = store::Owner { service: "keys", layout: 1 };
//!
//!     fn store(&self) -> &StoreOptions {
//!         &self.store
//!     }
//! }
//!
//! async fn read(store: &store::Store, request: &Request) -> Result<Response, Failure> {
//!     let key = request.param_id("key")?;
//!     Ok(Response::text(store.get(key.as_bytes()).await?.unwrap_or_default()))
//! }
//!
//! fn main() -> std::process::ExitCode {
//!     service_host::data::main(|_: &Args, store| {
//!         move |_| {
//!             let store = std::rc::Rc::new(store.clone());
//!             Ok(Router::new().route_with("GET /keys/{key}", &store, read))
//!         }
//!     })
//! }
//! ```

mod probe;

use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use clap::Args;
use clap::error::ErrorKind;
use probe::Probe;
use role::handover::Successor;
use store::layers::slots::Slots;
use store::{Network, OpenError, Owner, RunOptions, Store, StoreAddress, Subspace};

use crate::context::Context;
use crate::lines;
use crate::options::Settings;
use crate::request::Request;
use crate::router::Router;
use crate::run::{Kind, failed};
use crate::sockets;

/// Between two attempts to open a store that the predecessor has not closed yet. Requests wait
/// meanwhile.
const LOCK_LOOK: Duration = Duration::from_millis(2);

/// The flag of a service that keeps data; flatten it into the service's own struct.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Store")]
pub struct StoreOptions {
    /// Where the data is stored: embedded:DIR, or fdb:CLUSTER_FILE in a build with FoundationDB;
    /// fdb:CLUSTER_FILE?prefix=NAME for one of several stacks on a cluster.
    #[arg(long, value_name = "ADDRESS", global = true)]
    pub store: Option<StoreAddress>,

    /// Answer requests from standard input, one JSON object a line, instead of serving a bus:
    /// {"id":7,"method":"PUT","path":"/..","body":..} is answered by {"id":7,"status":204}. `stack
    /// seed --direct` loads data this way.
    #[arg(long)]
    pub lines: bool,
}

/// What [`run`] needs to know of the clap struct of a service that keeps data.
pub trait StoreSettings: Settings {
    /// The service's name and the number of its layout of keys, with which it stamps its store.
    const OWNER: Owner;

    /// The flag `--store`.
    fn store(&self) -> &StoreOptions;
}

/// The `main` of a service that keeps data: reads the settings and [`run`]s.
pub fn main<A: StoreSettings, B>(build: impl FnOnce(&A, Store) -> B) -> ExitCode
where
    B: Fn(&Context<A>) -> anyhow::Result<Router> + Clone + Send + 'static,
{
    run(role::settings::load::<A>(), build)
}

/// Opens the store and serves until SIGTERM or SIGINT. `build` runs once and returns what makes the
/// routes of each worker, as for [`crate::run`].
pub fn run<A: StoreSettings, B>(args: A, build: impl FnOnce(&A, Store) -> B) -> ExitCode
where
    B: Fn(&Context<A>) -> anyhow::Result<Router> + Clone + Send + 'static,
{
    if args.store().lines {
        return run_command(&args, |store| lines::answer(args.clone(), &build(&args, store.clone())));
    }
    let address = address(&args);
    crate::run::begin(&args);
    // Only one process at a time has an embedded store open, so a predecessor closes it first.
    let (passed, wait) = match &address {
        StoreAddress::Embedded(_) => match take_over(&args) {
            Ok(passed) => (passed, args.options().handover.handover_timeout),
            Err(error) => return failed::<A>(&error),
        },
        StoreAddress::Fdb(_) => (None, Duration::ZERO),
    };
    let wait = if passed.is_some() { wait } else { Duration::ZERO };
    let of_probe = address.clone();
    with_store::<A>(&address, wait, |store| {
        let own = store.clone();
        let schedule = format!("{}-schedule", A::OWNER.service);
        let routes = build(&args, store);
        crate::run::run_with(args, Kind::KeepsData(passed), move |context| {
            let mut router = routes(context)?;
            // The store counts for the whole process, and one worker runs its scheduled tasks, for
            // one of the versions.
            if context.worker() > 0 || !context.is_first_version() {
                router.tasks.run_elsewhere();
                return Ok(router);
            }
            router.tasks.run_on(Slots::new(&own, &Subspace::from(&*schedule)));
            let probe = Probe::start(own.clone(), of_probe.clone());
            let [counters, times] = [own.clone(), own.clone()];
            Ok(router
                .counters(move || counters.counters())
                .gauges(move || times.times())
                .unready(move || probe.unready()))
        })
    })
}

/// Opens the store for a subcommand, which works on it instead of serving, and logs as `--log`
/// says.
pub fn run_command<A: StoreSettings>(
    args: &A,
    command: impl FnOnce(&Store) -> anyhow::Result<()>,
) -> ExitCode {
    let address = address(args);
    if let Err(usage) = role::telemetry::trace(&args.options().log) {
        A::command().error(ErrorKind::InvalidValue, usage).exit();
    }
    with_store::<A>(&address, Duration::ZERO, |store| match command(&store) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed::<A>(&error),
    })
}

/// The time that the request has left, at most the store's own limit.
#[must_use]
pub fn within(request: &Request) -> RunOptions {
    RunOptions::within_left(request.remaining(Instant::now()))
}

/// The wall clock in milliseconds since 1970, for rows that people read. Positions order rows.
#[must_use]
pub fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// The address, or a usage error.
fn address<A: StoreSettings>(args: &A) -> StoreAddress {
    let missing = || {
        let usage = "the service needs a store: give --store embedded:DIR or --store fdb:CLUSTER_FILE";
        A::command().error(ErrorKind::MissingRequiredArgument, usage).exit()
    };
    args.store().store.clone().unwrap_or_else(missing)
}

/// Opens the store for as long as `work` runs, once no other process has it open: `wait` at most.
/// Every process opens its store here alone, so that the client's network ends after the last clone
/// of the store, and before `main` returns.
fn with_store<A: StoreSettings>(
    address: &StoreAddress,
    wait: Duration,
    work: impl FnOnce(Store) -> ExitCode,
) -> ExitCode {
    let _network = Network::new();
    let end = Instant::now() + wait;
    loop {
        match Store::open_for(address, A::OWNER) {
            Ok(store) => return work(store),
            // The predecessor drains.
            Err(OpenError::Locked { .. }) if Instant::now() < end => std::thread::park_timeout(LOCK_LOOK),
            Err(error @ OpenError::FeatureMissing { .. }) => {
                A::command().error(ErrorKind::InvalidValue, error).exit()
            }
            Err(error) => return failed::<A>(&error.into()),
        }
    }
}

/// Asks the process at `--handover` for its sockets and has it drain at once, because it has the
/// store open that this process needs. `None` when no process is there.
///
/// # Errors
/// When the process does not hand over; it serves on then.
fn take_over<A: Settings>(args: &A) -> anyhow::Result<Option<sockets::Passed>> {
    let handover = &args.options().handover;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let asked = Successor::ask(handover, &sockets::wanted(args)).await?;
        let Some((successor, passed)) = asked else { return Ok(None) };
        successor.replace_at_once().await?;
        Ok(Some(passed))
    })
}
