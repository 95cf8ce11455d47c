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

const BINARY: &str = env!("CARGO_BIN_EXE_chat");

fn every_key_begins_with_the_name_of_the_service(place: &Place) {
    run(async {
        let (url, store) = (place.socket("s.sock"), place.store());
        let mut process = Process::start(BINARY, &["--bus-listen", &url, "--store", store]);
        let peer = Peer::dial(&url, None);
        peer.ready("GET", "/chats/x/messages").await;
        let body = r#"{"id":"1","author":"a","text":"hi"}"#;
        assert_eq!(peer.ask("POST", "/chats/c/messages").body(body).answer().await.status, 201);
        for path in ["/chats/c/typing", "/chats/c/read"] {
            assert_eq!(peer.ask("PUT", path).body(r#"{"member":"b"}"#).answer().await.status, 204);
        }
        process.terminate();
        assert_eq!(process.ended().code(), Some(0));

        assert_rows_are_of(&["chat"], store).await;
    });
}

#[cfg(not(feature = "fdb"))]
fn cluster_that_this_build_cannot_use_is_a_usage_error_with_the_remedy() {
    assert_cluster_needs_feature(BINARY, &["--bus-dial", "tcp://127.0.0.1:1"]);
}

fn missing_store_is_a_usage_error() {
    assert_store_is_needed(BINARY, &["--bus-dial", "tcp://127.0.0.1:1"]);
}
