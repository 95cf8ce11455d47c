//! A conversation: the page, and posting a message.
//!
//! Owns the routes below `/conversations`; `/chats` belongs to the chat service. Messages are
//! stored by the service `chat`, markup is in `page::items`.

use role::accept::Media;
use serde::Deserialize;
use service_host::bus::Bus;
use service_host::problems::FIELD_MISSING;
use service_host::{Problem, Request, Response};

use crate::ask_error::AskError;
use crate::form::{Form, new_id, see};
use crate::gather::{ask, send};
use crate::page::items::{self, ConversationView, Item};
use crate::response::{REVALIDATE, html, segment};

/// The answer of `GET /chats/{id}/messages`.
#[derive(Deserialize)]
struct Messages {
    messages: Vec<Item>,
    next: Option<String>,
    after: String,
}

/// `GET /conversations?id=&as=`: the target of the form that asks for a conversation.
pub(crate) async fn open(_: &Bus, request: &Request, _: Media) -> Result<Response, Problem> {
    let id = request.query("id").filter(|id| !id.is_empty());
    let missing = || {
        let problem = Problem::new(FIELD_MISSING, "`id` is missing.").field("id");
        problem.remedy("give the id of a conversation")
    };
    let id = id.ok_or_else(missing)?;
    Ok(see(href(&segment(&id).to_string(), &request.query("as").unwrap_or_default())))
}

/// `GET /conversations/{id}?as=&before=`.
pub(crate) async fn show(bus: &Bus, request: &Request, media: Media) -> Result<Response, Problem> {
    let id = request.raw_param("id");
    let before = request.query("before");
    let page = before.as_ref().map(|before| format!("?before={}", segment(before))).unwrap_or_default();
    let path = format!("/chats/{id}/messages{page}");
    let text = ask(bus, request, path).await.map_err(|error| error.problem("chat"))?;
    let response = match media {
        Media::Json => Response::raw_json(text),
        Media::Html => {
            let found: Messages =
                serde_json::from_slice(&text).map_err(|_| AskError::NotJson.problem("chat"))?;
            let (name, member) = (request.param("id")?, request.query("as").unwrap_or_default());
            html(items::conversation(&ConversationView {
                id: &name,
                segment: id,
                href: &href(id, &member),
                member: &member,
                messages: &found.messages,
                next: found.next.as_deref(),
                after: &found.after,
                is_newest: before.is_none(),
                new_id: &new_id(),
            }))
        }
    };
    Ok(response.header("cache-control", REVALIDATE))
}

/// `POST /conversations/{id}`: a form with `author`, `text` and `id`.
pub(crate) async fn say(bus: &Bus, request: &Request, _: Media) -> Result<Response, Problem> {
    let (id, form) = (request.raw_param("id"), Form::read(request)?);
    let author = form.field("author");
    let body = serde_json::json!({ "id": form.field("id"), "author": author, "text": form.field("text") });
    let sent =
        send(bus, request, "POST", format!("/chats/{id}/messages"), body.to_string().into_bytes()).await;
    sent.map_err(|error| error.problem("chat"))?;
    Ok(see(href(id, &author)))
}

/// The page's address; `id` is percent-encoded.
fn href(id: &str, member: &str) -> String {
    match member {
        "" => format!("/conversations/{id}"),
        member => format!("/conversations/{id}?as={}", segment(member)),
    }
}
