//! HTTP routes of events and projections.
//!
//! Owns methods, parameters and answers, and setting up a worker. Statuses of errors are in
//! `failure`, events in `log` and `append`, waiting in `tail`.

use std::{
    borrow::Cow,
    cell::Cell,
    pin::pin,
    rc::Rc,
    time::{Duration, Instant},
};

use bytes::{BufMut, Bytes, BytesMut};
use service_host::bus::Bus;
use service_host::data::within;
use service_host::problems::{BAD_CURSOR, BAD_ID, NOT_FOUND};
use service_host::{Context, Failure, Problem, Request, Response, Router};
use store::Store;

use crate::{
    args::Args,
    draft::{AppendDraft, ProjectionDraft},
    group::Appender,
    limits::{ANNOUNCE_EVERY, ANSWER_MARGIN, PAGE_DEFAULT, PAGE_MAX, PROJECTION_NAME_BYTES_MAX, WAIT_MAX_S},
    log::{EventStore, Page},
    position::EventPosition,
    projections::{Projection, Projections},
    query::Query,
    tail::Tail,
};

/// Published after appends; the field `position` is the position of the newest event.
pub(crate) const TOPIC: &str = "events";

/// An answer is valid for its moment only.
const NO_STORE: Bytes = Bytes::from_static(b"no-store");

/// Shared by the handlers of one worker.
struct Site {
    events: EventStore,
    appender: Rc<Appender>,
    projections: Projections,
    tail: Rc<Tail>,
    bus: Bus,
    /// The newest position that will be published next.
    announced: Rc<Cell<Option<EventPosition>>>,
}

/// Sets up one worker: its tail, the events that it handles, and its routes.
#[must_use]
pub fn serve(context: &Context<Args>, store: &Store) -> Router {
    let events = EventStore::new(store.clone());
    let tail = Tail::new(events.clone());
    let appender = Appender::new(events.clone());
    let projections = Projections::new(store.clone());
    let bus = context.bus().clone();
    let site = Rc::new(Site { events, appender, projections, tail, bus, announced: Rc::default() });
    let router = Router::new()
        .route_with("POST /events", &site, append)
        .route_with("GET /events", &site, read)
        .route_with("GET /events/stream", &site, stream)
        .route_with("GET /projections/{name}", &site, projection)
        .route_with("PUT /projections/{name}", &site, put_projection);
    tokio::task::spawn_local(listen(site));
    router
}

type Answer = Result<Response, Failure>;

async fn append(site: &Site, request: &Request) -> Answer {
    let append = request.json::<AppendDraft>()?.check()?;
    let positions = site.appender.append(append, &within(request)).await?;
    if let Some(newest) = positions.iter().max() {
        site.announce(*newest);
    }
    Ok(Response::raw_json(positions_text(&positions)).with_status(201))
}

async fn read(site: &Site, request: &Request) -> Answer {
    let Asked { query, after, limit } = asked(request)?;
    let page = site.events.read(&query, after, limit, &within(request)).await?;
    Ok(page_response(&page))
}

/// Like `read`, but waits when there is no event.
async fn stream(site: &Site, request: &Request) -> Answer {
    let Asked { query, mut after, limit } = asked(request)?;
    let wait = Duration::from_secs(request.query_number("wait", WAIT_MAX_S, 0..=WAIT_MAX_S)?);
    let until = deadline(request, wait);
    let query = Rc::new(query);
    let mut finish = pin!(request.finish(&site.bus));
    loop {
        let page = site.events.read(&query, after, limit, &within(request)).await?;
        if !page.events.is_empty() {
            return Ok(page_response(&page));
        }
        after = page.position;
        if page.more {
            tokio::task::yield_now().await;
            continue;
        }
        let Some(waiting) = site.tail.wait(&query, after) else { continue };
        let is_over = tokio::select! {
            biased;
            () = &mut finish => true,
            woken = tokio::time::timeout_at(until.into(), waiting) => woken.is_err(),
        };
        if is_over {
            return Ok(page_response(&page));
        }
    }
}

async fn projection(site: &Site, request: &Request) -> Answer {
    let name = name(request)?;
    let found =
        site.projections.read(&name).await?.ok_or_else(|| {
            Problem::new(NOT_FOUND, format!("There is no projection {name:?}.")).field("name")
        })?;
    let mut out = BytesMut::with_capacity(found.state.len() + 64);
    out.put_slice(b"{\"position\":\"");
    out.put_slice(&found.position.digits());
    out.put_slice(b"\",\"state\":");
    out.put_slice(&found.state);
    out.put_slice(b"}");
    Ok(Response::raw_json(out.freeze()).header("cache-control", NO_STORE))
}

async fn put_projection(site: &Site, request: &Request) -> Answer {
    let name = name(request)?;
    let draft: ProjectionDraft = request.json()?;
    let state = draft.state.get();
    Projections::check_state(state)?;
    let projection = Projection { position: draft.position, state: Bytes::copy_from_slice(state.as_bytes()) };
    site.projections.put(&name, &projection, draft.previous, &within(request)).await?;
    Ok(Response::new(204))
}

/// The parameters of a read.
struct Asked {
    query: Query,
    after: EventPosition,
    limit: usize,
}

fn asked(request: &Request) -> Result<Asked, Failure> {
    let limit = request.query_number("limit", PAGE_DEFAULT, 1..=PAGE_MAX)?;
    let after = match request.query("after").filter(|after| !after.is_empty()) {
        None => EventPosition::START,
        Some(text) => text.parse().map_err(|bad| {
            Problem::new(BAD_CURSOR, format!("`after` is {text:?}; {bad}.")).field("after").limit(24)
        })?,
    };
    let query = Query::new(list(request, "types"), list(request, "tags"))?;
    Ok(Asked { query, after, limit: usize::try_from(limit).unwrap_or(usize::MAX) })
}

/// The values of a parameter, which may be repeated and may hold several values separated by
/// commas.
fn list(request: &Request, name: &str) -> Vec<String> {
    let pairs = form_urlencoded::parse(request.query_string().as_bytes());
    let values: Vec<Cow<'_, str>> = pairs
        .filter(|(found, _)| found == name)
        .map(|(_, value)| value)
        .filter(|value| !value.is_empty())
        .collect();
    values.iter().flat_map(|value| value.split(',')).map(str::to_owned).collect()
}

fn name(request: &Request) -> Result<Cow<'_, str>, Failure> {
    let name = request.param("name")?;
    Projections::check_name(&name)
        .map_err(|bad| Problem::because(BAD_ID, bad).field("name").limit(PROJECTION_NAME_BYTES_MAX as u64))?;
    Ok(name)
}

/// `{"positions":["..",".."]}`
fn positions_text(positions: &[EventPosition]) -> Bytes {
    let mut out = BytesMut::with_capacity(27 * positions.len() + 20);
    out.put_slice(b"{\"positions\":[");
    for (at, position) in positions.iter().enumerate() {
        out.put_slice(if at == 0 { b"\"" } else { b",\"" });
        out.put_slice(&position.digits());
        out.put_slice(b"\"");
    }
    out.put_slice(b"]}");
    out.freeze()
}

/// `{"events":[{"position":"..","id":..,"type":..,"tags":[..],"data":..},..],"position":"..","more":false}`
fn page_response(page: &Page) -> Response {
    let text_len: usize = page.events.iter().map(|(_, record)| record.text().len() + 48).sum();
    let mut out = BytesMut::with_capacity(text_len + 80);
    out.put_slice(b"{\"events\":[");
    for (at, (position, record)) in page.events.iter().enumerate() {
        out.put_slice(if at == 0 { b"{\"position\":\"" } else { b",{\"position\":\"" });
        out.put_slice(&position.digits());
        out.put_slice(b"\",");
        out.put_slice(record.text());
    }
    out.put_slice(b"],\"position\":\"");
    out.put_slice(&page.position.digits());
    out.put_slice(b"\",\"more\":");
    out.put_slice(if page.more { b"true}" } else { b"false}" });
    Response::raw_json(out.freeze()).header("cache-control", NO_STORE)
}

/// When a long poll answers without events: early enough for the answer to reach the client in
/// time.
fn deadline(request: &Request, wait: Duration) -> Instant {
    let until = Instant::now() + wait;
    let last = request.deadline().and_then(|deadline| deadline.checked_sub(ANSWER_MARGIN));
    last.map_or(until, |last| until.min(last))
}

impl Site {
    /// Publishes a position after a short pause, unless a greater one replaces it.
    fn announce(&self, position: EventPosition) {
        if self.announced.replace(self.announced.get().max(Some(position))).is_some() {
            return;
        }
        let (bus, announced) = (self.bus.clone(), Rc::clone(&self.announced));
        tokio::task::spawn_local(async move {
            tokio::time::sleep(ANNOUNCE_EVERY).await;
            if let Some(position) = announced.take() {
                bus.publish(TOPIC, &[("position", &position.to_string())], &Bytes::new());
            }
        });
    }
}

/// Makes the tail look before the store's watches fire when another instance announces an event.
async fn listen(site: Rc<Site>) {
    let mut appended = site.bus.subscribe(TOPIC);
    loop {
        appended.recv().await;
        if site.tail.waiting() > 0 {
            site.tail.look();
        }
    }
}
