//! The service shares one FoundationDB cluster with others: it uses its own keys, and a build
//! without FoundationDB refuses clearly.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use service_host::testing::{Peer, Process, run, socket};
use store::{Range, RunOptions, Snapshot, Store, Subspace};

const BINARY: &str = env!("CARGO_BIN_EXE_feed");

#[test]
fn every_key_begins_with_the_name_of_the_service() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let (url, store) = (socket(dir.path(), "s.sock"), format!("embedded:{}/store", dir.path().display()));
        let mut process =
            Process::start(BINARY, &["--bus-listen", &url, "--store", &store, "--fan-out-limit", "1"]);
        let peer = Peer::dial(&url, None);
        peer.ready("GET", "/feeds/x").await;
        // With a fan-out limit of 0, an owner with one follower is large.
        for (method, path, body) in [
            ("POST", "/feeds/a", r#"{"id":"1","text":"small"}"#),
            ("PUT", "/feeds/b/follows/a", ""),
            ("PUT", "/feeds/c/follows/a", ""),
            ("POST", "/feeds/a", r#"{"id":"2","text":"large"}"#),
            ("POST", "/feeds/b", r#"{"id":"1","text":"own"}"#),
            ("PUT", "/feeds/c/follows/b", ""),
            ("PUT", "/feeds/b/read", ""),
            ("DELETE", "/feeds/c/follows/a", ""),
        ] {
            let answer = peer.ask(method, path).body(body).answer().await;
            assert!(matches!(answer.status, 201 | 204), "{method} {path}: {}", answer.text());
        }
        process.terminate();
        assert_eq!(process.ended().code(), Some(0));

        let store = Store::open(&store.parse().unwrap()).unwrap();
        let all = async |snapshot: Snapshot<'_>| snapshot.range(Range::all()).await;
        let rows = store.read(&RunOptions::default(), all).await.unwrap();
        let own = Subspace::from("feed");
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
