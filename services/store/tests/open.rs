//! Opening: what is created, refused and kept.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests fail by panic and say why they skip")]

use std::{error::Error as _, fs, future::Future, task::Poll};

use store::{Error, OpenError, RunOptions, Store, StoreAddress};

fn embedded(dir: &std::path::Path) -> StoreAddress {
    format!("embedded:{}", dir.display()).parse().unwrap()
}

#[tokio::test]
async fn what_was_committed_is_there_after_reopening_and_versions_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let address = embedded(&dir.path().join("a/b/c"));
    let mut stamps = Vec::new();
    for round in 0..5u8 {
        let store = Store::open(&address).unwrap();
        let stored = store.get(b"round").await.unwrap();
        assert_eq!(stored.as_deref(), round.checked_sub(1).as_ref().map(std::slice::from_ref));
        let options = RunOptions::default();
        let commit = store.run(&options, async |tx| {
            tx.set(b"round", &[round])?;
            Ok::<_, Error>(tx.versionstamp())
        });
        stamps.push(commit.await.unwrap().await.unwrap());
    }
    assert!(stamps.is_sorted_by(|a, b| a < b), "{stamps:?}");
}

#[test]
fn a_second_handle_is_refused_with_the_directory_in_the_error() {
    let dir = tempfile::tempdir().unwrap();
    let address = embedded(dir.path());
    let first = Store::open(&address).unwrap();
    let second = Store::open(&address).unwrap_err();
    assert!(matches!(second, OpenError::Locked { .. }), "{second}");
    assert!(second.to_string().contains(dir.path().to_str().unwrap()), "{second}");
    drop(first);
    Store::open(&address).unwrap();
}

#[test]
fn an_engine_whose_making_was_interrupted_is_made_again() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("engine.new")).unwrap();
    fs::write(dir.path().join("engine.new/0.jnl"), b"half").unwrap();
    Store::open(&embedded(dir.path())).unwrap();
    assert!(!dir.path().join("engine.new").exists());
}

#[test]
fn a_file_in_place_of_the_directory_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, b"").unwrap();
    let refused = Store::open(&embedded(&file)).unwrap_err();
    assert!(matches!(refused, OpenError::Directory { .. }) && refused.source().is_some(), "{refused}");
}

#[cfg(not(feature = "fdb"))]
#[test]
fn foundationdb_is_refused_with_the_feature_that_is_missing() {
    let refused = Store::open(&"fdb:/etc/foundationdb/fdb.cluster".parse().unwrap()).unwrap_err();
    let text = refused.to_string();
    assert!(
        text.contains("`fdb:/etc/foundationdb/fdb.cluster`") && text.contains("--features fdb"),
        "{text}"
    );
}

/// Needs no cluster, because FoundationDB's client is not asked.
#[cfg(feature = "fdb")]
#[test]
fn a_cluster_file_that_is_none_is_refused_with_its_path() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("fdb.cluster");
    let open = || {
        let refused = Store::open(&format!("fdb:{}", file.display()).parse().unwrap()).unwrap_err();
        assert!(refused.to_string().contains(file.to_str().unwrap()), "{refused}");
        refused
    };
    assert!(matches!(open(), OpenError::ClusterFileMissing { .. }));
    fs::write(&file, "127.0.0.1:4500").unwrap();
    let refused = open();
    assert!(matches!(&refused, OpenError::ClusterFileMalformed { found, .. } if found == "127.0.0.1:4500"));
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    assert!(matches!(open(), OpenError::ClusterFileUnreadable { .. }));
}

/// One test, because a process starts the client once. Needs the real client library, not the
/// stand-in of a build check.
#[cfg(feature = "fdb")]
#[test]
fn a_cluster_that_does_not_answer_is_refused_in_time_and_the_client_is_stopped() {
    if std::env::var("FDB_CLUSTER_FILE").is_err() {
        println!("SKIPPED: FDB_CLUSTER_FILE is not set");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("fdb.cluster");
    // The discard port, where no coordinator listens.
    fs::write(&file, "none:none@127.0.0.1:9").unwrap();
    let open = || Store::open(&format!("fdb:{}", file.display()).parse().unwrap()).unwrap_err();

    let unguarded = open();
    assert!(matches!(unguarded, OpenError::NetworkUnguarded), "{unguarded}");
    let network = store::Network::new();
    let refused = open();
    assert!(
        matches!(&refused, OpenError::Unreachable { coordinators, .. } if coordinators == "127.0.0.1:9"),
        "{refused}"
    );
    drop(network);
    let _network = store::Network::new();
    let stopped = open();
    assert!(matches!(stopped, OpenError::NetworkStopped), "{stopped}");
}

#[tokio::test]
async fn a_commit_that_was_queued_is_made_though_nobody_waits_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let address = embedded(dir.path());
    let store = Store::open(&address).unwrap();
    let options = RunOptions::default();
    for number in 0..100u8 {
        let mut commit = Box::pin(store.run(&options, async |tx| tx.set(&[number], b"x")));
        // One poll sends the commit to the committer; then the client leaves. On a busy machine the
        // committer may be faster than the poll.
        let polled = std::future::poll_fn(|context| Poll::Ready(commit.as_mut().poll(context))).await;
        if let Poll::Ready(made) = polled {
            made.unwrap();
        }
    }
    drop(store);
    let store = Store::open(&address).unwrap();
    for number in 0..100u8 {
        assert!(store.get(&[number]).await.unwrap().is_some(), "{number}");
    }
}
