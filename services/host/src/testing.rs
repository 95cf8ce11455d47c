//! Tests of services from outside: start the binary, ask it over the bus.
//!
//! Owns a process that ends with its test, and a peer in the test's own thread. Behind the feature
//! `testing`, which only tests switch on. Invariant: nothing here waits without a limit,
//! so a test that hangs fails.

#[cfg(feature = "store")]
pub mod data;
#[cfg(feature = "store")]
pub mod stores;

use std::future::Future;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::rc::Rc;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use bus::{Body, Bus, Config, Flags, Head, HeadWriter, Incoming, Options, RequestError, Serving, To};
use bytes::Bytes;
use rustix::process::{Pid, Signal, kill_process};

/// After this long a test has failed. Generous: machines that run tests are busy.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// After this long [`run`] gives up.
const TEST_TIME: Duration = Duration::from_secs(120);

/// After this long a [`Question`] gives up.
const TIME: Duration = Duration::from_secs(10);

/// Runs a test on a worker's kind of runtime.
///
/// # Panics
/// When it takes longer than 2 minutes.
pub fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(tokio::runtime::LocalOptions::default())
        .expect("a runtime can be made");
    runtime.block_on(async { tokio::time::timeout(TEST_TIME, test).await.expect("the test took too long") })
}

/// A running service; killed when dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    log: Log,
}

/// The lines that a process has written to stderr so far, and true once it has closed stderr.
type Log = Arc<(Mutex<(Vec<String>, bool)>, Condvar)>;

impl Process {
    /// Starts a binary (`env!("CARGO_BIN_EXE_…")`). Its log is kept, and shown when the test fails.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn start(binary: &str, args: &[&str]) -> Self {
        let mut child = Command::new(binary)
            .args(args)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{binary} cannot be started: {error}"));
        let stderr = BufReader::new(child.stderr.take().expect("stderr is piped"));
        let log = Log::default();
        let written = Arc::clone(&log);
        std::thread::spawn(move || {
            let mut lines = stderr.lines();
            loop {
                let line = lines.next().and_then(Result::ok);
                let mut log = written.0.lock().expect("no thread panics while it holds the log");
                match line {
                    Some(line) => log.0.push(line),
                    None => log.1 = true,
                }
                written.1.notify_all();
                if log.1 {
                    return;
                }
            }
        });
        Self { child, log }
    }

    /// Waits until a line of the log contains `text`, and returns it. Blocks.
    ///
    /// # Panics
    /// After [`PATIENCE`], or when the process closed its log, with the log.
    #[must_use]
    pub fn logged(&self, text: &str) -> String {
        let until = Instant::now() + PATIENCE;
        let mut log = self.log.0.lock().expect("no thread panics while it holds the log");
        loop {
            if let Some(line) = log.0.iter().find(|line| line.contains(text)) {
                return line.clone();
            }
            let left = until.saturating_duration_since(Instant::now());
            assert!(!log.1 && !left.is_zero(), "{text:?} was not logged:\n{}", log.0.join("\n"));
            log = self.log.1.wait_timeout(log, left).expect("no thread panics while it holds the log").0;
        }
    }

    /// Sends SIGTERM.
    ///
    /// # Panics
    /// When the process has ended already.
    pub fn terminate(&self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).expect("the process is there");
    }

    /// Sends SIGKILL and waits for the end.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Waits for the end. Blocks.
    ///
    /// # Panics
    /// When waiting fails.
    pub fn ended(&mut self) -> ExitStatus {
        self.child.wait().expect("a child can be waited for")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking()
            && let Ok(log) = self.log.0.lock()
        {
            use std::io::Write;
            let _ =
                writeln!(std::io::stderr(), "--- log of process {}\n{}", self.child.id(), log.0.join("\n"));
        }
    }
}

/// A Unix socket's address in `dir`.
#[must_use]
pub fn socket(dir: &Path, name: &str) -> String {
    let path: PathBuf = dir.join(name);
    format!("ipc://{}", path.display())
}

/// One end of a bus in the test's thread, to ask and to serve with.
#[derive(Clone)]
pub struct Peer {
    /// The bus itself.
    pub bus: Bus,
}

impl Peer {
    /// Dials `url`, and says `hello` if there is one.
    ///
    /// # Panics
    /// When the address is wrong.
    #[must_use]
    pub fn dial(url: &str, hello: Option<bus::Hello>) -> Self {
        let dial = vec![url.parse().expect("the test's address is right")];
        Self::start(&Config { dial, hello, ..Config::default() })
    }

    /// Listens at `url`, and says `hello` if there is one.
    ///
    /// # Panics
    /// When it cannot listen there.
    #[must_use]
    pub fn listen(url: &str, hello: Option<bus::Hello>) -> Self {
        let listen = vec![url.parse().expect("the test's address is right")];
        Self::start(&Config { listen, hello, ..Config::default() })
    }

    fn start(config: &Config) -> Self {
        let mut seeds = bus::bind(config, 1).expect("the test's bus can be bound");
        Self { bus: seeds.pop().expect("there is one seed per worker").start() }
    }

    /// Serves every request with `serve`.
    pub fn serve(&self, serve: impl Fn(Incoming) -> Serving + 'static) {
        struct Served<F>(F);
        impl<F: Fn(Incoming) -> Serving + 'static> bus::Serve for Served<F> {
            fn serve(&self, request: Incoming) -> Serving {
                (self.0)(request)
            }
        }
        self.bus.serve(Rc::new(Served(serve)));
    }

    /// Waits until an instance takes requests for `method` and `path`.
    pub async fn ready(&self, method: &'static str, path: &str) {
        let wanted = |bus: &Bus| {
            let route = bus.route(method, path)?;
            let pattern = bus.route_pattern(route);
            bus.routes().into_iter().find(|known| known.pattern == pattern && known.instances > 0)
        };
        self.until(|bus| wanted(bus).is_some()).await;
    }

    /// Waits until `condition` holds; it is looked at every few milliseconds.
    pub async fn until(&self, condition: impl Fn(&Bus) -> bool) {
        let mut look = tokio::time::interval(Duration::from_millis(2));
        while !condition(&self.bus) {
            look.tick().await;
        }
    }

    /// A request to send.
    #[must_use]
    pub fn ask(&self, method: &'static str, path: &str) -> Question<'_> {
        let question = AskedHead { method, path: path.to_owned(), decided: Vec::new(), fields: Vec::new() };
        Question { peer: self, head: question, body: Bytes::new(), time: TIME, flags: Flags::NONE }
    }

    /// GET `path` without header fields.
    ///
    /// # Panics
    /// When there is no reply.
    pub async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path).answer().await
    }
}

/// A request being made.
pub struct Question<'a> {
    peer: &'a Peer,
    head: AskedHead,
    body: Bytes,
    time: Duration,
    flags: Flags,
}

impl Question<'_> {
    /// Adds a header field.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.head.fields.push((name, value.into()));
        self
    }

    /// Switches a toggle on, as the terminator does for a service that reads it.
    #[must_use]
    pub fn toggle(self, name: &str) -> Self {
        self.decided(":toggle", name.to_owned())
    }

    /// Switches a toggle on with a variant.
    #[must_use]
    pub fn variant(self, name: &str, variant: &str) -> Self {
        self.decided(":toggle", format!("{name}={variant}"))
    }

    /// Pins a version of a service.
    #[must_use]
    pub fn pin(self, service: &str, version: &str) -> Self {
        self.decided(":pin", format!("{service}={version}"))
    }

    /// Sets the priority, `high` or `low`.
    #[must_use]
    pub fn priority(self, priority: &str) -> Self {
        self.decided(":priority", priority.to_owned())
    }

    /// Makes it a copy, whose answer is only compared.
    #[must_use]
    pub fn shadow(mut self) -> Self {
        self.flags = self.flags.union(Flags::SHADOW);
        self
    }

    fn decided(mut self, name: &'static str, value: String) -> Self {
        self.head.decided.push((name, value));
        self
    }

    /// Sets the body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// Sets the time after which the peer gives up.
    #[must_use]
    pub fn within(mut self, time: Duration) -> Self {
        self.time = time;
        self
    }

    /// Sends it.
    ///
    /// # Errors
    /// The bus's; `NoInstance` when no service ever claimed the route.
    pub async fn send(self) -> Result<Answer, RequestError> {
        let bus = &self.peer.bus;
        let Some(route) = bus.route(self.head.method, &self.head.path) else {
            return Err(RequestError::NoInstance { service: "?".to_owned() });
        };
        let asked = Instant::now();
        let (flags, to) = (self.flags, To::Any);
        let options = Options { asked, deadline: asked + self.time, hold: Duration::ZERO, flags, to };
        let body: Body = [self.body].into_iter().filter(|body| !body.is_empty()).collect();
        let reply = bus.request(route, self.head, body, options).await?;
        Ok(Answer { status: reply.status, envelope: reply.envelope })
    }

    /// Sends it, and returns the answer.
    ///
    /// # Panics
    /// When there is no reply.
    pub async fn answer(self) -> Answer {
        let what = format!("{} {}", self.head.method, self.head.path);
        self.send().await.unwrap_or_else(|error| panic!("{what}: {error}"))
    }
}

/// The answer to a [`Question`].
#[derive(Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    envelope: bus::Envelope,
}

impl Answer {
    /// The first field of this name, as text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.envelope.field(name).and_then(|value| std::str::from_utf8(value).ok())
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> &str {
        std::str::from_utf8(self.envelope.body_bytes()).unwrap_or("(not UTF-8)")
    }

    /// The body as JSON; null when it is not.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(self.envelope.body_bytes()).unwrap_or_default()
    }
}

struct AskedHead {
    method: &'static str,
    path: String,
    /// What the edge decides.
    decided: Vec<(&'static str, String)>,
    fields: Vec<(&'static str, String)>,
}

impl Head for AskedHead {
    fn encode(&self, head: &mut HeadWriter<'_>) {
        head.field(":method", self.method);
        head.field(":path", &self.path);
        for (name, value) in self.decided.iter().chain(&self.fields) {
            head.field(name, value);
        }
    }
}
