//! The stack from the first check to the last exit.
//!
//! Owns: the order. Everything that can be wrong is checked before the first role starts; the store is filled before the
//! profile service takes its lock; roles stop front first. Does not own: one role's life (`supervise`).

use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::error::Error;
use crate::log::Log;
use crate::options::Options;
use crate::supervise::{Order, Role, keep};
use crate::tied::Launcher;
use crate::{binaries, plan, probe, sample};

/// A role drains for 10 s at most by default; then it is killed.
const GRACE: Duration = Duration::from_secs(12);
/// A role binds its sockets before anything else.
const LISTENING_WITHIN: Duration = Duration::from_secs(1);
/// Between two looks for a socket.
const LISTENING_EVERY: Duration = Duration::from_millis(2);
/// Between two questions whether the stack is ready.
const PROBE_EVERY: Duration = Duration::from_millis(50);
/// After this it is said, once, what is still missing.
const READY_WITHIN: Duration = Duration::from_secs(15);

/// Runs the stack until SIGTERM or Ctrl-C.
///
/// # Errors
/// What ended it otherwise; nothing that it started runs any more.
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
    // Dropping the runtime drops the tasks that follow output, and with them the last clones of the log.
    drop((runtime, log));
    // It only panics when stdout does.
    let _ = writer.join();
    result
}

/// What must be there before the first role starts; dropped after the last one ended.
struct Prepared {
    binaries: PathBuf,
    /// The Unix sockets' directory.
    runtime: tempfile::TempDir,
    _lock: File,
}

async fn prepare(options: &Options, log: &Log) -> Result<Prepared, Error> {
    for (flag, address) in
        [("--http", options.http), ("--admin", options.admin), ("--guests", options.guests)]
    {
        check_port(flag, address)?;
    }
    let binaries = binaries::ready(!options.no_build).await?;
    let lock = lock(&options.data)?;
    load_sample(options, &binaries, log).await?;
    let runtime = tempfile::Builder::new().prefix("stack-").tempdir();
    let runtime = runtime.map_err(|source| Error::Directory { path: std::env::temp_dir(), source })?;
    Ok(Prepared { binaries, runtime, _lock: lock })
}

/// A port in use is said here, by its flag, rather than in a role's log.
fn check_port(flag: &'static str, address: SocketAddr) -> Result<(), Error> {
    TcpListener::bind(address).map(drop).map_err(|source| Error::Port { flag, address, source })
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
        return Err(Error::Sample { status, remedy: options.data.clone() });
    }
    sample::loaded(&options.data).map_err(unusable)
}

async fn serve(
    options: &Options,
    log: &Log,
    prepared: &Prepared,
    signals: &mut Signals,
) -> Result<(), Error> {
    let roles = plan::roles(options, &prepared.binaries, prepared.runtime.path());
    let mut running = Vec::new();
    for role in roles {
        let socket = plan::socket(prepared.runtime.path(), role.name);
        running.push(Running::start(role, log));
        wait_for(socket).await;
    }
    let greet = async {
        wait_until_ready(options, log).await;
        greet(options, prepared.runtime.path(), log);
        std::future::pending::<()>().await;
    };
    let result = tokio::select! {
        () = signals.next() => Ok(()),
        failure = first_failure(&mut running) => failure,
        () = greet => Ok(()),
    };
    log.line("stack", "stops: terminator, web, profile");
    tokio::select! {
        () = stop(&mut running, Order::Stop) => {}
        () = signals.next() => stop(&mut running, Order::Kill).await,
    }
    log.line("stack", "stopped");
    result
}

/// A role's task and the way to tell it something.
struct Running {
    orders: watch::Sender<Order>,
    task: JoinHandle<Result<(), Error>>,
    ended: bool,
}

impl Running {
    fn start(role: Role, log: &Log) -> Self {
        let (orders, receiver) = watch::channel(Order::Run);
        let log = log.clone();
        let task = tokio::task::spawn_local(async move {
            keep(&role, &Launcher::this_process(), &log, receiver, GRACE).await
        });
        Self { orders, task, ended: false }
    }

    async fn end(&mut self) -> Result<(), Error> {
        let result = (&mut self.task).await;
        self.ended = true;
        result.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
    }
}

/// The first role that gives up; roles end otherwise only when told to.
async fn first_failure(running: &mut [Running]) -> Result<(), Error> {
    let [terminator, web, profile] = running else { unreachable!("there are three roles") };
    tokio::select! {
        result = terminator.end() => result,
        result = web.end() => result,
        result = profile.end() => result,
    }
}

/// Tells the roles `order`, the front first, each after the one before it has ended.
async fn stop(running: &mut [Running], order: Order) {
    if order == Order::Kill {
        for role in running.iter() {
            role.orders.send_replace(order);
        }
    }
    for role in running.iter_mut().filter(|role| !role.ended) {
        role.orders.send_replace(order);
        // Why a role failed while it was stopped changes nothing any more; it is in the log.
        let _ = role.end().await;
    }
}

/// Until a role listens, so that those that dial it do not warn of a peer that is not there yet. One that fails to listen is
/// not waited for: its log says why, and the dialers try again.
async fn wait_for(socket: Option<PathBuf>) {
    let Some(socket) = socket else { return };
    let start = Instant::now();
    while !socket.exists() && start.elapsed() < LISTENING_WITHIN {
        tokio::time::sleep(LISTENING_EVERY).await;
    }
}

async fn wait_until_ready(options: &Options, log: &Log) {
    let start = Instant::now();
    let mut said = false;
    while let Err(missing) = ready(options).await {
        if !said && start.elapsed() > READY_WITHIN {
            log.line(
                "stack",
                &format!("not ready after {}: {missing}", humantime::format_duration(READY_WITHIN)),
            );
            said = true;
        }
        tokio::time::sleep(PROBE_EVERY).await;
    }
}

/// The terminator is ready, and both services answer through it, one through the other. Somebody may have deleted member 1
/// since the sample was loaded: that web says so is an answer too.
async fn ready(options: &Options) -> Result<(), String> {
    const ASKED: [(&str, &[u16]); 3] =
        [("/profiles?limit=1", &[200]), ("/", &[200]), ("/members/1", &[200, 404])];
    let admin = std::iter::once((options.admin, "/ready", [200].as_slice()));
    for (address, path, right) in admin.chain(ASKED.map(|(path, right)| (options.http, path, right))) {
        match probe::status(address, path).await {
            Ok(status) if right.contains(&status) => {}
            Ok(status) => return Err(format!("GET http://{address}{path} answers {status}")),
            Err(reason) => return Err(format!("GET http://{address}{path}: {reason}")),
        }
    }
    Ok(())
}

fn greet(options: &Options, runtime: &Path, log: &Log) {
    let (http, admin) = (probe::reachable(options.http), probe::reachable(options.admin));
    let ipc = plan::ipc(runtime, "terminator");
    for line in [
        "ready".to_owned(),
        format!("  curl -i http://{http}/members/1"),
        format!("  curl -i -H 'Accept: text/html' http://{http}/members/1"),
        format!("  curl -s http://{admin}/stats   (also /live /ready /routes /peers)"),
        format!("guests' services dial tcp://{} or {}", options.guests, ipc.display()),
        "Ctrl-C stops everything".to_owned(),
    ] {
        log.line("stack", &line);
    }
}

/// SIGTERM and Ctrl-C.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
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
