//! Two sites on one cluster: what a client writes through one, another reads through the other.

use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::http::Response;
use crate::site::Site;

/// Writes through each site that the other must see.
const ROUNDS: usize = 20;

fn json_of(response: &Response, status: u16) -> Value {
    assert_eq!(response.status, status, "{}", response.text());
    response.json()
}

#[test]
fn what_one_process_acknowledged_the_other_of_its_service_reads() {
    let Some(cluster) = Cluster::start() else { return };
    let sites = [(); 2].map(|()| Site::start(&cluster.store(), 1, "20s"));
    write_and_read(sites.each_ref());
    sites.into_iter().for_each(Site::end);
}

fn write_and_read(sites: [&Site; 2]) {
    let position = |list: &Value| list["position"].clone();
    for round in 0..ROUNDS {
        let [writes, reads] = if round % 2 == 0 { sites } else { [sites[1], sites[0]] };
        let text = format!("text of {round}");

        let profile = json!({"name": "Ada", "round": round});
        assert!(matches!(writes.send("PUT", "/profiles/1", &profile).status, 201 | 204));
        assert_eq!(json_of(&reads.get("/profiles/1"), 200), profile);

        let entry = json_of(&writes.send("POST", "/feeds/1", &json!({"id": text, "text": text})), 201);
        assert_eq!(json_of(&reads.get("/feeds/1?limit=1"), 200)["entries"][0], entry);
        let member = json_of(&reads.get("/members/1"), 200);
        assert!(member.to_string().contains(&text), "{member}");

        let message = json!({"id": text, "author": "1", "text": text});
        let message = json_of(&writes.send("POST", "/chats/c/messages", &message), 201);
        let page = json_of(&reads.get("/chats/c/messages?limit=1"), 200);
        assert_eq!(page["messages"][0], message);

        let event = json!({"events": [{"id": text, "type": "A", "tags": ["pair"]}]});
        let appended = json_of(&writes.send("POST", "/events", &event), 201)["positions"][0].clone();
        let page = json_of(&reads.get("/events?tags=pair"), 200);
        let last = page["events"].as_array().unwrap().last().unwrap();
        assert_eq!(position(last), appended);
        // The same append again is the same answer, whichever process it reaches.
        let again = json_of(&reads.send("POST", "/events", &event), 201);
        assert_eq!(again["positions"][0], appended);
    }
}

#[test]
fn a_write_through_one_process_wakes_the_poll_at_the_other() {
    let Some(cluster) = Cluster::start() else { return };
    let sites = [(); 2].map(|()| Site::start(&cluster.store(), 1, "20s"));
    write_and_poll(sites.each_ref());
    sites.into_iter().for_each(Site::end);
}

fn write_and_poll(sites: [&Site; 2]) {
    let (mut chat, mut event) = ("00000000000000000000".to_owned(), String::new());
    for round in 0..4 {
        let [writes, polls] = if round % 2 == 0 { sites } else { [sites[1], sites[0]] };
        let [waiting, streaming] =
            [format!("/chats/c/updates?after={chat}"), format!("/events/stream?tags=t&after={event}")];
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| polls.get(&waiting));
            let streaming = scope.spawn(|| polls.get(&streaming));
            crate::until::until("both polls wait", || {
                let in_flight = |service| polls.terminator.peers(service)[0]["in_flight"].as_u64();
                let held = ["chat", "events"].map(in_flight);
                if held == [Some(1); 2] { Ok(()) } else { Err(format!("{held:?}")) }
            });
            let text = format!("text of {round}");
            let message = json!({"id": text, "author": "1", "text": text});
            assert_eq!(writes.send("POST", "/chats/c/messages", &message).status, 201);
            let appended = json!({"events": [{"id": text, "type": "A", "tags": ["t"]}]});
            assert_eq!(writes.send("POST", "/events", &appended).status, 201);

            let news = json_of(&waiting.join().unwrap(), 200);
            assert_eq!(news["messages"][0]["id"], text.as_str());
            chat = news["next"].as_str().unwrap().to_owned();
            let page = json_of(&streaming.join().unwrap(), 200);
            assert_eq!(page["events"][0]["id"], text.as_str());
            event = page["position"].as_str().unwrap().to_owned();
        });
    }
}
