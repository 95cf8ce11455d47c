//! Services that restart behind one terminator, each the only instance of its service: requests
//! wait for the successor, and none fails.
//!
//! Owns the restarts and what they may cost. `proxies` has the restarts of terminators.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use rustix::process::Signal;

use crate::http::get;
use crate::load::{Load, Planned, ask_from};
use crate::process::Process;
use crate::proxies::{CLIENT, SECOND, failures, mixed, plan, seed};
use crate::until::until;

/// The services, in the order of a rolling restart.
const SERVICES: [&str; 3] = ["profile", "chat", "web"];

/// Restarts of each service; `RESTARTS` sets another number.
const RESTARTS: usize = 2;

/// A terminator and one instance of each service.
struct Running {
    dir: tempfile::TempDir,
    http: SocketAddr,
    admin: SocketAddr,
    _terminator: Process,
    services: [Process; 3],
}

impl Running {
    fn start() -> Self {
        let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let [http, admin] = listeners.map(|listener| listener.local_addr().unwrap());
        let dir = tempfile::tempdir().unwrap();
        let (bus, text) = (ipc(dir.path(), "terminator"), [http, admin].map(|address| address.to_string()));
        // On a busy machine a start takes longer than the default times allow for.
        let times = ["--hold", "15s", "--deadline", "20s"];
        let polls = ["--route-deadline", "GET /chats/{id}/updates=31s"];
        let flags = ["--http", &text[0], "--admin", &text[1], "--bus-listen", &bus];
        let expect = ["--expect", "profile,chat,web"];
        let terminator = Process::role("terminator", &[&flags[..], &times, &polls, &expect].concat());
        let services = SERVICES.map(|name| service(dir.path(), name));
        let running = Self { dir, http, admin, _terminator: terminator, services };
        until("the terminator is ready", || match std::net::TcpStream::connect(admin) {
            Ok(_) => Some(get(admin, "/ready"))
                .filter(|ready| ready.status != 200)
                .map_or(Ok(()), |ready| Err(ready.text())),
            Err(error) => Err(error.to_string()),
        });
        running
    }

    /// SIGTERM, end and start of one service.
    fn restart(&mut self, number: usize) {
        let leaving = &mut self.services[number];
        leaving.signal(Signal::TERM);
        let status = leaving.wait();
        assert_eq!(status.code(), Some(0), "{:?}", leaving.lines());
        self.services[number] = service(self.dir.path(), SERVICES[number]);
    }
}

fn ipc(dir: &Path, name: &str) -> String {
    format!("ipc://{}/{name}.ipc", dir.display())
}

fn service(dir: &Path, name: &str) -> Process {
    let [terminator, web] = ["terminator", "web"].map(|listener| ipc(dir, listener));
    let store = format!("embedded:{}/{name}", dir.display());
    let flags = match name {
        "web" => ["--upstream-listen", &web].to_vec(),
        _ => ["--bus-dial", &web, "--store", &store].to_vec(),
    };
    Process::role(name, &[&["--bus-dial", terminator.as_str()][..], &flags].concat())
}

/// Keeps one long poll open, until it is stopped; brings how each ended.
struct Polls {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<u16>>,
}

impl Polls {
    fn start(http: SocketAddr) -> Self {
        let stop = Arc::<AtomicBool>::default();
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut statuses = Vec::new();
            while !stopped.load(Ordering::Relaxed) {
                let poll = plan("GET", "/chats/quiet/updates?wait=30");
                statuses.push(ask_from(CLIENT.into(), http, &poll, "").status);
            }
            statuses
        });
        Self { stop, thread }
    }

    fn stop(self, http: SocketAddr) -> Vec<u16> {
        self.stop.store(true, Ordering::Relaxed);
        let body = r#"{"id":"last","author":"1","text":"Bye"}"#.to_owned();
        let last = Planned { method: "POST", path: "/chats/quiet/messages".to_owned(), body };
        assert_eq!(ask_from(CLIENT.into(), http, &last, "").status, 201);
        self.thread.join().unwrap()
    }
}

/// The mix of `proxies`, every fifth GET by way of the web service.
fn through_web(seed: u64) -> impl Fn(u64) -> Planned + Send + 'static {
    let mixed = mixed(seed);
    move |number| match mixed(number) {
        planned if planned.method == "GET" && number.is_multiple_of(5) => plan("GET", "/members/1"),
        planned => planned,
    }
}

#[test]
fn restarts_of_services_one_by_one_and_all_at_once_lose_nothing() {
    let count =
        std::env::var("RESTARTS").map_or(RESTARTS, |count| count.parse().expect("RESTARTS is a number"));
    let seed = seed();
    let mut running = Running::start();
    let (http, admin) = (running.http, running.admin);
    let profile = Planned { body: "{\"name\":\"A\"}".to_owned(), ..plan("PUT", "/profiles/1") };
    assert!(matches!(ask_from(CLIENT.into(), http, &profile, "").status, 200..=204));
    let polls = Polls::start(http);
    let load = Load::start(http, through_web(seed));
    load.wait_more(SECOND);
    for _ in 0..count {
        for number in 0..SERVICES.len() {
            until("a long poll is open", || {
                let peers = get(admin, "/peers").json();
                let chat = peers.as_array().unwrap().iter().find(|peer| peer["service"] == "chat").cloned();
                let in_flight = chat.and_then(|peer| peer["in_flight"].as_u64());
                in_flight.filter(|held| *held > 0).ok_or_else(|| peers.to_string())
            });
            running.restart(number);
            load.wait_more(SECOND / 2);
        }
        for number in 0..SERVICES.len() {
            running.restart(number);
        }
        load.wait_more(SECOND / 2);
    }
    let tally = load.stop();
    let polls = polls.stop(http);
    eprintln!("{count} rounds: {tally:?}, long polls {polls:?}");
    assert_eq!((failures(&tally, "GET"), failures(&tally, "POST")), (0, 0), "{tally:?}");
    assert!(polls.len() > count && polls.iter().all(|status| *status == 200), "long polls: {polls:?}");
}
