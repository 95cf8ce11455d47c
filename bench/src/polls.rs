//! `bench polls`: memory of idle long polls over HTTP, and the time until one message has answered
//! them all.
//!
//! Owns the procedure and its bounds. `load::polls` holds the polls. Invariant: memory is that of
//! every role started here, without this process's own; the message's time and the answers' times
//! are read from one clock.

use std::pin::{Pin, pin};
use std::sync::Arc;

use anyhow::{Result, ensure};
use clap::Args;
use serde::Serialize;

use crate::figures::float;
use crate::idle::settled;
use crate::interrupt;
use crate::load::mix::Population;
use crate::load::options::Options as Load;
use crate::load::plan::Plan;
use crate::load::polls::Polls;
use crate::load::wakes::Wakes;
use crate::machine::Machine;
use crate::mixed::CHAT_WRITES;
use crate::peers::ground::{Ground, Settings};
use crate::peers::running::Running;
use crate::peers::systems;
use crate::report::verdict::{Bound, Verdict};
use crate::report::{self, readme};

const EXAMPLES: &str = "\
Examples:
  bench polls                         20 000 long polls, or as many as `ulimit -Hn` allows: then it says so
  bench polls --count 1000
  bench polls --report                the same, and the table of bench/README.md anew

Ctrl-C ends the run and its processes.";

/// Long polls that the bounds require.
const COUNT: u32 = 20_000;
/// Resident KiB per idle poll, all roles together.
const KIB_MAX: f64 = 12.0;
/// Seconds from a message to the end of the last poll's answer.
const WAKE_MAX: f64 = 1.0;
/// Files that this process and the terminator have open beside the polls.
const FILES_RESERVED: u64 = 600;
/// Polls before the first measurement, so that one-time allocations do not count for the polls.
const FIRST: usize = 64;

/// Memory of idle long polls, and the time until one message has answered them all.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Options {
    /// Long polls, each on a connection of its own, all in one conversation
    #[arg(long, value_name = "N", default_value_t = COUNT, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub count: u32,
    /// What the stack needs
    #[command(flatten)]
    pub ground: Settings,
}

/// The result, in bytes.
#[derive(Debug, Serialize)]
struct Outcome {
    machine: Machine,
    /// Requested number of polls.
    count: u32,
    /// Number of polls that the system's limit of open files allowed.
    held: u32,
    /// Resident bytes by role: before, with waiting polls, after they were woken.
    roles: Vec<(String, u64, u64, u64)>,
    bytes_per_poll: f64,
    polls: Wakes,
}

/// Measures and reports.
///
/// # Errors
/// A role cannot be started, or refuses a poll.
pub fn main(options: &Options) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(interrupt::ends(run(options)))
}

async fn run(options: &Options) -> Result<()> {
    let machine = Machine::describe();
    let allowed = crate::process::raise_file_limit();
    let most = u32::try_from(allowed.saturating_sub(FILES_RESERVED)).unwrap_or(u32::MAX);
    ensure!(
        most > 0,
        "`ulimit -Hn` allows {allowed} open files; {FILES_RESERVED} are needed beside the polls"
    );
    let held = options.count.min(most);
    if held < options.count {
        println!(
            "{held} long polls rather than {}: `ulimit -Hn` allows {allowed} open files in one process",
            options.count
        );
    }
    let ground = Ground::prepare(&options.ground, "polls")?;
    ground.binaries(&["terminator", "web", "profile", "feed", "chat"]).await?;
    let running = systems::whole(&ground, u64::from(held) + FILES_RESERVED).await?;
    Polls::open(&plan(&running)?, FIRST.min(held as usize)).await?.close().await?;
    let before = resident(&running);
    let plan = plan(&running)?;
    let polls = Polls::open(&plan, held as usize).await?;
    settled(|| resident(&running).iter().sum()).await;
    let waiting = resident(&running);
    let never: Pin<&mut std::future::Pending<()>> = pin!(std::future::pending());
    let written = crate::load::drive(&plan, never).await?;
    ensure!(written.successes() == 1, "the message was refused:\n{written}");
    let wakes = polls.close().await?;
    let after = resident(&running);
    let grown = waiting.iter().sum::<u64>().saturating_sub(before.iter().sum());
    let names = running.processes.iter().map(|process| process.name().to_owned());
    let figures = before.iter().zip(&waiting).zip(&after);
    let outcome = Outcome {
        machine,
        count: options.count,
        held,
        roles: names
            .zip(figures)
            .map(|(name, ((before, waiting), after))| (name, *before, *waiting, *after))
            .collect(),
        bytes_per_poll: float(grown) / f64::from(held),
        polls: wakes,
    };
    running.stop().await;
    let markdown = markdown(&outcome);
    report::keep(&ground.runs, "polls.json", &outcome, &markdown)?;
    if options.ground.report {
        readme::replace("polls", &markdown)?;
    }
    Ok(())
}

/// One conversation, and one message into it.
fn plan(running: &Running) -> Result<Arc<Plan>> {
    let load =
        Load { connections: 1, requests: Some(1), ..Load::of(format!("http://127.0.0.1:{}", running.port)) };
    let population =
        Population { members: 1, member: "m".into(), conversations: 1, conversation: "bench-all-".into() };
    Ok(Arc::new(Plan::made(&load, &[CHAT_WRITES], population)?))
}

fn resident(running: &Running) -> Vec<u64> {
    running.processes.iter().map(crate::process::Process::resident).collect()
}

fn markdown(outcome: &Outcome) -> String {
    use std::fmt::Write;
    let mib = |bytes: u64| float(bytes) / f64::from(1 << 20);
    let mut out = String::new();
    let Outcome { count, held, polls, .. } = outcome;
    let _ = writeln!(out, "{}\n", outcome.machine.line());
    let _ = writeln!(
        out,
        "{held} long polls of {count} that were asked for{}; one message woke {} of them: p50 {:.0} ms, p99 {:.0} ms, the \
         last {:.0} ms after it was sent.\n",
        if held < count { " (the limit of open files)" } else { "" },
        polls.woken,
        float(polls.wake.p50_us) / 1000.0,
        float(polls.wake.p99_us) / 1000.0,
        float(polls.wake.max_us) / 1000.0,
    );
    if let Some(why) = &polls.first_failure {
        let _ = writeln!(out, "{} failed, the first: {why}\n", polls.failed);
    }
    let _ = writeln!(
        out,
        "| role | MiB before | waiting | woken | KiB per poll |\n| --- | ---: | ---: | ---: | ---: |"
    );
    for (name, before, waiting, after) in &outcome.roles {
        let each = float(waiting.saturating_sub(*before)) / 1024.0 / f64::from(*held);
        let _ = writeln!(
            out,
            "| {name} | {:.1} | {:.1} | {:.1} | {each:.2} |",
            mib(*before),
            mib(*waiting),
            mib(*after)
        );
    }
    let _ = writeln!(out, "\n| promise | bound | measured | |\n| --- | --- | --- | --- |");
    for verdict in verdicts(outcome) {
        let measured = verdict.measured.map_or_else(|| "-".to_owned(), |measured| format!("{measured:.2}"));
        let _ = writeln!(out, "| {} | {} | {measured} | {} |", verdict.what, verdict.bound, verdict.word());
    }
    out
}

fn verdicts(outcome: &Outcome) -> Vec<Verdict> {
    let polls = &outcome.polls;
    let last = (polls.woken > 0).then(|| float(polls.wake.max_us) / 1e6);
    let lost = u64::from(outcome.held).saturating_sub(polls.woken) + polls.failed;
    let mut verdicts = vec![
        Verdict::new(
            "20 000 idle long polls: KiB each, all roles",
            Bound::AtMost(KIB_MAX),
            Some(outcome.bytes_per_poll / 1024.0),
        ),
        Verdict::new(
            "20 000 long polls: s from one message to the last answer",
            Bound::AtMost(WAKE_MAX),
            last,
        ),
        Verdict::new("20 000 long polls: failed or not woken", Bound::AtMost(0.0), Some(float(lost))),
    ];
    // Memory per poll is a ratio, valid with thousands of polls; the time until all are answered is
    // not.
    let is_all = outcome.held >= COUNT;
    for verdict in verdicts.iter_mut().skip(1) {
        verdict.holds = verdict.holds.filter(|holds| is_all || !holds);
    }
    let is_many = outcome.held >= COUNT / 2;
    verdicts[0].holds = verdicts[0].holds.filter(|_| is_many);
    verdicts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(held: u32, woken: u32, bytes_per_poll: f64, last_us: u64) -> Vec<&'static str> {
        let wake = serde_json::json!({
            "mean_us": 1.0, "stdev_us": 0.0, "min_us": 1, "p50_us": 1, "p75_us": 1, "p90_us": 1, "p99_us": 1,
            "p999_us": 1, "p9999_us": 1, "max_us": last_us,
        });
        let polls = serde_json::json!({
            "polls": held, "woken": woken, "empty": 0, "failed": 0, "unanswered": 0, "told": woken,
            "wake": wake, "telling": wake,
        });
        let outcome = Outcome {
            machine: Machine::default(),
            count: COUNT,
            held,
            roles: Vec::new(),
            bytes_per_poll,
            polls: serde_json::from_value(polls).unwrap(),
        };
        verdicts(&outcome).iter().map(Verdict::word).collect()
    }

    #[test]
    fn each_bound_is_broken_by_its_own_figure() {
        assert_eq!(words(COUNT, COUNT, 12.0 * 1024.0, 1_000_000), ["pass", "pass", "pass"]);
        assert_eq!(words(COUNT, COUNT - 1, 13.0 * 1024.0, 1_000_001), ["FAIL", "FAIL", "FAIL"]);
    }

    #[test]
    fn fewer_polls_than_are_promised_prove_nothing_about_all() {
        let nothing = "not measured";
        assert_eq!(words(19_400, 19_400, 1024.0, 1000), ["pass", nothing, nothing]);
        assert_eq!(words(19_400, 0, 1024.0, 1000), ["pass", nothing, "FAIL"]);
        assert_eq!(words(100, 100, 1e6, 1000), [nothing; 3]);
    }
}
