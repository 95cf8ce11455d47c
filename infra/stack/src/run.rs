//! The stack from the first check to the last exit.
//!
//! Owns the order. Everything that can be wrong is checked before the first role starts; the store
//! is filled before the profile service takes its lock; roles stop front first. `supervise` runs
//! one role.

use std::fs::File;
use std::future::{Future, poll_fn};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::task::Poll;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::error::Error;
use crate::log::Log;
use crate::options::Options;
use crate::order::Order;
use crate::plan::Role;
use crate::replace::Upgrade;
use crate::roles::ROLES;
use crate::signals::Signals;
use crate::supervise::{Orders, keep};
use crate::tied::Launcher;
use crate::upgrade::server::Control;
use crate::{binaries, plan, ready, sample, upgrade};

/// A role drains for at most 10 s by default; after this it is killed.
const GRACE: Duration = Duration::from_secs(12);
/// Time for a role to bind its sockets, which it does first.
const LISTENING_WITHIN: Duration = Duration::from_secs(1);
/// Pause between two checks for a socket.
const LISTENING_EVERY: Duration = Duration::from_millis(2);
/// The deadline of ordinary routes: after it the terminator waits for long polls only.
const ANSWERED_WITHIN: Duration = Duration::from_secs(1);
/// The roles that hold long polls, and answer them when told to stop.
const HOLD_POLLS: [&str; 2] = ["chat", "events"];

/// Runs the stack until SIGTERM or Ctrl-C.
///
/// # Errors
/// Why it ended otherwise. No process that it started is running then.
pub fn run(options: &Options) -> Result<(), Error> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build_local(Default::default())?;
    let (log, writer) = Log::stdout()?;
    let result = runtime.block_on(async {
        let mut signals = Signals::new()?;
        tokio::select! {
            prepared = prepare(options, &log) => serve(options, &log, &prepared?, &mut signals).await,
            () = signals.next() => Ok(()),
        }
    });
    // Dropping the runtime drops the tasks that follow output, and with them the last clones of the
    // log.
    drop((runtime, log));
    // The roles have ended; when stdout is blocked, only the last lines are lost.
    let _ = writer.recv_timeout(LAST_LINES);
    result
}

/// Time for the last lines of the log to be written.
const LAST_LINES: Duration = Duration::from_secs(1);

/// What must exist before the first role starts; dropped after the last one ended.
struct Prepared {
    binaries: PathBuf,
    /// The directory of the Unix sockets.
    runtime: tempfile::TempDir,
    /// Where `stack upgrade` asks; `None` when its file cannot be made.
    control: Option<Control>,
    _lock: Option<File>,
}

async fn prepare(options: &Options, log: &Log) -> Result<Prepared, Error> {
    for (flag, address) in
        [("--http", options.http), ("--admin", options.admin), ("--guests", options.guests)]
    {
        check_port(flag, address)?;
    }
    check_store(options)?;
    make_plan(options)?;
    let binaries = binaries::ready(!options.no_build).await?;
    // A cluster may be shared, and gets no sample.
    let lock = if options.store.is_none() { Some(lock(&options.data)?) } else { None };
    if lock.is_some() {
        load_sample(options, &binaries, log).await?;
    }
    let runtime = tempfile::Builder::new().prefix("stack-").tempdir();
    let runtime = runtime.map_err(|source| Error::Directory { path: std::env::temp_dir(), source })?;
    let control = listen(&upgrade::socket(&options.data), log);
    Ok(Prepared { binaries, runtime, control, _lock: lock })
}

/// The control socket. A stack without it serves; it cannot be upgraded.
fn listen(path: &Path, log: &Log) -> Option<Control> {
    let bound = Control::bind(path);
    let unusable = |error: &std::io::Error| {
        log.line("stack", &format!("{}: {error}: `stack upgrade` will not work", path.display()));
    };
    bound.inspect_err(unusable).ok()
}

/// Reports a port in use by its flag, rather than in a role's log.
fn check_port(flag: &'static str, address: SocketAddr) -> Result<(), Error> {
    TcpListener::bind(address).map(drop).map_err(|source| Error::Port { flag, address, source })
}

/// Binaries that were built separately may have FoundationDB although this one has not; they report
/// it themselves when they don't.
fn check_store(options: &Options) -> Result<(), Error> {
    let (Some(store), Some(path)) = (&options.store, options.cluster_file()) else { return Ok(()) };
    if !binaries::HAS_FDB && !options.no_build && std::env::var_os("CARGO").is_some() {
        return Err(Error::NoFdb { store: store.clone() });
    }
    File::open(path).map(drop).map_err(|source| Error::ClusterFile { path: path.to_owned(), source })
}

/// Makes the default directory of the plan, so that a new stack starts with an empty plan. One that
/// `--plan` names may appear later: the terminator waits a while for it, says so, and follows it
/// once it is there.
fn make_plan(options: &Options) -> Result<(), Error> {
    if options.plan.is_some() {
        return Ok(());
    }
    let path = options.plan_directory();
    std::fs::create_dir_all(&path).map_err(|source| Error::Directory { path, source })
}

fn lock(data: &Path) -> Result<File, Error> {
    let path = data.join("stack.lock");
    let unusable = |source| Error::Directory { path: path.clone(), source };
    std::fs::create_dir_all(data).map_err(unusable)?;
    let file = File::create(&path).map_err(unusable)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(Error::InUse { data: data.to_owned() }),
        Err(std::fs::TryLockError::Error(source)) => Err(unusable(source)),
    }
}

async fn load_sample(options: &Options, binaries: &Path, log: &Log) -> Result<(), Error> {
    let unusable = |source| Error::Directory { path: options.data.clone(), source };
    let Some(file) = sample::due(&options.data).map_err(unusable)? else { return Ok(()) };
    log.line(
        "stack",
        &format!("loads a sample of {} members into {}", sample::MEMBERS, options.data.display()),
    );
    let program = binaries.join("profile");
    let status = Launcher::this_process()
        .command(&program, &plan::load(options, &file))
        .kill_on_drop(true)
        .status()
        .await
        .map_err(|source| Error::Start { program, source })?;
    if !status.success() {
        return Err(Error::Sample { status, remedy: options.data.join("profile") });
    }
    sample::loaded(&options.data).map_err(unusable)
}

async fn serve(
    options: &Options,
    log: &Log,
    prepared: &Prepared,
    signals: &mut Signals,
) -> Result<(), Error> {
    let machine = plan::Machine {
        open_files_max: raise_open_files(),
        has_variable: |name| std::env::var_os(name).is_some(),
    };
    let roles = plan::roles(options, machine, &prepared.binaries, prepared.runtime.path());
    let mut running = Vec::new();
    for role in roles {
        let socket = plan::socket(prepared.runtime.path(), role.name);
        running.push(Running::start(role, log));
        wait_for(socket).await;
    }
    let greet = async {
        ready::wait(options, log).await;
        ready::greet(options, prepared.runtime.path(), log);
        std::future::pending::<()>().await;
    };
    // Back to front, so that what a role asks is new before the role is.
    let targets = running.iter().rev().map(|role| (role.name, role.upgrades.clone())).collect();
    let upgrades = async {
        match &prepared.control {
            Some(control) => control.serve(targets, log).await,
            None => std::future::pending().await,
        }
    };
    let result = tokio::select! {
        () = signals.next() => Ok(()),
        () = upgrades => Ok(()),
        failure = first_failure(&mut running) => failure,
        () = greet => Ok(()),
    };
    log.line("stack", &format!("stops: {}", ROLES.join(", ")));
    tokio::select! {
        () = stop(&mut running, Order::Stop) => {}
        () = signals.next() => stop(&mut running, Order::Kill).await,
    }
    log.line("stack", "stopped");
    result
}

/// Raises the limit of open files to the maximum, because each connection needs one. Returns the
/// limit.
fn raise_open_files() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    // When this fails, the limit stays as it is.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// A role's task, and the channel for its orders.
struct Running {
    name: &'static str,
    orders: watch::Sender<Order>,
    upgrades: mpsc::Sender<Upgrade>,
    task: JoinHandle<Result<(), Error>>,
    ended: bool,
}

impl Running {
    fn start(role: Role, log: &Log) -> Self {
        let (orders, state) = watch::channel(Order::Run);
        let (upgrades, receiver) = mpsc::channel(1);
        let told = Orders { state, upgrades: receiver };
        let (name, log) = (role.name, log.clone());
        let task = tokio::task::spawn_local(async move {
            keep(&role, &Launcher::this_process(), &log, told, GRACE).await
        });
        Self { name, orders, upgrades, task, ended: false }
    }

    fn tell(&self, order: Order) {
        self.orders.send_replace(order);
    }

    /// Waits until the role has ended. A role that fails while it is stopped has logged its error,
    /// which is ignored here.
    ///
    /// # Cancel safety
    /// May be dropped and called again, also after the end.
    async fn ended(&mut self) {
        if !self.ended {
            let _ = self.end().await;
        }
    }

    async fn end(&mut self) -> Result<(), Error> {
        let result = (&mut self.task).await;
        self.ended = true;
        result.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
    }
}

/// Waits for the first role that gives up; otherwise roles end only when told to.
async fn first_failure(running: &mut [Running]) -> Result<(), Error> {
    let mut ends: Vec<_> = running.iter_mut().map(|role| Box::pin(role.end())).collect();
    poll_fn(|context| {
        let ended = ends.iter_mut().map(|end| end.as_mut().poll(context)).find(Poll::is_ready);
        ended.unwrap_or(Poll::Pending)
    })
    .await
}

/// Gives the roles `order`: the front first, each after the previous one has ended, so that
/// requests in progress are answered; finally the data services, together. A long poll is in
/// progress until its service answers it, so the services with polls are told as soon as only polls
/// can be in progress at the front.
async fn stop(running: &mut [Running], order: Order) {
    if order == Order::Kill {
        running.iter().for_each(|role| role.tell(order));
    }
    let [front, web, data @ ..] = running else { unreachable!("there are six roles") };
    front.tell(order);
    if tokio::time::timeout(ANSWERED_WITHIN, front.ended()).await.is_err() {
        data.iter().filter(|role| HOLD_POLLS.contains(&role.name)).for_each(|role| role.tell(order));
        front.ended().await;
    }
    web.tell(order);
    web.ended().await;
    data.iter().for_each(|role| role.tell(order));
    for role in data {
        role.ended().await;
    }
}

/// Waits until a role listens, so that roles which dial it do not warn about a missing peer. Gives
/// up after a while on a role that fails to listen: its log says why, and dialers try again.
async fn wait_for(socket: Option<PathBuf>) {
    let Some(socket) = socket else { return };
    let start = Instant::now();
    while !socket.exists() && start.elapsed() < LISTENING_WITHIN {
        tokio::time::sleep(LISTENING_EVERY).await;
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::{check_port, lock};

    #[test]
    fn port_in_use_names_flag_and_port() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
        let address = listener.local_addr().expect("is bound");
        let error = check_port("--http", address).expect_err("is in use").to_string();
        assert!(
            error.contains("--http") && error.contains(&format!("free the port {}", address.port())),
            "{error}"
        );
    }

    #[test]
    fn data_directory_belongs_to_one_stack() {
        let data = tempfile::tempdir().expect("a directory");
        let held = lock(data.path()).expect("locks");
        let error = lock(data.path()).expect_err("is held").to_string();
        assert!(error.contains("another stack"), "{error}");
        drop(held);
        lock(data.path()).expect("is free again");
    }
}
