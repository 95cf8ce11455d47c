//! The long poll.
//!
//! Owns how long a poll waits and what it answers. Invariant: a waiting poll holds a seat, a
//! cursor, a timer and an entry in the room's waker, and nothing of its request message: a few
//! hundred bytes, whatever was read with the message.

use std::collections::BTreeMap;
use std::pin::pin;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use serde::Serialize;
use service_host::{Failure, Finish, Request, Response, check_id};
use store::{Position, RunOptions};
use tokio::time::timeout_at;

use crate::conversations::{News, Told};
use crate::cursor::Cursor;
use crate::hub::{Hub, Seat};
use crate::transient::Doing;

/// Longest wait of a poll, in seconds. Proxies on the way give up after a minute.
const WAIT_MAX_S: u64 = 30;

/// Most time reserved for the answer's way to the client.
const RESERVE_MAX: Duration = Duration::from_millis(500);

/// Pause before the store is read again when it does not show a change that an event announced.
const BEHIND_PAUSE: Duration = Duration::from_millis(20);

/// An answer is valid for its cursor and its moment only.
const NO_STORE: Bytes = Bytes::from_static(b"no-store");

/// What a poll asks for, without the message that contained it.
struct Poll {
    chat: String,
    after: Option<Cursor>,
    deadline: Instant,
    /// Completes when it is to be answered now.
    finish: Finish,
}

/// `GET /chats/{id}/updates?after=&wait=&member=`.
pub(crate) async fn updates(hub: Rc<Hub>, request: Request) -> Result<Response, Failure> {
    let id = Box::<str>::from(request.id());
    let named = |failure: Failure| Failure::from(failure.into_problem().request_id(&id));
    let poll = Poll::read(&hub, &request).map_err(named)?;
    // Keeping a part of the message would keep the whole buffer that it was read into.
    drop(request);
    let body = poll.wait(hub).await.map_err(named)?;
    Ok(Response::raw_json(body).header("cache-control", NO_STORE))
}

impl Poll {
    fn read(hub: &Hub, request: &Request) -> Result<Self, Failure> {
        let chat = request.param_id("id")?;
        let after = match request.query("after").filter(|after| !after.is_empty()) {
            Some(text) => Some(Cursor::read("after", &text)?),
            None => None,
        };
        let wait = request.query_number("wait", WAIT_MAX_S, 0..=WAIT_MAX_S)?;
        if let Some(member) = request.query("member").filter(|member| !member.is_empty()) {
            check_id("member", &member)?;
            hub.present(&chat, &member);
        }
        let (now, wait) = (Instant::now(), Duration::from_secs(wait));
        let left = request.remaining(now).map_or(wait, |left| left - RESERVE_MAX.min(left / 8));
        let finish = hub.finish(request);
        Ok(Self { chat: chat.into_owned(), after, deadline: now + wait.min(left), finish })
    }

    /// The answer: changes as soon as there are some, or an empty answer.
    async fn wait(self, hub: Rc<Hub>) -> Result<Bytes, Failure> {
        let Self { chat, after, deadline, finish } = self;
        let seat = hub.enter(&chat).await?;
        drop(chat);
        let now = || Cursor { position: seat.room.last().unwrap_or(Position::FIRST), state: 0 };
        let after = after.unwrap_or_else(now);
        let deadline = tokio::time::Instant::from_std(deadline);
        let mut finish = pin!(finish);
        loop {
            let mut changed = pin!(seat.room.changed.notified());
            changed.as_mut().enable();
            let mut until = deadline;
            if is_news(&hub, &seat, after) {
                // Boxed, so that a waiting poll does not hold the memory for reading.
                if let Some(body) = Box::pin(told(&hub, &seat, after)).await? {
                    return Ok(body);
                }
                until = deadline.min(tokio::time::Instant::now() + BEHIND_PAUSE);
            }
            let is_over = tokio::select! {
                biased;
                () = &mut finish => true,
                changed = timeout_at(until, changed) => changed.is_err() && until == deadline,
            };
            if is_over {
                return Ok(nothing(&hub, &seat, after));
            }
        }
    }
}

fn is_news(hub: &Hub, seat: &Seat, after: Cursor) -> bool {
    seat.room.last().is_some_and(|last| last > after.position)
        || hub.transients.borrow().digest(&seat.room.chat) != after.state
}

/// The changes after `after`. The first poll reads them and shares them with polls that have the
/// same cursor.
async fn told(hub: &Hub, seat: &Seat, after: Cursor) -> Result<Option<Bytes>, Failure> {
    let room = &seat.room;
    let _turn = room.turn.lock().await;
    if let Some(body) = room.answer(after) {
        return Ok(Some(body));
    }
    let epoch = room.epoch();
    let news = if room.last().is_some_and(|last| last > after.position) {
        hub.conversations.news(&room.chat, after.position, &RunOptions::default()).await?
    } else {
        News { messages: Vec::new(), markers: Vec::new(), upto: after.position }
    };
    let next = Cursor { position: news.upto, state: hub.transients.borrow().digest(&room.chat) };
    if next == after {
        return Ok(None);
    }
    let body = text(hub, &room.chat, &news, next);
    room.keep_answer(epoch, after, body.clone());
    Ok(Some(body))
}

fn nothing(hub: &Hub, seat: &Seat, after: Cursor) -> Bytes {
    let news = News { messages: Vec::new(), markers: Vec::new(), upto: after.position };
    text(hub, &seat.room.chat, &news, after)
}

/// The members of the answer behind `messages`.
#[derive(Serialize)]
struct Rest<'a> {
    read: BTreeMap<&'a str, String>,
    typing: Vec<&'a str>,
    present: Vec<&'a str>,
    next: String,
}

/// `{"messages":[..],"read":{"ada":".."},"typing":["ada"],"present":["ada","bob"],"next":".."}`.
fn text(hub: &Hub, chat: &str, news: &News, next: Cursor) -> Bytes {
    let transients = hub.transients.borrow();
    let rest = Rest {
        read: news.markers.iter().map(|marker| (marker.member.as_str(), marker.read.to_string())).collect(),
        typing: transients.members(chat, Doing::Typing),
        present: transients.members(chat, Doing::Present),
        next: next.to_string(),
    };
    let mut out = BytesMut::with_capacity(256);
    out.put_slice(b"{\"messages\":");
    put_messages(&news.messages, &mut out);
    let rest = serde_json::to_vec(&rest).expect("strings are always JSON");
    out.put_u8(b',');
    out.put_slice(&rest[1..]);
    out.freeze()
}

/// Writes the messages as a JSON array.
pub(crate) fn put_messages(messages: &[Told], out: &mut BytesMut) {
    out.put_u8(b'[');
    for (at, told) in messages.iter().enumerate() {
        if at > 0 {
            out.put_u8(b',');
        }
        put_message(told, out);
    }
    out.put_u8(b']');
}

/// Writes the stored object with its position as the first member.
pub(crate) fn put_message(told: &Told, out: &mut BytesMut) {
    out.put_slice(b"{\"position\":\"");
    told.position.put_hex(out);
    out.put_slice(b"\",");
    out.put_slice(&told.message[1..]);
}

#[cfg(test)]
mod tests {
    use service_host::bus::proto::{Header, PipeId};
    use service_host::bus::{Envelope, Incoming, Kind};
    use service_host::testing::{Peer, run, socket};
    use store::Store;

    use super::*;
    use crate::conversations::Conversations;

    #[test]
    fn a_poll_that_waits_is_small() {
        run(async {
            let dir = tempfile::tempdir().unwrap();
            let address = format!("embedded:{}/store", dir.path().display()).parse().unwrap();
            let conversations = Conversations::new(Store::open(&address).unwrap());
            let peer = Peer::dial(&socket(dir.path(), "x"), None);
            let hub = Hub::start(conversations, peer.bus.clone());
            let message = Bytes::copy_from_slice(&Header::new(Kind::Request).to_bytes(0));
            let incoming = Incoming {
                envelope: Envelope::decode(message).unwrap(),
                received: Instant::now(),
                deadline: None,
                pipe: PipeId { index: 0, generation: 0 },
            };
            let finish = peer.bus.finish(&incoming);
            let poll = Poll { chat: "c".to_owned(), after: None, deadline: Instant::now(), finish };
            let size = size_of_val(&poll.wait(hub));
            assert!(size <= 640, "{size} bytes");
        });
    }
}
