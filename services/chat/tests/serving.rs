//! The chat binary on a real bus: messages, polls, typing, markers, limits, shutdown.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::time::Duration;

use serde_json::{Value, json};
use service_host::bus::Hello;
use service_host::testing::stores::Place;
use service_host::testing::{Answer, Peer, Process, run};
use tokio::task::JoinHandle;

service_host::store_tests! {
    on_stores:
        a_message_is_posted_once_however_often_it_is_sent,
        pages_go_on_where_they_ended_although_messages_arrive,
        a_poll_waits_for_what_is_new_and_gets_it,
        a_poll_to_which_nothing_comes_is_answered_before_its_asker_gives_up,
        any_worker_wakes_the_polls_of_every_other,
        typing_and_presence_are_seen_in_updates,
        of_a_crowd_as_many_are_told_to_others_as_are_shown,
        who_stops_typing_is_gone_after_a_while,
        read_markers_go_forward_and_wake_polls,
        every_refusal_names_the_field_and_the_limit,
        an_asker_that_stops_gets_an_empty_answer_at_once,
        sigterm_answers_the_polls_and_ends_with_code_0;
    alone:
        without_a_bus_or_a_store_the_usage_says_what_to_give;
}

struct Chat {
    process: Process,
    peer: Peer,
    url: String,
}

async fn start_with(place: &Place, more: &[&str]) -> Chat {
    let url = place.socket("chat.sock");
    let args = [&["--bus-listen", &url, "--store", place.store()], more].concat();
    let process = Process::start(env!("CARGO_BIN_EXE_chat"), &args);
    let peer = Peer::dial(&url, None);
    peer.ready("GET", "/chats/x/messages").await;
    Chat { process, peer, url }
}

async fn start(place: &Place) -> Chat {
    start_with(place, &[]).await
}

fn poll(peer: &Peer, path: &str) -> JoinHandle<Answer> {
    let (peer, path) = (peer.clone(), path.to_owned());
    tokio::task::spawn_local(
        async move { peer.ask("GET", &path).within(Duration::from_secs(20)).answer().await },
    )
}

/// Waits until `count` requests of `peer` are unanswered.
async fn held(peer: &Peer, count: usize) {
    peer.until(|bus| bus.outstanding() == count).await;
}

impl Chat {
    async fn post(&self, chat: &str, body: &Value) -> Answer {
        self.peer.ask("POST", &format!("/chats/{chat}/messages")).body(body.to_string()).answer().await
    }

    async fn say(&self, chat: &str, id: &str) -> Value {
        let answer = self.post(chat, &json!({"id": id, "author": "ada", "text": format!("{id}!")})).await;
        assert_eq!(answer.status, 201, "{}", answer.text());
        answer.json()
    }

    async fn put(&self, path: &str, body: Value) {
        let answer = self.peer.ask("PUT", path).body(body.to_string()).answer().await;
        assert_eq!(answer.status, 204, "{}", answer.text());
    }
}

fn ids(messages: &Value) -> Vec<&str> {
    messages.as_array().unwrap().iter().map(|message| message["id"].as_str().unwrap()).collect()
}

fn a_message_is_posted_once_however_often_it_is_sent(place: &Place) {
    run(async {
        let chat = start(place).await;
        let empty = chat.peer.get("/chats/a%20b/messages").await;
        assert_eq!(empty.text(), r#"{"messages":[],"next":null,"after":"00000000000000000000"}"#);
        let body = json!({"id": "1", "author": "ada", "text": "<b> \"ö\""});
        let created = chat.post("a%20b", &body).await;
        assert_eq!(created.status, 201);
        let again = chat.post("a%20b", &body).await;
        assert_eq!((again.status, again.text()), (200, created.text()));
        let other = chat.post("a%20b", &json!({"id": "1", "author": "bob", "text": "<b> \"ö\""})).await;
        assert_eq!((other.status, other.json()["field"].as_str()), (409, Some("id")));
        let page = chat.peer.get("/chats/a%20b/messages").await.json();
        let message = created.json();
        assert_eq!(page, json!({"messages": [message], "next": null, "after": message["position"]}));
    });
}

fn pages_go_on_where_they_ended_although_messages_arrive(place: &Place) {
    run(async {
        let chat = start(place).await;
        for n in 0..80 {
            chat.say("c", &format!("{n}")).await;
        }
        let first = chat.peer.get("/chats/c/messages").await.json();
        assert_eq!((ids(&first["messages"]).len(), ids(&first["messages"])[0]), (75, "79"));
        chat.say("c", "new").await;
        let next = first["next"].as_str().unwrap();
        let second = chat.peer.get(&format!("/chats/c/messages?before={next}")).await.json();
        assert_eq!(ids(&second["messages"]), ["4", "3", "2", "1", "0"]);
        assert_eq!(second["next"], Value::Null);
    });
}

fn a_poll_waits_for_what_is_new_and_gets_it(place: &Place) {
    run(async {
        let chat = start(place).await;
        chat.say("c", "1").await;
        let after = chat.peer.get("/chats/c/messages").await.json()["after"].as_str().unwrap().to_owned();
        let polls = [
            poll(&chat.peer, &format!("/chats/c/updates?after={after}")),
            poll(&chat.peer, "/chats/c/updates"),
        ];
        held(&chat.peer, 2).await;
        let other = poll(&chat.peer, "/chats/other/updates?wait=20");
        held(&chat.peer, 3).await;
        let message = chat.say("c", "2").await;
        let mut next = String::new();
        for poll in polls {
            let news = poll.await.unwrap();
            assert_eq!(news.header("cache-control"), Some("no-store"));
            let expected = json!({
                "messages": [message], "read": {}, "typing": [], "present": [], "next": message["position"],
            });
            assert_eq!(news.json(), expected);
            next = message["position"].as_str().unwrap().to_owned();
        }
        assert!(!other.is_finished(), "a poll of another conversation goes on");
        // Messages posted between two polls are answered at once, in order and in portions.
        for n in 0..80 {
            chat.say("c", &format!("n{n}")).await;
        }
        let news = chat.peer.get(&format!("/chats/c/updates?after={next}")).await.json();
        assert_eq!((ids(&news["messages"]).len(), ids(&news["messages"])[0]), (75, "n0"));
        let next = news["next"].as_str().unwrap();
        let news = chat.peer.get(&format!("/chats/c/updates?after={next}")).await.json();
        assert_eq!(ids(&news["messages"]), ["n75", "n76", "n77", "n78", "n79"]);
    });
}

fn a_poll_to_which_nothing_comes_is_answered_before_its_asker_gives_up(place: &Place) {
    run(async {
        let chat = start(place).await;
        let after = chat.say("c", "1").await["position"].as_str().unwrap().to_owned();
        let path = format!("/chats/c/updates?after={after}");
        let empty = json!({"messages": [], "read": {}, "typing": [], "present": [], "next": after});
        let late = chat.peer.ask("GET", &path).within(Duration::from_millis(300)).answer().await;
        assert_eq!((late.status, late.json()), (200, empty.clone()));
        let at_once = chat.peer.get(&format!("{path}&wait=0")).await;
        assert_eq!(at_once.json(), empty);
    });
}

fn any_worker_wakes_the_polls_of_every_other(place: &Place) {
    run(async {
        let chat = start_with(place, &["--workers", "2"]).await;
        let peers: Vec<Peer> = (0..6).map(|_| Peer::dial(&chat.url, None)).collect();
        let mut polls = Vec::new();
        for peer in &peers {
            peer.ready("GET", "/chats/c/updates").await;
            polls.push(poll(peer, "/chats/c/updates?after=00000000000000000000"));
            held(peer, 1).await;
        }
        let message = chat.say("c", "1").await;
        for poll in polls {
            assert_eq!(poll.await.unwrap().json()["messages"], json!([message]));
        }
    });
}

fn typing_and_presence_are_seen_in_updates(place: &Place) {
    run(async {
        let chat = start(place).await;
        let first = poll(&chat.peer, "/chats/c/updates?after=00000000000000000000");
        held(&chat.peer, 1).await;
        chat.put("/chats/c/typing", json!({"member": "ada"})).await;
        let news = first.await.unwrap().json();
        assert_eq!((&news["typing"], &news["messages"]), (&json!(["ada"]), &json!([])));
        // This state is known, so the next poll waits until the message ends the typing.
        let next = news["next"].as_str().unwrap();
        let second = poll(&chat.peer, &format!("/chats/c/updates?after={next}"));
        held(&chat.peer, 1).await;
        chat.put("/chats/c/typing", json!({"member": "ada"})).await;
        assert!(!second.is_finished());
        chat.say("c", "1").await;
        let news = second.await.unwrap().json();
        assert_eq!((ids(&news["messages"]), &news["typing"]), (vec!["1"], &json!([])));

        let next = news["next"].as_str().unwrap();
        let third = poll(&chat.peer, &format!("/chats/c/updates?after={next}"));
        held(&chat.peer, 1).await;
        let here = chat.peer.get(&format!("/chats/c/updates?after={next}&member=bob")).await.json();
        assert_eq!(here["present"], json!(["bob"]));
        assert_eq!(third.await.unwrap().json()["present"], json!(["bob"]));
    });
}

fn of_a_crowd_as_many_are_told_to_others_as_are_shown(place: &Place) {
    run(async {
        let chat = start_with(place, &["--workers", "1"]).await;
        let hello = Hello { topics: vec!["chat".to_owned()], ..Hello::new("other", "1", "1") };
        let other = Peer::dial(&chat.url, Some(hello));
        other.ready("GET", "/chats/x/messages").await;
        let mut events = other.bus.subscribe("chat");
        for _ in 0..2 {
            for member in 0..60 {
                assert_eq!(other.get(&format!("/chats/c/updates?member=m{member}")).await.status, 200);
            }
        }
        // Events before this one were delivered before it.
        chat.put("/chats/c/typing", json!({"member": "ada"})).await;
        let mut told = 0;
        while events.recv().await.envelope.field("kind") != Some(b"typing") {
            told += 1;
        }
        assert_eq!(told, 50);
    });
}

fn who_stops_typing_is_gone_after_a_while(place: &Place) {
    run(async {
        let chat = start(place).await;
        chat.put("/chats/c/typing", json!({"member": "ada"})).await;
        let news = chat.peer.get("/chats/c/updates").await.json();
        assert_eq!(news["typing"], json!(["ada"]));
        let gone = poll(&chat.peer, &format!("/chats/c/updates?after={}", news["next"].as_str().unwrap()));
        assert_eq!(gone.await.unwrap().json()["typing"], json!([]));
    });
}

fn read_markers_go_forward_and_wake_polls(place: &Place) {
    run(async {
        let chat = start(place).await;
        let (one, two) = (chat.say("c", "1").await, chat.say("c", "2").await);
        let after = two["position"].as_str().unwrap();
        let waiting = poll(&chat.peer, &format!("/chats/c/updates?after={after}"));
        held(&chat.peer, 1).await;
        chat.put("/chats/c/read", json!({"member": "bob", "upto": one["position"]})).await;
        let news = waiting.await.unwrap().json();
        assert_eq!((&news["read"], &news["messages"]), (&json!({"bob": one["position"]}), &json!([])));
        chat.put("/chats/c/read", json!({"member": "bob"})).await;
        chat.put("/chats/c/read", json!({"member": "ada", "upto": "ffffffffffffffffffff"})).await;
        chat.put("/chats/c/read", json!({"member": "bob", "upto": one["position"]})).await;
        let read = chat.peer.get("/chats/c/read").await.json()["read"].clone();
        let found = (read["bob"].as_str().unwrap(), read["ada"].as_str().unwrap());
        // A member whose marker covers everything has also seen the earlier markers.
        assert!(found.0 > after && found.1 > found.0, "{read}");
        let news = chat.peer.get(&format!("/chats/c/updates?after={}", news["next"].as_str().unwrap())).await;
        assert_eq!(news.json()["read"], read);
    });
}

fn every_refusal_names_the_field_and_the_limit(place: &Place) {
    run(async {
        let chat = start(place).await;
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
            (json!({"author": "a", "text": "x"}), 422, "id", Some(200)),
            (json!({"id": long, "author": "a", "text": "x"}), 400, "id", Some(200)),
            (json!({"id": "1", "text": "x"}), 422, "author", Some(200)),
            (json!({"id": "1", "author": "", "text": "x"}), 400, "author", Some(200)),
            (json!({"id": "1", "author": "a"}), 422, "text", Some(2000)),
            (json!({"id": "1", "author": "a", "text": ""}), 422, "text", Some(2000)),
            (json!({"id": "1", "author": "a", "text": "ö".repeat(2001)}), 422, "text", Some(2000)),
            (json!({"id": 1, "author": "a", "text": "x"}), 422, "id", None),
        ] {
            refused(&chat.post("c", &body).await, status, field, limit);
        }
        let longest = json!({"id": "1", "author": "a", "text": "ö".repeat(2000)});
        assert_eq!(chat.post("c", &longest).await.status, 201);
        refused(&chat.post(&long, &json!({})).await, 400, "id", Some(200));
        for (path, field, limit) in [
            ("/chats/c/messages?limit=0", "limit", 200),
            ("/chats/c/messages?limit=201", "limit", 200),
            ("/chats/c/messages?before=x", "before", 28),
            ("/chats/c/updates?after=x", "after", 28),
            ("/chats/c/updates?wait=31", "wait", 30),
            (&format!("/chats/c/updates?member={long}"), "member", 200),
        ] {
            refused(&chat.peer.get(path).await, 400, field, Some(limit));
        }
        for path in ["/chats/c/typing", "/chats/c/read"] {
            let nobody = chat.peer.ask("PUT", path).body("{}").answer().await;
            refused(&nobody, 422, "member", Some(200));
        }
    });
}

fn an_asker_that_stops_gets_an_empty_answer_at_once(place: &Place) {
    run(async {
        let chat = start(place).await;
        let after = chat.say("c", "1").await["position"].as_str().unwrap().to_owned();
        let waiting = poll(&chat.peer, &format!("/chats/c/updates?after={after}"));
        held(&chat.peer, 1).await;
        chat.peer.bus.finish_outstanding();
        let answer = waiting.await.unwrap();
        assert_eq!((answer.status, answer.json()["next"].as_str()), (200, Some(after.as_str())));
        // The service still makes other polls wait.
        let waiting = poll(&chat.peer, &format!("/chats/c/updates?after={after}"));
        held(&chat.peer, 1).await;
        chat.say("c", "2").await;
        assert_eq!(ids(&waiting.await.unwrap().json()["messages"]), ["2"]);
    });
}

fn sigterm_answers_the_polls_and_ends_with_code_0(place: &Place) {
    run(async {
        let mut chat = start(place).await;
        let after = chat.say("c", "1").await["position"].as_str().unwrap().to_owned();
        let waiting = poll(&chat.peer, &format!("/chats/c/updates?after={after}"));
        held(&chat.peer, 1).await;
        chat.process.terminate();
        let answer = waiting.await.unwrap();
        assert_eq!((answer.status, answer.json()["next"].as_str()), (200, Some(after.as_str())));
        assert_eq!(chat.process.ended().code(), Some(0));
        let _ = chat.process.logged("every request in hand was answered");
        let again = start(place).await;
        assert_eq!(ids(&again.peer.get("/chats/c/messages").await.json()["messages"]), ["1"]);
    });
}

fn without_a_bus_or_a_store_the_usage_says_what_to_give() {
    let run = |args: &[&str]| {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_chat")).args(args).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, text) = run(&[]);
    assert!(code == Some(2) && text.contains("--store embedded:DIR"), "{text}");
    let dir = tempfile::tempdir().unwrap();
    let (code, text) = run(&["--store", &format!("embedded:{}", dir.path().display())]);
    assert!(code == Some(2) && text.contains("--bus-listen") && text.contains("--bus-dial"), "{text}");
}
