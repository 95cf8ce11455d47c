//! The ways in which a process ends, and the code that it must have then.

use std::{
    process::{Command, ExitCode},
    time::{Duration, Instant},
};

use libtest_mimic::{Failed, Trial};
use store::{Error, Network, RunOptions, Store};

/// The child's variable with the name of its case.
pub(crate) const CASE: &str = "STORE_EXIT_CASE";

/// A process must end in this time.
const ENDS: Duration = Duration::from_secs(20);

/// Requests in hand at the end.
const REQUESTS: usize = 200;

const CASES: &[(&str, i32)] = &[
    ("returns_with_requests_in_hand", 0),
    ("returns_an_error_while_a_thread_still_writes", 7),
    ("drops_the_store_after_the_network", 0),
    ("exits_from_another_thread", 130),
    ("failed_to_open", 1),
    ("never_opened", 0),
];

pub(crate) fn tests() -> Vec<Trial> {
    CASES.iter().map(|&(case, code)| Trial::test(format!("fdb::{case}"), move || check(case, code))).collect()
}

fn check(case: &str, code: i32) -> Result<(), Failed> {
    if std::env::var("FDB_CLUSTER_FILE").is_err() {
        println!("SKIPPED: FDB_CLUSTER_FILE is not set");
        return Ok(());
    }
    // Several times, because a process that ends wrongly does so at times.
    for _ in 0..3 {
        let begun = Instant::now();
        let status = Command::new(std::env::current_exe()?).env(CASE, case).status()?;
        if status.code() != Some(code) {
            return Err(format!("ended with {status}, not with code {code}").into());
        }
        if begun.elapsed() > ENDS {
            return Err(format!("took {:?} to end", begun.elapsed()).into());
        }
    }
    Ok(())
}

/// The child: ends as `case` says.
pub(crate) fn end(case: &str) -> ExitCode {
    let network = Network::new();
    match case {
        "returns_with_requests_in_hand" => {
            let store = open();
            in_hand(&store, || {});
        }
        "returns_an_error_while_a_thread_still_writes" => {
            let store = open();
            std::thread::spawn(move || in_hand(&store, std::thread::park));
            in_hand(&open(), || {});
            drop(network);
            return ExitCode::from(7);
        }
        "drops_the_store_after_the_network" => {
            let store = open();
            in_hand(&store, || {});
            drop(network);
            in_hand(&store, || {});
            drop(store);
        }
        "exits_from_another_thread" => {
            let store = open();
            let second_signal = std::thread::spawn(|| {
                Network::stop_all();
                std::process::exit(130);
            });
            in_hand(&store, std::thread::park);
            second_signal.join().unwrap();
        }
        "failed_to_open" => {
            let dir = tempfile::tempdir().unwrap();
            let file = dir.path().join("fdb.cluster");
            std::fs::write(&file, "none:none@127.0.0.1:9").unwrap();
            if Store::open(&format!("fdb:{}", file.display()).parse().unwrap()).is_err() {
                return ExitCode::FAILURE;
            }
        }
        "never_opened" => {}
        case => panic!("unknown case {case}"),
    }
    ExitCode::SUCCESS
}

fn open() -> Store {
    let file = std::env::var("FDB_CLUSTER_FILE").unwrap();
    Store::open(&format!("fdb:{file}").parse().unwrap()).unwrap()
}

/// Begins requests, runs `then` while they wait, and drops them.
fn in_hand(store: &Store, then: impl FnOnce()) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let tasks = tokio::task::LocalSet::new();
    for number in 0..REQUESTS {
        let store = store.clone();
        tasks.spawn_local(async move {
            let key = format!("store-exit/{number}").into_bytes();
            store.get(&key).await?;
            store.run(&RunOptions::default(), async |tx| tx.clear(&key)).await?;
            Ok::<_, Error>(())
        });
    }
    runtime.block_on(tasks.run_until(async {
        // Some turns of the loop: the requests are on their way.
        for _ in 0..5 {
            tokio::task::yield_now().await;
        }
        then();
    }));
}
