//! The service shares one FoundationDB cluster with others: it uses its own keys, and a build
//! without FoundationDB refuses clearly.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[cfg(not(feature = "fdb"))]
use service_host::testing::data::assert_cluster_needs_feature;
use service_host::testing::data::{assert_rows_are_of, assert_store_is_needed};
use service_host::testing::stores::Place;
use service_host::testing::{Peer, Process, run};

service_host::store_tests! {
    on_stores:
        every_key_begins_with_the_name_of_the_service;
    alone:
        #[cfg(not(feature = "fdb"))] cluster_that_this_build_cannot_use_is_a_usage_error_with_the_remedy,
        missing_store_is_a_usage_error;
}

const BINARY: &str = env!("CARGO_BIN_EXE_profile");

fn every_key_begins_with_the_name_of_the_service(place: &Place) {
    run(async {
        let (url, store) = (place.socket("s.sock"), place.store());
        let mut process = Process::start(BINARY, &["--bus-listen", &url, "--store", store]);
        let peer = Peer::dial(&url, None);
        peer.ready("GET", "/profiles/x").await;
        assert_eq!(peer.ask("PUT", "/profiles/1").body("{}").answer().await.status, 201);
        assert_eq!(peer.ask("PATCH", "/profiles/1").body(r#"{"a":1}"#).answer().await.status, 200);
        process.terminate();
        assert_eq!(process.ended().code(), Some(0));
        let file = place.dir().join("members.jsonl");
        std::fs::write(&file, "{\"id\":\"2\"}\n").unwrap();
        let load = ["--store", store, "load", file.to_str().unwrap()];
        assert!(std::process::Command::new(BINARY).args(load).status().unwrap().success());

        assert_rows_are_of(&["profile", "profile-load"], store).await;
    });
}

const WORK: [&[&str]; 2] = [&["--bus-dial", "tcp://127.0.0.1:1"], &["load", "profiles.jsonl"]];

#[cfg(not(feature = "fdb"))]
fn cluster_that_this_build_cannot_use_is_a_usage_error_with_the_remedy() {
    WORK.iter().for_each(|what| assert_cluster_needs_feature(BINARY, what));
}

fn missing_store_is_a_usage_error() {
    WORK.iter().for_each(|what| assert_store_is_needed(BINARY, what));
}
