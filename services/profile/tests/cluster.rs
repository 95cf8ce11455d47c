//! The service shares one FoundationDB cluster with others: it uses its own keys, and a build
//! without FoundationDB refuses clearly.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use service_host::testing::{Peer, Process, run, socket};
use store::{Range, RunOptions, Snapshot, Store, Subspace};

const BINARY: &str = env!("CARGO_BIN_EXE_profile");

#[test]
fn every_key_begins_with_the_name_of_the_service() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let (url, store) = (socket(dir.path(), "s.sock"), format!("embedded:{}/store", dir.path().display()));
        let mut process = Process::start(BINARY, &["--bus-listen", &url, "--store", &store]);
        let peer = Peer::dial(&url, None);
        peer.ready("GET", "/profiles/x").await;
        assert_eq!(peer.ask("PUT", "/profiles/1").body("{}").answer().await.status, 201);
        assert_eq!(peer.ask("PATCH", "/profiles/1").body(r#"{"a":1}"#).answer().await.status, 200);
        process.terminate();
        assert_eq!(process.ended().code(), Some(0));
        let file = dir.path().join("members.jsonl");
        std::fs::write(&file, "{\"id\":\"2\"}\n").unwrap();
        let load = ["--store", &store, "load", file.to_str().unwrap()];
        assert!(std::process::Command::new(BINARY).args(load).status().unwrap().success());

        let store = Store::open(&store.parse().unwrap()).unwrap();
        let all = async |snapshot: Snapshot<'_>| snapshot.range(Range::all()).await;
        let rows = store.read(&RunOptions::default(), all).await.unwrap();
        let own = ["profile", "profile-load"].map(Subspace::from);
        let is_foreign = |key: &[u8]| !own.iter().any(|own| own.is_start_of(key));
        let foreign: Vec<_> = rows.iter().filter(|row| is_foreign(&row.key)).collect();
        assert!(rows.len() >= 2 && foreign.is_empty(), "{} rows, foreign: {foreign:?}", rows.len());
    });
}

#[cfg(not(feature = "fdb"))]
#[test]
fn cluster_that_this_build_cannot_use_is_a_usage_error_with_the_remedy() {
    for what in [&["--bus-dial", "tcp://127.0.0.1:1"][..], &["load", "profiles.jsonl"]] {
        let args = [&["--store", "fdb:/etc/foundationdb/fdb.cluster"], what].concat();
        let output = std::process::Command::new(BINARY).args(args).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(
            said.contains("`fdb:/etc/foundationdb/fdb.cluster`") && said.contains("--features fdb"),
            "{said}"
        );
    }
}
