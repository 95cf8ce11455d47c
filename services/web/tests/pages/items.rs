//! Feeds and conversations as pages, and the files that pages use.

use std::cell::RefCell;
use std::rc::Rc;

use service_host::bus::Incoming;
use service_host::testing::run;

use super::{now, start};

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
                ("GET", "/feeds/a%20b/head?limit=20") => {
                    let feed = format!(r#"{{"entries":[{ENTRY}],"next":"0a"}}"#);
                    now(200, &format!(r#"{{"feed":{feed},"unread":1000,"more":true,"read":null}}"#))
                }
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

/// Our chat service has no missing conversations, but a guest's may.
#[test]
fn what_a_service_says_is_not_there_is_not_there() {
    run(async {
        let web = start().await;
        let _chat =
            web.join("chat", "GET /chats/{id}/messages", |_| now(404, r#"{"detail":"no such room"}"#)).await;
        web.asks("/conversations/7").await;
        let answer = web.peer.get("/conversations/7").await;
        assert_eq!((answer.status, answer.json()["detail"].as_str()), (404, Some("no such room")));
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
