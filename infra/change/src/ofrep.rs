//! OFREP, the OpenFeature Remote Evaluation Protocol 0.2: any OpenFeature SDK can ask for toggles.
//!
//! Owns the requests and the answers of `POST /ofrep/v1/evaluate/flags/{key}` and of
//! `POST /ofrep/v1/evaluate/flags` as pure functions. Leaves HTTP, routes and limits of bodies to
//! the terminator's admin listener. Invariant: equal outcomes give equal bytes, so the `etag` of a
//! bulk answer changes only when an outcome does.
//!
//! A toggle without variants is a boolean flag with the variants `on` and `off`. One with variants
//! has its variant's payload as value, else the variant's name; without a variant, because it is
//! off, it has no value, and the SDK uses the default of its caller. `metadata.enabled` says
//! whether the toggle is on.

mod context;

use std::time::SystemTime;

use serde::Serialize;
use serde_json::Value;
use xxhash_rust::xxh3::xxh3_128;

use self::context::Asked;
use crate::toggle::feature::NO_VARIANT;
use crate::toggle::{Cause, Outcome, Payload, Set, Toggle};

/// An answer. Its content type is `application/json`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// 200, 304, 400 or 404.
    pub status: u16,
    /// JSON; empty with status 304.
    pub body: String,
    /// The value of the header `etag` of a bulk answer.
    pub etag: Option<String>,
}

/// Answers `POST /ofrep/v1/evaluate/flags/{key}`. `key` is as it is in the path, percent-encoded.
/// An empty body asks without context.
///
/// The status is 404 with `FLAG_NOT_FOUND` for an unknown toggle, and 400 with `PARSE_ERROR`,
/// `INVALID_CONTEXT` or `TARGETING_KEY_MISSING`.
#[must_use]
pub fn evaluate(set: &Set, key: &str, body: &[u8], now: SystemTime, random: &mut fastrand::Rng) -> Response {
    let key = percent_encoding::percent_decode_str(key).decode_utf8_lossy();
    let asked = match Asked::parse(body) {
        Ok(asked) => asked,
        Err((code, details)) => return json(400, &Failure::new(Some(&key), code, details)),
    };
    let Some(toggle) = set.get(&key) else {
        let details = format!("there is no toggle {key:?} in the plan in force");
        return json(404, &Failure::new(Some(&key), "FLAG_NOT_FOUND", details));
    };
    match flag(toggle, &asked, now, random) {
        Flag::Evaluated(success) => json(200, &success),
        Flag::Failed(failure) => json(400, &failure),
    }
}

/// Answers `POST /ofrep/v1/evaluate/flags`: every toggle, by name. `if_none_match` is the value of
/// the request's header of this name.
///
/// The status is 304 when the outcomes are those that `if_none_match` stands for, and 400 as in
/// [`evaluate`]; the error of one toggle is in its place in the list.
#[must_use]
pub fn evaluate_all(
    set: &Set,
    body: &[u8],
    if_none_match: Option<&str>,
    now: SystemTime,
    random: &mut fastrand::Rng,
) -> Response {
    let asked = match Asked::parse(body) {
        Ok(asked) => asked,
        Err((code, details)) => return json(400, &Failure::new(None, code, details)),
    };
    let mut toggles: Vec<&Toggle> = set.iter().collect();
    toggles.sort_unstable_by_key(|toggle| toggle.name());
    let flags = toggles.into_iter().map(|toggle| flag(toggle, &asked, now, random)).collect();
    let mut response = json(200, &Bulk { flags });
    let etag = format!("\"{:032x}\"", xxh3_128(response.body.as_bytes()));
    if if_none_match.is_some_and(|known| names(known, &etag)) {
        response = Response { status: 304, body: String::new(), etag: None };
    }
    response.etag = Some(etag);
    response
}

#[derive(Serialize)]
struct Bulk<'a> {
    flags: Vec<Flag<'a>>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Flag<'a> {
    Evaluated(Success<'a>),
    Failed(Failure<'a>),
}

#[derive(Serialize)]
struct Success<'a> {
    key: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<Value>,
    reason: &'static str,
    variant: &'a str,
    metadata: Metadata,
}

#[derive(Serialize)]
struct Metadata {
    enabled: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Failure<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    error_code: &'static str,
    error_details: String,
}

impl<'a> Failure<'a> {
    fn new(key: Option<&'a str>, error_code: &'static str, error_details: String) -> Self {
        Self { key, error_code, error_details }
    }
}

fn flag<'a>(toggle: &'a Toggle, asked: &Asked, now: SystemTime, random: &mut fastrand::Rng) -> Flag<'a> {
    let context = asked.context();
    if context.user_id.is_none() && toggle.needs_user_id() {
        let details = "the toggle is sticky by userId: give the context a targetingKey".to_owned();
        return Flag::Failed(Failure::new(Some(toggle.name()), "TARGETING_KEY_MISSING", details));
    }
    Flag::Evaluated(success(toggle, toggle.evaluate(&context, now, random)))
}

fn success<'a>(toggle: &Toggle, outcome: Outcome<'a>) -> Success<'a> {
    let (value, variant) = match outcome.variant() {
        Some(variant) => {
            let value = variant.payload().map_or_else(|| variant.name().into(), payload);
            (Some(value), variant.name())
        }
        None if toggle.has_variants() => (None, NO_VARIANT),
        None => (Some(outcome.enabled().into()), if outcome.enabled() { "on" } else { "off" }),
    };
    let reason = match outcome.cause() {
        Cause::Static => "STATIC",
        Cause::Targeting => "TARGETING_MATCH",
        Cause::Split => "SPLIT",
        Cause::NoMatch => "DEFAULT",
        Cause::Disabled => "DISABLED",
    };
    Success { key: outcome.name(), value, reason, variant, metadata: Metadata { enabled: outcome.enabled() } }
}

/// JSON and numbers as such, everything else as a string; so is what does not parse.
fn payload(payload: &Payload) -> Value {
    let parsed = match payload.kind.as_str() {
        "json" => serde_json::from_str(&payload.value).ok(),
        "number" => serde_json::from_str(&payload.value).ok().filter(Value::is_number),
        _ => None,
    };
    parsed.unwrap_or_else(|| payload.value.as_str().into())
}

/// True when the value of an `if-none-match` names `etag` (RFC 9110, section 13.1.2: weak
/// comparison).
fn names(if_none_match: &str, etag: &str) -> bool {
    let known = if_none_match.split(',').map(str::trim);
    known.map(|known| known.strip_prefix("W/").unwrap_or(known)).any(|known| known == "*" || known == etag)
}

fn json(status: u16, body: &impl Serialize) -> Response {
    let body = serde_json::to_string(body).expect("strings, booleans and JSON values serialise");
    Response { status, body, etag: None }
}
