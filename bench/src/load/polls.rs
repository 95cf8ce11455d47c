//! Long polls that are held open beside the load, by a thread of their own.
//!
//! Owns their connections, cursors, and the messages that each was told. The load sends the writes
//! that wake them. Invariant: a poll's cursor is read before the load starts, so every message
//! acknowledged to the load is owed to every poll of its conversation.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use serde::Deserialize;
use tokio::io::ReadBuf;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinSet;

use super::mix::Mix;
use super::plan::Plan;
use super::response::Parser;
use super::stream::Stream;
use super::wakes::{News, WakeTally, Wakes};

/// Polls opened concurrently.
const OPENING: usize = 64;
/// Bytes per read.
const READ_LEN: usize = 16 << 10;
/// Pause before another attempt to connect.
const PAUSE: Duration = Duration::from_millis(100);
/// Longest wait for an answer: more than the longest poll (30 s) and its way.
const PATIENCE: Duration = Duration::from_secs(40);
/// An acknowledged message that was not told after this time is lost.
const OWED_MAX: Duration = Duration::from_secs(5);
/// Interval of the check whether anything is still owed.
const LOOK: Duration = Duration::from_millis(10);

/// The thread that holds the polls.
#[derive(Debug)]
pub(crate) struct Polls {
    thread: std::thread::JoinHandle<Result<Wakes>>,
    end: oneshot::Sender<()>,
}

impl Polls {
    /// Opens `count` polls, spread evenly over the conversations; completes when all have been
    /// sent.
    ///
    /// # Errors
    /// A poll could not be opened.
    pub(crate) async fn open(plan: &Arc<Plan>, count: usize) -> Result<Self> {
        let (held, all_held) = oneshot::channel();
        let (end, ended) = oneshot::channel();
        let plan = Arc::clone(plan);
        let thread = std::thread::Builder::new().name("polls".into()).spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default())?;
            runtime.block_on(hold(&plan, count, held, ended))
        })?;
        if all_held.await.is_ok() {
            return Ok(Self { thread, end });
        }
        let outcome = thread.join().map_err(|_| anyhow!("the thread of the polls panicked"))?;
        Err(outcome.err().unwrap_or_else(|| anyhow!("the polls ended before they were held")))
    }

    /// Waits a limited time for owed messages, and closes the polls.
    ///
    /// # Errors
    /// The thread failed.
    pub(crate) async fn close(self) -> Result<Wakes> {
        let _ = self.end.send(());
        let joined = tokio::task::spawn_blocking(move || self.thread.join()).await?;
        joined.map_err(|_| anyhow!("the thread of the polls panicked"))?
    }
}

/// State shared by the polls.
struct Shared {
    plan: Arc<Plan>,
    tally: RefCell<WakeTally>,
    /// One buffer for all polls, because each consumes at once what it read.
    scratch: RefCell<Box<[u8]>>,
}

/// One client.
struct Client {
    conversation: usize,
    path: String,
    stream: Option<Stream>,
    cursor: String,
    told: Rc<Cell<u64>>,
}

async fn hold(
    plan: &Arc<Plan>,
    count: usize,
    held: oneshot::Sender<()>,
    ended: oneshot::Receiver<()>,
) -> Result<Wakes> {
    let shared = Rc::new(Shared {
        plan: Arc::clone(plan),
        tally: RefCell::new(WakeTally::new()),
        scratch: RefCell::new(vec![0; READ_LEN].into_boxed_slice()),
    });
    let clients = open(&shared, count).await?;
    let owed: Vec<_> = clients.iter().map(|client| (client.conversation, Rc::clone(&client.told))).collect();
    let mut tasks = JoinSet::new();
    for client in clients {
        tasks.spawn_local(client.run(Rc::clone(&shared)));
    }
    // One turn of the runtime, in which each poll is written.
    tokio::task::yield_now().await;
    let _ = held.send(());
    let _ = ended.await;
    let mix = shared.mix();
    let is_owed =
        |(conversation, told): &&(usize, Rc<Cell<u64>>)| mix.acknowledged(*conversation) > told.get();
    let deadline = Instant::now() + OWED_MAX;
    while owed.iter().any(|client| is_owed(&client)) && Instant::now() < deadline {
        tokio::time::sleep(LOOK).await;
    }
    let unanswered = owed.iter().filter(is_owed).count() as u64;
    tasks.abort_all();
    Ok(shared.tally.borrow().end(count, unanswered))
}

/// Connects every client and reads the newest position of its conversation.
async fn open(shared: &Rc<Shared>, count: usize) -> Result<Vec<Client>> {
    let conversations = shared.mix().conversations();
    let turn = Rc::new(Semaphore::new(OPENING));
    let mut opening = JoinSet::new();
    for number in 0..count {
        let (shared, turn) = (Rc::clone(shared), Rc::clone(&turn));
        // Evenly over the ranks: the busiest conversation has a poll, and most quiet ones have
        // none.
        let conversation = number * conversations.max(count) / count % conversations;
        opening.spawn_local(async move {
            let _permit = turn.acquire().await?;
            Client::open(&shared, conversation)
                .await
                .with_context(|| format!("long poll {} of {count} to {}", number + 1, shared.plan.address))
        });
    }
    let mut clients = Vec::with_capacity(count);
    while let Some(opened) = opening.join_next().await {
        clients.push(opened??);
    }
    Ok(clients)
}

impl Shared {
    fn mix(&self) -> &Mix {
        self.plan.mix().expect("polls are opened beside a mix only")
    }

    /// Sends `GET path` and returns status and body of the answer.
    async fn ask(&self, stream: &mut Stream, path: &str) -> Result<(u16, Vec<u8>)> {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", self.mix().host);
        let (mut parser, mut written) = (Parser::keeping(), 0);
        let response = poll_fn(|cx| {
            while written < request.len() {
                match ready!(stream.poll_write(cx, &request.as_bytes()[written..]))? {
                    0 => return Poll::Ready(Err(anyhow!("closed while the request was written"))),
                    some => written += some,
                }
            }
            let mut scratch = self.scratch.borrow_mut();
            loop {
                let mut room = ReadBuf::new(&mut scratch);
                ready!(stream.poll_read(cx, &mut room))?;
                if room.filled().is_empty() {
                    return Poll::Ready(parser.end().ok_or_else(|| anyhow!("closed without an answer")));
                }
                match parser.feed(room.filled(), false) {
                    Ok(None) => {}
                    Ok(Some(response)) => return Poll::Ready(Ok(response)),
                    Err(_) => return Poll::Ready(Err(anyhow!("the answer is not an HTTP response"))),
                }
            }
        })
        .await?;
        ensure!(response.keep_alive, "the server closes the connection with status {}", response.status);
        Ok((response.status, parser.take_body()))
    }
}

/// The position of a conversation.
#[derive(Deserialize)]
struct Stand {
    after: String,
}

impl Client {
    async fn open(shared: &Shared, conversation: usize) -> Result<Self> {
        let mut stream = Stream::connect(&shared.plan.address)
            .await
            .context("cannot connect; `ulimit -n` and the server's limit bound connections")?;
        let name = shared.mix().conversation(conversation);
        let page = format!("/chats/{name}/messages?limit=1");
        let (status, body) = shared.ask(&mut stream, &page).await?;
        let text = || String::from_utf8_lossy(&body[..body.len().min(300)]).into_owned();
        ensure!(status == 200, "GET {page}: {status} {}", text());
        let Stand { after } =
            serde_json::from_slice(&body).with_context(|| format!("GET {page}: {}", text()))?;
        Ok(Self {
            conversation,
            path: format!("/chats/{name}/updates"),
            stream: Some(stream),
            cursor: after,
            told: Rc::default(),
        })
    }

    /// Polls for ever.
    async fn run(mut self, shared: Rc<Shared>) {
        loop {
            let polled = Instant::now();
            match tokio::time::timeout(PATIENCE, self.poll(&shared)).await {
                Ok(Ok(news)) => {
                    let now = Instant::now();
                    self.told.set(self.told.get() + news.sent.len() as u64);
                    if shared.counts(&news, now) {
                        shared.tally.borrow_mut().answered(polled, now, &news);
                    }
                    self.cursor = news.next;
                }
                failed => {
                    let why = match failed {
                        Ok(Err(error)) => format!("{error:#}"),
                        _ => format!("no answer in {} s", PATIENCE.as_secs()),
                    };
                    shared.tally.borrow_mut().failed(why);
                    self.stream = None;
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    async fn poll(&mut self, shared: &Shared) -> Result<News> {
        let stream = match &mut self.stream {
            Some(stream) => stream,
            none => none.insert(Stream::connect(&shared.plan.address).await?),
        };
        let path = format!("{}?after={}", self.path, self.cursor);
        let (status, body) = shared.ask(stream, &path).await?;
        ensure!(status == 200, "{status} {}", String::from_utf8_lossy(&body[..body.len().min(300)]));
        News::read(&body, &shared.mix().stamps).context("the answer is not that of a conversation")
    }
}

impl Shared {
    /// False for answers of the warm-up.
    fn counts(&self, news: &News, now: Instant) -> bool {
        let first = news.sent.first().copied().unwrap_or(now);
        self.plan.started.get().is_some_and(|started| first >= *started + self.plan.warmup)
    }
}
