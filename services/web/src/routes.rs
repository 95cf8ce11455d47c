//! The routes, and HTTP for members.
//!
//! Owns paths and media types. `response` has what handlers share, `gather` asks services, `page`
//! writes markup, `json` writes JSON, `feed_page` and `conversation` handle feeds and
//! conversations.

use std::borrow::Cow;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;

use bytes::Bytes;
use role::accept::Media;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use service_host::bus::Bus;
use service_host::problems::NOT_FOUND;
use service_host::{IntoResponse, Problem, Request, Response, Router};

use crate::accept::preferred;
use crate::ask_error::AskError;
use crate::assets::{self, POLICY};
use crate::conversation;
use crate::feed_page;
use crate::gather::{Answer, Known, ask, gather};
use crate::json;
use crate::page::{self as pages, ListedMember, MemberPage};
use crate::parts::Claimed;
use crate::response::{REVALIDATE, html, segment};

/// A page with a missing part is not cached.
const INCOMPLETE: Bytes = Bytes::from_static(b"no-store");

const ACCEPT: Bytes = Bytes::from_static(b"accept");

/// The toggle that adds a link to the member's conversation to the page of a member.
const CONVERSATION: &str = "member-conversation";

/// The experiment on the order of a member's page: variant `feed-first` or `profile-first`, which
/// is also the page of members who are outside of it.
const ORDER: &str = "member-page";

/// The routes of the service, which asks others on `bus`.
#[must_use]
pub fn routes(bus: Bus) -> Router {
    let on = |bus: &Bus| bus.clone();
    let (often, known) = (bus.clone(), Rc::<Known>::default());
    let members = Router::new()
        .route("GET /members/{id}", move |request| {
            let known = Rc::clone(&known);
            negotiated(often.clone(), request, async move |bus, request, media| {
                member(bus, &known, request, media).await
            })
        })
        .route("GET /members", page(on(&bus), list))
        .route("GET /members/{id}/feed", page(on(&bus), feed_page::show))
        .route("POST /members/{id}/feed", page(on(&bus), feed_page::post))
        .route("POST /members/{id}/feed/read", page(on(&bus), feed_page::read))
        .route("POST /members/{id}/follows", page(on(&bus), feed_page::follow));
    members
        .route("GET /conversations", page(on(&bus), conversation::open))
        .route("GET /conversations/{id}", page(on(&bus), conversation::show))
        .route("POST /conversations/{id}", page(on(&bus), conversation::say))
        .route("GET /static/{name}", assets::serve)
        .route("GET /", page(on(&bus), start))
        .reads_toggle(CONVERSATION)
        .reads_toggle(ORDER)
        .ready_when(move || Claimed::default().has_essential(&bus))
}

/// A handler whose answer is HTML or JSON. Boxed, so that its type can be named; the busiest
/// handler is not boxed.
fn page(
    bus: Bus,
    work: impl AsyncFn(&Bus, &Request, Media) -> Result<Response, Problem> + Copy + 'static,
) -> impl Fn(Request) -> Pin<Box<dyn Future<Output = Response>>> + 'static {
    move |request| Box::pin(negotiated(bus.clone(), request, work))
}

/// Chooses the media type for `work`, and renders its problems in it.
#[expect(
    clippy::manual_async_fn,
    reason = "it would keep what it is given twice, in more than mimalloc's small 1 KiB"
)]
fn negotiated(
    bus: Bus,
    request: Request,
    work: impl AsyncFn(&Bus, &Request, Media) -> Result<Response, Problem>,
) -> impl Future<Output = Response> {
    async move {
        let answer = match preferred(&request) {
            Ok(media) => match work(&bus, &request, media).await {
                Ok(response) => response,
                Err(problem) => problem_in(problem.request_id(request.id()), media),
            },
            Err(problem) => problem_in(problem.request_id(request.id()), Media::Json),
        };
        answer.header("vary", ACCEPT)
    }
}

async fn member(bus: &Bus, known: &Known, request: &Request, media: Media) -> Result<Response, Problem> {
    let id = request.param("id")?;
    let answers = gather(bus, known, request, request.raw_param("id")).await;
    // The essential source comes first.
    match answers.first() {
        Some((_, Answer::Given(_))) => (),
        Some((_, Answer::Absent(_))) | None => {
            return Err(Problem::new(NOT_FOUND, format!("There is no member {id:?}.")));
        }
        Some((part, Answer::Failed(error))) => return Err(error.problem(part.name)),
    }
    let complete = !answers.iter().any(|(_, answer)| matches!(answer, Answer::Failed(_)));
    let response = match media {
        Media::Json => Response::raw_json(json::member(&id, &answers)),
        Media::Html => {
            let shown = MemberPage {
                conversation: request.toggle(CONVERSATION),
                feed_first: request.variant(ORDER) == Some("feed-first"),
            };
            html(pages::member(&id, request.raw_param("id"), &answers, shown))
        }
    };
    Ok(if complete {
        response.header("cache-control", REVALIDATE).tagged(request)
    } else {
        response.header("cache-control", INCOMPLETE)
    })
}

/// The answer of `GET /profiles`.
#[derive(Deserialize)]
struct Profiles<'a> {
    #[serde(borrow)]
    profiles: Vec<Profile<'a>>,
    #[serde(borrow)]
    next: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Profile<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow)]
    profile: &'a RawValue,
}

impl Profile<'_> {
    fn member(&self) -> Member<'_> {
        Member { id: &self.id, href: self.href(), profile: self.profile }
    }

    fn listed(&self) -> ListedMember {
        let profile: Value = serde_json::from_str(self.profile.get()).unwrap_or(Value::Null);
        ListedMember {
            id: self.id.to_string(),
            href: self.href(),
            name: pages::name(&profile).map(str::to_owned),
        }
    }

    fn href(&self) -> String {
        format!("/members/{}", segment(&self.id))
    }
}

/// The answer of `GET /members`.
#[derive(Serialize)]
struct Members<'a> {
    members: Vec<Member<'a>>,
    next: Option<String>,
}

#[derive(Serialize)]
struct Member<'a> {
    id: &'a str,
    href: String,
    profile: &'a RawValue,
}

async fn list(bus: &Bus, request: &Request, media: Media) -> Result<Response, Problem> {
    let query = request.query_string();
    let path = if query.is_empty() { "/profiles".to_owned() } else { format!("/profiles?{query}") };
    let text = ask(bus, request, path).await.map_err(|error| error.problem("profile"))?;
    let found: Profiles<'_> =
        serde_json::from_slice(&text).map_err(|_| AskError::NotJson.problem("profile"))?;
    let next = found.next.as_deref().map(|after| {
        let limit = request.query("limit").map(|limit| format!("&limit={}", segment(&limit)));
        format!("/members?after={}{}", segment(after), limit.unwrap_or_default())
    });
    let response = match media {
        Media::Json => {
            let members = found.profiles.iter().map(Profile::member).collect();
            Response::json(&Members { members, next })
        }
        Media::Html => {
            let members: Vec<ListedMember> = found.profiles.iter().map(Profile::listed).collect();
            html(pages::list(&members, next.as_deref()))
        }
    };
    Ok(response.header("cache-control", REVALIDATE).tagged(request))
}

async fn start(_: &Bus, request: &Request, media: Media) -> Result<Response, Problem> {
    let version = env!("CARGO_PKG_VERSION");
    let response = match media {
        Media::Json => Response::json(&serde_json::json!({
            "service": "web",
            "version": version,
            "links": {
                "members": "/members{?after,limit}",
                "member": "/members/{id}",
                "feed": "/members/{id}/feed{?before}",
                "conversation": "/conversations/{id}{?before}",
            },
        })),
        Media::Html => html(pages::start(version)),
    };
    Ok(response.header("cache-control", Bytes::from_static(b"public, max-age=60")).tagged(request))
}

#[cold]
fn problem_in(problem: Problem, media: Media) -> Response {
    if media == Media::Json {
        return problem.into_response();
    }
    let page = pages::problem(&problem).into_string();
    let kind = Bytes::from_static(b"text/html; charset=utf-8");
    let response = problem.into_response().body(page).replace_header("content-type", kind);
    response.header("content-security-policy", POLICY)
}
