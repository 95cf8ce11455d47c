//! Measures the embedded store as a worker uses it: on one thread, on a tokio `current_thread`
//! runtime.
//!
//! `cargo run --release -p store --example measure_store -- DIR [ROWS]` prints one line per
//! measurement. DIR selects the disk; its contents can be deleted afterwards. ROWS (default 100
//! 000, of 200 bytes each) decides whether reads find their row in memory: above some 250 000 most
//! rows are in files. The figures in docs/adr/0003 were measured with this program.

#![expect(
    clippy::print_stdout,
    clippy::cast_possible_truncation,
    reason = "a command line tool for 64-bit machines"
)]

use std::{
    fs,
    process::ExitCode,
    rc::Rc,
    time::{Duration, Instant},
};

use store::{Durability, EmbeddedAddress, Error, Range, RunOptions, Store, StoreAddress, Subspace};

const READS: u64 = 500_000;
/// Duration of each commit measurement.
const COMMITTING: Duration = Duration::from_secs(3);

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let rows =
        |args: &mut std::iter::Skip<std::env::Args>| args.next().map_or(Ok(100_000), |rows| rows.parse());
    let (Some(dir), Ok(rows)) = (args.next(), rows(&mut args)) else {
        println!("usage: measure_store DIR [ROWS], for example: measure_store /tmp/measure-store 1000000");
        return ExitCode::from(2);
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let result = runtime
        .map_err(Into::into)
        .and_then(|runtime| runtime.block_on(tokio::task::LocalSet::new().run_until(measure(&dir, rows))));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("measure_store: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn measure(dir: &str, rows: u64) -> Result<(), Box<dyn std::error::Error>> {
    for durability in [Durability::Fsync, Durability::Buffered] {
        let dir = format!("{dir}/{durability:?}").into();
        let store = Store::open(&StoreAddress::Embedded(EmbeddedAddress { dir, durability }))?;
        println!("{durability:?}");
        if durability == Durability::Fsync {
            fill(&store, rows).await?;
            reads(&store, rows).await?;
        }
        for writers in [1, 16, 256] {
            commits(&store, writers).await?;
        }
    }
    Ok(())
}

fn key(index: u64) -> Vec<u8> {
    Subspace::from("profile").pack(&(index,))
}

async fn fill(store: &Store, rows: u64) -> Result<(), Error> {
    let started = Started::now();
    for first in (0..rows).step_by(1000) {
        let options = RunOptions::default();
        let write = store.run(&options, async |tx| {
            (first..first + 1000).try_for_each(|index| tx.set(&key(index), &[b'x'; 200]))
        });
        write.await?;
    }
    started.line("fill, 1000 rows a commit", rows);
    Ok(())
}

async fn reads(store: &Store, rows: u64) -> Result<(), Error> {
    let keys: Vec<_> = (0..4096).map(|_| key(fastrand::u64(..rows))).collect();
    let keys = || keys.iter().cycle();
    let options = RunOptions::default();

    let started = Started::now();
    for key in keys().take(READS as usize) {
        assert!(store.get(key).await?.is_some());
    }
    started.line("store.get", READS);

    let started = Started::now();
    for key in keys().take(READS as usize) {
        let value = store.read(&options, async |snapshot| snapshot.get(key).await).await?;
        assert!(value.is_some());
    }
    started.line("store.read of one get", READS);

    let started = Started::now();
    for key in keys().take(READS as usize) {
        let value = store.run(&options, async |tx| tx.get(key).await).await?;
        assert!(value.is_some());
    }
    started.line("store.run of one get", READS);

    let pages = READS / 100;
    let started = Started::now();
    for key in keys().take(pages as usize) {
        let page = Range::subspace(&Subspace::from("profile")).after(key).limit(50);
        let rows = store.read(&options, async |snapshot| snapshot.range(page.clone()).await).await?;
        assert!(rows.len() <= 50);
    }
    started.line("store.read of a page of 50 rows", pages);
    Ok(())
}

/// Read-modify-write of one row, by this many concurrent writers.
async fn commits(store: &Store, writers: u64) -> Result<(), Box<dyn std::error::Error>> {
    let started = Instant::now();
    let spent = Rc::new(std::cell::RefCell::new(Vec::new()));
    let tasks = (0..writers).map(|writer| {
        let (store, spent) = (store.clone(), Rc::clone(&spent));
        tokio::task::spawn_local(async move {
            while started.elapsed() < COMMITTING {
                let begun = Instant::now();
                let key = key(writer);
                let options = RunOptions::default();
                let write = store.run(&options, async |tx| {
                    tx.get(&key).await?;
                    tx.set(&key, &[b'y'; 200])
                });
                write.await?;
                spent.borrow_mut().push(begun.elapsed());
            }
            Ok::<_, Error>(())
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await??;
    }
    let mut spent = spent.take();
    spent.sort_unstable();
    let at = |part: f64| spent[((spent.len() - 1) as f64 * part) as usize];
    println!(
        "  commits, {writers:>3} writers: {:>7.0}/s, p50 {:?}, p99 {:?}",
        spent.len() as f64 / started.elapsed().as_secs_f64(),
        at(0.5),
        at(0.99)
    );
    Ok(())
}

/// The wall clock and the CPU time of this thread. The machine may be busy with other work.
struct Started {
    at: Instant,
    cpu_ns: u64,
}

impl Started {
    fn now() -> Self {
        Self { at: Instant::now(), cpu_ns: cpu_ns() }
    }

    fn line(&self, what: &str, count: u64) {
        let each = |ns: u64| ns as f64 / count as f64 / 1000.0;
        let wall = self.at.elapsed().as_nanos() as u64;
        println!("  {what}: {:.2} us, {:.2} us of CPU", each(wall), each(cpu_ns() - self.cpu_ns));
    }
}

/// First field of schedstat: nanoseconds that this thread ran (proc(5)).
fn cpu_ns() -> u64 {
    let stat = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    stat.split(' ').next().and_then(|ns| ns.parse().ok()).unwrap_or(0)
}
