//! The service shares one FoundationDB cluster with others: it uses its own keys, and a build
//! without FoundationDB refuses clearly.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use service_host::testing::{Peer, Process, run, socket};
use store::{Range, RunOptions, Snapshot, Store, Subspace};

const BINARY: &str = env!("CARGO_BIN_EXE_events");

#[test]
fn every_key_begins_with_the_name_of_the_service() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let (url, store) = (socket(dir.path(), "s.sock"), format!("embedded:{}/store", dir.path().display()));
        let mut process = Process::start(BINARY, &["--bus-listen", &url, "--store", &store]);
        let peer = Peer::dial(&url, None);
        peer.ready("GET", "/events").await;
        let body = r#"{"events":[{"id":"1","type":"A","tags":["x","y"]}]}"#;
        let position = peer.ask("POST", "/events").body(body).answer().await.json()["positions"][0].clone();
        let state = format!("{{\"position\":{position},\"state\":1}}");
        assert_eq!(peer.ask("PUT", "/projections/p").body(state).answer().await.status, 204);
        process.terminate();
        assert_eq!(process.ended().code(), Some(0));

        let store = Store::open(&store.parse().unwrap()).unwrap();
        let all = async |snapshot: Snapshot<'_>| snapshot.range(Range::all()).await;
        let rows = store.read(&RunOptions::default(), all).await.unwrap();
        let own = Subspace::from("events");
        let foreign: Vec<_> = rows.iter().filter(|row| !own.is_start_of(&row.key)).collect();
        assert!(rows.len() >= 2 && foreign.is_empty(), "{} rows, foreign: {foreign:?}", rows.len());
    });
}

#[cfg(not(feature = "fdb"))]
#[test]
fn cluster_that_this_build_cannot_use_is_a_usage_error_with_the_remedy() {
    let args = ["--bus-dial", "tcp://127.0.0.1:1", "--store", "fdb:/etc/foundationdb/fdb.cluster"];
    let output = std::process::Command::new(BINARY).args(args).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(
        said.contains("`fdb:/etc/foundationdb/fdb.cluster`") && said.contains("--features fdb"),
        "{said}"
    );
}
