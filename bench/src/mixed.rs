//! `bench mixed`: profiles, feeds, chats and long polls together at a fixed rate.
//!
//! Owns the order of a run: roles, population, messages, polls, load, report. `load` sends,
//! `compare::systems` starts roles. Invariant: this one process sends writes and long polls, so the
//! time between them is read from one clock.

mod kinds;
mod options;
mod report;

use std::pin::{Pin, pin};
use std::process::Stdio;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use tokio::process::Command;

pub(crate) use self::kinds::CHAT_WRITES;
pub use self::options::Options;
use self::report::Report;
use crate::interrupt;
use crate::load::plan::Plan;
use crate::load::polls::Polls;
use crate::load::{self, outcome::Outcome};
use crate::machine::Machine;
use crate::peers::ground::Ground;
use crate::peers::running::Running;
use crate::peers::systems;

/// Files that this process and the terminator have open beside connections.
const FILES_RESERVED: u64 = 512;
/// The limit that `infra/stack` gives its terminator.
const CONNECTIONS_MAX: u64 = 32_768;

/// Measures and reports, also after Ctrl-C.
///
/// # Errors
/// A role cannot be started, the given stack does not answer or has no population, or nothing was
/// measured.
pub fn main(options: &Options) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let interrupted = pin!(interrupt::requested());
        let machine = Machine::describe();
        ensure!(
            options.url.is_none() || !options.store.kind.is_cluster(),
            "--store {} is for roles that are started here; the stack at --url has its own",
            options.store.kind
        );
        let ground = Ground::prepare_on(&options.store.kind, &options.ground, "mixed").await?;
        let report = run(options, machine, &ground, interrupted).await;
        ground.clear().await?;
        match report? {
            Some(report) => report.write(&ground.runs, options.ground.report),
            None => {
                println!("stopped before anything was measured");
                Ok(())
            }
        }
    })
}

/// `None` when a stop was requested before the measurement. No role runs afterwards.
async fn run(
    options: &Options,
    machine: Machine,
    ground: &Ground,
    mut interrupted: Pin<&mut impl Future<Output = ()>>,
) -> Result<Option<Report>> {
    let prepared = tokio::select! {
        prepared = prepare(options, ground) => prepared?,
        () = &mut interrupted => return Ok(None),
    };
    let report = measure(options, machine, &prepared, interrupted).await?;
    if let Some(running) = prepared.running {
        running.stop().await;
    }
    Ok(Some(report))
}

/// What is measured.
struct Prepared {
    url: String,
    /// Roles that were started here.
    running: Option<Running>,
}

async fn prepare(options: &Options, ground: &Ground) -> Result<Prepared> {
    let allowed = crate::process::raise_file_limit();
    let wanted = u64::from(options.polls) + u64::from(options.connections) + FILES_RESERVED;
    ensure!(
        allowed >= wanted,
        "--polls {} and --connections {} need {wanted} open files in this process and as many in the terminator; \
         `ulimit -Hn` allows {allowed}",
        options.polls,
        options.connections
    );
    let prepared = match &options.url {
        Some(url) => {
            let url = url.trim_end_matches('/').to_owned();
            probe(options, &url).await?;
            Prepared { url, running: None }
        }
        None => {
            ground.binaries(&["terminator", "web", "profile", "feed", "chat", "stack"]).await?;
            let connections = CONNECTIONS_MAX.min(allowed.saturating_sub(FILES_RESERVED));
            let running = systems::whole(ground, connections).await?;
            let url = format!("http://127.0.0.1:{}", running.port);
            seed(options, ground, &url).await?;
            Prepared { url, running: Some(running) }
        }
    };
    if options.messages > 0 {
        fill(options, &prepared.url).await?;
    }
    Ok(prepared)
}

/// Checks that a running stack has the population.
async fn probe(options: &Options, url: &str) -> Result<()> {
    let outcome =
        load::drive(&Arc::new(Plan::new(&kinds::last_member(options, url))?), pin!(std::future::pending()))
            .await?;
    ensure!(
        outcome.successes() == 1,
        "{url} has no member m{0}: `stack seed --members {0} --target {url}` creates the population, or give --members\n{outcome}",
        options.members
    );
    Ok(())
}

/// Creates members, follows and entries with `stack seed`.
async fn seed(options: &Options, ground: &Ground, url: &str) -> Result<()> {
    let log = ground.logs().join("stack-seed.log");
    let file = std::fs::File::create(&log)?;
    if !options.quiet {
        println!("{} members and {} days of entries", options.members, options.days);
    }
    let status = Command::new(ground.binaries.join("stack"))
        .args(["seed", "--members", &options.members.to_string(), "--days", &options.days.to_string()])
        .args(["--target", url, "--unordered", "--checkpoint"])
        .arg(ground.scratch.path().join("seed.checkpoint"))
        .stdin(Stdio::null())
        .stdout(file.try_clone()?)
        .stderr(file)
        .kill_on_drop(true)
        .status()
        .await
        .context("stack cannot be started")?;
    ensure!(status.success(), "`stack seed` failed ({status}); see {}", log.display());
    Ok(())
}

/// Writes messages into the conversations, drawn like later ones.
async fn fill(options: &Options, url: &str) -> Result<()> {
    let load = kinds::fill(options, url);
    let plan = Arc::new(Plan::made(&load, &[CHAT_WRITES], kinds::population(options))?);
    let outcome = load::drive(&plan, pin!(std::future::pending())).await?;
    ensure!(
        outcome.successes() == u64::from(options.messages),
        "messages that were written before the run were refused:\n{outcome}"
    );
    Ok(())
}

async fn measure(
    options: &Options,
    machine: Machine,
    prepared: &Prepared,
    interrupted: Pin<&mut impl Future<Output = ()>>,
) -> Result<Report> {
    let load = kinds::load(options, &prepared.url);
    let plan = Plan::made(&load, &kinds::parts(), kinds::population(options))?;
    let plan = Arc::new(plan);
    let polls = match options.polls {
        0 => None,
        count => Some(Polls::open(&plan, count as usize).await?),
    };
    let cpu = |running: &Option<Running>| running.as_ref().map(Running::cpu).transpose();
    let before = cpu(&prepared.running)?;
    let outcome: Outcome = load::drive(&plan, interrupted).await?;
    let after = cpu(&prepared.running)?;
    let wakes = match polls {
        Some(polls) => Some(polls.close().await?),
        None => None,
    };
    let resident = prepared.running.iter().flat_map(|running| &running.processes);
    let resident = resident.map(|process| (process.name().to_owned(), process.resident())).collect();
    let cpu = before.zip(after);
    Ok(Report::new(options, machine, outcome, wakes, cpu, resident))
}
