//! HTTP routes of feeds.
//!
//! Owns methods, statuses, headers and the JSON of answers. Keys and transactions are in `feeds`.

use std::borrow::Cow;
use std::rc::Rc;

use bytes::{BufMut, Bytes, BytesMut};
use serde::Deserialize;
use service_host::data::{now_ms, within};
use service_host::problems::BAD_CURSOR;
use service_host::{ETag, Failure, Problem, ProblemType, Request, Response, Router, check_id};
use store::Position;

use crate::cache::{Answers, Tagged};
use crate::entry::NewEntry;
use crate::feeds::Feeds;
use crate::merge::{Page, PageEntry};
use crate::unread::Unread;

/// Entries in a page when the request has no `limit`.
const PAGE_DEFAULT: u64 = 50;

/// Most entries in a page, and most members in a list. Bounds the time that one request occupies
/// its worker.
const PAGE_MAX: u64 = 200;

/// Only the reader's own cache may store a feed, and must revalidate it.
const REVALIDATE: Bytes = Bytes::from_static(b"private, no-cache");

/// A member cannot follow itself.
const SELF_FOLLOW: ProblemType = ProblemType::new("self_follow", 422, "Member follows itself")
    .remedy("follow another member: own entries are in the feed anyway");

/// The routes of the service.
#[must_use]
pub fn routes(feeds: Feeds) -> Router {
    let feeds = Rc::new(feeds);
    Router::new()
        .route_with("GET /feeds/{owner}", &feeds, page)
        .route_with("POST /feeds/{owner}", &feeds, post)
        .route_with("GET /feeds/{owner}/follows", &feeds, follows)
        .route_with("PUT /feeds/{owner}/follows/{other}", &feeds, follow)
        .route_with("DELETE /feeds/{owner}/follows/{other}", &feeds, unfollow)
        .route_with("GET /feeds/{owner}/head", &feeds, head)
        .route_with("GET /feeds/{owner}/unread", &feeds, unread)
        .route_with("PUT /feeds/{owner}/read", &feeds, read)
}

type Answer = Result<Response, Failure>;

async fn post(feeds: &Feeds, request: &Request) -> Answer {
    let owner = request.param_id("owner")?;
    let entry = NewEntry::read(request, &owner)?;
    let posted = feeds.post(&owner, &entry, now_ms(), &within(request)).await?;
    let mut text = BytesMut::with_capacity(posted.entry.len() + 48);
    put_entry(&PageEntry { position: posted.position, entry: posted.entry }, &mut text);
    Ok(Response::raw_json(text.freeze()).with_status(if posted.is_new { 201 } else { 200 }))
}

async fn page(feeds: &Feeds, request: &Request) -> Answer {
    let owner = request.param_id("owner")?;
    let limit = limit(request)?;
    let Some(before) = request.query("before") else {
        let page = feeds.first(&owner, limit, &within(request), answers, |answers| &answers.page).await?;
        return Ok(tagged(page, request));
    };
    let before = cursor("before", &before)?;
    let page = feeds.page(&owner, Some(before), limit, &within(request)).await?;
    Ok(Response::raw_json(page_text(&page)).header("cache-control", REVALIDATE).tagged(request))
}

async fn follow(feeds: &Feeds, request: &Request) -> Answer {
    let (owner, other) = both(request)?;
    feeds.follow(&owner, &other, &within(request)).await?;
    Ok(Response::new(204))
}

async fn unfollow(feeds: &Feeds, request: &Request) -> Answer {
    let (owner, other) = both(request)?;
    feeds.unfollow(&owner, &other, &within(request)).await?;
    Ok(Response::new(204))
}

async fn follows(feeds: &Feeds, request: &Request) -> Answer {
    let owner = request.param_id("owner")?;
    let limit = limit(request)?;
    let after = request.query("after").filter(|after| !after.is_empty());
    if let Some(after) = &after {
        check_id("after", after)?;
    }
    let (follows, more) = feeds.follows(&owner, after.as_deref(), limit, &within(request)).await?;
    let next = follows.last().filter(|_| more);
    let answer = serde_json::json!({ "follows": follows, "next": next });
    Ok(Response::json(&answer).header("cache-control", REVALIDATE).tagged(request))
}

/// What a member's page needs of the feed, in one answer.
async fn head(feeds: &Feeds, request: &Request) -> Answer {
    let owner = request.param_id("owner")?;
    let limit = limit(request)?;
    let head = feeds.first(&owner, limit, &within(request), answers, |answers| &answers.head).await?;
    Ok(tagged(head, request))
}

fn tagged((body, tag): Tagged, request: &Request) -> Response {
    Response::raw_json(body).header("cache-control", REVALIDATE).tagged_as(tag, request)
}

/// `{"feed":{"entries":[..],"next":".."},"unread":3,"more":false,"read":".."}`, and the page as a
/// slice of it.
fn answers(page: &Page, unread: &Unread) -> Answers {
    const BEFORE: &[u8] = b"{\"feed\":";
    let mut out = BytesMut::with_capacity(page_len(page) + 128);
    out.put_slice(BEFORE);
    put_page(page, &mut out);
    let page_end = out.len();
    out.put_u8(b',');
    out.put_slice(&unread_text(unread).as_bytes()[1..]);
    let head = out.freeze();
    let page = head.slice(BEFORE.len()..page_end);
    let with_tag = |body: Bytes| (body.clone(), ETag::of(&body));
    Answers { page: with_tag(page), head: with_tag(head) }
}

async fn unread(feeds: &Feeds, request: &Request) -> Answer {
    let owner = request.param_id("owner")?;
    let unread = feeds.unread(&owner, &within(request)).await?;
    Ok(Response::raw_json(Bytes::from(unread_text(&unread)))
        .header("cache-control", REVALIDATE)
        .tagged(request))
}

/// The body of `PUT /feeds/{owner}/read`. Without a body everything becomes read.
#[derive(Default, Deserialize)]
struct Upto {
    upto: Option<String>,
}

async fn read(feeds: &Feeds, request: &Request) -> Answer {
    let owner = request.param_id("owner")?;
    let body: Upto = if request.body_bytes().is_empty() { Upto::default() } else { request.json()? };
    let upto = match &body.upto {
        Some(text) => Some(cursor("upto", text)?),
        None => None,
    };
    feeds.mark_read(&owner, upto, &within(request)).await?;
    Ok(Response::new(204))
}

/// `{"entries":[{"position":"..","id":..},..],"next":".."}`; `next` is the `before` of the next
/// page, or null.
fn page_text(page: &Page) -> Bytes {
    let mut out = BytesMut::with_capacity(page_len(page));
    put_page(page, &mut out);
    out.freeze()
}

/// Upper bound of the bytes of a page's text.
fn page_len(page: &Page) -> usize {
    page.entries.iter().map(|entry| entry.entry.len() + 40).sum::<usize>() + 64
}

fn put_page(page: &Page, out: &mut BytesMut) {
    out.put_slice(b"{\"entries\":[");
    for (at, entry) in page.entries.iter().enumerate() {
        if at > 0 {
            out.put_u8(b',');
        }
        put_entry(entry, out);
    }
    out.put_slice(b"],\"next\":");
    match page.next {
        Some(next) => out.put_slice(format!("\"{next}\"}}").as_bytes()),
        None => out.put_slice(b"null}"),
    }
}

/// `{"unread":3,"more":false,"read":".."}`; `read` is the position up to which the member has read,
/// or null.
fn unread_text(unread: &Unread) -> String {
    let Unread { count, more, read } = unread;
    let read = read.map_or_else(|| "null".to_owned(), |read| format!("\"{read}\""));
    format!("{{\"unread\":{count},\"more\":{more},\"read\":{read}}}")
}

/// Writes the stored object with its position as the first member.
fn put_entry(entry: &PageEntry, out: &mut BytesMut) {
    out.put_slice(b"{\"position\":\"");
    entry.position.put_hex(out);
    out.put_slice(b"\",");
    out.put_slice(&entry.entry[1..]);
}

/// The follower and the followed member in the path.
fn both(request: &Request) -> Result<(Cow<'_, str>, Cow<'_, str>), Problem> {
    let (owner, other) = (request.param_id("owner")?, request.param_id("other")?);
    if owner == other {
        return Err(request.problem(SELF_FOLLOW, "`other` is the owner.").field("other"));
    }
    Ok((owner, other))
}

fn limit(request: &Request) -> Result<usize, Problem> {
    let limit = request.query_number("limit", PAGE_DEFAULT, 1..=PAGE_MAX)?;
    Ok(usize::try_from(limit).unwrap_or(usize::MAX))
}

fn cursor(field: &'static str, text: &str) -> Result<Position, Problem> {
    Position::parse(text).ok_or_else(|| {
        let detail = format!("`{field}` is {text:?}, not 20 hexadecimal digits.");
        let problem = Problem::new(BAD_CURSOR, detail).field(field).limit(20);
        problem.remedy("give a `next` or `position` of this feed")
    })
}
