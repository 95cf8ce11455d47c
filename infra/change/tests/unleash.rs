//! Unleash as the source of toggles: against a server that speaks the client API as
//! docs.getunleash.io and npm's `unleash-client` 6.12 describe it, byte by byte.
//!
//! The open-source Unleash has no streams, so `unleash_server.rs` covers polling with a real one.

#[path = "support/running.rs"]
#[allow(dead_code, reason = "each test binary uses a part of it")]
mod running;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use change::document::Origin;
use change::source::{Expected, Place, PlanSettings, SourceError, UnleashSettings};
use running::{Running, has, key, run, turn, within, write};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

const TOKEN: &str = "default:development.s3cret";

/// What the server answers to one path.
#[derive(Clone)]
enum Reply {
    /// A status without a body.
    Status(u16),
    /// Features with this tag; 304 to a request that knows it.
    Features(Value, &'static str),
    /// A stream of these events; it stays open when the flag is true.
    Stream(Vec<String>, bool),
}

/// One request as it came.
#[derive(Clone, Debug)]
struct Asked {
    path: String,
    headers: String,
    body: String,
}

#[derive(Default)]
struct Script {
    /// Replies by path; the last one is repeated.
    features: VecDeque<Reply>,
    streaming: VecDeque<Reply>,
    asked: Vec<Asked>,
}

/// A server on a free port.
struct Server {
    port: u16,
    script: Arc<Mutex<Script>>,
}

impl Server {
    async fn start(features: Vec<Reply>, streaming: Vec<Reply>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let port = listener.local_addr().expect("is bound").port();
        let script = Script { features: features.into(), streaming: streaming.into(), asked: Vec::new() };
        let script = Arc::new(Mutex::new(script));
        let shared = Arc::clone(&script);
        tokio::task::spawn_local(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::task::spawn_local(serve(stream, Arc::clone(&shared)));
            }
        });
        Self { port, script }
    }

    fn settings(&self) -> PlanSettings {
        let place = format!("unleash:http://127.0.0.1:{}", self.port);
        let Ok(Place::Unleash(url)) = place.parse() else { panic!("{place}") };
        let token = Some(TOKEN.parse().expect("is a token"));
        let interval = std::time::Duration::from_secs(1);
        PlanSettings { unleash: Some(UnleashSettings { url, token, interval }), ..PlanSettings::default() }
    }

    fn asked(&self, path: &str) -> Vec<Asked> {
        let script = self.script.lock().expect("nobody panics");
        script.asked.iter().filter(|asked| asked.path == path).cloned().collect()
    }
}

/// Answers the requests of one connection.
async fn serve(stream: TcpStream, script: Arc<Mutex<Script>>) {
    let mut stream = BufReader::new(stream);
    while let Some(asked) = request(&mut stream).await {
        let reply = {
            let mut script = script.lock().expect("nobody panics");
            script.asked.push(asked.clone());
            let replies = match asked.path.as_str() {
                "/api/client/features" => &mut script.features,
                "/api/client/streaming" => &mut script.streaming,
                _ => &mut VecDeque::from([Reply::Status(202)]),
            };
            if replies.len() > 1 { replies.pop_front() } else { replies.front().cloned() }
        };
        let reply = reply.unwrap_or(Reply::Status(404));
        let closes = matches!(&reply, Reply::Stream(..));
        let bytes = match reply {
            Reply::Features(_, tag) if asked.headers.contains(&format!("if-none-match: {tag}\r\n")) => {
                format!("HTTP/1.1 304 Not Modified\r\netag: {tag}\r\n\r\n")
            }
            Reply::Features(features, tag) => {
                let body = features.to_string();
                format!("HTTP/1.1 200 OK\r\netag: {tag}\r\ncontent-length: {}\r\n\r\n{body}", body.len())
            }
            Reply::Status(status) => format!("HTTP/1.1 {status} Said\r\ncontent-length: 0\r\n\r\n"),
            Reply::Stream(events, stays) => {
                let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
                let text = format!("{head}: hello\n\n{}", events.concat());
                if stays && stream.write_all(text.as_bytes()).await.is_ok() {
                    // Until the client leaves.
                    let _ = stream.read(&mut [0]).await;
                    return;
                }
                text
            }
        };
        if stream.write_all(bytes.as_bytes()).await.is_err() || closes {
            return;
        }
    }
}

async fn request(stream: &mut BufReader<TcpStream>) -> Option<Asked> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head).await.ok()? == 0 {
            return None;
        }
    }
    let path = head.split(' ').nth(1)?.to_owned();
    let headers = head.to_ascii_lowercase();
    let length = headers.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
    let mut body = vec![0; length.and_then(|length| length.parse().ok()).unwrap_or(0)];
    stream.read_exact(&mut body).await.ok()?;
    Some(Asked { path, headers, body: String::from_utf8_lossy(&body).into_owned() })
}

fn feature(name: &str, enabled: bool) -> Value {
    json!({ "name": name, "enabled": enabled })
}

fn features(list: &[Value]) -> Value {
    json!({ "version": 2, "features": list, "segments": [{ "id": 1, "constraints": [] }] })
}

/// A server-sent event with changes.
fn event(name: &str, events: &Value) -> String {
    format!("event: {name}\nid: 7\ndata: {}\n\n", json!({ "events": events }))
}

fn hydration(list: &[Value]) -> Value {
    json!({ "eventId": 1, "type": "hydration", "features": list, "segments": [] })
}

fn text(feature: &Value) -> String {
    feature.to_string()
}

#[test]
fn a_server_without_streams_is_polled_with_its_tag() {
    run(async {
        let replies = vec![
            Reply::Features(features(&[feature("a", true), feature("b", false)]), "\"1\""),
            Reply::Features(features(&[feature("a", true), feature("b", false)]), "\"1\""),
            Reply::Features(features(&[feature("a", false)]), "\"2\""),
        ];
        let server = Server::start(replies, vec![Reply::Status(404)]).await;
        let running = Running::start(&server.settings());
        let plan = running.plan("the first answer", |plan| plan.documents().count() == 3).await;
        assert!(has(&plan, "toggles/a", &text(&feature("a", true))));
        let origin = plan.document(&key("toggles/a")).map(|document| document.origin);
        assert_eq!(origin, Some(Origin::Unleash));
        assert!(has(&plan, "segments", "[{\"constraints\":[],\"id\":1}]"), "{plan:?}");
        running.plan("the change", |plan| has(plan, "toggles/a", &text(&feature("a", false)))).await;
        running.plan("the removal", |plan| plan.documents().count() == 2).await;

        let asked = server.asked("/api/client/features");
        assert!(asked[1].headers.contains("if-none-match: \"1\"\r\n"), "{asked:?}");
        for header in
            [&format!("authorization: {TOKEN}"), "unleash-appname: stack", "unleash-client-spec: 5.2.0"]
        {
            assert!(asked[0].headers.contains(header), "{header}: {asked:?}");
        }
        assert_eq!(server.asked("/api/client/streaming").len(), 1, "404 is not asked again");
        let registered = server.asked("/api/client/register");
        let registered: Value = serde_json::from_str(&registered[0].body).expect("is JSON");
        assert_eq!(registered["appName"], "stack");
        let status = running.source.status();
        assert!(!format!("{status:?}").contains("s3cret"));
    });
}

#[test]
fn streamed_changes_come_into_force_without_polling() {
    run(async {
        let updated = json!([
            { "eventId": 2, "type": "feature-updated", "feature": feature("b", true) },
            { "eventId": 3, "type": "feature-removed", "featureName": "a", "project": "default" },
            { "eventId": 4, "type": "segment-updated", "segment": { "id": 9, "constraints": [] } },
            { "eventId": 5, "type": "of-a-later-version", "anything": 1 },
        ]);
        let events = vec![
            event("unleash-connected", &json!([hydration(&[feature("a", true)])])),
            event("unleash-updated", &updated),
        ];
        let server = Server::start(vec![Reply::Status(500)], vec![Reply::Stream(events, true)]).await;
        let running = Running::start(&server.settings());
        let plan = running
            .plan("both events", |plan| {
                has(plan, "toggles/b", &text(&feature("b", true))) && plan.documents().count() == 2
            })
            .await;
        assert!(has(&plan, "segments", "[{\"constraints\":[],\"id\":9}]"));
        assert!(server.asked("/api/client/features").is_empty());
        let streams = server.asked("/api/client/streaming");
        assert!(streams[0].headers.contains("accept: text/event-stream\r\n"), "{streams:?}");
    });
}

#[test]
fn a_stream_that_breaks_or_is_not_understood_is_opened_again_and_polled_meanwhile() {
    run(async {
        let broken =
            "event: unleash-updated\ndata: {\"events\":[{\"type\":\"feature-updated\"}]}\n\n".to_owned();
        let first = event("unleash-connected", &json!([hydration(&[feature("a", true)])]));
        let again = event("unleash-connected", &json!([hydration(&[feature("c", true)])]));
        let streaming = vec![
            Reply::Stream(vec![first.clone()], false),
            Reply::Stream(vec![first, broken], true),
            Reply::Stream(vec![again], true),
        ];
        let polled = Reply::Features(features(&[feature("b", true)]), "\"1\"");
        let server = Server::start(vec![polled], streaming).await;
        let running = Running::start(&server.settings());
        running.plan("the third stream", |plan| has(plan, "toggles/c", &text(&feature("c", true)))).await;
        assert_eq!(server.asked("/api/client/features").len(), 2, "one after each broken stream");
        for stream in server.asked("/api/client/streaming") {
            assert!(!stream.headers.contains("last-event-id"), "everything is asked for: {stream:?}");
        }
    });
}

#[test]
fn a_server_that_asks_to_poll_is_polled() {
    run(async {
        let events = vec!["event: fetch-mode\ndata: polling\n\n".to_owned()];
        let polled = Reply::Features(features(&[feature("a", true)]), "\"1\"");
        let server = Server::start(vec![polled], vec![Reply::Stream(events, true)]).await;
        let running = Running::start(&server.settings());
        running.plan("the poll", |plan| has(plan, "toggles/a", &text(&feature("a", true)))).await;
        within("a second poll", async {
            while server.asked("/api/client/features").len() < 2 {
                turn().await;
            }
        })
        .await;
        assert_eq!(server.asked("/api/client/streaming").len(), 1);
    });
}

#[test]
fn a_wrong_token_and_a_faulty_answer_change_nothing_and_are_named() {
    run(async {
        let good = Reply::Features(features(&[feature("a", true)]), "\"1\"");
        let faulty = Reply::Features(json!({ "features": [{ "enabled": true }] }), "\"2\"");
        let server = Server::start(vec![good, faulty, Reply::Status(401)], vec![Reply::Status(404)]).await;
        let running = Running::start(&server.settings());
        running.plan("the toggle", |plan| has(plan, "toggles/a", &text(&feature("a", true)))).await;
        let named = |what: &'static str| {
            move |status: &change::source::Status| {
                status.state.error.as_ref().is_some_and(|error| error.contains(what))
            }
        };
        running.status("the fault", named("not Unleash's")).await;
        let status = running.status("the refusal", named("--plan-token")).await;
        assert!(!status.state.connected && status.documents.len() == 2, "{status:?}");
    });
}

#[test]
fn toggles_come_from_unleash_and_the_rest_from_the_directory_beside_it() {
    run(async {
        let dir = tempfile::tempdir().expect("makes a directory");
        let put = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().expect("is in a folder")).expect("makes it");
            std::fs::write(path, text).expect("writes");
        };
        let rollout = "{\"stable\":\"1\",\"candidate\":\"2\",\"stages\":[{\"percent\":10}]}";
        put("rollouts/s.json", rollout);
        put("toggles/mine.json", "{\"name\":\"mine\",\"enabled\":true}");
        let polled = Reply::Features(features(&[feature("a", true)]), "\"1\"");
        let server = Server::start(vec![polled], vec![Reply::Status(404)]).await;
        let settings = PlanSettings { directory: Some(dir.path().to_owned()), ..server.settings() };
        let running = Running::start(&settings);
        within("both are loaded", running.source.loaded()).await;
        let plan = running.plan("both", |plan| plan.documents().count() == 3).await;
        assert!(has(&plan, "rollouts/s", rollout) && has(&plan, "toggles/a", &text(&feature("a", true))));
        let status = running.status("the ignored toggle", |status| status.state.ignored == 1).await;
        assert!(status.unleash.is_some_and(|unleash| unleash.connected));

        // The directory changes its own part only.
        put("rollouts/t.json", rollout);
        running.plan("the new rollout", |plan| plan.documents().count() == 4).await;
        let refused = running.source.write(write("toggles/a", Some("{}"), Expected::Any)).await;
        let refused = refused.expect_err("Unleash is only read");
        assert!(matches!(refused, SourceError::ReadOnly { .. }) && refused.to_string().contains("console"));
        assert!(running.source.history(&key("toggles/a")).await.is_err());
        let (found, _) = running.source.get(&key("toggles/a")).await.expect("answers").expect("is there");
        assert_eq!(found, text(&feature("a", true)));
        running.put("rollouts/t", rollout).await;
    });
}

#[test]
fn a_plan_of_unleash_alone_says_that_it_has_no_rollouts() {
    run(async {
        let polled = Reply::Features(features(&[]), "\"1\"");
        let server = Server::start(vec![polled], vec![Reply::Status(404)]).await;
        let running = Running::start(&server.settings());
        running.source.loaded().await;
        let error = running.source.get(&key("rollouts/s")).await.expect_err("has none");
        assert!(error.to_string().contains("--plan DIR or --etcd URL"), "{error}");
    });
}

#[test]
fn without_unleash_a_start_uses_the_cache() {
    run(async {
        let dir = tempfile::tempdir().expect("makes a directory");
        let cache = Some(dir.path().join("cache.json"));
        let polled = Reply::Features(features(&[feature("a", true)]), "\"1\"");
        let server = Server::start(vec![polled], vec![Reply::Status(404)]).await;
        let settings = PlanSettings { cache: cache.clone(), ..server.settings() };
        let running = Running::start(&settings);
        running.plan("the toggle", |plan| has(plan, "toggles/a", &text(&feature("a", true)))).await;
        running.stop().await;

        let down = Server::start(vec![Reply::Status(503)], vec![Reply::Status(503)]).await;
        let running = Running::start(&PlanSettings { cache, ..down.settings() });
        let plan = running.plan("the cached toggle", |plan| plan.documents().count() == 2).await;
        let origin = plan.document(&key("toggles/a")).map(|document| document.origin);
        assert_eq!(origin, Some(Origin::Cache));
        running.status("the loss", |status| status.state.from_cache && status.state.error.is_some()).await;
    });
}
