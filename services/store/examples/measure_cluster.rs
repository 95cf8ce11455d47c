//! Measures a store on FoundationDB as a worker uses it: one thread, many requests in flight.
//!
//! `cargo run --release -p store --features fdb --example measure_cluster -- fdb:CLUSTER_FILE`
//! prints one line per measurement, and what one request cost in reads, read versions and commits.
//! Uses the keys `store-measure`. Works on `embedded:DIR` too.

#![expect(
    clippy::print_stdout,
    clippy::cast_possible_truncation,
    reason = "a command line tool for 64-bit machines"
)]

use std::{
    cell::RefCell,
    process::ExitCode,
    rc::Rc,
    time::{Duration, Instant},
};

use store::{Error, Range, RunOptions, Store, Subspace};

const KEYS: u64 = 10_000;
const MEASURING: Duration = Duration::from_secs(3);
/// Independent reads of one request.
const READS: u64 = 4;

fn main() -> ExitCode {
    let Some(Ok(address)) = std::env::args().nth(1).map(|address| address.parse()) else {
        println!("usage: measure_cluster fdb:CLUSTER_FILE");
        return ExitCode::from(2);
    };
    let _network = store::Network::new();
    let store = match Store::open(&address) {
        Ok(store) => store,
        Err(error) => {
            println!("measure_cluster: {error}");
            return ExitCode::FAILURE;
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime starts");
    match runtime.block_on(tokio::task::LocalSet::new().run_until(measure(&store))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("measure_cluster: {error}");
            ExitCode::FAILURE
        }
    }
}

fn key(index: u64) -> Vec<u8> {
    Subspace::from("store-measure").pack(&(index,))
}

async fn measure(store: &Store) -> Result<(), Error> {
    for first in (0..KEYS).step_by(1000) {
        let options = RunOptions::default();
        let fill = store.run(&options, async |tx| {
            (first..first + 1000).try_for_each(|index| tx.set(&key(index), &[b'x'; 200]))
        });
        fill.await?;
    }
    for in_flight in [16, 256] {
        line(store, "store.get", in_flight, async |store| store.get(&some_key()).await.map(drop)).await?;
        line(store, "read of 1 get", in_flight, async |store| {
            store
                .read(&RunOptions::default(), async |snapshot| snapshot.get(&some_key()).await)
                .await
                .map(drop)
        })
        .await?;
        line(store, "read of 4 gets, one by one", in_flight, async |store| {
            let read = async |snapshot: store::Snapshot<'_>| {
                for _ in 0..READS {
                    snapshot.get(&some_key()).await?;
                }
                Ok(())
            };
            store.read(&RunOptions::default(), read).await
        })
        .await?;
        line(store, "read of 4 gets, at once", in_flight, async |store| {
            let keys: Vec<_> = (0..READS).map(|_| some_key()).collect();
            store.read(&RunOptions::default(), async |snapshot| snapshot.get_all(&keys).await).await.map(drop)
        })
        .await?;
        line(store, "read of a page of 20", in_flight, async |store| {
            let page = Range::subspace(&Subspace::from("store-measure")).after(some_key()).limit(20);
            let read = async |snapshot: store::Snapshot<'_>| snapshot.range(page.clone()).await;
            store.read(&RunOptions::default(), read).await.map(drop)
        })
        .await?;
        line(store, "run of 1 set", in_flight, async |store| {
            store.run(&RunOptions::default(), async |tx| tx.set(&some_key(), &[b'y'; 200])).await
        })
        .await?;
    }
    let all = Range::subspace(&Subspace::from("store-measure"));
    store.run(&RunOptions::default(), async |tx| tx.clear_range(&all.begin.key, &all.end.key)).await
}

fn some_key() -> Vec<u8> {
    key(fastrand::u64(..KEYS))
}

async fn line(
    store: &Store,
    name: &str,
    in_flight: usize,
    request: impl AsyncFn(&Store) -> Result<(), Error> + Clone + 'static,
) -> Result<(), Error> {
    let before = store.counters();
    let (begun, spent) = (Instant::now(), Rc::new(RefCell::new(Vec::new())));
    let tasks = (0..in_flight).map(|_| {
        let (store, spent, request) = (store.clone(), Rc::clone(&spent), request.clone());
        tokio::task::spawn_local(async move {
            while begun.elapsed() < MEASURING {
                let at = Instant::now();
                request(&store).await?;
                spent.borrow_mut().push(at.elapsed());
            }
            Ok::<_, Error>(())
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.expect("a request does not panic")?;
    }
    let mut spent = spent.take();
    spent.sort_unstable();
    let at = |part: f64| spent[((spent.len() - 1) as f64 * part) as usize];
    let rate = spent.len() as f64 / begun.elapsed().as_secs_f64();
    println!("{in_flight:>4}  {name:<28} {rate:>8.0}/s  p50 {:>9.3?}  p99 {:>9.3?}", at(0.5), at(0.99));
    let after = store.counters();
    let changes = before.iter().zip(&after).filter(|(before, after)| after.1 > before.1);
    let each: Vec<_> = changes
        .map(|(before, after)| {
            let name = after.0.trim_start_matches("store.");
            format!("{name} {:.2}", (after.1 - before.1) as f64 / spent.len() as f64)
        })
        .collect();
    println!("      each: {}", each.join(", "));
    Ok(())
}
