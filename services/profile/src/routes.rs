//! HTTP routes of profiles.
//!
//! Owns methods, statuses and headers. Keys and transactions are in `documents`; `service-host`
//! turns errors of the store into problems.

use std::rc::Rc;

use bytes::{BufMut, Bytes, BytesMut};
use service_host::data::within;
use service_host::problems::{CONTENT_TYPE, NOT_FOUND};
use service_host::{ETag, Failure, IntoResponse, Problem, ProblemType, Request, Response, Router, check_id};

use crate::answers::Answers;
use crate::documents::{BadDocument, DOCUMENT_BYTES_MAX, Documents, Page, check_document};
use crate::merge::merge;

/// Profiles in a list when the request has no `limit`.
const PAGE_DEFAULT: u64 = 50;

/// Most profiles in a list. Bounds the time that one request occupies its worker.
const PAGE_MAX: u64 = 1000;

/// Only the reader's own cache may store a profile, and must revalidate it.
const REVALIDATE: Bytes = Bytes::from_static(b"private, no-cache");

const JSON: Bytes = Bytes::from_static(b"application/json");

const MERGE_PATCH: Bytes = Bytes::from_static(b"application/merge-patch+json");

/// The body is not a JSON object.
const NOT_OBJECT: ProblemType =
    ProblemType::new("not_object", 400, "Not a JSON object").remedy("send a JSON object");

/// The profile is too long, or would become too long.
const DOCUMENT_TOO_LARGE: ProblemType =
    ProblemType::new("document_too_large", 413, "Document too large").remedy("store less in it");

/// What the handlers share.
struct Site {
    documents: Documents,
    answers: Answers,
}

impl Site {
    /// The tag of a stored profile: that of the text that a client gets.
    fn tag(&self, stored: &Bytes) -> ETag {
        ETag::of(&self.answers.show(stored))
    }
}

/// The routes of the service, with one version of the answers.
#[must_use]
pub fn routes(documents: Documents, answers: Answers) -> Router {
    let site = Rc::new(Site { documents, answers });
    Router::new()
        .route_with("GET /profiles/{id}", &site, get)
        .route_with("PUT /profiles/{id}", &site, put)
        .route_with("PATCH /profiles/{id}", &site, patch)
        .route_with("DELETE /profiles/{id}", &site, delete)
        .route_with("GET /profiles", &site, list)
}

type Answer = Result<Response, Failure>;

async fn get(site: &Site, request: &Request) -> Answer {
    let id = request.param_id("id")?;
    let document = site.documents.read(&id).await?.ok_or_else(|| missing(&id))?;
    Ok(Response::raw_json(site.answers.show(&document)).header("cache-control", REVALIDATE).tagged(request))
}

async fn put(site: &Site, request: &Request) -> Answer {
    let id = request.param_id("id")?;
    if let Some(kind) = said_kind(request).filter(|kind| !is_json(kind)) {
        return Ok(wrong_kind(request, kind, "application/json").header("accept", JSON));
    }
    let body = request.body();
    let (text, _) = check_document(&body)?;
    let text = body.slice_ref(text);
    let tag = site.tag(&text);
    let created = site
        .documents
        .write(&id, &within(request), |stored| {
            request.check_write(stored.map(|stored| site.tag(stored)).as_ref())?;
            Ok::<_, Failure>((Some(text.clone()), stored.is_none()))
        })
        .await?;
    let response = Response::new(if created { 201 } else { 204 }).header("etag", tag.to_bytes());
    Ok(if created { response.header("location", request.path().to_owned()) } else { response })
}

async fn patch(site: &Site, request: &Request) -> Answer {
    let id = request.param_id("id")?;
    if let Some(kind) = said_kind(request).filter(|kind| !is_merge_patch(kind)) {
        let takes = "application/merge-patch+json";
        return Ok(wrong_kind(request, kind, takes).header("accept-patch", MERGE_PATCH));
    }
    let (change, _) = check_document(request.body_bytes())?;
    let patched = site
        .documents
        .write(&id, &within(request), |stored| {
            let stored = stored.ok_or_else(|| missing(&id))?;
            request.check_write(Some(&site.tag(stored)))?;
            let merged = merge(stored, change).map_err(BadDocument::NotObject)?;
            if merged.len() > DOCUMENT_BYTES_MAX {
                return Err(Failure::from(BadDocument::TooLong(merged.len())));
            }
            let merged = Bytes::from(merged);
            Ok((Some(merged.clone()), merged))
        })
        .await?;
    let patched = site.answers.show(&patched);
    let tag = ETag::of(&patched);
    Ok(Response::raw_json(patched).header("etag", tag.to_bytes()).header("cache-control", REVALIDATE))
}

async fn delete(site: &Site, request: &Request) -> Answer {
    let id = request.param_id("id")?;
    site.documents
        .write(&id, &within(request), |stored| {
            request.check_write(stored.map(|stored| site.tag(stored)).as_ref())?;
            if stored.is_none() { Err(Failure::from(missing(&id))) } else { Ok((None, ())) }
        })
        .await?;
    Ok(Response::new(204))
}

async fn list(site: &Site, request: &Request) -> Answer {
    let limit = request.query_number("limit", PAGE_DEFAULT, 1..=PAGE_MAX)?;
    let after = request.query("after").filter(|after| !after.is_empty());
    if let Some(after) = &after {
        check_id("after", after)?;
    }
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let page = site.documents.page(after.as_deref(), limit, &within(request)).await?;
    Ok(Response::raw_json(page_text(&page, site.answers)).header("cache-control", REVALIDATE).tagged(request))
}

/// `{"profiles":[{"id":"1","profile":{..}},..],"next":"1"}`; `next` is the `after` of the next
/// page, or null.
fn page_text(page: &Page, answers: Answers) -> Bytes {
    let text_len: usize = page.profiles.iter().map(|(id, document)| id.len() + document.len() + 32).sum();
    let mut out = BytesMut::with_capacity(text_len + 64).writer();
    let written = (|| {
        out.get_mut().put_slice(b"{\"profiles\":[");
        for (at, (id, document)) in page.profiles.iter().enumerate() {
            out.get_mut().put_slice(if at == 0 { b"{\"id\":" } else { b",{\"id\":" });
            serde_json::to_writer(&mut out, id)?;
            out.get_mut().put_slice(b",\"profile\":");
            out.get_mut().put_slice(&answers.show(document));
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

fn wrong_kind(request: &Request, kind: &str, takes: &str) -> Response {
    let problem = request.problem(CONTENT_TYPE, format!("The body's Content-Type is {kind:?}."));
    problem.field("content-type").remedy(format!("send Content-Type: {takes}")).into_response()
}

fn missing(id: &str) -> Problem {
    Problem::new(NOT_FOUND, format!("There is no profile {id:?}."))
}

impl From<BadDocument> for Failure {
    fn from(bad: BadDocument) -> Self {
        let problem = match bad {
            BadDocument::TooLong(len) => {
                let detail = format!("A profile has at most {DOCUMENT_BYTES_MAX} bytes; this one has {len}.");
                Problem::new(DOCUMENT_TOO_LARGE, detail).limit(DOCUMENT_BYTES_MAX as u64)
            }
            BadDocument::NotObject(source) => {
                Problem::new(NOT_OBJECT, format!("The body is not a JSON object: {source}."))
            }
        };
        problem.field("body").into()
    }
}
