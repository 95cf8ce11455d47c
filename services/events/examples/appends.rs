//! Measures appends as one instance of the service makes them: workers that share transactions.
//!
//! `cargo run --release -p events --features fdb --example appends -- fdb:CLUSTER_FILE [SECONDS]`
//! prints one line for each measurement: appends and events a second, their time, and the CPU time
//! of this process and of all processes named `fdbserver` for each append. The first line is the
//! bare store, with one small key a commit. Writes events under a prefix of its own and removes
//! them at the end. Works on `embedded:DIR` too.

#![expect(
    clippy::print_stdout,
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "a command line tool for 64-bit machines"
)]

use std::{
    cell::RefCell,
    process::ExitCode,
    rc::Rc,
    time::{Duration, Instant},
};

use events::{Append, Appender, Condition, EventPosition, EventStore, NewEvent, Query};
use store::{RunOptions, Store, Subspace};

/// The service's own allocator.
#[global_allocator]
static ALLOCATOR: role::memory::Allocator = role::memory::Allocator;

type Failed = Box<dyn std::error::Error>;

/// What a task of a measurement appends.
#[derive(Clone, Copy)]
struct Work {
    name: &'static str,
    writers: usize,
    /// Events of one append.
    events: usize,
    /// True for ids that count up; otherwise they are random.
    in_order: bool,
    /// True for the condition that no other writer wrote to the writer's tag.
    is_conditional: bool,
}

const fn single(writers: usize) -> Work {
    Work { name: "one event", writers, events: 1, in_order: false, is_conditional: false }
}

const ALL: [Work; 7] = [
    single(10),
    single(50),
    single(250),
    Work { name: "one event, if", is_conditional: true, ..single(250) },
    Work { name: "100 events", events: 100, in_order: true, ..single(10) },
    Work { name: "100 events", events: 100, in_order: true, ..single(50) },
    Work { name: "100 events, ids random", events: 100, ..single(50) },
];

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let Some(Ok(address)) = args.next().map(|address| address.parse()) else {
        println!("usage: appends fdb:CLUSTER_FILE [SECONDS]");
        return ExitCode::from(2);
    };
    let seconds = args.next().and_then(|seconds| seconds.parse().ok()).unwrap_or(5);
    let _network = store::Network::new();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(tokio::runtime::LocalOptions::default());
    let measured = async {
        let store = Store::open(&address)?;
        let prefix = Subspace::from(("measure-events", fastrand::i64(..)));
        bare(&store, &prefix, Duration::from_secs(seconds)).await?;
        let events = EventStore::under(store.clone(), &prefix);
        for work in ALL {
            measure(&events, work, Duration::from_secs(seconds)).await?;
        }
        let (begin, end) = prefix.range();
        let clear = async |transaction: &store::Transaction| transaction.clear_range(&begin, &end);
        Ok(store.run(&RunOptions::within(Duration::from_secs(60)), clear).await?)
    };
    match runtime.map_err(Into::into).and_then(|runtime| runtime.block_on(measured)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let error: Failed = error;
            println!("appends: {error}");
            ExitCode::FAILURE
        }
    }
}

/// One small random key a commit, 256 at once.
async fn bare(store: &Store, prefix: &Subspace, time: Duration) -> Result<(), Failed> {
    rate("store: one key", 256, 1, time, |_| {
        let (store, prefix) = (store.clone(), prefix.clone());
        async move || {
            let key = prefix.pack(&("bare", fastrand::u32(..10_000)));
            let set = async |transaction: &store::Transaction| transaction.set(&key, &[b'x'; 100]);
            Ok(store.run(&RunOptions::default(), set).await?)
        }
    })
    .await
}

async fn measure(events: &EventStore, work: Work, time: Duration) -> Result<(), Failed> {
    let appender = Appender::new(events.clone());
    rate(work.name, work.writers, work.events, time, |writer| {
        let appender = Rc::clone(&appender);
        let state = Rc::new(RefCell::new((fastrand::u64(..), 0, EventPosition::START)));
        async move || {
            let (run, made, after) = *state.borrow();
            let tag = || match work.events {
                1 if !work.is_conditional => format!("entity:{}", fastrand::u32(..10_000)),
                _ => format!("writer:{run:016x}:{writer}"),
            };
            let event = |number: usize| {
                let id = match work.in_order {
                    true => format!("{run:016x}-{:08}", made + number),
                    false => format!("{:032x}", fastrand::u128(..)),
                };
                let data = format!("{{\"text\":\"{}\"}}", "x".repeat(189));
                NewEvent::new(id, format!("Type{}", number % 10), vec![tag()], &data)
            };
            let new: Vec<_> = (0..work.events).map(event).collect::<Result<_, _>>()?;
            let tags = vec![tag()];
            let condition = || Some(Condition { query: Query::new(vec![], tags).ok()?, after });
            let append = Append::new(new, condition().filter(|_| work.is_conditional))?;
            let positions = appender.append(append, &RunOptions::default()).await?;
            let newest = positions.last().copied().unwrap_or(after);
            *state.borrow_mut() = (run, made + work.events, newest);
            Ok(())
        }
    })
    .await
}

/// Runs `tasks` for some time and prints the line.
async fn rate<T>(
    name: &str,
    tasks: usize,
    events: usize,
    time: Duration,
    task: impl Fn(usize) -> T,
) -> Result<(), Failed>
where
    T: AsyncFn() -> Result<(), Failed> + 'static,
{
    let (begun, spent) = (Instant::now(), Rc::new(RefCell::new(Vec::new())));
    let cpu = (cpu_us("self"), servers_us());
    let running = (0..tasks).map(|number| {
        let (task, spent) = (task(number), Rc::clone(&spent));
        tokio::task::spawn_local(async move {
            while begun.elapsed() < time {
                let at = Instant::now();
                task().await.map_err(|error| error.to_string())?;
                spent.borrow_mut().push(at.elapsed());
            }
            Ok::<_, String>(())
        })
    });
    for task in running.collect::<Vec<_>>() {
        task.await??;
    }
    let elapsed = begun.elapsed().as_secs_f64();
    let cpu = (cpu_us("self") - cpu.0, servers_us() - cpu.1);
    let mut spent = spent.take();
    spent.sort_unstable();
    let at = |part: f64| spent[((spent.len() - 1) as f64 * part) as usize];
    let (count, rate) = (spent.len() as f64, spent.len() as f64 / elapsed);
    println!(
        "{tasks:>4}  {name:<24} {rate:>7.0}/s {:>8.0} events/s  p50 {:>9.3?} p99 {:>9.3?}  CPU us: own {:>6.1}, fdbserver {:>6.1}",
        rate * events as f64,
        at(0.5),
        at(0.99),
        cpu.0 / count,
        cpu.1 / count,
    );
    Ok(())
}

/// Microseconds of CPU of all processes named `fdbserver`.
fn servers_us() -> f64 {
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let named = processes.filter(|process| {
        let name = std::fs::read_to_string(process.path().join("comm"));
        name.is_ok_and(|name| name.trim_end() == "fdbserver")
    });
    named.map(|process| cpu_us(&process.file_name().to_string_lossy())).sum()
}

/// Microseconds of CPU of a process: the sum over its threads' `schedstat`, whose first number is
/// nanoseconds.
fn cpu_us(process: &str) -> f64 {
    let threads = std::fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    let spent = threads.filter_map(|thread| {
        let text = std::fs::read_to_string(thread.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<f64>().ok()
    });
    spent.sum::<f64>() / 1_000.0
}
