//! An open-loop HTTP client: requests start when they are due, whether or not earlier ones have
//! ended.
//!
//! Connections are kept alive and bounded in number. No request is sent twice; each ends in a
//! status or an error.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::until::until;

/// Requests a second.
const RATE: u64 = 2_000;
/// Connections at once: half a second of requests.
const CONNECTIONS_MAX: usize = 1_000;
/// Only a request that will never end reaches this.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);

/// What to send as request number `n`.
#[derive(Clone, Debug)]
pub(crate) struct Planned {
    pub(crate) method: &'static str,
    pub(crate) path: String,
    pub(crate) body: String,
}

impl Planned {
    pub(crate) fn new(method: &'static str, path: &str, body: String) -> Self {
        Self { method, path: path.to_owned(), body }
    }
}

/// How the requests of one load ended: by method and status, or by method and error.
pub(crate) type Tally = BTreeMap<(&'static str, String), u64>;

/// A load under way on a thread of its own.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    ended: Arc<AtomicU64>,
    thread: JoinHandle<Tally>,
}

impl Load {
    /// Starts to send `plan(0)`, `plan(1)`, ... to `http`.
    pub(crate) fn start(http: SocketAddr, plan: impl Fn(u64) -> Planned + Send + 'static) -> Self {
        let (stop, ended) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let (stopped, count) = (Arc::clone(&stop), Arc::clone(&ended));
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(send_all(http, plan, &stopped, &count))
        });
        Self { stop, ended, thread }
    }

    /// Waits until `more` further requests have ended.
    pub(crate) fn wait_more(&self, more: u64) {
        let goal = self.ended.load(Ordering::Relaxed) + more;
        until(&format!("{goal} requests have ended"), || match self.ended.load(Ordering::Relaxed) {
            ended if ended >= goal => Ok(()),
            ended => Err(ended.to_string()),
        });
    }

    /// Sends no more, waits for those under way.
    pub(crate) fn stop(self) -> Tally {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the load does not panic")
    }
}

async fn send_all(
    http: SocketAddr,
    plan: impl Fn(u64) -> Planned,
    stop: &AtomicBool,
    ended: &Arc<AtomicU64>,
) -> Tally {
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let (mut idle, mut tally, mut tasks) = (Vec::new(), Tally::new(), JoinSet::new());
    let mut note = |ended: Result<Ended, _>, idle: &mut Vec<_>| {
        let (method, outcome, kept) = ended.expect("a request does not panic");
        *tally.entry((method, outcome)).or_default() += 1;
        idle.extend(kept);
    };
    let (start, mut ticks) = (Instant::now(), tokio::time::interval(Duration::from_millis(1)));
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        ticks.tick().await;
        let due = u64::try_from(start.elapsed().as_micros()).unwrap() * RATE / 1_000_000;
        while number < due {
            while let Some(ended) = tasks.try_join_next() {
                note(ended, &mut idle);
            }
            let permit = Arc::clone(&permits).acquire_owned().await.expect("never closed");
            let (planned, kept, ended) = (plan(number), idle.pop(), Arc::clone(ended));
            tasks.spawn(async move {
                let outcome = one(http, kept, &planned).await;
                ended.fetch_add(1, Ordering::Relaxed);
                drop(permit);
                outcome
            });
            number += 1;
        }
    }
    while let Some(ended) = tasks.join_next().await {
        note(ended, &mut idle);
    }
    tally
}

/// Method, status or error, and the connection if it may be used again.
type Ended = (&'static str, String, Option<BufReader<TcpStream>>);

async fn one(http: SocketAddr, kept: Option<BufReader<TcpStream>>, planned: &Planned) -> Ended {
    match tokio::time::timeout(REQUEST_TIMEOUT, ask(http, kept, planned)).await {
        Ok(Ok((status, kept))) => (planned.method, status.to_string(), kept),
        Ok(Err(error)) => (planned.method, error.to_string(), None),
        Err(_) => (planned.method, "no answer".to_owned(), None),
    }
}

type Answered = (u16, Option<BufReader<TcpStream>>);

/// One request on a kept connection or a new one. Gives the connection back if it may be used
/// again.
async fn ask(
    http: SocketAddr,
    kept: Option<BufReader<TcpStream>>,
    planned: &Planned,
) -> std::io::Result<Answered> {
    let mut stream = match kept {
        Some(stream) => stream,
        None => BufReader::new(TcpStream::connect(http).await?),
    };
    let answer = exchange(&mut stream, planned, "").await?;
    Ok((answer.status, (!answer.closes).then_some(stream)))
}

/// What came back.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
    closes: bool,
}

/// One request with `headers` (lines) from the local address `from`, on a connection of its own.
pub(crate) fn ask_from(from: IpAddr, to: SocketAddr, planned: &Planned, headers: &str) -> Answer {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((from, 0).into()).unwrap();
        let mut stream = BufReader::new(socket.connect(to).await.unwrap());
        exchange(&mut stream, planned, headers).await.unwrap()
    })
}

async fn exchange(
    stream: &mut BufReader<TcpStream>,
    planned: &Planned,
    headers: &str,
) -> std::io::Result<Answer> {
    let Planned { method, path, body } = planned;
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: stack.test\r\n{headers}content-type: application/json\r\n\
         content-length: {length}\r\n\r\n{body}"
    );
    // A server that refuses a large body answers and closes before all of it is written.
    let sent = stream.write_all(request.as_bytes()).await;
    let bad = |what: &str| std::io::Error::new(std::io::ErrorKind::InvalidData, what.to_owned());
    let line = match line(stream).await {
        Ok(line) => line,
        Err(error) => return Err(sent.err().unwrap_or(error)),
    };
    let status = line.split(' ').nth(1).and_then(|code| code.parse().ok()).ok_or_else(|| bad(&line))?;
    let (mut closes, mut length) = (false, None);
    loop {
        let field = self::line(stream).await?.to_ascii_lowercase();
        match field.split_once(':').map(|(name, value)| (name, value.trim())) {
            None => break,
            Some(("connection", "close")) => closes = true,
            Some(("content-length", value)) => length = value.parse().ok(),
            Some(_) => {}
        }
    }
    let mut body = Vec::new();
    match length {
        Some(length) => {
            body.resize(length, 0);
            stream.read_exact(&mut body).await?;
        }
        None if status == 204 => {}
        None => return Err(bad("an answer without content-length")),
    }
    Ok(Answer { status, closes, body: String::from_utf8_lossy(&body).into_owned() })
}

async fn line(stream: &mut BufReader<TcpStream>) -> std::io::Result<String> {
    let mut line = String::new();
    if stream.read_line(&mut line).await? == 0 {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    Ok(line.trim_end().to_owned())
}
