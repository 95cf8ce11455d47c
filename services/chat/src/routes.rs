//! HTTP routes of conversations, and the events that a worker handles.
//!
//! Owns methods, statuses, headers and the JSON of answers. Transactions are in `conversations` and
//! `markers`, waiting is in `updates`.

use std::collections::BTreeMap;
use std::rc::Rc;

use bytes::{BufMut, Bytes, BytesMut};
use serde::Deserialize;
use service_host::data::{now_ms, within};
use service_host::{Context, Failure, Request, Response, Router};
use store::Position;

use crate::args::Args;
use crate::conversations::{Conversations, Told};
use crate::cursor::Cursor;
use crate::hub::{Hub, TOPIC};
use crate::message::{NewMessage, present};
use crate::updates::{put_message, put_messages, updates};

/// Messages in a page when the request has no `limit`.
const PAGE_DEFAULT: u64 = 75;

/// Most messages in a page. Bounds the time that one request occupies its worker.
const PAGE_MAX: u64 = 200;

/// Only a member's own cache may store a conversation, and must revalidate it.
const REVALIDATE: Bytes = Bytes::from_static(b"private, no-cache");

/// Sets up one worker: its hub, the events that it handles, and its routes.
#[must_use]
pub fn serve(context: &Context<Args>, conversations: Conversations) -> Router {
    let hub = Hub::start(conversations, context.bus().clone());
    let hearing = Rc::clone(&hub);
    context.on_event(TOPIC, move |event| {
        hearing.hear(&event);
        std::future::ready(())
    });
    routes(hub)
}

fn routes(hub: Rc<Hub>) -> Router {
    let polls = Rc::clone(&hub);
    Router::new()
        .route_with("GET /chats/{id}/messages", &hub, page)
        .route_with("POST /chats/{id}/messages", &hub, post)
        .route("GET /chats/{id}/updates", move |request| updates(Rc::clone(&polls), request))
        .route_with("PUT /chats/{id}/typing", &hub, typing)
        .route_with("GET /chats/{id}/read", &hub, markers)
        .route_with("PUT /chats/{id}/read", &hub, read)
}

type Answer = Result<Response, Failure>;

async fn post(hub: &Hub, request: &Request) -> Answer {
    let chat = request.param_id("id")?;
    let message = NewMessage::read(request)?;
    let posted = hub.conversations.post(&chat, &message, now_ms(), &within(request)).await?;
    if posted.is_new {
        hub.changed(&chat, posted.position, Some(&message.author));
    }
    let mut text = BytesMut::with_capacity(posted.message.len() + 48);
    put_message(&Told { position: posted.position, message: posted.message }, &mut text);
    Ok(Response::raw_json(text.freeze()).with_status(if posted.is_new { 201 } else { 200 }))
}

/// `{"messages":[..],"next":"..","after":".."}`, the newest first. `next` is the `before` of the
/// next page, or null; polls continue from `after`.
async fn page(hub: &Hub, request: &Request) -> Answer {
    let chat = request.param_id("id")?;
    let limit = request.query_number("limit", PAGE_DEFAULT, 1..=PAGE_MAX)?;
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let before = match request.query("before") {
        Some(text) => Some(Cursor::read("before", &text)?.position),
        None => None,
    };
    let page = hub.conversations.page(&chat, before, limit, &within(request)).await?;
    let len: usize = page.messages.iter().map(|told| told.message.len() + 40).sum();
    let mut out = BytesMut::with_capacity(len + 96);
    out.put_slice(b"{\"messages\":");
    put_messages(&page.messages, &mut out);
    let next = page.next.map_or_else(|| "null".to_owned(), |next| format!("\"{next}\""));
    out.put_slice(format!(",\"next\":{next},\"after\":\"{}\"}}", page.last).as_bytes());
    Ok(Response::raw_json(out.freeze()).header("cache-control", REVALIDATE).tagged(request))
}

/// The body of `PUT /chats/{id}/typing` and `PUT /chats/{id}/read`.
#[derive(Deserialize)]
struct Who {
    member: Option<String>,
    upto: Option<String>,
}

async fn typing(hub: &Hub, request: &Request) -> Answer {
    let chat = request.param_id("id")?;
    let who: Who = request.json()?;
    hub.typing(&chat, &present("member", who.member)?);
    Ok(Response::new(204))
}

/// Without `upto`, everything becomes read.
async fn read(hub: &Hub, request: &Request) -> Answer {
    let chat = request.param_id("id")?;
    let who: Who = request.json()?;
    let member = present("member", who.member)?;
    let upto: Option<Position> = match &who.upto {
        Some(text) => Some(Cursor::read("upto", text)?.position),
        None => None,
    };
    let changed = hub.conversations.mark_read(&chat, &member, upto, &within(request)).await?;
    if let Some(position) = changed {
        hub.changed(&chat, position, None);
    }
    Ok(Response::new(204))
}

/// `{"read":{"ada":".."}}`: the markers that changed last.
async fn markers(hub: &Hub, request: &Request) -> Answer {
    let chat = request.param_id("id")?;
    let markers = hub.conversations.newest_markers(&chat, &within(request)).await?;
    let read: BTreeMap<_, _> =
        markers.iter().map(|marker| (marker.member.as_str(), marker.read.to_string())).collect();
    let answer = serde_json::json!({ "read": read });
    Ok(Response::json(&answer).header("cache-control", REVALIDATE).tagged(request))
}
