//! Measures the queue: items pushed and popped per second, on either backend.
//!
//! `cargo run --release -p store --example measure_queue -- ADDRESS [ITEMS] [BATCH]` prints one
//! line per measurement. ADDRESS is `embedded:DIR` or, with `--features fdb`, `fdb:CLUSTER_FILE`.
//! ITEMS (default 20 000) of 100 bytes are pushed by 8 producers, then popped and acknowledged by 8
//! consumers, BATCH (default 1, and then 20) at a time. On a cluster it clears the keys
//! `measure-queue` before and after.

#![expect(clippy::print_stdout, clippy::cast_precision_loss, reason = "a command line tool")]

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use store::{
    Network, Range, RunOptions, Store, Subspace, Transaction,
    layers::queue::{Item, Queue, QueueError, QueueOptions},
};

const CONSUMERS: u64 = 8;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize, default: u64| args.get(at).map_or(Ok(default), |text| text.parse());
    let (Some(Ok(address)), Ok(items), Ok(batch)) =
        (args.first().map(|text| text.parse()), number(1, 20_000), number(2, 0))
    else {
        println!(
            "usage: measure_queue ADDRESS [ITEMS] [BATCH], for example: measure_queue embedded:/tmp/queue"
        );
        return ExitCode::from(2);
    };
    let batches = if batch == 0 { vec![1, 20] } else { vec![batch] };
    let _network = Network::new();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let measure = async {
        let store = Store::open(&address)?;
        for batch in batches {
            measure(&store, items, batch).await?;
        }
        Ok::<_, Box<dyn std::error::Error>>(())
    };
    let tasks = tokio::task::LocalSet::new();
    match runtime.map_err(Into::into).and_then(|runtime| runtime.block_on(tasks.run_until(measure))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("measure_queue: {error}");
            ExitCode::FAILURE
        }
    }
}

fn queue(store: &Store) -> Queue {
    let run = RunOptions::within(Duration::from_secs(30));
    Queue::new(store, &Subspace::from("measure-queue"), QueueOptions { run, ..QueueOptions::default() })
}

async fn measure(store: &Store, items: u64, batch: u64) -> Result<(), Box<dyn std::error::Error>> {
    clear(store).await?;
    let share = items / CONSUMERS;
    let size = usize::try_from(batch)?;
    let before = conflicts(store);
    let push = async move |queue: Queue| {
        let items: Vec<Item> = (0..share).map(|_| Item::new(vec![b'x'; 100])).collect();
        for items in items.chunks(size) {
            queue.push(items).await?;
        }
        Ok(share)
    };
    report("pushed", batch, at_once(store, push).await?, conflicts(store) - before);
    let before = conflicts(store);
    let pop = async move |queue: Queue| {
        let mut count = 0;
        loop {
            let leases = queue.pop(size).await?;
            if leases.is_empty() {
                return Ok(count);
            }
            count += leases.len() as u64 - queue.ack_all(&leases).await?.len() as u64;
        }
    };
    let popped = at_once(store, pop).await?;
    report("popped and acknowledged", batch, popped, conflicts(store) - before);
    assert_eq!(popped.0, share * CONSUMERS, "every item is popped once");
    clear(store).await?;
    Ok(())
}

/// Runs `work` as 8 tasks, and returns the sum of what they did and the time.
async fn at_once<W>(store: &Store, work: W) -> Result<(u64, Duration), Box<dyn std::error::Error>>
where
    W: AsyncFn(Queue) -> Result<u64, QueueError> + Clone + 'static,
{
    let started = Instant::now();
    let task = |_| {
        let (work, queue) = (work.clone(), queue(store));
        tokio::task::spawn_local(async move { work(queue).await })
    };
    let mut sum = 0;
    for task in (0..CONSUMERS).map(task).collect::<Vec<_>>() {
        sum += task.await??;
    }
    Ok((sum, started.elapsed()))
}

fn report(what: &str, batch: u64, (items, time): (u64, Duration), conflicts: u64) {
    let each = items as f64 / time.as_secs_f64();
    println!("{what}, {batch} at a time, 8 at once: {each:.0} items/s, {conflicts} conflicts");
}

fn conflicts(store: &Store) -> u64 {
    let counters = store.counters();
    counters.into_iter().find(|(name, _)| *name == "store.conflicts").map_or(0, |(_, count)| count)
}

async fn clear(store: &Store) -> Result<(), store::Error> {
    let all = Range::subspace(&Subspace::from("measure-queue"));
    let clear = async |tx: &Transaction| tx.clear_range(&all.begin.key, &all.end.key);
    store.run(&RunOptions::default(), clear).await
}
