//! The web binary between an asker and services that the test plays.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::cell::{Cell, RefCell};
use std::future::pending;
use std::rc::Rc;
use std::time::Duration;

use service_host::bus::{Hello, Incoming, Response, Serving};
use service_host::testing::{Answer, Peer, Process, run, socket};
use tokio::sync::Notify;

struct Web {
    process: Process,
    peer: Peer,
    /// Where services that it asks dial in.
    upstream: String,
    _dir: tempfile::TempDir,
}

async fn start() -> Web {
    let dir = tempfile::tempdir().unwrap();
    let (url, upstream) = (socket(dir.path(), "web.sock"), socket(dir.path(), "upstream.sock"));
    let args = ["--bus-listen", &url, "--upstream-listen", &upstream];
    let process = Process::start(env!("CARGO_BIN_EXE_web"), &args);
    let peer = Peer::dial(&url, None);
    peer.ready("GET", "/members/x").await;
    Web { process, peer, upstream, _dir: dir }
}

fn hello(service: &str, routes: &[&str]) -> Option<Hello> {
    let mut hello = Hello::new(service, "1", format!("{service}-test"));
    hello.routes = routes.iter().map(|route| route.parse().unwrap()).collect();
    Some(hello)
}

impl Web {
    /// Joins as a service, and waits until web knows.
    async fn join(&self, service: &str, route: &str, serve: impl Fn(Incoming) -> Serving + 'static) -> Peer {
        let peer = Peer::dial(&self.upstream, hello(service, &[route]));
        peer.serve(serve);
        peer.until(|bus| bus.peers().iter().any(|peer| peer.endpoint.contains("upstream.sock"))).await;
        peer
    }

    /// Sends a form as a browser does.
    async fn form(&self, path: &str, form: &'static str) -> Answer {
        let kind = "application/x-www-form-urlencoded";
        self.peer.ask("POST", path).header("content-type", kind).body(form).answer().await
    }

    /// Joins as the profile service, and waits until web asks it.
    async fn join_profile(&self, serve: impl Fn(Incoming) -> Serving + 'static) -> Peer {
        let peer = self.join("profile", "GET /profiles/{id}", serve).await;
        self.asks("/members/ready").await;
        peer
    }

    async fn asks(&self, path: &str) {
        let mut look = tokio::time::interval(Duration::from_millis(2));
        while self.peer.get(path).await.status == 503 {
            look.tick().await;
        }
    }
}

fn now(status: u16, body: &str) -> Serving {
    Serving::Now(Response::new(status).body(body.to_owned()))
}

fn ada(request: &Incoming) -> Serving {
    match request.path() {
        "/profiles/ready" => now(404, ""),
        _ => now(200, r#"{"name":"Ada <b>", "n":1.50}"#),
    }
}

#[test]
fn a_member_is_json_for_programs_and_html_for_browsers() {
    run(async {
        let web = start().await;
        let _profile = web.join_profile(|request| ada(&request)).await;
        let json = web.peer.get("/members/a%22b").await;
        assert_eq!(json.text(), r#"{"id":"a\"b","profile":{"name":"Ada <b>", "n":1.50},"missing":[]}"#);
        assert_eq!(json.header("content-type"), Some("application/json"));
        assert_eq!(json.header("vary"), Some("accept"));
        assert_eq!(json.header("cache-control"), Some("private, no-cache"));
        let tag = json.header("etag").unwrap();
        let same = web.peer.ask("GET", "/members/a%22b").header("if-none-match", tag).answer().await;
        assert_eq!((same.status, same.text()), (304, ""));

        let html = web.peer.ask("GET", "/members/1").header("accept", "text/html,*/*;q=0.8").answer().await;
        assert_eq!(html.header("content-type"), Some("text/html; charset=utf-8"));
        assert!(html.text().contains("Ada &lt;b&gt;") && !html.text().contains("Ada <b>"), "{}", html.text());
        assert_ne!(html.header("etag"), Some(tag));
        let neither = web.peer.ask("GET", "/members/1").header("accept", "image/png").answer().await;
        assert_eq!((neither.status, neither.json()["field"].as_str()), (406, Some("accept")));
    });
}

#[test]
fn the_essential_part_decides_the_status() {
    run(async {
        let web = start().await;
        let _profile = web
            .join_profile(|request| match request.path() {
                "/profiles/refused" => now(400, r#"{"detail":"an id has no x","field":"id","limit":9}"#),
                "/profiles/broken" => now(500, ""),
                "/profiles/text" => now(200, "no json"),
                _ => now(404, ""),
            })
            .await;
        let missing = web.peer.get("/members/nobody").await;
        assert_eq!((missing.status, missing.header("content-type")), (404, Some("application/problem+json")));
        assert!(missing.text().contains("nobody"), "{}", missing.text());
        let page = web.peer.ask("GET", "/members/nobody").header("accept", "text/html").answer().await;
        assert_eq!((page.status, page.header("content-type")), (404, Some("text/html; charset=utf-8")));
        let refused = web.peer.get("/members/refused").await;
        assert_eq!((refused.status, refused.json()["field"].as_str()), (400, Some("id")));
        let broken = web.peer.get("/members/broken").await;
        assert_eq!((broken.status, broken.json()["reason"].as_str()), (502, Some("status")));
        let text = web.peer.get("/members/text").await;
        assert_eq!((text.status, text.json()["reason"].as_str()), (502, Some("not-json")));
    });
}

#[test]
fn an_optional_part_that_is_late_is_named_and_not_waited_for() {
    run(async {
        let web = start().await;
        let _profile = web.join_profile(|request| ada(&request)).await;
        let asked = Rc::new(Cell::new(0));
        let count = Rc::clone(&asked);
        let _feed = web
            .join("feed", "GET /feeds/{id}", move |_| {
                count.set(count.get() + 1);
                Serving::Later(Box::pin(pending()))
            })
            .await;
        // Web knows the feed when a page says so; every answer comes before its asker gives up.
        let page = loop {
            let page = web.peer.ask("GET", "/members/1").within(Duration::from_millis(300)).answer().await;
            assert_eq!(page.status, 200);
            if asked.get() > 0 {
                break page;
            }
        };
        let expected = r#"{"id":"1","profile":{"name":"Ada <b>", "n":1.50},"missing":[{"service":"feed","part":"feed","reason":"deadline"}]}"#;
        assert_eq!(page.text(), expected);
        assert_eq!((page.header("cache-control"), page.header("etag")), (Some("no-store"), None));
    });
}

#[test]
fn an_essential_part_that_is_late_is_a_504_before_the_asker_gives_up() {
    run(async {
        let web = start().await;
        let _profile = web
            .join_profile(|request| match request.path() {
                "/profiles/ready" => now(404, ""),
                _ => Serving::Later(Box::pin(pending())),
            })
            .await;
        let late = web.peer.ask("GET", "/members/1").within(Duration::from_millis(200)).answer().await;
        assert_eq!((late.status, late.json()["reason"].as_str()), (504, Some("deadline")));
    });
}

#[test]
fn an_optional_part_that_answers_is_on_the_page() {
    run(async {
        let web = start().await;
        let _profile = web.join_profile(|request| ada(&request)).await;
        let serve = |request: Incoming| match request.path() {
            "/feeds/2?limit=20" => now(404, ""),
            "/feeds/3?limit=20" => now(500, ""),
            _ => now(200, r#"{"items":[]}"#),
        };
        let _feed = web.join("feed", "GET /feeds/{id}", serve).await;
        let mut page = web.peer.get("/members/1").await;
        while !page.text().contains("feed") {
            page = web.peer.get("/members/1").await;
        }
        assert_eq!(page.json()["feed"], serde_json::json!({"items": []}));
        assert_eq!(web.peer.get("/members/2").await.json()["feed"], serde_json::Value::Null);
        let failed = web.peer.get("/members/3").await.json();
        let named =
            serde_json::json!([{"service": "feed", "part": "feed", "reason": "status", "status": 500}]);
        assert_eq!((failed.get("feed"), &failed["missing"]), (None, &named));
    });
}

#[test]
fn the_unread_count_is_a_part_of_the_page() {
    run(async {
        let web = start().await;
        let _profile = web.join_profile(|request| ada(&request)).await;
        let serve = |request: Incoming| match request.path() {
            "/feeds/2/unread" => now(200, "{}"),
            _ => now(200, r#"{"unread":3,"more":false}"#),
        };
        let _feed = web.join("feed", "GET /feeds/{id}/unread", serve).await;
        let mut page = web.peer.get("/members/1").await;
        while !page.text().contains("unread") {
            page = web.peer.get("/members/1").await;
        }
        let expected = r#"{"id":"1","profile":{"name":"Ada <b>", "n":1.50},"unread":3,"missing":[]}"#;
        assert_eq!(page.text(), expected);
        let failed = web.peer.get("/members/2").await.json();
        let named = serde_json::json!([{"service": "feed", "part": "unread", "reason": "not-json"}]);
        assert_eq!((failed.get("unread"), &failed["missing"]), (None, &named));
    });
}

const ENTRY: &str = r#"{"position":"0a","id":"1","author":"bob","text":"<i>\n&","at_ms":86400000}"#;

#[test]
fn a_feed_is_a_page_with_forms() {
    run(async {
        let web = start().await;
        let asked = Rc::new(RefCell::new(Vec::new()));
        let asking = Rc::clone(&asked);
        let serve = move |request: Incoming| {
            let body = String::from_utf8_lossy(request.envelope.body_bytes()).into_owned();
            asking.borrow_mut().push(format!("{} {} {body}", request.method(), request.path()));
            match (request.method(), request.path()) {
                ("GET", "/feeds/a%20b/unread") => now(200, r#"{"unread":1000,"more":true,"read":null}"#),
                ("GET", _) => now(200, &format!(r#"{{"entries":[{ENTRY}],"next":"0a"}}"#)),
                ("POST", _) if body.contains("long") => {
                    now(422, r#"{"detail":"`text` is too long","field":"text","limit":2000}"#)
                }
                ("POST", _) => now(201, "{}"),
                _ => now(204, ""),
            }
        };
        let _feed = web.join("feed", "* /feeds/{*rest}", serve).await;
        web.asks("/members/a%20b/feed").await;
        let html = |path: &str| web.peer.ask("GET", path).header("accept", "text/html").answer();
        let page = html("/members/a%20b/feed").await;
        assert!(page.header("content-security-policy").unwrap().contains("script-src 'self'"));
        let text = page.text();
        for part in
            ["Feed of a b", "&lt;i&gt;\n&amp;", "1970-01-02T00:00:00Z", "1000+ unread", "value=\"0a\""]
        {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert!(text.contains("href=\"/members/a%20b/feed?before=0a\""), "{text}");
        let json = web.peer.get("/members/a%20b/feed").await.json();
        assert_eq!(json["entries"][0]["author"], "bob");

        asked.borrow_mut().clear();
        for (path, form, sent) in [
            ("/feed", "id=n1&text=a%0D%0Ab+%26", r#"POST /feeds/a%20b {"id":"n1","text":"a\nb &"}"#),
            ("/feed/read", "upto=0a", r#"PUT /feeds/a%20b/read {"upto":"0a"}"#),
            ("/follows", "other=c%2Fd&action=follow", "PUT /feeds/a%20b/follows/c%2Fd "),
            ("/follows", "other=c&action=unfollow", "DELETE /feeds/a%20b/follows/c "),
        ] {
            let answer = web.form(&format!("/members/a%20b{path}"), form).await;
            assert_eq!((answer.status, answer.header("location")), (303, Some("/members/a%20b/feed")));
            assert_eq!(asked.borrow_mut().pop().unwrap(), sent);
        }
        let refused = web.form("/members/a%20b/feed", "id=n1&text=long").await;
        assert_eq!((refused.status, refused.json()["field"].as_str()), (422, Some("text")));
        let wrong = web.form("/members/a%20b/follows", "other=c&action=x").await;
        assert_eq!((wrong.status, wrong.json()["field"].as_str()), (422, Some("action")));
        let json = web.peer.ask("POST", "/members/a%20b/feed").body("{}").answer().await;
        assert_eq!((json.status, json.json()["field"].as_str()), (415, Some("content-type")));
    });
}

#[test]
fn a_conversation_is_a_page_with_a_form() {
    run(async {
        let web = start().await;
        let said = Rc::new(RefCell::new(String::new()));
        let saying = Rc::clone(&said);
        let newer = ENTRY.replace("bob", "eve");
        let serve = move |request: Incoming| match request.method() {
            "GET" => now(200, &format!(r#"{{"messages":[{newer},{ENTRY}],"next":"0b","after":"0c"}}"#)),
            _ => {
                let body = String::from_utf8_lossy(request.envelope.body_bytes()).into_owned();
                *saying.borrow_mut() = format!("{} {body}", request.path());
                now(201, "{}")
            }
        };
        let _chat = web.join("chat", "* /chats/{*rest}", serve).await;
        web.asks("/conversations/7").await;
        let page =
            web.peer.ask("GET", "/conversations/7?as=a%20d").header("accept", "text/html").answer().await;
        let text = page.text();
        assert!(text.find("bob").unwrap() < text.find("eve").unwrap(), "the newest last: {text}");
        for part in [
            "data-updates=\"/chats/7/updates\"",
            "data-after=\"0c\"",
            "data-member=\"a d\"",
            "href=\"/conversations/7?as=a%20d&amp;before=0b\"",
            "action=\"/conversations/7\"",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
        let answer = web.form("/conversations/7", "id=n&author=a+d&text=x").await;
        assert_eq!((answer.status, answer.header("location")), (303, Some("/conversations/7?as=a%20d")));
        assert_eq!(*said.borrow(), r#"/chats/7/messages {"author":"a d","id":"n","text":"x"}"#);
        let open = web.peer.get("/conversations?id=a%2Fb&as=c").await;
        assert_eq!(open.header("location"), Some("/conversations/a%2Fb?as=c"));
        assert_eq!(web.peer.get("/conversations").await.json()["field"], "id");
    });
}

#[test]
fn style_and_script_are_kept_by_their_hash() {
    run(async {
        let web = start().await;
        let start = web.peer.ask("GET", "/").header("accept", "text/html").answer().await;
        for (name, kind) in [("web.css", "text/css"), ("live.js", "text/javascript")] {
            let at = start.text().find(&format!("/static/{name}?v=")).unwrap();
            let href = start.text()[at..].split('"').next().unwrap();
            let file = web.peer.get(href).await;
            assert!(file.header("content-type").unwrap().starts_with(kind));
            assert!(file.header("cache-control").unwrap().contains("immutable"));
        }
        assert_eq!(web.peer.get("/static/x").await.status, 404);
    });
}

#[test]
fn without_profiles_the_answer_is_503_at_once_with_a_reason() {
    run(async {
        let web = start().await;
        let never = web.peer.get("/members/1").await;
        assert_eq!((never.status, never.json()["reason"].as_str()), (503, Some("no-instance")));
        let upstream = web.upstream.clone();
        // A runtime of its own, whose end closes the connection as the kernel does for a killed process.
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let service = std::thread::spawn(move || {
            run(async {
                let peer = Peer::dial(&upstream, hello("profile", &["GET /profiles/{id}"]));
                peer.serve(|request| match request.path() {
                    "/profiles/held" => Serving::Later(Box::pin(pending())),
                    _ => ada(&request),
                });
                let _ = stopped.await;
            });
        });
        web.asks("/members/1").await;
        let peer = web.peer.clone();
        let held = tokio::task::spawn_local(async move { peer.get("/members/held").await });
        web.peer.until(|bus| bus.outstanding() == 1).await;
        assert_eq!(web.peer.get("/members/1").await.status, 200);
        stop.send(()).unwrap();
        let held = held.await.unwrap();
        assert_eq!((held.status, held.header("retry-after")), (503, Some("1")), "{}", held.text());
        service.join().unwrap();
        let gone = web.peer.get("/members/1").await;
        assert_eq!((gone.status, gone.json()["reason"].as_str()), (503, Some("no-instance")));
        assert_eq!(gone.header("retry-after"), Some("1"));
        // Back again, it serves without a restart of web.
        let _profile = web.join_profile(|request| ada(&request)).await;
        assert_eq!(web.peer.get("/members/1").await.status, 200);
    });
}

#[test]
fn trace_context_and_deadline_go_on_to_the_services() {
    run(async {
        let web = start().await;
        let seen = Rc::new(RefCell::new(Vec::new()));
        let seeing = Rc::clone(&seen);
        let _profile = web
            .join_profile(move |request| {
                let field = |name| {
                    request.envelope.field(name).map(|value| String::from_utf8_lossy(value).into_owned())
                };
                let fields = [field("x-request-id"), field("traceparent"), field("cookie")];
                seeing.borrow_mut().push((fields, request.envelope.header().ttl_us));
                ada(&request)
            })
            .await;
        seen.borrow_mut().clear();
        let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let question =
            web.peer.ask("GET", "/members/1").header("x-request-id", "r1").header("traceparent", trace);
        let answer = question.header("cookie", "secret").within(Duration::from_secs(5)).answer().await;
        assert_eq!(answer.status, 200);
        let (fields, ttl_us) = seen.borrow_mut().pop().unwrap();
        assert_eq!(fields, [Some("r1".to_owned()), Some(trace.to_owned()), None]);
        assert!((1..5_000_000).contains(&ttl_us), "{ttl_us}");
    });
}

#[test]
fn sigterm_lets_the_request_in_hand_finish() {
    run(async {
        let mut web = start().await;
        let (asked, go) = (Rc::new(Notify::new()), Rc::new(Notify::new()));
        let (was_asked, released) = (Rc::clone(&asked), Rc::clone(&go));
        let _profile = web
            .join_profile(move |request| {
                if request.path() != "/profiles/slow" {
                    return ada(&request);
                }
                was_asked.notify_one();
                let released = Rc::clone(&released);
                Serving::Later(Box::pin(async move {
                    released.notified().await;
                    Response::new(200).body(r#"{"name":"Slow"}"#)
                }))
            })
            .await;
        let peer = web.peer.clone();
        let slow = tokio::task::spawn_local(async move { peer.get("/members/slow").await });
        asked.notified().await;
        web.process.terminate();
        let _ = web.process.logged("draining");
        go.notify_one();
        let answer = slow.await.unwrap();
        assert_eq!(answer.text(), r#"{"id":"slow","profile":{"name":"Slow"},"missing":[]}"#);
        assert_eq!(web.process.ended().code(), Some(0));
    });
}

#[test]
fn the_list_and_the_start_page_link_to_the_members() {
    run(async {
        let web = start().await;
        let list = |request: Incoming| match request.path() {
            "/profiles?limit=2&after=x%20y" => {
                now(200, r#"{"profiles":[{"id":"a/b","profile":{"name":"<i>"}}],"next":"a/b"}"#)
            }
            path => now(400, &format!(r#"{{"detail":"{path}"}}"#)),
        };
        let _profile = web.join("profile", "GET /profiles", list).await;
        web.asks("/members").await;
        let json = web.peer.get("/members?limit=2&after=x%20y").await.json();
        assert_eq!(json["members"][0]["href"], "/members/a%2Fb");
        assert_eq!(json["next"], "/members?after=a%2Fb&limit=2");
        let html =
            web.peer.ask("GET", "/members?limit=2&after=x%20y").header("accept", "text/html").answer().await;
        assert!(html.text().contains("href=\"/members/a%2Fb\"") && html.text().contains("&lt;i&gt;"));
        assert!(html.text().contains("href=\"/members?after=a%2Fb&amp;limit=2\""), "{}", html.text());
        let start = web.peer.ask("GET", "/").header("accept", "text/html").answer().await;
        assert!(start.text().contains("href=\"/members\""), "{}", start.text());
        assert_eq!(web.peer.get("/").await.json()["service"], "web");
    });
}
