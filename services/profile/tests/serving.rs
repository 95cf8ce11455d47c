//! The profile binary on a real bus: documents, preconditions, pages, limits, shutdown.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use service_host::bus::RequestError;
use service_host::testing::stores::Place;
use service_host::testing::{Answer, Peer, Process, run};

service_host::store_tests! {
    on_stores:
        documents_are_written_read_changed_and_removed,
        preconditions_hold_or_are_a_412_that_names_them,
        changes_of_different_members_at_once_are_all_kept,
        the_list_comes_in_pages_in_the_order_of_ids,
        a_page_of_long_documents_ends_early_and_fits_into_a_message,
        limits_are_named,
        bodies_that_say_they_are_no_json_are_415,
        sigterm_ends_it_with_code_0_and_what_was_written_is_there_again,
        everything_is_served_while_the_drain_is_delayed,
        several_workers_serve_one_store,
        figures_reach_a_statsd_daemon_by_the_interval_and_at_the_end;
    alone:
        without_a_bus_or_a_store_the_usage_says_what_to_give;
}

struct Profile {
    _process: Process,
    peer: Peer,
}

async fn start(place: &Place) -> Profile {
    let url = place.socket("profile.sock");
    let args = ["--bus-listen", &url, "--store", place.store()];
    let process = Process::start(env!("CARGO_BIN_EXE_profile"), &args);
    let peer = Peer::dial(&url, None);
    peer.ready("GET", "/profiles/x").await;
    Profile { _process: process, peer }
}

impl Profile {
    async fn put(&self, id: &str, text: &str) -> Answer {
        self.peer.ask("PUT", &format!("/profiles/{id}")).body(text.to_owned()).answer().await
    }
}

fn documents_are_written_read_changed_and_removed(place: &Place) {
    run(async {
        let profile = start(place).await;
        let peer = &profile.peer;
        let created = profile.put("a%20b", " {\"name\": \"Ada\", \"n\": 1.50}\n").await;
        assert_eq!((created.status, created.header("location")), (201, Some("/profiles/a%20b")));
        let read = peer.get("/profiles/a%20b").await;
        assert_eq!((read.status, read.text()), (200, "{\"name\": \"Ada\", \"n\": 1.50}"));
        assert_eq!(read.header("content-type"), Some("application/json"));
        assert_eq!(read.header("etag"), created.header("etag"));
        let head = peer.ask("HEAD", "/profiles/a%20b").answer().await;
        assert_eq!((head.status, head.text(), head.header("etag")), (200, "", read.header("etag")));

        let patch =
            peer.ask("PATCH", "/profiles/a%20b").body(r#"{"name":null,"city":"Köln"}"#).answer().await;
        assert_eq!((patch.status, patch.text()), (200, r#"{"n":1.50,"city":"Köln"}"#));
        let read = peer.get("/profiles/a%20b").await;
        assert_eq!((read.text(), read.header("etag")), (patch.text(), patch.header("etag")));

        assert_eq!(profile.put("a%20b", "{}").await.status, 204);
        assert_eq!(peer.ask("DELETE", "/profiles/a%20b").answer().await.status, 204);
        for method in ["GET", "HEAD", "DELETE"] {
            assert_eq!(peer.ask(method, "/profiles/a%20b").answer().await.status, 404, "{method}");
        }
        assert_eq!(peer.ask("PATCH", "/profiles/a%20b").body("{}").answer().await.status, 404);
    });
}

fn preconditions_hold_or_are_a_412_that_names_them(place: &Place) {
    run(async {
        let profile = start(place).await;
        let peer = &profile.peer;
        let put = |name, value: &str, body: &str| {
            peer.ask("PUT", "/profiles/1").header(name, value).body(body.to_owned()).answer()
        };
        let early = put("if-match", "*", "{}").await;
        assert_eq!((early.status, early.json()["field"].as_str()), (412, Some("if-match")));
        assert_eq!(put("if-none-match", "*", "{\"v\":1}").await.status, 201);
        let twice = put("if-none-match", "*", "{\"v\":2}").await;
        assert_eq!((twice.status, twice.json()["field"].as_str()), (412, Some("if-none-match")));

        let read = peer.get("/profiles/1").await;
        let tag = read.header("etag").unwrap();
        let same = peer.ask("GET", "/profiles/1").header("if-none-match", tag).answer().await;
        assert_eq!((same.status, same.text(), same.header("etag")), (304, "", Some(tag)));
        assert_eq!(put("if-match", tag, "{\"v\":3}").await.status, 204);
        assert_eq!(put("if-match", tag, "{\"v\":4}").await.status, 412);
        let stale = peer.ask("PATCH", "/profiles/1").header("if-match", tag).body("{\"v\":5}").answer().await;
        assert_eq!(stale.status, 412);
        assert_eq!(peer.ask("DELETE", "/profiles/1").header("if-match", tag).answer().await.status, 412);
        assert_eq!(peer.get("/profiles/1").await.text(), "{\"v\":3}");
    });
}

fn changes_of_different_members_at_once_are_all_kept(place: &Place) {
    run(async {
        let profile = start(place).await;
        profile.put("1", "{}").await;
        let tasks: Vec<_> = (0..40)
            .map(|n| {
                let peer = profile.peer.clone();
                tokio::task::spawn_local(async move {
                    let change = format!("{{\"m{n}\":{n}}}");
                    peer.ask("PATCH", "/profiles/1").body(change).answer().await.status
                })
            })
            .collect();
        for task in tasks {
            assert_eq!(task.await.unwrap(), 200);
        }
        let members = profile.peer.get("/profiles/1").await.json();
        assert_eq!(members.as_object().unwrap().len(), 40, "{members}");
    });
}

fn the_list_comes_in_pages_in_the_order_of_ids(place: &Place) {
    run(async {
        let profile = start(place).await;
        let peer = &profile.peer;
        assert_eq!(peer.get("/profiles").await.text(), r#"{"profiles":[],"next":null}"#);
        for n in 0..25 {
            profile.put(&format!("m{n:02}"), &format!("{{\"n\":{n}}}")).await;
        }
        let mut path = "/profiles?limit=10".to_owned();
        let mut sizes = Vec::new();
        let mut found = Vec::new();
        loop {
            let page = peer.get(&path).await.json();
            let profiles = page["profiles"].as_array().unwrap();
            sizes.push(profiles.len());
            found.extend(profiles.iter().map(|entry| (entry["id"].clone(), entry["profile"]["n"].clone())));
            let Some(next) = page["next"].as_str() else { break };
            path = format!("/profiles?limit=10&after={next}");
        }
        assert_eq!(sizes, [10, 10, 5]);
        let expected: Vec<_> = (0..25).map(|n| (format!("m{n:02}").into(), n.into())).collect();
        assert_eq!(found, expected);
        assert_eq!(peer.get("/profiles?after=m24").await.text(), r#"{"profiles":[],"next":null}"#);
        for wrong in ["limit=0", "limit=1001", "limit=x"] {
            let refused = peer.get(&format!("/profiles?{wrong}")).await;
            let problem = refused.json();
            assert_eq!((refused.status, problem["limit"].as_u64()), (400, Some(1000)), "{wrong}");
            assert_eq!(problem["field"], "limit");
        }
    });
}

fn a_page_of_long_documents_ends_early_and_fits_into_a_message(place: &Place) {
    run(async {
        let profile = start(place).await;
        let long = format!("{{\"t\":\"{}\"}}", "x".repeat(99_000));
        for n in 0..8 {
            assert_eq!(profile.put(&format!("{n}"), &long).await.status, 201);
        }
        let page = profile.peer.get("/profiles").await.json();
        let count = page["profiles"].as_array().unwrap().len();
        assert!((1..8).contains(&count), "{count}");
        assert_eq!(page["next"], format!("{}", count - 1));
    });
}

fn limits_are_named(place: &Place) {
    run(async {
        let profile = start(place).await;
        let long = format!("{{\"t\":\"{}\"}}", "x".repeat(100_000));
        let refused = profile.put("1", &long).await;
        assert_eq!((refused.status, refused.json()["limit"].as_u64()), (413, Some(100_000)));
        for text in ["[]", "1", "", "{", "{\"a\":}"] {
            let refused = profile.put("1", text).await;
            assert_eq!((refused.status, refused.json()["field"].as_str()), (400, Some("body")), "{text}");
        }
        let refused = profile.put(&"x".repeat(201), "{}").await;
        assert_eq!((refused.status, refused.json()["limit"].as_u64()), (400, Some(200)));
        assert_eq!(profile.put(&"x".repeat(200), "{}").await.status, 201);
        let refused = profile.put("%zz", "{}").await;
        assert_eq!((refused.status, refused.json()["field"].as_str()), (400, Some("id")));
        let half = format!("{{\"a\":\"{}\"}}", "x".repeat(60_000));
        assert_eq!(profile.put("1", &half).await.status, 201);
        let other = half.replace("\"a\"", "\"b\"");
        let grown = profile.peer.ask("PATCH", "/profiles/1").body(other).answer().await;
        assert_eq!(grown.status, 413);
    });
}

fn bodies_that_say_they_are_no_json_are_415(place: &Place) {
    run(async {
        let profile = start(place).await;
        let ask = |method, kind: &str| {
            profile.peer.ask(method, "/profiles/1").header("content-type", kind).body("{\"v\":1}").answer()
        };
        for kind in [
            "application/json",
            "Application/JSON; charset=utf-8",
            "application/vnd.member+json",
            "application/x-www-form-urlencoded",
            "",
        ] {
            let status = ask("PUT", kind).await.status;
            assert!(matches!(status, 201 | 204), "{kind}: {status}");
        }
        for kind in [
            "application/merge-patch+json",
            "application/json;charset=utf-8",
            "application/x-www-form-urlencoded",
        ] {
            assert_eq!(ask("PATCH", kind).await.status, 200, "{kind}");
        }
        for (method, header, wanted, kinds) in [
            (
                "PUT",
                "accept",
                "application/json",
                ["text/xml", "multipart/form-data; boundary=x", "image/png"],
            ),
            (
                "PATCH",
                "accept-patch",
                "application/merge-patch+json",
                ["text/xml", "application/json-patch+json", "application/merge-patch+jsonx"],
            ),
        ] {
            for kind in kinds {
                let refused = ask(method, kind).await;
                let problem = refused.json();
                assert_eq!((refused.status, refused.header(header)), (415, Some(wanted)), "{kind}");
                assert_eq!(problem["field"], "content-type");
                assert!(problem["remedy"].as_str().unwrap().contains(wanted), "{problem}");
            }
        }
    });
}

fn sigterm_ends_it_with_code_0_and_what_was_written_is_there_again(place: &Place) {
    run(async {
        let url = place.socket("profile.sock");
        let args = ["--bus-listen", &url, "--store", place.store()];
        let mut process = Process::start(env!("CARGO_BIN_EXE_profile"), &args);
        let peer = Peer::dial(&url, None);
        peer.ready("GET", "/profiles/x").await;
        assert_eq!(peer.ask("PUT", "/profiles/1").body("{\"v\":1}").answer().await.status, 201);
        process.terminate();
        assert_eq!(process.ended().code(), Some(0));
        assert!(matches!(
            peer.ask("GET", "/profiles/1").send().await,
            Err(RequestError::NoInstance { .. } | RequestError::Lost { .. })
        ));
        let _again = Process::start(env!("CARGO_BIN_EXE_profile"), &args);
        peer.ready("GET", "/profiles/1").await;
        assert_eq!(peer.get("/profiles/1").await.text(), "{\"v\":1}");
    });
}

fn everything_is_served_while_the_drain_is_delayed(place: &Place) {
    run(async {
        let url = place.socket("profile.sock");
        let args = ["--bus-listen", &url, "--store", place.store(), "--drain-delay", "1h"];
        let process = Process::start(env!("CARGO_BIN_EXE_profile"), &args);
        let peer = Peer::dial(&url, None);
        peer.ready("GET", "/profiles/x").await;
        process.terminate();
        let _ = process.logged("everything is served for 1h more");
        assert_eq!(peer.ask("PUT", "/profiles/1").body("{}").answer().await.status, 201);
        // Peers that come meanwhile are welcome as well: there may be no other instance yet.
        let late = Peer::dial(&url, None);
        late.ready("GET", "/profiles/x").await;
        assert_eq!(late.get("/profiles/1").await.status, 200);
    });
}

fn several_workers_serve_one_store(place: &Place) {
    run(async {
        let url = place.socket("profile.sock");
        let args = ["--bus-listen", &url, "--store", place.store(), "--workers", "2"];
        let process = Process::start(env!("CARGO_BIN_EXE_profile"), &args);
        let peers = [Peer::dial(&url, None), Peer::dial(&url, None), Peer::dial(&url, None)];
        for (n, peer) in peers.iter().enumerate() {
            peer.ready("GET", "/profiles/x").await;
            let put = peer.ask("PUT", &format!("/profiles/{n}")).body("{}").answer().await;
            assert_eq!(put.status, 201);
        }
        for peer in &peers {
            let list = peer.get("/profiles").await.json();
            assert_eq!(list["profiles"].as_array().unwrap().len(), 3);
        }
        assert!(process.logged("listens on").contains("workers 2"));
    });
}

/// Reads datagrams until every wanted text has arrived.
async fn hears(daemon: &tokio::net::UdpSocket, wanted: &[&str]) {
    let (mut said, mut packet) = (String::new(), [0; 2048]);
    while !wanted.iter().all(|wanted| said.contains(wanted)) {
        let len = daemon.recv(&mut packet).await.unwrap();
        said += std::str::from_utf8(&packet[..len]).unwrap();
    }
}

fn figures_reach_a_statsd_daemon_by_the_interval_and_at_the_end(place: &Place) {
    for (interval, stops) in [("100ms", false), ("1h", true)] {
        run(async {
            let daemon = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
            let (url, target) = (place.socket("profile.sock"), daemon.local_addr().unwrap().to_string());
            let statsd = ["--statsd", &target, "--statsd-interval", interval, "--dogstatsd"];
            let bus = ["--bus-listen", &url, "--store", place.store()];
            let process = Process::start(env!("CARGO_BIN_EXE_profile"), &[&bus[..], &statsd[..]].concat());
            let peer = Peer::dial(&url, None);
            peer.ready("GET", "/profiles/x").await;
            hears(&daemon, &["profile.in_flight:0|g"]).await;
            assert_eq!(peer.get("/profiles/x").await.status, 404);
            if stops {
                process.terminate();
            }
            let wanted = [
                "profile.requests:1|c",
                "profile.responses:1|c|#service:profile",
                "class:4xx",
                "profile.route_latency.count:1|c|#service:profile",
                "route:GET_/profiles/{id}",
            ];
            hears(&daemon, &wanted).await;
        });
    }
}

fn without_a_bus_or_a_store_the_usage_says_what_to_give() {
    let run = |args: &[&str]| {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_profile")).args(args).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, text) = run(&[]);
    assert!(code == Some(2) && text.contains("--store embedded:DIR"), "{text}");
    let dir = tempfile::tempdir().unwrap();
    let store = format!("embedded:{}", dir.path().display());
    let (code, text) = run(&["--store", &store]);
    assert!(code == Some(2) && text.contains("--bus-listen") && text.contains("--bus-dial"), "{text}");
    let (code, text) = run(&["--store", &store, "--bus-dial", "http://x"]);
    assert!(code == Some(2) && text.contains("tcp://HOST:PORT"), "{text}");
    let (code, text) = run(&["--store", &store, "load", "/nowhere.jsonl"]);
    assert!(code == Some(1) && text.contains("/nowhere.jsonl"), "{text}");
}
