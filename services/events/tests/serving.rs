//! The events binary on a real bus: appends, conditions, queries, long polls, projections, limits,
//! shutdown.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use serde_json::{Value, json};
use service_host::testing::stores::Place;
use service_host::testing::{Answer, PATIENCE, Peer, Process, run};

service_host::store_tests! {
    on_stores:
        events_are_appended_and_found_by_types_and_tags_in_their_order,
        pages_go_on_where_the_last_one_ended,
        a_page_of_long_events_ends_early_and_fits_into_a_message,
        the_same_append_again_is_the_same_answer_and_the_same_id_for_another_event_is_a_409,
        a_condition_fails_when_a_matching_event_is_behind_its_position,
        a_long_poll_answers_when_an_event_for_it_comes_and_not_before,
        a_long_poll_without_events_answers_in_time_with_a_position_to_go_on_from,
        projections_are_written_by_who_knows_their_position,
        every_refusal_names_the_field_and_the_limit,
        an_asker_that_stops_gets_an_empty_answer_at_once,
        sigterm_answers_long_polls_and_what_was_appended_is_there_again;
    alone:
        without_a_bus_or_a_store_the_usage_says_what_to_give;
}

struct Events {
    process: Process,
    peer: Peer,
}

async fn start(place: &Place) -> Events {
    let url = place.socket("events.sock");
    let args = ["--bus-listen", &url, "--store", place.store(), "--workers", "2"];
    let process = Process::start(env!("CARGO_BIN_EXE_events"), &args);
    let peer = Peer::dial(&url, None);
    peer.ready("GET", "/events").await;
    Events { process, peer }
}

impl Events {
    async fn post(&self, body: &Value) -> Answer {
        self.peer.ask("POST", "/events").body(body.to_string()).answer().await
    }

    async fn append(&self, id: &str, event_type: &str, tags: &[&str]) -> String {
        let answer = self.post(&json!({"events": [event(id, event_type, tags)]})).await;
        assert_eq!(answer.status, 201, "{}", answer.text());
        answer.json()["positions"][0].as_str().unwrap().to_owned()
    }

    async fn ids(&self, query: &str) -> Vec<String> {
        let page = self.peer.get(&format!("/events?{query}")).await.json();
        ids(&page)
    }
}

fn event(id: &str, event_type: &str, tags: &[&str]) -> Value {
    json!({"id": id, "type": event_type, "tags": tags, "data": {"n": id}})
}

fn ids(page: &Value) -> Vec<String> {
    let events = page["events"].as_array().unwrap();
    events.iter().map(|event| event["id"].as_str().unwrap().to_owned()).collect()
}

fn events_are_appended_and_found_by_types_and_tags_in_their_order(place: &Place) {
    run(async {
        let events = start(place).await;
        let empty = events.peer.get("/events").await.json();
        assert_eq!((&empty["events"], &empty["more"]), (&json!([]), &json!(false)));
        let many = json!({"events": [event("1", "Opened", &["account:1", "user:\"a\""]), event("2", "Opened", &[])]});
        let answer = events.post(&many).await;
        let positions = answer.json()["positions"].clone();
        assert_eq!((answer.status, positions.as_array().unwrap().len()), (201, 2));
        events.append("3", "Closed", &["account:1"]).await;
        events.append("4", "Opened", &["account:2"]).await;

        let page = events.peer.get("/events").await;
        assert_eq!(page.header("content-type"), Some("application/json"));
        let page = page.json();
        let first = json!({"position": positions[0], "id": "1", "type": "Opened",
            "tags": ["account:1", "user:\"a\""], "data": {"n": "1"}});
        assert_eq!(page["events"][0], first);
        assert_eq!(ids(&page), ["1", "2", "3", "4"]);
        assert_eq!(events.ids("types=Opened").await, ["1", "2", "4"]);
        assert_eq!(events.ids("types=Closed,Opened&limit=3").await, ["1", "2", "3"]);
        assert_eq!(events.ids("tags=account:1").await, ["1", "3"]);
        assert_eq!(events.ids("tags=account:1&types=Closed&types=Nothing").await, ["3"]);
        assert_eq!(events.ids("tags=account:1&tags=user:%22a%22").await, ["1"]);
        assert_eq!(events.ids("tags=account:1,account:2").await, [""; 0]);
        assert_eq!(events.ids("types=Nothing").await, [""; 0]);
        let after = positions[0].as_str().unwrap();
        assert_eq!(events.ids(&format!("after={after}&tags=account:1")).await, ["3"]);
    });
}

fn pages_go_on_where_the_last_one_ended(place: &Place) {
    run(async {
        let events = start(place).await;
        let all: Vec<Value> =
            (0..25).map(|n| event(&format!("{n:02}"), ["A", "B"][n % 2], &["t", "u"])).collect();
        assert_eq!(events.post(&json!({"events": all})).await.status, 201);
        for (query, expected) in
            [("", 25), ("types=A", 13), ("tags=t", 25), ("types=B&tags=u", 12), ("types=A,B", 25)]
        {
            let (mut found, mut after) = (Vec::new(), String::new());
            loop {
                let page = events.peer.get(&format!("/events?{query}&limit=5&after={after}")).await.json();
                found.extend(ids(&page));
                after = page["position"].as_str().unwrap().to_owned();
                if page["more"] == false {
                    break;
                }
                assert_eq!(ids(&page).len(), 5);
            }
            assert!(found.is_sorted() && found.len() == expected, "{query}: {found:?}");
            let later = events.peer.get(&format!("/events?{query}&after={after}")).await.json();
            assert_eq!(later["events"], json!([]), "{query}");
        }
    });
}

fn a_page_of_long_events_ends_early_and_fits_into_a_message(place: &Place) {
    run(async {
        let events = start(place).await;
        let long = "x".repeat(65_000);
        for n in 0..12 {
            let event = json!({"id": n.to_string(), "type": "Long", "tags": ["t"], "data": long});
            assert_eq!(events.post(&json!({"events": [event]})).await.status, 201);
        }
        for query in ["limit=1000", "tags=t"] {
            let page = events.peer.get(&format!("/events?{query}")).await.json();
            let count = ids(&page).len();
            assert!((1..12).contains(&count) && page["more"] == true, "{count}");
            let after = page["position"].as_str().unwrap();
            let rest = events.ids(&format!("{query}&after={after}")).await;
            assert_eq!(count + rest.len(), 12, "{query}");
        }
    });
}

fn the_same_append_again_is_the_same_answer_and_the_same_id_for_another_event_is_a_409(place: &Place) {
    run(async {
        let events = start(place).await;
        let body = json!({"events": [event("1", "A", &["x"]), event("2", "A", &["x"])],
            "condition": {"query": {"types": ["A"], "tags": ["x"]}}});
        let first = events.post(&body).await;
        let again = events.post(&body).await;
        assert_eq!((first.status, first.text()), (again.status, again.text()));
        assert_eq!(events.ids("").await, ["1", "2"]);
        // One new event among existing ones.
        let mixed =
            events.post(&json!({"events": [event("3", "A", &[]), event("2", "A", &["x"])]})).await.json();
        assert_eq!(mixed["positions"][1], first.json()["positions"][1]);
        assert_eq!(events.ids("").await, ["1", "2", "3"]);

        for other in
            [event("1", "B", &["x"]), event("1", "A", &["y"]), json!({"id": "1", "type": "A", "tags": ["x"]})]
        {
            let refused = events.post(&json!({"events": [event("9", "A", &[]), other]})).await;
            let problem = refused.json();
            assert_eq!((refused.status, problem["field"].as_str()), (409, Some("events[1].id")));
            assert!(problem["detail"].as_str().unwrap().contains("\"1\""), "{problem}");
        }
        assert_eq!(events.ids("").await, ["1", "2", "3"], "refused appends left nothing");
    });
}

fn a_condition_fails_when_a_matching_event_is_behind_its_position(place: &Place) {
    run(async {
        let events = start(place).await;
        let first = events.append("1", "Named", &["name:ada"]).await;
        let append = |id: &str, condition: Value| {
            let body = json!({"events": [event(id, "Named", &["name:ada"])], "condition": condition});
            let events = &events;
            async move { events.post(&body).await }
        };
        let refused = append("2", json!({"query": {"types": ["Named"], "tags": ["name:ada"]}})).await;
        assert_eq!(refused.status, 409);
        assert_eq!(refused.header("content-type"), Some("application/problem+json"));
        let problem = refused.json();
        assert_eq!(
            (&problem["field"], &problem["reason"]),
            (&json!("condition"), &json!("condition_failed"))
        );
        assert!(problem["detail"].as_str().unwrap().contains(&first), "{problem}");

        for (id, query) in [
            ("a", json!({"types": ["Other"], "tags": ["name:ada"]})),
            ("b", json!({"types": ["Named"], "tags": ["name:bob"]})),
            ("c", json!({"types": ["Named"], "tags": ["name:ada", "name:bob"]})),
        ] {
            assert_eq!(append(id, json!({"query": query})).await.status, 201, "{query}");
        }
        let seen = events.peer.get("/events?tags=name:ada").await.json()["position"].clone();
        for (id, query) in
            [("3", json!({"tags": ["name:ada"]})), ("4", json!({"types": ["Named"]})), ("5", json!({}))]
        {
            let stale = append(id, json!({"query": query, "after": first})).await;
            assert_eq!(stale.status, 409, "{query}");
        }
        assert_eq!(append("6", json!({"query": {}, "after": seen})).await.status, 201);
        assert_eq!(append("7", json!({"query": {}, "after": seen})).await.status, 409);
    });
}

fn a_long_poll_answers_when_an_event_for_it_comes_and_not_before(place: &Place) {
    run(async {
        let events = start(place).await;
        let position = events.append("1", "A", &["x"]).await;
        let at_once = events.peer.get("/events/stream?tags=x").await.json();
        assert_eq!(ids(&at_once), ["1"]);

        let poll = |query: &str| {
            let (peer, path) = (events.peer.clone(), format!("/events/stream?after={position}&{query}"));
            tokio::task::spawn_local(async move { peer.get(&path).await.json() })
        };
        let (tagged, typed, any) = (poll("tags=x"), poll("types=B&tags=y"), poll(""));
        let asked = |bus: &service_host::bus::Bus| bus.outstanding() == 3;
        events.peer.until(asked).await;
        events.append("2", "A", &["y"]).await;
        assert_eq!(ids(&any.await.unwrap()), ["2"]);
        events.append("3", "B", &["y"]).await;
        assert_eq!(ids(&typed.await.unwrap()), ["3"]);
        assert!(!tagged.is_finished());
        events.append("4", "A", &["x"]).await;
        assert_eq!(ids(&tagged.await.unwrap()), ["4"]);
    });
}

fn a_long_poll_without_events_answers_in_time_with_a_position_to_go_on_from(place: &Place) {
    run(async {
        let events = start(place).await;
        let last = events.append("1", "A", &["x"]).await;
        let quiet = events.peer.get("/events/stream?wait=0&tags=other").await.json();
        assert_eq!(quiet["events"], json!([]));
        assert!(quiet["position"].as_str().unwrap() > last.as_str());
        // The client's own deadline is earlier than the wait.
        let short =
            events.peer.ask("GET", "/events/stream?tags=other").within(std::time::Duration::from_secs(1));
        let short = short.answer().await;
        assert_eq!((short.status, short.json()["events"].clone()), (200, json!([])));
        let refused = events.peer.get("/events/stream?wait=31").await;
        assert_eq!((refused.status, refused.json()["limit"].as_u64()), (400, Some(30)));
    });
}

fn projections_are_written_by_who_knows_their_position(place: &Place) {
    run(async {
        let events = start(place).await;
        let one = events.append("1", "A", &[]).await;
        let two = events.append("2", "A", &[]).await;
        let missing = events.peer.get("/projections/count").await;
        assert_eq!((missing.status, missing.json()["field"].clone()), (404, json!("name")));
        let put = |body: Value| events.peer.ask("PUT", "/projections/count").body(body.to_string()).answer();
        let first = json!({"position": one, "state": {"n": 1}});
        assert_eq!(put(first.clone()).await.status, 204);
        assert_eq!(put(first).await.status, 204, "the same again");
        let stale = put(json!({"position": two, "state": {"n": 2}})).await;
        assert_eq!((stale.status, stale.json()["field"].clone()), (409, json!("previous")));
        assert!(stale.json()["detail"].as_str().unwrap().contains(&one));
        let next = json!({"position": two, "previous": one, "state": {"n": 2}});
        assert_eq!(put(next).await.status, 204);
        let read = events.peer.get("/projections/count").await.json();
        assert_eq!(read, json!({"position": two, "state": {"n": 2}}));
        let long = json!({"position": two, "previous": two, "state": "x".repeat(65_536)});
        let refused = put(long).await;
        assert_eq!((refused.status, refused.json()["limit"].as_u64()), (413, Some(65_536)));
        let refused = events.peer.get(&format!("/projections/{}", "x".repeat(201))).await;
        assert_eq!((refused.status, refused.json()["limit"].as_u64()), (400, Some(200)));
    });
}

fn every_refusal_names_the_field_and_the_limit(place: &Place) {
    run(async {
        let events = start(place).await;
        let tags: Vec<String> = (0..17).map(|n| n.to_string()).collect();
        let many: Vec<Value> = (0..1001).map(|n| json!({"id": n.to_string(), "type": "A"})).collect();
        let long = "x".repeat(129);
        let one = |event: Value| json!({"events": [event]});
        for (body, status, field, limit) in [
            (json!({"events": []}), 422, "events", Some(1000)),
            (json!({"events": many}), 422, "events", Some(1000)),
            (one(json!({"id": "1", "type": "A", "tags": tags})), 422, "events[0].tags", Some(16)),
            (one(json!({"id": "1", "type": "A", "tags": [long]})), 413, "events[0].tags[0]", Some(128)),
            (one(json!({"id": long, "type": "A"})), 413, "events[0].id", Some(128)),
            (one(json!({"id": "1", "type": ""})), 422, "events[0].type", Some(128)),
            (
                one(json!({"id": "1", "type": "A", "data": "x".repeat(65_536)})),
                413,
                "events[0].data",
                Some(65_536),
            ),
            (one(json!({"id": "1", "type": "A", "tag": []})), 422, "events[0].tag", None),
            (one(json!({"id": 1, "type": "A"})), 422, "events[0].id", None),
            (
                json!({"events": [{"id": "1", "type": "A"}, {"id": "1", "type": "A"}]}),
                422,
                "events[1].id",
                None,
            ),
            (json!({"events": [event("1", "A", &[])], "conditon": {}}), 422, "conditon", None),
            (
                json!({"events": [event("1", "A", &[])], "condition": {"query": {"tags": tags}}}),
                422,
                "condition.query.tags",
                Some(16),
            ),
            (
                json!({"events": [event("1", "A", &[])], "condition": {"query": {}, "after": "x"}}),
                422,
                "condition.after",
                None,
            ),
        ] {
            let refused = events.post(&body).await;
            let problem = refused.json();
            assert_eq!(refused.header("content-type"), Some("application/problem+json"));
            let found = (refused.status, problem["field"].as_str(), problem["limit"].as_u64());
            assert_eq!(found, (status, Some(field), limit), "{problem}");
        }
        let refused = events.peer.ask("POST", "/events").body("{").answer().await;
        assert_eq!((refused.status, refused.json()["field"].as_str()), (400, Some("body")));
        for (query, field) in [("limit=1001", "limit"), ("limit=0", "limit"), ("after=7", "after")] {
            let refused = events.peer.get(&format!("/events?{query}")).await;
            assert_eq!((refused.status, refused.json()["field"].as_str()), (400, Some(field)), "{query}");
            assert!(refused.json()["limit"].is_u64());
        }
        assert_eq!(events.ids("").await, [""; 0]);
    });
}

fn an_asker_that_stops_gets_an_empty_answer_at_once(place: &Place) {
    run(async {
        let events = start(place).await;
        events.append("1", "A", &["x"]).await;
        let peer = events.peer.clone();
        let poll = tokio::task::spawn_local(async move {
            peer.ask("GET", "/events/stream?tags=other&wait=30").within(PATIENCE).answer().await
        });
        events.peer.until(|bus| bus.outstanding() == 1).await;
        // An answer to a later request shows that the poll was read.
        assert_eq!(events.ids("").await, ["1"]);
        events.peer.bus.finish_outstanding();
        let answer = poll.await.unwrap();
        assert_eq!((answer.status, answer.json()["events"].as_array().map(Vec::len)), (200, Some(0)));
    });
}

fn sigterm_answers_long_polls_and_what_was_appended_is_there_again(place: &Place) {
    run(async {
        let mut events = start(place).await;
        let first = events.append("1", "A", &["x"]).await;
        let poll = {
            let peer = events.peer.clone();
            // Longer than the drain: a poll that is not released gets no answer.
            tokio::task::spawn_local(async move {
                peer.ask("GET", "/events/stream?tags=other&wait=30").within(PATIENCE).answer().await
            })
        };
        events.peer.until(|bus| bus.outstanding() == 1).await;
        // An answer to a later request shows that the poll was read.
        assert_eq!(events.ids("").await, ["1"]);
        events.process.terminate();
        assert_eq!((poll.await.unwrap().status, events.process.ended().code()), (200, Some(0)));
        let _ = events.process.logged("every request in hand was answered");
        let Events { process: _process, peer } = start(place).await;
        let page = peer.get("/events").await.json();
        assert_eq!((ids(&page), &page["events"][0]["position"]), (vec!["1".to_owned()], &json!(first)));
        let again = json!({"events": [event("1", "A", &["x"])]}).to_string();
        let again = peer.ask("POST", "/events").body(again).answer().await;
        assert_eq!(again.json()["positions"][0], json!(first));
    });
}

fn without_a_bus_or_a_store_the_usage_says_what_to_give() {
    let run = |args: &[&str]| {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_events")).args(args).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, text) = run(&[]);
    assert!(code == Some(2) && text.contains("--store embedded:DIR"), "{text}");
    let dir = tempfile::tempdir().unwrap();
    let store = format!("embedded:{}", dir.path().display());
    let (code, text) = run(&["--store", &store]);
    assert!(code == Some(2) && text.contains("--bus-listen") && text.contains("--bus-dial"), "{text}");
}
