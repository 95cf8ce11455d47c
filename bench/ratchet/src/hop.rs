//! The path of a request in one thread: a client, the real terminator, a service on the real bus.
//!
//! Owns connecting them with the terminator's own defaults, and a plan for the cost of live change.
//! Invariant: after [`Hop::new`] everything is connected and has served once, so [`Hop::requests`]
//! costs requests only. The client allocates nothing.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bus::{Bus, Hello, Incoming, Response, Serve, Serving};
use bytes::Bytes;
use change::rollout::Sticky;
use change::split::{Percent, Split};
use change::toggle::{Feature, Set, parse};
use clap::Parser;
use terminator::config::{Address, Config, Settings};
use terminator::listen;
use terminator::live::{Rollout, Snapshot};
use terminator::worker::Worker;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, LocalOptions, LocalRuntime};

const REQUEST: &[u8] =
    b"GET /profiles/42 HTTP/1.1\r\nhost: 127.0.0.1:8080\r\nuser-agent: curl/8.5.0\r\naccept: */*\r\n\r\n";
/// The user of [`REQUEST`]: a header that it has without a plan too, so that both cost the same.
const IDENTITY: &str = "header:user-agent";
/// Toggles that the service reads.
const TOGGLES: usize = 20;
const BODY: [u8; 200] = [b'x'; 200];
const PATIENCE: Duration = Duration::from_secs(60);

struct Fixed;

impl Serve for Fixed {
    fn serve(&self, _request: Incoming) -> Serving {
        let response = Response::new(200).field("content-type", Bytes::from_static(b"application/json"));
        Serving::Now(response.body(Bytes::from_static(&BODY)))
    }
}

/// Client, terminator and service, connected.
pub struct Hop {
    runtime: LocalRuntime,
    client: TcpStream,
    terminator: Rc<Worker>,
    _service: Bus,
}

impl Hop {
    /// Starts all three.
    ///
    /// # Panics
    /// When the system provides no sockets.
    #[must_use]
    pub fn new() -> Self {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build_local(LocalOptions::default())
            .expect("a runtime can be built");
        let (client, terminator, service) = runtime.block_on(connect());
        let mut hop = Self { runtime, client, terminator, _service: service };
        hop.requests(1);
        hop
    }

    /// Gives the terminator a plan with toggles that the service reads, half of them on for half of
    /// the users, and with a rollout of the service.
    ///
    /// # Panics
    /// Never: the plan is sound.
    #[must_use]
    pub fn with_plan(mut self) -> Self {
        let feature = |number| {
            let percent = if number % 2 == 0 { 50 } else { 100 };
            let json = format!(
                r#"{{"name":"{}","enabled":true,"strategies":[{{"name":"flexibleRollout","parameters":
                {{"rollout":"{percent}","stickiness":"userId","groupId":"{number}"}}}}]}}"#,
                toggle(number)
            );
            parse::<Feature>(json.as_bytes()).expect("the toggle is sound")
        };
        let features: Vec<Feature> = (0..TOGGLES).map(feature).collect();
        let (toggles, _) = Set::compile(&features, [], "host");
        let split = Split::new("profile", Percent::try_from(1.0).expect("it is a share"));
        let rollouts = vec![Rollout::new("profile", "1", "2", Sticky::User, split)];
        self.terminator.decisions.set(Arc::new(Snapshot { toggles, rollouts, ..Snapshot::default() }));
        self.requests(1);
        self
    }

    /// Sends `count` requests, one after the other.
    ///
    /// # Panics
    /// When a response is not the service's.
    pub fn requests(&mut self, count: u32) {
        let client = &mut self.client;
        self.runtime.block_on(async {
            for _ in 0..count {
                ask(client).await;
            }
        });
    }
}

impl Default for Hop {
    fn default() -> Self {
        Self::new()
    }
}

fn toggle(number: usize) -> String {
    format!("toggle-{number}")
}

async fn connect() -> (TcpStream, Rc<Worker>, Bus) {
    let url = format!("ipc://{}/ratchet-{}.ipc", std::env::temp_dir().display(), std::process::id());
    let settings = ["terminator", "--http", "127.0.0.1:0", "--bus-listen", &url, "--identity", IDENTITY];
    let settings = Settings::parse_from(settings);
    let config = Arc::new(Config::new(settings).expect("the settings are sound"));
    let bound = listen::bind(&config.http[0], 1, &config.congestion).expect("a port is free");
    let Address::Tcp(address) = bound.address else { unreachable!("TCP was asked for") };
    let sockets = bound.sockets.into_iter().map(|socket| socket.start().expect("the runtime takes it"));
    let seed = bus::bind(&config.bus, 1).expect("the socket is free").remove(0);
    let worker = Worker::start(0, seed.start(), Arc::clone(&config), None);
    worker.accept(sockets.collect());

    let mut hello = Hello::new("profile", "1", "1");
    hello.routes = vec!["GET /profiles/{id}".parse().expect("is a pattern")];
    hello.toggles = (0..TOGGLES).map(toggle).collect();
    let dial = vec![url.parse().expect("is a URL")];
    let service = bus::Config { dial, hello: Some(hello), ..bus::Config::default() };
    let service = bus::bind(&service, 1).expect("nothing is bound").remove(0).start();
    service.serve(Rc::new(Fixed));

    let deadline = Instant::now() + PATIENCE;
    while worker.bus.route("GET", "/profiles/42").is_none() {
        assert!(Instant::now() < deadline, "the service did not join");
        tokio::task::yield_now().await;
    }
    let client = TcpStream::connect(address).await.expect("the terminator listens");
    client.set_nodelay(true).expect("TCP has it");
    (client, worker, service)
}

async fn ask(client: &mut TcpStream) {
    client.write_all(REQUEST).await.expect("the terminator reads");
    let mut response = [0; 2048];
    let mut len = 0;
    while !response[..len].ends_with(&BODY) {
        let read = client.read(&mut response[len..]).await.expect("the terminator answers");
        assert!(read > 0, "closed after {:?}", String::from_utf8_lossy(&response[..len]));
        len += read;
    }
    assert!(response.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&response[..len]));
}
