//! The path of one request: terminator, web, profile, store and back; and what a client sees when a
//! part is missing.

use serde_json::json;
use tempfile::TempDir;

use crate::http::{get, send};
use crate::process::Process;
use crate::terminator::Terminator;
use crate::until::until;

/// Terminator, web and profile as the stack connects them: each its own process, over Unix sockets.
struct Roles {
    terminator: Terminator,
    _web: Process,
    profile: Process,
    dir: TempDir,
}

impl Roles {
    fn start() -> Self {
        let terminator = Terminator::start(&["--deadline", "20s"]);
        let dir = tempfile::tempdir().unwrap();
        let web = Process::role(
            "web",
            &["--bus-dial", terminator.bus("ipc"), "--upstream-listen", &upstream(&dir)],
        );
        let profile = start_profile(&terminator, &dir);
        let roles = Self { terminator, _web: web, profile, dir };
        roles.ready();
        roles
    }

    /// Waits until both services have said hello on every connection.
    fn ready(&self) {
        self.terminator.wait_peers("web", 1);
        self.terminator.wait_peers("profile", 1);
        until("web has its upstream", || match self.terminator.get("/members/nobody").status {
            503 => Err("503".to_owned()),
            _ => Ok(()),
        });
    }
}

fn start_profile(terminator: &Terminator, dir: &TempDir) -> Process {
    let store = format!("embedded:{}/data", dir.path().display());
    Process::role(
        "profile",
        &["--bus-dial", terminator.bus("ipc"), "--bus-dial", &upstream(dir), "--store", &store],
    )
}

/// Where web listens for the services that it asks.
fn upstream(dir: &TempDir) -> String {
    format!("ipc://{}/web", dir.path().display())
}

fn put(terminator: &Terminator, id: &str, profile: &serde_json::Value) -> u16 {
    let headers = [("content-type", "application/json")];
    send(terminator.http, "PUT", &format!("/profiles/{id}"), &headers, profile.to_string().as_bytes()).status
}

#[test]
fn a_member_is_served_as_json_and_as_html() {
    let roles = Roles::start();
    let profile = json!({ "name": "Ada <Lovelace>", "city": "London" });
    assert_eq!(put(&roles.terminator, "1", &profile), 201);

    let answer = roles.terminator.get("/members/1");
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(answer.header("content-type").unwrap().starts_with("application/json"));
    assert!(answer.json().to_string().contains("Ada <Lovelace>"), "{}", answer.text());

    let html = send(roles.terminator.http, "GET", "/members/1", &[("accept", "text/html")], b"");
    assert_eq!(html.status, 200);
    assert!(html.header("content-type").unwrap().starts_with("text/html"));
    assert!(html.text().contains("Ada &lt;Lovelace&gt;"), "escaped: {}", html.text());

    assert_eq!(roles.terminator.get("/members/nobody").status, 404);
    assert_eq!(roles.terminator.get("/").status, 200, "the start page");
}

#[test]
fn a_killed_profile_service_is_503_at_once_and_serves_again_after_its_return() {
    let mut roles = Roles::start();
    assert_eq!(put(&roles.terminator, "1", &json!({ "name": "Ada" })), 201);
    assert_eq!(roles.terminator.get("/members/1").status, 200);

    roles.profile.kill();
    roles.terminator.wait_peers("profile", 0);
    for path in ["/profiles/1", "/members/1"] {
        // Refused at once: after the deadline of 20 s it would be 504.
        let gone = until(&format!("{path} is refused"), || match get(roles.terminator.http, path) {
            answer if answer.status == 200 => Err("200".to_owned()),
            answer => Ok(answer),
        });
        assert_eq!(
            (gone.status, gone.header("content-type")),
            (503, Some("application/problem+json")),
            "{path}"
        );
        assert!(gone.text().contains("profile"), "the reason names the service: {}", gone.text());
    }

    roles.profile = start_profile(&roles.terminator, &roles.dir);
    roles.ready();
    let answer = roles.terminator.get("/members/1");
    assert_eq!(answer.status, 200, "what was written is still there: {answer:?}");
    assert!(answer.text().contains("Ada"));
    assert!(roles.terminator.process.is_running());
}

#[test]
fn a_terminator_that_gets_sigterm_finishes_and_exits_0() {
    let mut roles = Roles::start();
    roles.terminator.process.signal(rustix::process::Signal::TERM);
    assert!(roles.terminator.process.wait().success());
}
