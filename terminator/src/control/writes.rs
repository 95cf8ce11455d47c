//! What the buttons of the page of live change do: toggles on and off, orders to rollouts.
//!
//! Owns who may write, and the paths that do. Leaves the documents, and comparing revisions, to
//! `change`. Invariant: without `--admin-write-token` nothing is written; a request that a page of
//! another site has made is refused before its token is looked at.

use change::document::{Fault, Key, KeyError, Revision, with_field};
use change::orders::{self, OrderError};
use change::rollout::Command;
use change::source::{Expected, Source, SourceError, Write};
use http::{HeaderMap, header};
use role::admin::extension::{Answer, Question};
use role::problem::{Problem, ProblemType};
use serde::Deserialize;
use serde_json::json;
use subtle::ConstantTimeEq;

use crate::config::WriteToken;

const CROSS_SITE: ProblemType = ProblemType::new("cross_site", 403, "Request of another site")
    .remedy("use the page at /change of this admin listener, or a client that is no browser");
const WRITES_OFF: ProblemType = ProblemType::new("writes_off", 403, "Writing is off")
    .remedy("start the terminator with --admin-write-token TOKEN or TERMINATOR_ADMIN_WRITE_TOKEN");
const UNAUTHORIZED: ProblemType = ProblemType::new("write_token", 401, "No valid write token")
    .remedy("send authorization: Bearer TOKEN with the terminator's --admin-write-token");
const NO_PLAN: ProblemType =
    ProblemType::new("no_plan", 409, "No plan").remedy("start the terminator with --plan DIR or --etcd URL");
const NO_DOCUMENT: ProblemType = ProblemType::new("no_document", 404, "No such document")
    .remedy("GET /toggles and GET /rollouts list what there is");
const NOT_WRITTEN: ProblemType = ProblemType::new("not_written", 409, "Not written")
    .remedy("read the document and its state again, then decide");
const BAD_WRITE: ProblemType =
    ProblemType::new("bad_write", 400, "Bad write").remedy("send no body, or {\"who\":\"NAME\"}");
const SOURCE_LOST: ProblemType = ProblemType::new("plan_source", 502, "The plan's source fails")
    .remedy("look at /plan for the state of the source, then read before you write again");

/// Longest name of an operator, in characters.
const WHO_LEN_MAX: usize = 64;

/// The operator when the request names none.
const ANONYMOUS: &str = "admin";

/// One of the writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// `POST /toggles/NAME/on` and `/off`.
    Toggle(String, bool),
    /// `POST /rollouts/SERVICE/pause`, `/resume`, `/abort` and `/promote`.
    Rollout(String, Command),
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Body {
    who: String,
}

impl Order {
    /// The write of a path.
    pub(super) fn parse(path: &str) -> Option<Self> {
        let mut parts = path.strip_prefix('/')?.split('/');
        let parts = (parts.next()?, parts.next()?, parts.next()?, parts.next());
        let name = |name: &str| percent_encoding::percent_decode_str(name).decode_utf8_lossy().into_owned();
        match parts {
            ("toggles", of, state @ ("on" | "off"), None) => Some(Self::Toggle(name(of), state == "on")),
            ("rollouts", of, command, None) => {
                let all = [Command::Pause, Command::Resume, Command::Abort, Command::Promote];
                let command = all.into_iter().find(|known| known.name() == command)?;
                Some(Self::Rollout(name(of), command))
            }
            _ => None,
        }
    }

    /// Carries out the order, if the request may write.
    pub(super) async fn answer(
        self,
        source: Option<&Source>,
        token: Option<&WriteToken>,
        question: &Question,
    ) -> Answer {
        match self.written(source, token, question).await {
            Ok(answer) => answer,
            Err(problem) => {
                let challenge = (header::WWW_AUTHENTICATE, "Bearer realm=\"admin\"".to_owned());
                let headers = if problem.status == 401 { vec![challenge] } else { Vec::new() };
                Answer::Problem(problem, headers)
            }
        }
    }

    async fn written(
        self,
        source: Option<&Source>,
        token: Option<&WriteToken>,
        question: &Question,
    ) -> Result<Answer, Problem> {
        permit(&question.headers, token)?;
        let who = who(&question.body)?;
        let source = source.ok_or_else(|| Problem::new(NO_PLAN, "This terminator follows no plan."))?;
        let (key, before, revision) = match self {
            Self::Toggle(name, enabled) => switch(source, &name, enabled, &who).await?,
            Self::Rollout(service, command) => {
                let given = orders::give(source, &service, command, &who).await.map_err(of_order)?;
                (given.key, given.before, given.revision)
            }
        };
        tracing::info!(%key, who, %revision, "admin: a document is changed");
        Ok(Answer::of(&json!({ "key": key.to_string(), "before": before, "revision": revision, "who": who })))
    }
}

/// Checks that the request may write.
fn permit(headers: &HeaderMap, token: Option<&WriteToken>) -> Result<(), Problem> {
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or("unreadable"));
    // A browser says so itself; one that does not know the header names the origin (Fetch,
    // section 3.2).
    if let Some(site) = text(header::HeaderName::from_static("sec-fetch-site"))
        && !matches!(site, "same-origin" | "none")
    {
        return Err(Problem::new(CROSS_SITE, format!("sec-fetch-site is {site}.")));
    }
    if let Some(origin) = text(header::ORIGIN) {
        let authority = origin.split_once("://").map(|(_, authority)| authority);
        if authority.is_none() || authority != text(header::HOST) {
            return Err(Problem::new(CROSS_SITE, "The origin is not this admin listener."));
        }
    }
    let Some(token) = token else {
        return Err(Problem::new(WRITES_OFF, "This terminator was started without a write token."));
    };
    let given = text(header::AUTHORIZATION).and_then(|value| {
        let (scheme, given) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| given.trim())
    });
    match given {
        None => Err(Problem::new(UNAUTHORIZED, "The request has no bearer token.")),
        // The time of the comparison says nothing of the token but its length.
        Some(given) if !bool::from(given.as_bytes().ct_eq(token.as_str().as_bytes())) => {
            Err(Problem::new(UNAUTHORIZED, "The bearer token is not the write token."))
        }
        Some(_) => Ok(()),
    }
}

/// Who writes, for the history.
fn who(body: &[u8]) -> Result<String, Problem> {
    if body.is_empty() {
        return Ok(ANONYMOUS.to_owned());
    }
    let Body { who } = serde_json::from_slice(body)
        .map_err(|error| Problem::new(BAD_WRITE, format!("The body is no such object: {error}.")))?;
    let who = who.trim();
    if who.chars().count() > WHO_LEN_MAX || who.chars().any(char::is_control) {
        let detail =
            format!("A name has at most {WHO_LEN_MAX} characters, none of them a control character.");
        return Err(Problem::new(BAD_WRITE, detail).field("who"));
    }
    Ok(if who.is_empty() { ANONYMOUS.to_owned() } else { format!("{who} ({ANONYMOUS})") })
}

/// Writes the toggle's document with another value of `enabled`.
async fn switch(
    source: &Source,
    name: &str,
    enabled: bool,
    who: &str,
) -> Result<(Key, Revision, Revision), Problem> {
    let absent = |error: KeyError| Problem::because(NO_DOCUMENT, error);
    let key = Key::toggle(name).map_err(absent)?;
    let found = source.get(&key).await.map_err(of_source)?;
    let (bytes, before) =
        found.ok_or_else(|| Problem::new(NO_DOCUMENT, format!("There is no toggle {name}.")))?;
    let text = String::from_utf8_lossy(&bytes);
    let wanted = if enabled { "true" } else { "false" };
    let broken = |fault: Fault| Problem::because(NOT_WRITTEN, format!("{key}: {fault}"));
    let Some(document) = with_field(&text, "enabled", wanted).map_err(broken)? else {
        return Ok((key, before, before));
    };
    let (expected, who) = (Expected::At(before), Some(who.to_owned()));
    let write = Write { key: key.clone(), document: Some(document), expected, who };
    let revision = source.write(write).await.map_err(of_source)?;
    Ok((key, before, revision))
}

fn of_order(error: OrderError) -> Problem {
    match error {
        OrderError::Source(error) => of_source(error),
        OrderError::Absent(_) | OrderError::Name(_) => Problem::because(NO_DOCUMENT, error),
        error => Problem::because(NOT_WRITTEN, error),
    }
}

fn of_source(error: SourceError) -> Problem {
    match error {
        SourceError::Unavailable(_) | SourceError::OutcomeUnknown(_) | SourceError::Refused(_) => {
            Problem::because(SOURCE_LOST, error)
        }
        error => Problem::because(NOT_WRITTEN, error),
    }
}
