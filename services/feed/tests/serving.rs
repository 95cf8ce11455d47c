//! The feed binary on a real bus: entries, repeated ids, pages, follows, unread counts, limits,
//! shutdown.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use serde_json::{Value, json};
use service_host::testing::stores::Place;
use service_host::testing::{Answer, Peer, Process, run};

service_host::store_tests! {
    on_stores:
        an_entry_is_posted_once_however_often_it_is_sent,
        the_same_entry_sent_at_once_many_times_is_there_once,
        pages_go_on_where_they_ended_although_entries_arrive,
        who_follows_sees_what_comes_and_counts_it,
        the_list_of_those_followed_comes_in_pages,
        every_refusal_names_the_field_and_the_limit,
        the_longest_entry_reaches_as_many_followers_as_are_copied_to,
        sigterm_ends_it_with_code_0_and_what_was_posted_is_there_again;
    alone:
        without_a_bus_or_a_store_the_usage_says_what_to_give;
}

struct Feed {
    process: Process,
    peer: Peer,
}

async fn start_with(place: &Place, more: &[&str]) -> Feed {
    let url = place.socket("feed.sock");
    let args = [&["--bus-listen", &url, "--store", place.store()], more].concat();
    let process = Process::start(env!("CARGO_BIN_EXE_feed"), &args);
    let peer = Peer::dial(&url, None);
    peer.ready("GET", "/feeds/x").await;
    Feed { process, peer }
}

async fn start(place: &Place) -> Feed {
    start_with(place, &[]).await
}

impl Feed {
    async fn post(&self, owner: &str, body: &Value) -> Answer {
        self.peer.ask("POST", &format!("/feeds/{owner}")).body(body.to_string()).answer().await
    }

    async fn entry(&self, owner: &str, id: &str) {
        assert_eq!(self.post(owner, &json!({"id": id, "text": format!("{id}!")})).await.status, 201);
    }

    async fn ids(&self, path: &str) -> Vec<String> {
        let page = self.peer.get(path).await.json();
        let entries = page["entries"].as_array().unwrap().iter();
        entries.map(|entry| entry["id"].as_str().unwrap().to_owned()).collect()
    }

    async fn follows(&self, method: &'static str, owner: &str, other: &str) {
        let path = format!("/feeds/{owner}/follows/{other}");
        assert_eq!(self.peer.ask(method, &path).answer().await.status, 204);
    }
}

fn an_entry_is_posted_once_however_often_it_is_sent(place: &Place) {
    run(async {
        let feed = start(place).await;
        assert_eq!(feed.peer.get("/feeds/a%20b").await.text(), r#"{"entries":[],"next":null}"#);
        let body = json!({"id": "1", "text": "<b> \"ö\""});
        let created = feed.post("a%20b", &body).await;
        let entry = created.json();
        assert_eq!((created.status, entry["author"].as_str()), (201, Some("a b")));
        let again = feed.post("a%20b", &body).await;
        assert_eq!((again.status, again.text()), (200, created.text()));
        let other = feed.post("a%20b", &json!({"id": "1", "text": "other"})).await;
        assert_eq!((other.status, other.json()["field"].as_str()), (409, Some("id")));
        assert_eq!(feed.post("c", &body).await.status, 201);
        let page = feed.peer.get("/feeds/a%20b").await;
        assert_eq!(page.json(), json!({"entries": [entry], "next": null}));
        let tag = page.header("etag").unwrap();
        let same = feed.peer.ask("GET", "/feeds/a%20b").header("if-none-match", tag).answer().await;
        assert_eq!((same.status, same.text()), (304, ""));
    });
}

fn the_same_entry_sent_at_once_many_times_is_there_once(place: &Place) {
    run(async {
        let feed = start(place).await;
        let tasks: Vec<_> = (0..30)
            .map(|_| {
                let peer = feed.peer.clone();
                let body = r#"{"id":"1","text":"x"}"#;
                tokio::task::spawn_local(async move {
                    let answer = peer.ask("POST", "/feeds/a").body(body).answer().await;
                    (answer.status, answer.json()["position"].clone())
                })
            })
            .collect();
        let mut answers = Vec::new();
        for task in tasks {
            answers.push(task.await.unwrap());
        }
        assert_eq!(answers.iter().filter(|(status, _)| *status == 201).count(), 1, "{answers:?}");
        assert!(answers.iter().all(|(_, position)| *position == answers[0].1), "{answers:?}");
        assert_eq!(feed.ids("/feeds/a").await, ["1"]);
    });
}

fn pages_go_on_where_they_ended_although_entries_arrive(place: &Place) {
    run(async {
        let feed = start(place).await;
        for n in 0..5 {
            feed.entry("a", &format!("{n}")).await;
        }
        let first = feed.peer.get("/feeds/a?limit=2").await.json();
        assert_eq!(first["entries"][0]["id"], "4");
        feed.entry("a", "new").await;
        let next = first["next"].as_str().unwrap();
        assert_eq!(feed.ids(&format!("/feeds/a?limit=2&before={next}")).await, ["2", "1"]);
        assert_eq!(feed.ids("/feeds/a?limit=6").await, ["new", "4", "3", "2", "1", "0"]);
        assert_eq!(feed.peer.get("/feeds/a?limit=6").await.json()["next"], Value::Null);
    });
}

fn who_follows_sees_what_comes_and_counts_it(place: &Place) {
    run(async {
        for limit in ["0", "1", "200"] {
            let place = place.another();
            let feed = start_with(&place, &["--fan-out-limit", limit]).await;
            feed.entry("b", "before").await;
            for follower in ["a", "c", "a"] {
                feed.follows("PUT", follower, "b").await;
            }
            feed.entry("b", "1").await;
            feed.entry("a", "own").await;
            feed.entry("b", "2").await;
            assert_eq!(feed.ids("/feeds/a").await, ["2", "own", "1"], "limit {limit}");
            assert_eq!(feed.ids("/feeds/c").await, ["2", "1"]);
            let unread = feed.peer.get("/feeds/a/unread").await.json();
            assert_eq!(unread, json!({"unread": 2, "more": false, "read": null}), "limit {limit}");
            let oldest = feed.peer.get("/feeds/a").await.json()["entries"][2]["position"].clone();
            let read = feed.peer.ask("PUT", "/feeds/a/read").body(json!({"upto": oldest}).to_string());
            assert_eq!(read.answer().await.status, 204);
            let unread = feed.peer.get("/feeds/a/unread").await.json();
            assert_eq!(unread, json!({"unread": 1, "more": false, "read": oldest}));
            let mut head = feed.peer.get("/feeds/a/head?limit=1").await.json();
            let page = head.as_object_mut().unwrap().remove("feed").unwrap();
            assert_eq!(page, feed.peer.get("/feeds/a?limit=1").await.json());
            assert_eq!(head, unread);
            assert_eq!(feed.peer.ask("PUT", "/feeds/a/read").answer().await.status, 204);
            assert_eq!(feed.peer.get("/feeds/a/unread").await.json()["unread"], 0);
            feed.follows("DELETE", "a", "b").await;
            feed.entry("b", "3").await;
            assert_eq!(feed.ids("/feeds/a").await, ["2", "own", "1"]);
            assert_eq!(feed.ids("/feeds/c").await, ["3", "2", "1"]);
        }
    });
}

fn the_list_of_those_followed_comes_in_pages(place: &Place) {
    run(async {
        let feed = start(place).await;
        for other in ["d", "b", "c"] {
            feed.follows("PUT", "a", other).await;
        }
        let page = feed.peer.get("/feeds/a/follows?limit=2").await.json();
        assert_eq!(page, json!({"follows": ["b", "c"], "next": "c"}));
        let page = feed.peer.get("/feeds/a/follows?limit=2&after=c").await.json();
        assert_eq!(page, json!({"follows": ["d"], "next": null}));
    });
}

fn every_refusal_names_the_field_and_the_limit(place: &Place) {
    run(async {
        let feed = start(place).await;
        let long = "x".repeat(201);
        let refused = |answer: &Answer, status: u16, field: &str, limit: Option<u64>| {
            let problem = answer.json();
            assert_eq!(answer.header("content-type"), Some("application/problem+json"));
            let reason = problem["reason"].as_str().unwrap();
            assert_eq!(problem["type"], format!("urn:stack:problem:{reason}"));
            let found = (answer.status, problem["field"].as_str(), problem["limit"].as_u64());
            assert_eq!(found, (status, Some(field), limit), "{problem}");
        };
        for (body, status, field, limit) in [
            (json!({"text": "x"}), 422, "id", Some(200)),
            (json!({"id": "", "text": "x"}), 400, "id", Some(200)),
            (json!({"id": long, "text": "x"}), 400, "id", Some(200)),
            (json!({"id": "1", "author": long, "text": "x"}), 400, "author", Some(200)),
            (json!({"id": "1"}), 422, "text", Some(2000)),
            (json!({"id": "1", "text": ""}), 422, "text", Some(2000)),
            (json!({"id": "1", "text": "ö".repeat(2001)}), 422, "text", Some(2000)),
            (json!({"id": "1", "text": 5}), 422, "text", None),
            (json!([]), 422, "body", None),
        ] {
            refused(&feed.post("a", &body).await, status, field, limit);
        }
        let not_json = feed.peer.ask("POST", "/feeds/a").body("{").answer().await;
        refused(&not_json, 400, "body", None);
        assert_eq!(feed.post("a", &json!({"id": "1", "text": "ö".repeat(2000)})).await.status, 201);
        refused(&feed.post(&long, &json!({})).await, 400, "owner", Some(200));
        for (path, field, limit) in [
            ("/feeds/a?limit=0", "limit", 200),
            ("/feeds/a?limit=201", "limit", 200),
            ("/feeds/a?before=x", "before", 20),
            ("/feeds/a/follows?limit=x", "limit", 200),
        ] {
            refused(&feed.peer.get(path).await, 400, field, Some(limit));
        }
        let itself = feed.peer.ask("PUT", "/feeds/a/follows/a").answer().await;
        refused(&itself, 422, "other", None);
        let read = feed.peer.ask("PUT", "/feeds/a/read").body(r#"{"upto":"x"}"#).answer().await;
        refused(&read, 400, "upto", Some(20));
    });
}

fn the_longest_entry_reaches_as_many_followers_as_are_copied_to(place: &Place) {
    run(async {
        let feed = start_with(place, &["--fan-out-limit", "500"]).await;
        let follower = |n: usize| format!("{n:0>200}");
        for n in 0..500 {
            feed.follows("PUT", &follower(n), "a").await;
        }
        // A control character takes six bytes of JSON.
        let body = json!({"id": "1", "text": "\u{1}".repeat(2000)});
        assert_eq!(feed.post("a", &body).await.status, 201);
        assert_eq!(feed.ids(&format!("/feeds/{}", follower(499))).await, ["1"]);
        let pages = feed.peer.get(&format!("/feeds/{}/unread", follower(0))).await.json();
        assert_eq!(pages["unread"], 1);
    });
}

fn sigterm_ends_it_with_code_0_and_what_was_posted_is_there_again(place: &Place) {
    run(async {
        let mut feed = start(place).await;
        feed.entry("a", "1").await;
        feed.process.terminate();
        assert_eq!(feed.process.ended().code(), Some(0));
        let again = start(place).await;
        assert_eq!(again.ids("/feeds/a").await, ["1"]);
    });
}

fn without_a_bus_or_a_store_the_usage_says_what_to_give() {
    let run = |args: &[&str]| {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_feed")).args(args).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, text) = run(&[]);
    assert!(code == Some(2) && text.contains("--store embedded:DIR"), "{text}");
    let dir = tempfile::tempdir().unwrap();
    let store = format!("embedded:{}", dir.path().display());
    let (code, text) = run(&["--store", &store]);
    assert!(code == Some(2) && text.contains("--bus-listen") && text.contains("--bus-dial"), "{text}");
    let (code, text) = run(&["--store", &store, "--fan-out-limit", "501"]);
    assert!(code == Some(2) && text.contains("0..=500"), "{text}");
}
