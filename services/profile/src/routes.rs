//! HTTP routes of profiles.
//!
//! Owns methods, statuses and headers, and which errors of the store become which status. Keys and
//! transactions are in `documents`.

use std::borrow::Cow;
use std::future::Future;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use service_host::{ETag, IntoResponse, Problem, Request, Response, Router};
use store::{CallerError, Error, RetryError, RunOptions, StoreError};

use crate::documents::{
    BadDocument, DOCUMENT_BYTES_MAX, Documents, ID_BYTES_MAX, Page, check_document, check_id,
};
use crate::merge::merge;

/// Profiles in a list when the request has no `limit`.
const PAGE_DEFAULT: u64 = 50;

/// Most profiles in a list. Bounds the time that one request occupies its worker.
const PAGE_MAX: u64 = 1000;

/// Only the reader's own cache may store a profile, and must revalidate it.
const REVALIDATE: Bytes = Bytes::from_static(b"private, no-cache");

const JSON: Bytes = Bytes::from_static(b"application/json");

const MERGE_PATCH: Bytes = Bytes::from_static(b"application/merge-patch+json");

/// The routes of the service.
#[must_use]
pub fn routes(documents: Documents) -> Router {
    let documents = Rc::new(documents);
    let on = |documents: &Rc<Documents>| Rc::clone(documents);
    Router::new()
        .route("GET /profiles/{id}", with(on(&documents), get))
        .route("PUT /profiles/{id}", with(on(&documents), put))
        .route("PATCH /profiles/{id}", with(on(&documents), patch))
        .route("DELETE /profiles/{id}", with(on(&documents), delete))
        .route("GET /profiles", with(documents, list))
}

/// Passes the documents to a handler.
fn with<F: Future>(
    documents: Rc<Documents>,
    handler: impl Fn(Rc<Documents>, Request) -> F + 'static,
) -> impl Fn(Request) -> F + 'static {
    move |request| handler(Rc::clone(&documents), request)
}

type Answer = Result<Response, Failure>;

async fn get(documents: Rc<Documents>, request: Request) -> Answer {
    let id = id(&request)?;
    let document = documents.read(&id).await?.ok_or_else(|| missing(&id))?;
    Ok(Response::raw_json(document).header("cache-control", REVALIDATE).tagged(&request))
}

async fn put(documents: Rc<Documents>, request: Request) -> Answer {
    let id = id(&request)?;
    if let Some(kind) = said_kind(&request).filter(|kind| !is_json(kind)) {
        let takes = "JSON objects: send Content-Type: application/json";
        return Ok(wrong_kind(kind, takes).header("accept", JSON));
    }
    let body = request.body();
    let (text, _) = check_document(&body)?;
    let text = body.slice_ref(text);
    let tag = ETag::of(&text);
    let created = documents
        .write(&id, &within(&request), |stored| {
            request.check_write(stored.map(|stored| ETag::of(stored)).as_ref())?;
            Ok::<_, Failure>((Some(text.clone()), stored.is_none()))
        })
        .await?;
    let response = Response::new(if created { 201 } else { 204 }).header("etag", tag.to_bytes());
    Ok(if created { response.header("location", request.path().to_owned()) } else { response })
}

async fn patch(documents: Rc<Documents>, request: Request) -> Answer {
    let id = id(&request)?;
    if let Some(kind) = said_kind(&request).filter(|kind| !is_merge_patch(kind)) {
        let takes = "JSON merge patches (RFC 7396): send Content-Type: application/merge-patch+json";
        return Ok(wrong_kind(kind, takes).header("accept-patch", MERGE_PATCH));
    }
    let (change, _) = check_document(request.body_bytes())?;
    let patched = documents
        .write(&id, &within(&request), |stored| {
            let stored = stored.ok_or_else(|| missing(&id))?;
            request.check_write(Some(&ETag::of(stored)))?;
            let merged = merge(stored, change).map_err(BadDocument::NotObject)?;
            if merged.len() > DOCUMENT_BYTES_MAX {
                return Err(Failure::from(BadDocument::TooLong(merged.len())));
            }
            let merged = Bytes::from(merged);
            Ok((Some(merged.clone()), merged))
        })
        .await?;
    let tag = ETag::of(&patched);
    Ok(Response::raw_json(patched).header("etag", tag.to_bytes()).header("cache-control", REVALIDATE))
}

async fn delete(documents: Rc<Documents>, request: Request) -> Answer {
    let id = id(&request)?;
    documents
        .write(&id, &within(&request), |stored| {
            request.check_write(stored.map(|stored| ETag::of(stored)).as_ref())?;
            if stored.is_none() { Err(Failure::from(missing(&id))) } else { Ok((None, ())) }
        })
        .await?;
    Ok(Response::new(204))
}

async fn list(documents: Rc<Documents>, request: Request) -> Answer {
    let limit = request.query_number("limit", PAGE_DEFAULT, 1..=PAGE_MAX)?;
    let after = request.query("after").filter(|after| !after.is_empty());
    if let Some(after) = &after {
        checked("after", after)?;
    }
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let page = documents.page(after.as_deref(), limit, &within(&request)).await?;
    Ok(Response::raw_json(page_text(&page)).header("cache-control", REVALIDATE).tagged(&request))
}

/// `{"profiles":[{"id":"1","profile":{..}},..],"next":"1"}`; `next` is the `after` of the next
/// page, or null.
fn page_text(page: &Page) -> Bytes {
    let text_len: usize = page.profiles.iter().map(|(id, document)| id.len() + document.len() + 32).sum();
    let mut out = BytesMut::with_capacity(text_len + 64).writer();
    let written = (|| {
        out.get_mut().put_slice(b"{\"profiles\":[");
        for (at, (id, document)) in page.profiles.iter().enumerate() {
            out.get_mut().put_slice(if at == 0 { b"{\"id\":" } else { b",{\"id\":" });
            serde_json::to_writer(&mut out, id)?;
            out.get_mut().put_slice(b",\"profile\":");
            out.get_mut().put_slice(document);
            out.get_mut().put_slice(b"}");
        }
        out.get_mut().put_slice(b"],\"next\":");
        let last = page.profiles.last().filter(|_| page.more).map(|(id, _)| id);
        serde_json::to_writer(&mut out, &last)?;
        out.get_mut().put_slice(b"}");
        Ok::<_, serde_json::Error>(())
    })();
    written.expect("strings are always JSON, and memory takes every write");
    out.into_inner().freeze()
}

/// The media type of the body according to the request, without parameters. Types that programs
/// send whatever the body is count as none: a form from `curl -d`, plain text from `fetch`, bytes
/// from many libraries.
fn said_kind(request: &Request) -> Option<&str> {
    let kind = request.header("content-type")?;
    let kind = kind.split_once(';').map_or(kind, |(kind, _)| kind).trim_ascii();
    const UNSAID: [&str; 4] =
        ["", "application/x-www-form-urlencoded", "text/plain", "application/octet-stream"];
    (!UNSAID.iter().any(|unsaid| kind.eq_ignore_ascii_case(unsaid))).then_some(kind)
}

/// True for `application/json` and `application/*+json`.
fn is_json(kind: &str) -> bool {
    let kind = kind.to_ascii_lowercase();
    kind.strip_prefix("application/").is_some_and(|subtype| subtype == "json" || subtype.ends_with("+json"))
}

fn is_merge_patch(kind: &str) -> bool {
    ["application/merge-patch+json", "application/json"].iter().any(|known| kind.eq_ignore_ascii_case(known))
}

fn wrong_kind(kind: &str, takes: &str) -> Response {
    let detail = format!("The body's Content-Type is {kind:?}; profiles take {takes}.");
    Problem::new(415, detail).field("content-type").into_response()
}

/// The decoded id of the path.
fn id(request: &Request) -> Result<Cow<'_, str>, Problem> {
    let id = request.param("id")?;
    checked("id", &id)?;
    Ok(id)
}

fn checked(field: &'static str, id: &str) -> Result<(), Problem> {
    check_id(id).map_err(|bad| Problem::new(400, format!("{bad}.")).field(field).limit(ID_BYTES_MAX as u64))
}

fn missing(id: &str) -> Problem {
    Problem::new(404, format!("There is no profile {id:?}."))
}

/// The time that the request has left, at most the store's own limit.
fn within(request: &Request) -> RunOptions {
    RunOptions::within_left(request.remaining(Instant::now()))
}

/// Why a request failed.
enum Failure {
    Problem(Problem),
    Document(BadDocument),
    Store(Error),
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

impl From<BadDocument> for Failure {
    fn from(bad: BadDocument) -> Self {
        Self::Document(bad)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Store(error)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let problem = match self {
            Self::Problem(problem) => problem,
            Self::Document(BadDocument::TooLong(len)) => too_long(len),
            Self::Document(BadDocument::NotObject(source)) => {
                Problem::new(400, format!("The body is not a JSON object: {source}.")).field("body")
            }
            Self::Store(error) => store_problem(error),
        };
        problem.into_response()
    }
}

fn too_long(len: usize) -> Problem {
    let detail = format!("A profile has at most {DOCUMENT_BYTES_MAX} bytes; this one has {len}.");
    Problem::new(413, detail).field("body").limit(DOCUMENT_BYTES_MAX as u64)
}

/// The response for an error of the store. Ids and documents were checked before, so an error that
/// blames the caller is our own fault.
fn store_problem(error: Error) -> Problem {
    let again = Duration::from_secs(1);
    match error {
        Error::Caller(CallerError::ValueTooLarge { len }) => too_long(len),
        Error::Store(StoreError::DeadlineExceeded { .. }) => {
            Problem::new(504, format!("The store took too long: {error}.")).reason("deadline")
        }
        Error::Retry(RetryError::CommitUnknownResult) => {
            Problem::new(503, "The change may have been made; read the profile to know.")
                .reason("maybe-committed")
        }
        Error::Retry(_) | Error::Store(StoreError::RetriesExhausted { .. }) => {
            Problem::new(503, format!("The store is busy: {error}.")).reason("busy").retry_after(again)
        }
        Error::Caller(_) | Error::Store(_) => {
            tracing::error!(%error, source = ?std::error::Error::source(&error), "the store failed");
            Problem::new(503, "The store has failed; the log of the service says why.").reason("store")
        }
    }
}
