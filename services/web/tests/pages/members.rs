//! A member's page and the list of members.

use std::cell::{Cell, RefCell};
use std::future::pending;
use std::rc::Rc;
use std::time::Duration;

use service_host::bus::{Incoming, RequestError, Response, Serving};
use service_host::testing::{Peer, Process, run, socket};
use tokio::sync::Notify;

use super::{ada, hello, now, start};

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
fn a_toggle_and_an_experiment_change_the_page_and_nothing_else() {
    run(async {
        let web = start().await;
        let _profile = web.join_profile(|request| ada(&request)).await;
        let _feed = web
            .join("feed", "GET /feeds/{id}/head", |_| now(200, r#"{"feed":{"entries":[]},"unread":0}"#))
            .await;
        let page = || web.peer.ask("GET", "/members/a%22b").header("accept", "text/html");
        let mut plain = page().answer().await;
        while !plain.text().contains("<h2>feed") {
            plain = page().answer().await;
        }
        let order = |text: &str| text.find("<h2>profile").unwrap() < text.find("<h2>feed").unwrap();
        assert!(order(plain.text()) && !plain.text().contains("Conversation"), "{}", plain.text());
        let linked = page().toggle("member-conversation").answer().await;
        assert!(linked.text().contains(r#"href="/conversations/a%22b""#), "{}", linked.text());
        let first = page().variant("member-page", "feed-first").answer().await;
        assert!(!order(first.text()), "{}", first.text());
        for same in [page().variant("member-page", "profile-first"), page().variant("member-page", "other")] {
            assert_eq!(same.answer().await.text(), plain.text());
        }
        let json = || web.peer.ask("GET", "/members/1");
        let decided =
            json().toggle("member-conversation").variant("member-page", "feed-first").answer().await;
        assert_eq!(decided.text(), json().answer().await.text());
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
        assert_eq!((broken.status, broken.json()["reason"].as_str()), (502, Some("reply_status")));
        let text = web.peer.get("/members/text").await;
        assert_eq!((text.status, text.json()["reason"].as_str()), (502, Some("reply_not_json")));
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
            .join("feed", "GET /feeds/{id}/head", move |_| {
                count.set(count.get() + 1);
                Serving::Later(Box::pin(pending()))
            })
            .await;
        // A page with the feed shows that web knows the feed; every answer arrives before the
        // client's deadline.
        let page = loop {
            let page = web.peer.ask("GET", "/members/1").within(Duration::from_millis(300)).answer().await;
            assert_eq!(page.status, 200);
            if asked.get() > 0 {
                break page;
            }
        };
        let expected = r#"{"id":"1","profile":{"name":"Ada <b>", "n":1.50},"missing":[{"service":"feed","part":"feed","reason":"deadline"},{"service":"feed","part":"unread","reason":"deadline"}]}"#;
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

/// A feed of an earlier version must not look as if there were no feed.
#[test]
fn a_part_that_its_service_does_not_offer_is_named() {
    run(async {
        let web = start().await;
        let _profile = web.join_profile(|request| ada(&request)).await;
        let _feed = web.join("feed", "GET /feeds/{id}", |_| now(200, "{}")).await;
        let mut page = web.peer.get("/members/1").await;
        while !page.text().contains("feed") {
            page = web.peer.get("/members/1").await;
        }
        let missing =
            |part: &str| serde_json::json!({"service": "feed", "part": part, "reason": "no_instance"});
        let named = serde_json::json!([missing("feed"), missing("unread")]);
        assert_eq!((page.status, &page.json()["missing"]), (200, &named));
        assert_eq!(page.header("cache-control"), Some("no-store"));
    });
}

#[test]
fn optional_parts_that_are_answered_are_on_the_page() {
    run(async {
        let web = start().await;
        let _profile = web.join_profile(|request| ada(&request)).await;
        let serve = |request: Incoming| match request.path() {
            "/feeds/2/head?limit=20" => now(404, ""),
            "/feeds/3/head?limit=20" => now(500, ""),
            "/feeds/4/head?limit=20" => now(200, r#"{"feed":{}}"#),
            "/feeds/5/head?limit=20" => now(200, r#"{"feed":{},"unread":3"#),
            _ => now(200, r#"{"feed":{"entries": []},"more":false,"unread":3}"#),
        };
        let _feed = web.join("feed", "GET /feeds/{id}/head", serve).await;
        let mut page = web.peer.get("/members/1").await;
        while !page.text().contains("feed") {
            page = web.peer.get("/members/1").await;
        }
        let profile = r#""profile":{"name":"Ada <b>", "n":1.50}"#;
        let text = |id: u32, rest: &str| format!("{{\"id\":\"{id}\",{profile},{rest}}}");
        assert_eq!(page.text(), text(1, r#""feed":{"entries": []},"unread":3,"missing":[]"#));
        let nothing = r#""feed":null,"unread":null,"missing":[]"#;
        assert_eq!(web.peer.get("/members/2").await.text(), text(2, nothing));
        let missing =
            |part: &str, why: &str| format!(r#"{{"service":"feed","part":"{part}","reason":{why}}}"#);
        for (id, why) in [(3, r#""reply_status","status":500"#), (5, r#""reply_not_json""#)] {
            let named = format!(r#""missing":[{},{}]"#, missing("feed", why), missing("unread", why));
            assert_eq!(web.peer.get(&format!("/members/{id}")).await.text(), text(id, &named));
        }
        let named = missing("unread", r#""reply_not_json""#);
        let half = format!("\"feed\":{{}},\"missing\":[{named}]");
        assert_eq!(web.peer.get("/members/4").await.text(), text(4, &half));
    });
}

#[test]
fn without_profiles_the_answer_is_503_at_once_with_a_reason() {
    run(async {
        let web = start().await;
        let never = web.peer.get("/members/1").await;
        assert_eq!((never.status, never.json()["reason"].as_str()), (503, Some("no_instance")));
        let upstream = web.upstream.clone();
        // Dropping the runtime closes the connection as the kernel does for a killed process.
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
        assert_eq!((gone.status, gone.json()["reason"].as_str()), (503, Some("no_instance")));
        assert_eq!(gone.header("retry-after"), Some("1"));
        // When the service is back, web uses it without a restart.
        let _profile = web.join_profile(|request| ada(&request)).await;
        assert_eq!(web.peer.get("/members/1").await.status, 200);
    });
}

/// A web that accepts requests before a service has dialled it would fail them.
#[test]
fn requests_are_taken_when_there_is_somebody_to_ask() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let (url, upstream) = (socket(dir.path(), "web.sock"), socket(dir.path(), "upstream.sock"));
        let args = ["--bus-listen", &url, "--upstream-listen", &upstream, "--join-wait", "1h"];
        let process = Process::start(env!("CARGO_BIN_EXE_web"), &args);
        assert!(process.logged("listens on").contains("web.sock"));
        let asker = Peer::dial(&url, None);
        asker.until(|bus| bus.route("GET", "/members/1").is_some()).await;
        let refused = asker.ask("GET", "/members/1").send().await;
        assert!(matches!(refused, Err(RequestError::NoInstance { .. })), "claimed, and not taken");
        let profile = Peer::dial(&upstream, hello("profile", &["GET /profiles/{id}"]));
        profile.serve(|request| ada(&request));
        asker.ready("GET", "/members/1").await;
        assert_eq!(asker.get("/members/1").await.status, 200);
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
