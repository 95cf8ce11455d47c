//! `bench bus`: the bus without HTTP, one core per side, beside nng and a raw copy loop.
//!
//! Owns which pairs are measured, and the table. Invariant: each side is pinned to its own core;
//! messages count where they arrive.

mod endpoints;
mod ours;
mod pair;
mod raw;

use std::cell::RefCell;
use std::fmt::Write;

use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

use self::pair::Pair;
pub use self::pair::{Pattern, Transport};
use crate::figures::median;
use crate::interrupt;
use crate::machine::Machine;
use crate::peers::ground::{Ground, Settings};
use crate::report::{self, readme};

const EXAMPLES: &str = "\
Examples:
  bench bus                                                      every size and transport
  bench bus --sizes 200 --transports tcp --patterns one-way      the promised figures
  bench bus --only ours,raw --rounds 1 --seconds 1

one-way: events published on one side, counted on the other. ask: requests and their replies, 256 under way (nng: 16, its
send queue). raw: length-prefixed frames copied into one buffer, written, read and taken apart by tokio.";

/// For one-way messages of [`PROMISED_LEN`] bytes over TCP.
const NNG_RATIO_MIN: f64 = 8.0;
const RAW_RATIO_MIN: f64 = 0.5;
const PROMISED_LEN: usize = 200;

/// The bus alone, beside nng and a raw copy loop.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Options {
    /// Bytes of a message's body
    #[arg(long, value_name = "BYTES", value_delimiter = ',', default_values_t = [64, 200, 1024, 8192, 65536])]
    pub sizes: Vec<usize>,
    /// Transports to measure
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Transport::Tcp, Transport::Ipc, Transport::Inproc])]
    pub transports: Vec<Transport>,
    /// Implementations to measure
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Whose::Ours, Whose::Nng, Whose::Raw])]
    pub only: Vec<Whose>,
    /// Patterns to measure
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Pattern::OneWay, Pattern::Ask])]
    pub patterns: Vec<Pattern>,
    /// Seconds per measurement
    #[arg(long, value_name = "S", default_value_t = 2)]
    pub seconds: u64,
    /// Rounds; the median counts
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub rounds: u32,
    /// What runs stand on
    #[command(flatten)]
    pub ground: Settings,
}

/// An implementation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Whose {
    /// The crate `bus`.
    Ours,
    /// The crate `nng`.
    Nng,
    /// A copy loop without a bus.
    Raw,
}

/// One measurement.
#[derive(Clone, Debug, Serialize)]
struct Row {
    whose: Whose,
    pattern: Pattern,
    transport: Transport,
    size: usize,
    round: u32,
    messages_per_second: f64,
    /// Messages that the bus read, but dropped before a slow subscriber.
    dropped_per_second: f64,
}

/// Measures and reports, also after Ctrl-C.
///
/// # Errors
/// A pair could not be started.
pub fn main(options: &Options) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let ground = Ground::prepare(&options.ground, "bus")?;
        let rows = RefCell::new(Vec::new());
        let machine = Machine::describe();
        let measured = tokio::select! {
            measured = measure(options, &ground, &rows) => measured,
            () = interrupt::requested() => Ok(()),
        };
        let rows = rows.into_inner();
        let kept = serde_json::json!({ "machine": machine, "rows": rows });
        let markdown = markdown(&machine, options, &rows);
        report::keep(&ground.runs, "rows.json", &kept, &markdown)?;
        if options.ground.report {
            readme::replace("bus", &markdown)?;
        }
        measured
    })
}

async fn measure(options: &Options, ground: &Ground, rows: &RefCell<Vec<Row>>) -> Result<()> {
    let cores = cores()?;
    let mut whose = options.only.clone();
    if whose.contains(&Whose::Nng)
        && let Err(why) = ground.nng().await
    {
        println!("SKIPPED: nng: {why:#}");
        whose.retain(|whose| *whose != Whose::Nng);
    }
    for round in 1..=options.rounds {
        for &transport in &options.transports {
            for &size in &options.sizes {
                for (&whose, &pattern) in whose
                    .iter()
                    .flat_map(|whose| options.patterns.iter().map(move |pattern| (whose, pattern)))
                {
                    let pair = Pair { transport, pattern, size, cores, seconds: options.seconds };
                    let measured = match whose {
                        Whose::Ours => ours::measure(&pair, ground).await.map(Some),
                        Whose::Raw => raw::measure(&pair).await.map(|rate| rate.map(|rate| (rate, 0.0))),
                        Whose::Nng => nng(&pair, ground).await.map(|rate| Some((rate, 0.0))),
                    };
                    let Some((messages_per_second, dropped_per_second)) =
                        measured.with_context(|| format!("{whose:?} {transport:?} {size}"))?
                    else {
                        continue;
                    };
                    let row = Row {
                        whose,
                        pattern,
                        transport,
                        size,
                        round,
                        messages_per_second,
                        dropped_per_second,
                    };
                    println!(
                        "round {round}  {whose:?} {pattern:?} {transport:?} {size} B: {messages_per_second:.0} messages/s, {dropped_per_second:.0} dropped"
                    );
                    rows.borrow_mut().push(row);
                }
            }
        }
    }
    Ok(())
}

/// The first two cores of this process; the same core twice when there is only one.
fn cores() -> Result<[usize; 2]> {
    let allowed = rustix::thread::sched_getaffinity(None)?;
    let mut cores = (0..rustix::thread::CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core));
    let first = cores.next().context("a process has a core")?;
    let second = cores.next();
    if second.is_none() {
        println!("one core only: both sides share it");
    }
    Ok([first, second.unwrap_or(first)])
}

/// Two processes of the nng peer, or one with both ends.
async fn nng(pair: &Pair, ground: &Ground) -> Result<f64> {
    let url = endpoints::url(pair.transport, ground)?;
    let end = |role: &str, core: usize| {
        let mut command = tokio::process::Command::new(ground.nng_peer());
        command.args(["peer", "nng-end", "--url", &url, "--role", role]);
        command.args(["--size", &pair.size.to_string(), "--seconds", &pair.seconds.to_string()]);
        command.args(["--core", &core.to_string()]).kill_on_drop(true);
        command
    };
    let [first, second] = match pair.pattern {
        Pattern::OneWay => ["send", "receive"],
        Pattern::Ask => ["ask", "answer"],
    };
    if pair.transport == Transport::Inproc {
        let output = end(&format!("{first}-{second}"), pair.cores[0])
            .args(["--second-core", &pair.cores[1].to_string()])
            .output()
            .await?;
        return rate(&output);
    }
    // The listening end counts; the other is stopped after it.
    let counts_first = pair.pattern == Pattern::Ask;
    let (counting, other) = if counts_first { (first, second) } else { (second, first) };
    let core_of = |role: &str| pair.cores[usize::from(role == second)];
    let mut driven = end(other, core_of(other)).spawn()?;
    let output = end(counting, core_of(counting)).output().await?;
    driven.kill().await?;
    rate(&output)
}

fn rate(output: &std::process::Output) -> Result<f64> {
    ensure!(output.status.success(), "nng: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8_lossy(&output.stdout).trim().parse()?)
}

fn markdown(machine: &Machine, options: &Options, rows: &[Row]) -> String {
    let figure = |whose: Whose, pattern: Pattern, transport: Transport, size: usize| {
        let fits = |row: &&Row| {
            row.whose == whose && row.pattern == pattern && row.transport == transport && row.size == size
        };
        let rates: Vec<f64> = rows.iter().filter(fits).map(|row| row.messages_per_second).collect();
        (!rates.is_empty()).then(|| median(rates))
    };
    let mut out = format!("{}\n\n", machine.line());
    let _ = writeln!(
        out,
        "Messages/s (MB/s of bodies), medians:\n\n| transport | bytes | one way | nng one way | raw one way | ask | nng ask | raw ask |\n| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
    );
    for &transport in &options.transports {
        for &size in &options.sizes {
            let cell = |whose, pattern| {
                figure(whose, pattern, transport, size).map_or_else(
                    || "-".to_owned(),
                    |rate| {
                        let megabytes = rate * crate::figures::float(size as u64) / 1e6;
                        format!("{rate:.0} ({megabytes:.0})")
                    },
                )
            };
            let cells = [Pattern::OneWay, Pattern::Ask].map(|pattern| {
                [Whose::Ours, Whose::Nng, Whose::Raw].map(|whose| cell(whose, pattern)).join(" | ")
            });
            let _ = writeln!(out, "| {transport:?} | {size} | {} |", cells.join(" | "));
        }
    }
    let _ = writeln!(out, "\n| promise | bound | measured | |\n| --- | --- | --- | --- |");
    let one_way = |whose| figure(whose, Pattern::OneWay, Transport::Tcp, PROMISED_LEN);
    for (other, name, least) in
        [(Whose::Nng, "nng's", NNG_RATIO_MIN), (Whose::Raw, "the raw copy loop's", RAW_RATIO_MIN)]
    {
        let ratio = one_way(Whose::Ours).zip(one_way(other)).map(|(ours, other)| ours / other.max(1.0));
        let (measured, word) = match ratio {
            Some(ratio) => (format!("{ratio:.2}"), if ratio >= least { "pass" } else { "FAIL" }),
            None => ("-".to_owned(), "not measured"),
        };
        let _ = writeln!(
            out,
            "| one way, {PROMISED_LEN} B, TCP: rate / {name} | ≥ {least} | {measured} | {word} |"
        );
    }
    out
}
