//! The admin paths of live change: the plan, the rollouts, ghost traffic, and OFREP.
//!
//! Owns which path has which answer. Leaves the answers to `plan`, and evaluating toggles to
//! `change::ofrep`. Invariant: the paths are there without a plan too, and then show nothing.

use std::rc::Rc;
use std::time::SystemTime;

use http::{Method, header};
use role::admin::extension::{Answer, Extension, Question};
use serde_json::json;

use super::plan::Follower;

const PATHS: &[(&str, &str)] = &[
    ("/plan", "documents of the plan: those in force, and those that were refused with the reason"),
    ("/rollouts", "rollouts with their shares, verdicts and counts"),
    ("/ghosts", "ghost traffic: how many requests were copied, and where candidates differ from stable"),
    (EVALUATE, "POST: every toggle for a context (OFREP, for OpenFeature's SDKs)"),
    ("/ofrep/v1/evaluate/flags/{key}", "POST: one toggle"),
];

const EVALUATE: &str = "/ofrep/v1/evaluate/flags";

/// The paths, with what `follower` knows.
pub(super) fn extension(follower: Option<Rc<Follower>>) -> Extension {
    let answer = move |question: Question| {
        let answer = answer(follower.as_deref(), &question);
        Box::pin(std::future::ready(answer)) as role::admin::extension::Answering
    };
    Extension { paths: PATHS, answer: Box::new(answer) }
}

fn answer(follower: Option<&Follower>, question: &Question) -> Option<Answer> {
    let path = question.path.as_str();
    let one =
        path.strip_prefix(EVALUATE).and_then(|rest| rest.strip_prefix('/')).filter(|key| !key.is_empty());
    let allowed = match path {
        "/plan" | "/rollouts" | "/ghosts" => Method::GET,
        EVALUATE => Method::POST,
        _ if one.is_some() => Method::POST,
        _ => return None,
    };
    if question.method != allowed {
        return Some(Answer::Method(if allowed == Method::GET { "GET, HEAD" } else { "POST" }));
    }
    Some(match (path, one) {
        ("/plan", _) => match follower {
            Some(follower) => Answer::of(&follower.status()),
            None => Answer::of(&json!({ "source": null, "documents": [], "refused": [] })),
        },
        ("/rollouts", _) => match follower {
            Some(follower) => Answer::of(&*follower.reports.borrow()),
            None => Answer::of(&json!([])),
        },
        ("/ghosts", _) => match follower {
            Some(follower) => Answer::of(&*follower.ghosts.borrow()),
            None => Answer::of(&json!([])),
        },
        (_, key) => evaluate(follower, key, question),
    })
}

fn evaluate(follower: Option<&Follower>, key: Option<&str>, question: &Question) -> Answer {
    let snapshot = follower.map(|follower| follower.snapshot.borrow().clone()).unwrap_or_default();
    let (set, body, now) = (&snapshot.toggles, &question.body[..], SystemTime::now());
    let random = &mut fastrand::Rng::new();
    let response = match key {
        Some(key) => change::ofrep::evaluate(set, key, body, now, random),
        None => {
            let known = question.headers.get(header::IF_NONE_MATCH).and_then(|etag| etag.to_str().ok());
            change::ofrep::evaluate_all(set, body, known, now, random)
        }
    };
    let etag = response.etag.map(|etag| (header::ETAG, etag));
    Answer::Json(response.status, etag.into_iter().collect(), response.body.into())
}
