//! One connection: takes a request, writes it, reads the response, counts it.
//!
//! Owns the stream and the outcome of each request on it. Invariant: between two polls no cell of
//! the thread's state is borrowed; an aborted (timed out) task leaves nothing behind but its closed
//! socket.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::io::ReadBuf;

use super::feed::Feed;
use super::plan::{Plan, Requests};
use super::progress::Counters;
use super::response::{Parser, Response};
use super::stream::Stream;
use super::tally::{Failure, Tally};

/// Bytes per read; further bytes are read in the next turn.
const READ_LEN: usize = 64 << 10;
/// Pause before another attempt to connect.
const RECONNECT: Duration = Duration::from_millis(10);

/// State shared by the connections of one thread.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) plan: std::sync::Arc<Plan>,
    pub(super) feed: Feed,
    pub(super) tally: RefCell<Tally>,
    pub(super) counters: std::sync::Arc<[Counters]>,
    pub(super) thread: usize,
    /// One buffer for all connections, because each consumes at once what it read.
    scratch: RefCell<Box<[u8]>>,
    rng: RefCell<fastrand::Rng>,
    /// Requests made by this thread.
    made: Cell<u64>,
}

/// The next request.
struct Next<'a> {
    bytes: &'a [u8],
    is_head: bool,
    kind: Option<usize>,
    /// The conversation that the request writes to.
    writes_to: Option<usize>,
}

/// An outstanding request.
#[derive(Clone, Copy, Debug)]
pub(super) struct UnderWay {
    pub(super) due: Instant,
    pub(super) sent: Instant,
    pub(super) kind: Option<usize>,
}

/// The state of one connection that others read.
#[derive(Debug, Default)]
pub(super) struct Slot {
    pub(super) under_way: Cell<Option<UnderWay>>,
}

impl Shared {
    pub(super) fn new(
        plan: std::sync::Arc<Plan>,
        feed: Feed,
        counters: std::sync::Arc<[Counters]>,
        thread: usize,
    ) -> Self {
        Self {
            tally: RefCell::new(Tally::new(&plan)),
            feed,
            counters,
            thread,
            scratch: RefCell::new(vec![0; READ_LEN].into_boxed_slice()),
            rng: RefCell::new(fastrand::Rng::with_seed(plan.seed ^ thread as u64)),
            made: Cell::new(0),
            plan,
        }
    }

    pub(super) fn fail(&self, due: Instant, kind: Option<usize>, failure: Failure) {
        self.tally.borrow_mut().failure(due, Instant::now(), kind, failure);
        self.counters[self.thread].failed();
    }

    /// All random numbers of a request are drawn at once, so that the seed alone determines a
    /// thread's requests and their order.
    fn next<'a>(&'a self, room: &'a mut Vec<u8>) -> Next<'a> {
        let mut rng = self.rng.borrow_mut();
        match &self.plan.requests_from {
            Requests::Fixed(target) => {
                Next { bytes: &target.bytes, is_head: target.is_head, kind: None, writes_to: None }
            }
            Requests::Made(mix) => {
                let number = self.made.replace(self.made.get() + 1);
                let made = mix.make(&mut rng, (self.thread, number), Instant::now(), room);
                Next { bytes: room, is_head: false, kind: Some(made.kind), writes_to: made.writes_to }
            }
        }
    }
}

/// Sends requests until there are no more. `stream` is the connection opened before the start.
pub(super) async fn run(shared: Rc<Shared>, slot: Rc<Slot>, index: usize, mut stream: Option<Stream>) {
    let (mut parser, mut room) = (Parser::default(), Vec::new());
    loop {
        // Reconnects before taking a request, so that time without a connection is charged to
        // requests that become due in it. In the closed loop nothing is due before it is taken.
        if stream.is_none() && shared.plan.keepalive && shared.plan.rate.is_some() {
            stream = reconnect(&shared).await;
            if stream.is_none() {
                return;
            }
        }
        let Some(due) = poll_fn(|cx| shared.feed.poll_next(index, cx)).await else { return };
        let next = shared.next(&mut room);
        slot.under_way.set(Some(UnderWay { due, sent: Instant::now(), kind: next.kind }));
        if stream.is_none() {
            stream = Stream::connect(&shared.plan.address).await.ok();
        }
        let outcome = match &mut stream {
            None => Err(Failure::Connect),
            Some(stream) => exchange(&shared, &next, stream, &mut parser).await,
        };
        slot.under_way.set(None);
        let keep_alive = match outcome {
            Ok(Exchanged { response, read, written }) => {
                let now = Instant::now();
                shared.tally.borrow_mut().response(due, now, next.kind, response.status, read, written);
                if let (Some(conversation), 201) = (next.writes_to, response.status)
                    && let Some(mix) = shared.plan.mix()
                {
                    mix.acknowledge(conversation);
                }
                shared.counters[shared.thread].responded();
                response.keep_alive && shared.plan.keepalive
            }
            Err(failure) => {
                shared.fail(due, next.kind, failure);
                parser = Parser::default();
                // In the closed loop a server that refuses would be tried without a pause.
                if failure == Failure::Connect {
                    tokio::time::sleep(RECONNECT).await;
                }
                false
            }
        };
        if !keep_alive {
            stream = None;
        }
    }
}

/// Connects, however long it takes. `None` when the run ends before, or when it has no end and the
/// server is away for longer than a request may take.
async fn reconnect(shared: &Shared) -> Option<Stream> {
    let since = Instant::now();
    loop {
        if let Ok(stream) = Stream::connect(&shared.plan.address).await {
            return Some(stream);
        }
        let is_over = match (shared.plan.duration, shared.plan.started.get()) {
            (Some(duration), Some(started)) => started.elapsed() >= duration,
            _ => since.elapsed() >= shared.plan.timeout,
        };
        if is_over {
            return None;
        }
        tokio::time::sleep(RECONNECT).await;
    }
}

struct Exchanged {
    response: Response,
    read: usize,
    written: usize,
}

async fn exchange(
    shared: &Shared,
    next: &Next<'_>,
    stream: &mut Stream,
    parser: &mut Parser,
) -> Result<Exchanged, Failure> {
    let (mut read, mut written) = (0, 0);
    let mut unwritable = false;
    let response = poll_fn(|cx| {
        while written < next.bytes.len() && !unwritable {
            match stream.poll_write(cx, &next.bytes[written..]) {
                Poll::Ready(Ok(0) | Err(_)) => unwritable = true,
                Poll::Ready(Ok(some)) => written += some,
                Poll::Pending => break,
            }
        }
        // A server that refuses a body answers before it has read the body, so the response is read
        // even when the rest cannot be written.
        poll_response(shared, stream, parser, next.is_head, &mut read, cx)
    })
    .await;
    match response {
        Ok(response) if written == next.bytes.len() => Ok(Exchanged { response, read, written }),
        // The server would take the rest of this request for the next one.
        Ok(response) => Ok(Exchanged { response: Response { keep_alive: false, ..response }, read, written }),
        Err(Failure::Closed | Failure::Read) if unwritable => Err(Failure::Write),
        Err(failure) => Err(failure),
    }
}

fn poll_response(
    shared: &Shared,
    stream: &mut Stream,
    parser: &mut Parser,
    is_head: bool,
    read: &mut usize,
    cx: &mut Context<'_>,
) -> Poll<Result<Response, Failure>> {
    let mut scratch = shared.scratch.borrow_mut();
    loop {
        let mut room = ReadBuf::new(&mut scratch);
        match stream.poll_read(cx, &mut room) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Err(_)) => return Poll::Ready(Err(Failure::Read)),
            Poll::Ready(Ok(())) if room.filled().is_empty() => {
                return Poll::Ready(parser.end().ok_or(Failure::Closed));
            }
            Poll::Ready(Ok(())) => {}
        }
        *read += room.filled().len();
        match parser.feed(room.filled(), is_head) {
            Ok(None) => {}
            Ok(Some(response)) => return Poll::Ready(Ok(response)),
            Err(_) => return Poll::Ready(Err(Failure::Malformed)),
        }
    }
}
