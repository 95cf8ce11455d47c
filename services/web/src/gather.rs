//! Asking several services at once, within the time that a request has left.
//!
//! Owns the outstanding calls and their deadline. `parts` decides what to ask, `routes` what
//! becomes of the answers. Invariant: nothing waits longer than the request's deadline less a
//! reserve for writing the answer; dropping a call cancels it.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use serde_json::value::RawValue;
use service_host::bus::{self, Body, Bus, Call, Reply};
use service_host::{Ask, Request};
use smallvec::SmallVec;

use crate::ask_error::AskError;
use crate::checked::Checked;
use crate::parts::{Claimed, PARTS, Part, SOURCES, Source};

/// Time for a request without a deadline: the terminator's default.
const TIME_DEFAULT: Duration = Duration::from_secs(1);

/// Most time reserved for writing the answer and its way to the terminator.
const RESERVE_MAX: Duration = Duration::from_millis(25);

/// Longest answer of a service that arrives in several messages, in bytes: the page must fit into
/// one message.
const ANSWER_BYTES_MAX: usize = 768 * 1024;

/// The answer of a service.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// JSON, written into the page as it is.
    Given(Bytes),
    /// The service has nothing for this member; holds the body of its 404.
    Absent(Bytes),
    Failed(AskError),
}

/// The answers for a member's page in the order of the table. It ends at the essential part when
/// that part failed.
pub(crate) type Answers = SmallVec<[(&'static Part, Answer); PARTS]>;

/// What a worker remembers between requests.
#[derive(Default)]
pub(crate) struct Known {
    claimed: Claimed,
    checked: Checked,
}

/// Asks for every part of a member's page; `id` is percent-encoded.
pub(crate) async fn gather(bus: &Bus, known: &Known, request: &Request, id: &str) -> Answers {
    let asked_at = request.received();
    let deadline = answers_deadline(request, asked_at);
    let claimed = known.claimed.look(bus);
    let mut asked: SmallVec<[(&'static Source, Asked<'_>); SOURCES.len()]> = SOURCES
        .iter()
        .zip(claimed)
        .filter(|(source, claimed)| source.essential || *claimed)
        .map(|(source, _)| (source, Asked::new(bus, request, source.path(id), asked_at, deadline)))
        .collect();
    poll_fn(|cx| {
        let mut waiting = false;
        for (source, asked) in &mut asked {
            match asked.poll(cx) {
                Poll::Pending => waiting = true,
                Poll::Ready(()) if source.essential && !asked.is_given() => return Poll::Ready(()),
                Poll::Ready(()) => (),
            }
        }
        if waiting { Poll::Pending } else { Poll::Ready(()) }
    })
    .await;
    let mut answers = Answers::new();
    for (source, asked) in asked {
        match asked.answer() {
            None => (),
            Some(Answer::Given(text)) => {
                let content = known.checked.contents(source, &text).into_iter().map(given);
                answers.extend(source.parts.iter().zip(content));
            }
            Some(other) => answers.extend(source.parts.iter().map(|part| (part, other.clone()))),
        }
    }
    answers
}

fn given(content: Option<Bytes>) -> Answer {
    content.map_or(Answer::Failed(AskError::NotJson), Answer::Given)
}

/// Sends one GET to a service and returns its JSON.
///
/// # Errors
/// Any status but 200, and no reply.
pub(crate) async fn ask(bus: &Bus, request: &Request, path: String) -> Result<Bytes, AskError> {
    let now = Instant::now();
    let deadline = answers_deadline(request, now);
    let mut asked = Asked::new(bus, request, path, now, deadline);
    poll_fn(|cx| asked.poll(cx)).await;
    match asked.answer().expect("it was polled until it had one") {
        Answer::Given(text) if serde_json::from_slice::<&RawValue>(&text).is_ok() => Ok(text),
        Answer::Given(_) => Err(AskError::NotJson),
        Answer::Absent(body) => Err(AskError::Status(404, body)),
        Answer::Failed(error) => Err(error),
    }
}

/// Sends a change to a service; `body` is JSON. The change must be idempotent, because it is
/// retried on another instance.
///
/// # Errors
/// Any status but 2xx, and no reply.
pub(crate) async fn send(
    bus: &Bus,
    request: &Request,
    method: &'static str,
    path: String,
    body: Vec<u8>,
) -> Result<(), AskError> {
    let now = Instant::now();
    let deadline = answers_deadline(request, now);
    let route = bus.route(method, &path).ok_or(AskError::Unclaimed)?;
    let ask = request.ask(method, path).idempotent();
    let reply = ask.send(bus, route, Body::from_iter([Bytes::from(body)]), now, deadline).await;
    let reply = reply.map_err(AskError::Request)?;
    match reply.status {
        200..=299 => Ok(()),
        status => Err(AskError::Status(status, reply.envelope.body())),
    }
}

/// When the answers of the services must have arrived: before the request's deadline by a fifth of
/// the time left, at most 25 ms.
fn answers_deadline(request: &Request, now: Instant) -> Instant {
    let left = request.remaining(now).unwrap_or(TIME_DEFAULT);
    now + (left - RESERVE_MAX.min(left / 5))
}

/// One outstanding call.
enum Asked<'a> {
    Waiting(Call<Ask<'a>>),
    Reading(u16, bus::Parts, BytesMut),
    Answered(Answer),
}

impl<'a> Asked<'a> {
    fn new(bus: &Bus, request: &'a Request, path: String, now: Instant, deadline: Instant) -> Self {
        let Some(route) = bus.route("GET", &path) else {
            return Self::Answered(Answer::Failed(AskError::Unclaimed));
        };
        Self::Waiting(request.ask("GET", path).send(bus, route, Body::new(), now, deadline))
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let next = match self {
                Self::Waiting(call) => match ready!(Pin::new(call).poll(cx)) {
                    Ok(Reply { status, envelope, parts: None }) => {
                        Self::Answered(answer(status, envelope.body()))
                    }
                    Ok(Reply { status, envelope, parts: Some(parts) }) => {
                        Self::Reading(status, parts, BytesMut::from(envelope.body_bytes()))
                    }
                    Err(error) => Self::Answered(Answer::Failed(AskError::Request(error))),
                },
                Self::Reading(status, parts, body) => match ready!(parts.poll_next(cx)) {
                    Some(Ok(part)) if body.len() + part.len() > ANSWER_BYTES_MAX => {
                        Self::Answered(Answer::Failed(AskError::TooLarge(ANSWER_BYTES_MAX)))
                    }
                    Some(Ok(part)) => {
                        body.extend_from_slice(&part);
                        continue;
                    }
                    Some(Err(error)) => Self::Answered(Answer::Failed(AskError::Request(error))),
                    None => Self::Answered(answer(*status, std::mem::take(body).freeze())),
                },
                Self::Answered(_) => return Poll::Ready(()),
            };
            *self = next;
        }
    }

    fn is_given(&self) -> bool {
        matches!(self, Self::Answered(Answer::Given(_)))
    }

    fn answer(self) -> Option<Answer> {
        match self {
            Self::Answered(answer) => Some(answer),
            Self::Waiting(_) | Self::Reading(..) => None,
        }
    }
}

/// The body is not checked here; it is checked when the needed parts are known.
fn answer(status: u16, body: Bytes) -> Answer {
    match status {
        200 => Answer::Given(body),
        404 => Answer::Absent(body),
        _ => Answer::Failed(AskError::Status(status, body)),
    }
}
