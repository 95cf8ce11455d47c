//! A terminator is replaced by another one, and no client notices.
//!
//! The clients keep their connections, follow `connection: close`, and never send a request twice:
//! one that fails fails the test.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

use bus::proto::Kind;
use role::worker::Workers;
use tempfile::TempDir;
use tokio::sync::watch;

use crate::client::Client;
use crate::service::Service;
use crate::terminator::{Terminator, command, run};

const GET: &str = "GET /a HTTP/1.1\r\nhost: a\r\n\r\n";
const POST: &str = "POST /a HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nbody";
const POLL: &str = "GET /news HTTP/1.1\r\nhost: a\r\n\r\n";

/// Everything that stays while terminators come and go.
struct Site {
    dir: TempDir,
    news: watch::Sender<u64>,
    _service: Workers<()>,
}

/// Answers `/a` at once and `/news` when there are some.
struct Answers(watch::Receiver<u64>);

impl bus::Serve for Answers {
    fn serve(&self, request: bus::Incoming) -> bus::Serving {
        if request.path() == "/a" {
            return bus::Serving::Now(bus::Response::new(200).body("a"));
        }
        let mut news = self.0.clone();
        news.mark_unchanged();
        bus::Serving::Later(Box::pin(async move {
            news.changed().await.expect("the site lasts longer");
            bus::Response::new(200).body("news")
        }))
    }
}

impl Site {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (news, told) = watch::channel(0);
        let mut hello = bus::Hello::new("answers", "1", "one");
        hello.limit = 1000;
        hello.routes = ["GET /a", "POST /a", "GET /news"].map(|route| route.parse().unwrap()).to_vec();
        let dial = vec![bus_at(dir.path()).parse().unwrap()];
        let config = bus::Config { dial, hello: Some(hello), ..bus::Config::default() };
        let seeds = bus::bind(&config, 2).unwrap();
        let start = move |_, bus: bus::Bus| {
            bus.serve(Rc::new(Answers(told.clone())));
            Ok(())
        };
        let service = role::worker::start("answers", role::Scheduling::Inherit, seeds, start).unwrap();
        Self { dir, news, _service: service }
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_owned()
    }

    /// The flags of every terminator here, and `more`.
    fn flags(&self, more: &[&str]) -> Vec<String> {
        let unix = format!("unix:{}", self.path("http.sock"));
        let (bus, handover) = (bus_at(self.dir.path()), self.path("handover.sock"));
        let all = ["--admin", "127.0.0.1:0", "--http", "127.0.0.1:0", "--http", &unix, "--bus-listen", &bus];
        let times = ["--deadline", "1h", "--drain-delay", "3s", "--drain-deadline", "1h"];
        let handover = ["--handover", &handover];
        [&all[..], &times, &handover, more].concat().into_iter().map(str::to_owned).collect()
    }

    fn start(&self, more: &[&str]) -> Terminator {
        let flags = self.flags(more);
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        Terminator::spawn(tempfile::tempdir().unwrap(), command(&flags))
    }

    /// The first terminator, once the service is there.
    fn first(&self, more: &[&str]) -> Terminator {
        let terminator = self.start(more);
        terminator.until("/ready", |ready| ready["ready"] == true && ready["services_connected"] != 0);
        terminator
    }
}

fn bus_at(dir: &Path) -> String {
    format!("ipc://{}", dir.join("bus.sock").display())
}

/// Clients that send one request after the other until they are told to stop.
struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    clients: Vec<JoinHandle<()>>,
}

impl Load {
    fn start(terminator: &Terminator) -> Self {
        let (stop, answered) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let mut clients = Vec::new();
        for address in &terminator.http {
            for request in [GET, POST, GET, POST, POLL] {
                let (address, stop, answered) = (address.clone(), Arc::clone(&stop), Arc::clone(&answered));
                clients.push(std::thread::spawn(move || ask(&address, request, &stop, &answered)));
            }
        }
        Self { stop, answered, clients }
    }

    /// Waits until so many further requests are answered.
    fn wait_more(&self, more: u64) {
        let goal = self.answered.load(Ordering::Relaxed) + more;
        while self.answered.load(Ordering::Relaxed) < goal {
            assert!(!self.clients.iter().any(JoinHandle::is_finished), "a client has failed");
            std::thread::yield_now();
        }
    }

    fn stop(self, site: &Site) {
        self.stop.store(true, Ordering::Relaxed);
        while self.clients.iter().any(|client| !client.is_finished()) {
            site.news.send_modify(|news| *news += 1);
            std::thread::yield_now();
        }
        for client in self.clients {
            client.join().expect("no request failed");
        }
    }
}

fn ask(address: &str, request: &str, stop: &AtomicBool, answered: &AtomicU64) {
    while !stop.load(Ordering::Relaxed) {
        let mut client = Client::connect(address);
        loop {
            client.send(request);
            let answer = client.answer();
            assert_eq!(answer.status, 200, "{answer:?}");
            answered.fetch_add(1, Ordering::Relaxed);
            if answer.header("connection") == Some("close") || stop.load(Ordering::Relaxed) {
                break;
            }
        }
    }
}

#[test]
fn several_handovers_in_a_row_fail_no_request() {
    let site = Site::new();
    let mut old = vec![site.first(&[])];
    let http = old[0].http.clone();
    let load = Load::start(&old[0]);
    for workers in ["2", "1", "3", "3", "1"] {
        load.wait_more(500);
        let new = site.start(&["--workers", workers, "--settle", "1h"]);
        old.last_mut().unwrap().until_logged("a successor serves");
        assert_eq!(new.http, http);
        assert_eq!(new.ask("/ready")["ready"], true);
        load.wait_more(500);
        old.push(new);
    }
    load.stop(&site);
    let mut last = old.pop().unwrap();
    for mut old in old {
        let (status, log) = old.end_of();
        assert_eq!(status.code(), Some(0), "{log}");
    }
    for file in ["http.sock", "bus.sock", "handover.sock"] {
        assert!(site.dir.path().join(file).exists(), "{file} is the last one's");
    }
    last.signal("TERM");
    assert_eq!(last.end_of().0.code(), Some(0));
    for file in ["http.sock", "bus.sock", "handover.sock"] {
        assert!(!site.dir.path().join(file).exists(), "{file} goes with the last one");
    }
}

#[test]
fn a_successor_that_fails_changes_nothing() {
    let site = Site::new();
    let mut old = site.first(&[]);
    let load = Load::start(&old);
    let missing = site.path("missing/access.log");
    // Refused settings; and one that has got the sockets when it fails.
    for (more, code) in [(&["--workers", "0"][..], 2), (&["--access-log", &missing], 1)] {
        load.wait_more(200);
        let flags = site.flags(more);
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        let (ended, said) = run(&flags);
        assert_eq!(ended, Some(code), "{said}");
    }
    old.until_logged("the handover failed");
    load.wait_more(200);
    // The next one is no worse for it.
    let mut new = site.start(&["--settle", "1h"]);
    old.until_logged("a successor serves");
    load.wait_more(200);
    load.stop(&site);
    for terminator in [&mut old, &mut new] {
        terminator.signal("TERM");
        let (status, log) = terminator.end_of();
        assert_eq!(status.code(), Some(0), "{log}");
    }
}

/// It waits for a guest that does not dial again, and meanwhile something happens to it.
fn successor_that_waits(site: &Site, guest: &mut Service) -> std::process::Child {
    let flags = site.flags(&["--settle", "1h"]);
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let successor = command(&flags).spawn().unwrap();
    guest.until(Kind::Drain);
    successor
}

fn signal(child: &std::process::Child, name: &str) {
    let id = child.id().to_string();
    assert!(Command::new("kill").args(["-s", name, &id]).status().unwrap().success());
}

#[test]
fn a_successor_that_dies_or_stands_still_before_it_is_ready_changes_nothing() {
    let site = Site::new();
    let mut old = site.first(&["--handover-timeout", "2s"]);
    let mut guest = Service::connect(&site.dir.path().join("bus.sock"), "guest", &["GET /guest"], 16);
    old.until("/ready", |ready| ready["services_connected"] == 3);
    let load = Load::start(&old);
    for _ in 0..3 {
        load.wait_more(200);
        let mut dies = successor_that_waits(&site, &mut guest);
        load.wait_more(200);
        dies.kill().unwrap();
        dies.wait().unwrap();
        old.until_logged("the handover failed");
    }
    let stands_still = successor_that_waits(&site, &mut guest);
    signal(&stands_still, "STOP");
    old.until_logged("the handover failed");
    load.wait_more(200);
    signal(&stands_still, "CONT");
    let ended = stands_still.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(1), "{said}");
    assert!(said.contains("did not hand over") && said.contains("--handover-timeout"), "{said}");
    load.wait_more(200);
    // The pipes of the service are as before: it did not collect more with every try.
    let pipes = |peers: &serde_json::Value| {
        peers.as_array().unwrap().iter().filter(|peer| peer["service"] == "answers").count()
    };
    let peers = old.ask("/peers");
    assert!(pipes(&peers) <= 4, "{peers:#}");
    load.stop(&site);
    old.signal("TERM");
    let (status, log) = old.end_of();
    assert_eq!(status.code(), Some(0), "{log}");
}

/// Killed, or told to stop, while a successor has its sockets and does not serve yet.
#[test]
fn a_predecessor_that_ends_within_a_handover_leaves_the_sockets_to_its_successor() {
    for name in ["KILL", "TERM"] {
        let site = Site::new();
        let mut old = site.first(&[]);
        let http = old.http.clone();
        let bus = site.dir.path().join("bus.sock");
        let mut guest = Service::connect(&bus, "guest", &["GET /guest"], 16);
        old.until("/ready", |ready| ready["services_connected"] == 3);
        let waits = successor_that_waits(&site, &mut guest);
        old.signal(name);
        old.end_of();
        for address in &http {
            let mut client = Client::connect(address);
            client.send(GET);
            assert_eq!(client.answer().text(), "a", "{name}");
        }
        Service::connect(&bus, "late", &["GET /late"], 16);
        signal(&waits, "TERM");
        let ended = waits.wait_with_output().unwrap();
        assert_eq!(ended.status.code(), Some(0), "{}", String::from_utf8_lossy(&ended.stderr));
        assert!(!bus.exists(), "{name}");
    }
}

#[test]
fn addresses_may_differ_and_those_not_asked_for_are_closed() {
    let site = Site::new();
    let mut old = site.first(&["--http", "[::1]:0"]);
    let gone = old.http[2].clone();
    let mut new = site.start(&["--http", "127.0.0.2:0", "--settle", "1h"]);
    old.until_logged("a successor serves");
    assert_eq!(new.http[..2], old.http[..2]);
    for http in &new.http {
        let mut client = Client::connect(http);
        client.send(GET);
        assert_eq!(client.answer().text(), "a");
    }
    assert_eq!(old.end_of().0.code(), Some(0));
    std::net::TcpListener::bind(&gone).expect("the old address is free");
    new.signal("TERM");
    assert_eq!(new.end_of().0.code(), Some(0));
}

#[test]
fn the_path_is_private_and_a_stale_socket_is_replaced_but_no_other_file() {
    let site = Site::new();
    let path = site.dir.path().join("handover.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let mut terminator = site.first(&[]);
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    terminator.signal("TERM");
    assert_eq!(terminator.end_of().0.code(), Some(0));
    assert!(!path.exists());
    std::fs::write(&path, "mine").unwrap();
    let flags = site.flags(&[]);
    let (code, said) = run(&flags.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("--handover") && said.contains("no socket"), "{said}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "mine");
}

/// A stock nanomsg or nng guest dials again only when its pipe ends.
#[test]
fn a_guest_that_does_not_dial_again_by_itself_is_waited_for() {
    let site = Site::new();
    let mut old = site.first(&[]);
    let bus = site.dir.path().join("bus.sock");
    let mut guest = Service::connect(&bus, "guest", &["GET /guest"], 16);
    old.until("/ready", |ready| ready["services_connected"] == 3);
    let mut new = site.start(&["--settle", "100ms", "--hold", "1h", "--http", "127.0.0.2:0"]);
    old.until_logged("a successor serves");
    // An address that the old one does not have: for a moment both accept on the others.
    let mut client = Client::connect(&new.http[2]);
    client.send("GET /guest HTTP/1.1\r\nhost: a\r\n\r\n");
    new.until("/stats", |stats| stats["bus.requests.held"] == 1);
    guest.until(Kind::Drain);
    guest.until_closed();
    let mut guest = Service::connect(&bus, "guest", &["GET /guest"], 16);
    let request = guest.request();
    guest.reply(&request, 200, &[], b"guest");
    assert_eq!(client.answer().text(), "guest");
    drop(client);
    assert_eq!(old.end_of().0.code(), Some(0));
    new.signal("TERM");
    assert_eq!(new.end_of().0.code(), Some(0));
}
