//! The web binary between a client and services that the test plays.
//!
//! Owns starting web and joining as a service. `members` and `items` contain the tests.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod items;
mod members;

use std::time::Duration;

use service_host::bus::{Hello, Incoming, Response, Serving};
use service_host::testing::{Answer, Peer, Process, socket};

struct Web {
    process: Process,
    peer: Peer,
    /// The address that web's services dial.
    upstream: String,
    _dir: tempfile::TempDir,
}

async fn start() -> Web {
    let dir = tempfile::tempdir().unwrap();
    let (url, upstream) = (socket(dir.path(), "web.sock"), socket(dir.path(), "upstream.sock"));
    let args = ["--bus-listen", &url, "--upstream-listen", &upstream, "--join-wait", "0s"];
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
    /// Joins as a service, and waits until web knows the route.
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
