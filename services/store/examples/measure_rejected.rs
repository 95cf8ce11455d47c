//! Measures what docs/adr/0003 rejected: fjall's own optimistic transactions, each with its own
//! `fdatasync`.
//!
//! `cargo run --release -p store --example measure_rejected -- DIR`. Each writer is a thread,
//! because a commit blocks; a transaction does the same work as in `measure_store`.

#![expect(clippy::print_stdout, reason = "a command line tool")]

use std::{
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

use fjall::{KeyspaceCreateOptions, OptimisticTxDatabase, PersistMode, Readable};

const COMMITTING: Duration = Duration::from_secs(3);

fn main() -> ExitCode {
    let Some(dir) = std::env::args().nth(1) else {
        println!("usage: measure_rejected DIR, for example: measure_rejected /tmp/measure-store");
        return ExitCode::from(2);
    };
    match measure(&dir) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("measure_rejected: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(dir: &str) -> fjall::Result<()> {
    let database = OptimisticTxDatabase::builder(dir).open()?;
    let keyspace = database.keyspace("keys", KeyspaceCreateOptions::default)?;
    for (persist, writers) in [PersistMode::SyncData, PersistMode::Buffer]
        .into_iter()
        .flat_map(|persist| [1u64, 16, 256].map(|writers| (persist, writers)))
    {
        let started = Instant::now();
        let threads = (0..writers).map(|writer| {
            let (database, keyspace) = (database.clone(), keyspace.clone());
            thread::spawn(move || {
                let (key, mut commits) = (writer.to_be_bytes(), 0u64);
                while started.elapsed() < COMMITTING {
                    let mut transaction = database.write_tx()?.durability(Some(persist));
                    transaction.get(keyspace.inner(), key)?;
                    transaction.insert(keyspace.inner(), key, [b'y'; 200]);
                    commits += u64::from(transaction.commit()?.is_ok());
                }
                Ok::<_, fjall::Error>(commits)
            })
        });
        let threads: Vec<_> = threads.collect();
        let mut commits = 0;
        for thread in threads {
            commits += thread.join().expect("a writer does not panic")?;
        }
        let each_s = commits as f64 / started.elapsed().as_secs_f64();
        println!("{persist:?}, {writers:>3} writers: {each_s:>7.0} commits/s");
    }
    Ok(())
}
