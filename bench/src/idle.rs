//! `bench idle`: memory of idle connections, and whether the memory of a burst of bodies is
//! returned.
//!
//! Owns the procedure and its bounds. Invariant: every connection has carried a request before it
//! idles, as keep-alive connections have.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde::Serialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::figures::float;
use crate::interrupt;
use crate::machine::Machine;
use crate::peers::ground::{Ground, Settings};
use crate::peers::running::Running;
use crate::peers::systems;
use crate::report::{self, readme};

const EXAMPLES: &str = "\
Examples:
  bench idle                          10 000 connections, 200 MB of bodies
  bench idle --connections 1000 --burst-mb 50

`ulimit -n` must allow as many open files in this process and in the terminator; the soft limit is raised here.";

/// Resident memory per idle connection, bytes.
const PER_CONNECTION_MAX: f64 = 6.0 * 1024.0;
/// Memory after the burst, relative to before.
const AFTER_BURST_MAX: f64 = 1.2;
/// Bytes of a body, below the terminator's default limit.
const BODY_LEN: usize = 900_000;
/// Most time for memory to be returned.
const SETTLE: Duration = Duration::from_secs(10);
/// Memory that has not fallen for this time has settled: the allocator keeps its pages for a second
/// and checks once a second (docs/adr/0018).
const STEADY: Duration = Duration::from_secs(3);
/// Connections opened concurrently.
const OPENING: usize = 64;

/// Memory of idle connections, and after a burst of bodies.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Options {
    /// Idle keep-alive connections
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    pub connections: u32,
    /// Megabytes of bodies in the burst
    #[arg(long, value_name = "MB", default_value_t = 200)]
    pub burst_mb: u32,
    /// What the stack needs
    #[command(flatten)]
    pub ground: Settings,
}

/// The result, in bytes.
#[derive(Debug, Serialize)]
struct Outcome {
    machine: Machine,
    connections: u32,
    terminator_before: u64,
    terminator_idle: u64,
    bytes_per_connection: f64,
    burst_mb: u32,
    /// Terminator and service together.
    burst_before: u64,
    burst_peak: u64,
    burst_after: u64,
    burst_ratio: f64,
}

/// Measures and reports.
///
/// # Errors
/// The terminator is missing, or refuses a connection.
pub fn main(options: &Options) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(interrupt::ends(run(options)))
}

async fn run(options: &Options) -> Result<()> {
    let allowed = crate::process::raise_file_limit();
    let wanted = u64::from(options.connections) + 100;
    ensure!(
        allowed >= wanted,
        "--connections {}: `ulimit -Hn` allows {allowed} open files",
        options.connections
    );
    let ground = Ground::prepare(&options.ground, "idle")?;
    ground.roles().await?;
    // Each part uses a new system, so that memory left by one does not count for the other.
    let running = systems::services(&ground, 1, &[], &[]).await?;
    let (burst_before, burst_peak, burst_after) = burst(options, &ground, &running).await?;
    running.stop().await;
    let limit = (options.connections + 100).to_string();
    let running = systems::services(&ground, 1, &[], &["--connection-limit", &limit]).await?;
    let (terminator_before, terminator_idle) = idle(options, &running).await?;
    running.stop().await;
    let grown = float(terminator_idle.saturating_sub(terminator_before));
    let outcome = Outcome {
        machine: Machine::describe(),
        connections: options.connections,
        terminator_before,
        terminator_idle,
        bytes_per_connection: grown / f64::from(options.connections.max(1)),
        burst_mb: options.burst_mb,
        burst_before,
        burst_peak,
        burst_after,
        burst_ratio: float(burst_after) / float(burst_before.max(1)),
    };
    let markdown = markdown(&outcome);
    report::keep(&ground.runs, "idle.json", &outcome, &markdown)?;
    if options.ground.report {
        readme::replace("idle", &markdown)?;
    }
    Ok(())
}

/// Resident memory of the terminator without and with idle connections.
async fn idle(options: &Options, running: &Running) -> Result<(u64, u64)> {
    let terminator = running.processes.first().context("the terminator was started first")?;
    // One-time allocations of the first requests do not count for the connections.
    drop(open(running.port, OPENING).await?);
    let before = terminator.resident();
    let connections = open(running.port, options.connections as usize).await?;
    let idle = settled(|| terminator.resident()).await;
    ensure!(connections.len() == options.connections as usize, "not every connection was opened");
    drop(connections);
    Ok((before, idle))
}

/// The value once it has not fallen for [`STEADY`]: a resting connection returns its buffers, and
/// the allocator its pages a little later.
pub(crate) async fn settled(resident: impl Fn() -> u64) -> u64 {
    let (mut least, mut since) = (resident(), Instant::now());
    let deadline = since + SETTLE;
    while since.elapsed() < STEADY && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let now = resident();
        if now < least {
            (least, since) = (now, Instant::now());
        }
    }
    resident()
}

/// Opens `count` connections, each of which has carried one request.
async fn open(port: u16, count: usize) -> Result<Vec<TcpStream>> {
    let turn = Arc::new(tokio::sync::Semaphore::new(OPENING));
    let mut opening = JoinSet::new();
    for _ in 0..count {
        let turn = Arc::clone(&turn);
        opening.spawn(async move {
            let _permit = turn.acquire().await?;
            let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
            stream.write_all(b"GET /bench/1 HTTP/1.1\r\nhost: bench\r\n\r\n").await?;
            let mut read = Vec::with_capacity(1024);
            // Every reply ends with 200 bytes of `x`.
            while !read.ends_with(&[b'x'; 200]) {
                ensure!(stream.read_buf(&mut read).await? > 0, "closed by the terminator");
            }
            ensure!(read.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&read));
            Ok::<_, anyhow::Error>(stream)
        });
    }
    let mut streams = Vec::with_capacity(count);
    while let Some(opened) = opening.join_next().await {
        streams.push(opened?.with_context(|| format!("connection {}", streams.len() + 1))?);
    }
    Ok(streams)
}

/// Resident memory of all processes before the bodies, at its highest, and afterwards.
async fn burst(options: &Options, ground: &Ground, running: &Running) -> Result<(u64, u64, u64)> {
    let body = ground.scratch.path().join("body");
    std::fs::write(&body, vec![b'x'; BODY_LEN])?;
    drop(open(running.port, OPENING).await?);
    let resident = || running.processes.iter().map(crate::process::Process::resident).sum::<u64>();
    let before = resident();
    let url = format!("http://127.0.0.1:{}/bench", running.port);
    let requests = u64::from(options.burst_mb) * 1_000_000 / BODY_LEN as u64;
    let mut load = tokio::process::Command::new(&ground.own)
        .args(["load", "--quiet", "-c", "8", "-n", &requests.to_string(), "--body"])
        .arg(&body)
        .args(["--json".as_ref(), ground.runs.join("burst.json").as_os_str()])
        .arg(&url)
        .stdout(std::process::Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    let mut peak = before;
    let mut look = tokio::time::interval(Duration::from_millis(5));
    let status = loop {
        tokio::select! {
            status = load.wait() => break status?,
            _ = look.tick() => peak = peak.max(resident()),
        }
    };
    ensure!(status.success(), "the burst failed ({status})");
    let load: crate::load::outcome::Outcome =
        serde_json::from_slice(&std::fs::read(ground.runs.join("burst.json"))?)?;
    ensure!(
        load.statuses.keys().all(|&status| status == 200),
        "the bodies were refused: {:?}",
        load.statuses
    );
    let deadline = Instant::now() + SETTLE;
    let mut after = resident();
    while float(after) > float(before) * AFTER_BURST_MAX && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(100)).await;
        after = resident();
    }
    Ok((before, peak, after))
}

fn markdown(outcome: &Outcome) -> String {
    let word = |holds: bool| if holds { "pass" } else { "FAIL" };
    let mib = |bytes: u64| float(bytes) / f64::from(1 << 20);
    format!(
        "{}\n\n| promise | bound | measured | |\n| --- | --- | --- | --- |\n\
         | resident bytes of the terminator per idle connection ({}; {:.1} to {:.1} MiB) | ≤ {PER_CONNECTION_MAX} | {:.0} | {} |\n\
         | resident memory after / before a burst of {} MB ({:.1}, at most {:.1}, then {:.1} MiB) | ≤ {AFTER_BURST_MAX} | {:.2} | {} |",
        outcome.machine.line(),
        outcome.connections,
        mib(outcome.terminator_before),
        mib(outcome.terminator_idle),
        outcome.bytes_per_connection,
        word(outcome.bytes_per_connection <= PER_CONNECTION_MAX),
        outcome.burst_mb,
        mib(outcome.burst_before),
        mib(outcome.burst_peak),
        mib(outcome.burst_after),
        outcome.burst_ratio,
        word(outcome.burst_ratio <= AFTER_BURST_MAX),
    )
}
