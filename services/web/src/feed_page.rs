//! A member's feed: the page, posting, marking as read, following.
//!
//! Owns the routes below `/members/{id}`. Feeds are stored by the service `feed`, markup is in
//! `page::items`.

use role::accept::Media;
use serde::Deserialize;
use service_host::bus::Bus;
use service_host::problems::{FIELD_INVALID, FIELD_MISSING};
use service_host::{Problem, Request, Response};

use crate::ask_error::AskError;
use crate::form::{Form, new_id, see};
use crate::gather::{ask, send};
use crate::page::items::{self, Feed, FeedView};
use crate::response::{REVALIDATE, html, segment};

/// Entries on a page.
const ENTRIES: u32 = 20;

/// The answer of `GET /feeds/{owner}/head`.
#[derive(Deserialize)]
struct Head {
    feed: Feed,
    unread: u64,
    more: bool,
}

/// `GET /members/{id}/feed?before=`.
pub(crate) async fn show(bus: &Bus, request: &Request, media: Media) -> Result<Response, Problem> {
    let id = request.raw_param("id");
    let before = request.query("before");
    let is_newest = before.is_none();
    let page = before.map(|before| format!("&before={}", segment(&before))).unwrap_or_default();
    let text =
        |path: String| async move { ask(bus, request, path).await.map_err(|error| error.problem("feed")) };
    let feed = format!("/feeds/{id}?limit={ENTRIES}{page}");
    let response = match media {
        Media::Json => Response::raw_json(text(feed).await?),
        Media::Html => {
            let not_json = |_| AskError::NotJson.problem("feed");
            let (feed, unread) = if is_newest {
                let head = text(format!("/feeds/{id}/head?limit={ENTRIES}")).await?;
                let head: Head = serde_json::from_slice(&head).map_err(not_json)?;
                (head.feed, Some(format!("{}{}", head.unread, if head.more { "+" } else { "" })))
            } else {
                (serde_json::from_slice(&text(feed).await?).map_err(not_json)?, None)
            };
            let name = request.param("id")?;
            html(items::feed(&FeedView {
                id: &name,
                href: &format!("/members/{id}"),
                entries: &feed.entries,
                next: feed.next.as_deref(),
                is_newest,
                unread: unread.as_deref(),
                new_id: &new_id(),
            }))
        }
    };
    Ok(response.header("cache-control", REVALIDATE))
}

/// `POST /members/{id}/feed`: a form with `text` and `id`.
pub(crate) async fn post(bus: &Bus, request: &Request, _: Media) -> Result<Response, Problem> {
    let (id, form) = (request.raw_param("id"), Form::read(request)?);
    let body = serde_json::json!({ "id": form.field("id"), "text": form.field("text") });
    change(bus, request, "POST", format!("/feeds/{id}"), body.to_string()).await?;
    Ok(see(format!("/members/{id}/feed")))
}

/// `POST /members/{id}/feed/read`: a form with `upto`, the newest entry on the page.
pub(crate) async fn read(bus: &Bus, request: &Request, _: Media) -> Result<Response, Problem> {
    let (id, form) = (request.raw_param("id"), Form::read(request)?);
    let upto = Some(form.field("upto")).filter(|upto| !upto.is_empty());
    let body = serde_json::json!({ "upto": upto });
    change(bus, request, "PUT", format!("/feeds/{id}/read"), body.to_string()).await?;
    Ok(see(format!("/members/{id}/feed")))
}

/// `POST /members/{id}/follows`: a form with `other` and `action`, `follow` or `unfollow`.
pub(crate) async fn follow(bus: &Bus, request: &Request, _: Media) -> Result<Response, Problem> {
    let (id, form) = (request.raw_param("id"), Form::read(request)?);
    let method = match form.field("action").as_str() {
        "follow" => "PUT",
        "unfollow" => "DELETE",
        other => {
            let problem = Problem::new(FIELD_INVALID, format!("`action` is {other:?}.")).field("action");
            return Err(problem.remedy("give follow or unfollow"));
        }
    };
    let other = form.field("other");
    if other.is_empty() {
        let problem = Problem::new(FIELD_MISSING, "`other` is missing.").field("other");
        return Err(problem.remedy("give the id of a member"));
    }
    change(bus, request, method, format!("/feeds/{id}/follows/{}", segment(&other)), String::new()).await?;
    Ok(see(format!("/members/{id}/feed")))
}

async fn change(
    bus: &Bus,
    request: &Request,
    method: &'static str,
    path: String,
    body: String,
) -> Result<(), Problem> {
    send(bus, request, method, path, body.into_bytes()).await.map_err(|error| error.problem("feed"))
}
