//! The admin paths of live change: the plan, the toggles, the rollouts, ghost traffic, the page,
//! and OFREP.
//!
//! Owns which path has which answer. Leaves the answers to `plan`, `page` and `writes`, and
//! evaluating toggles to `change::ofrep`. Invariant: the paths are there without a plan too, and
//! then show nothing.

use std::rc::Rc;
use std::time::SystemTime;

use http::{Method, header};
use role::admin::extension::{Answer, Extension, Question};
use serde_json::json;

use super::page;
use super::plan::Follower;
use super::toggles;
use super::writes::Order;
use crate::config::WriteToken;

const PATHS: &[(&str, &str)] = &[
    ("/change", "a page with the plan, the toggles, the rollouts over time, and the ghosts"),
    ("/plan", "documents of the plan: those in force, and those that were refused with the reason"),
    ("/toggles", "the toggles in force with their strategies and variants"),
    ("/toggles/{name}/on|off", "POST: turns a toggle on or off (--admin-write-token)"),
    ("/rollouts", "rollouts with their shares, verdicts and counts"),
    ("/ghosts", "ghost traffic: how many requests were copied, and where candidates differ from stable"),
    ("/rollouts/{service}/series", "the verdicts of one rollout over time, a point a second"),
    ("/rollouts/{service}/pause|resume|abort|promote", "POST: orders a rollout (--admin-write-token)"),
    (EVALUATE, "POST: every toggle for a context (OFREP, for OpenFeature's SDKs)"),
    ("/ofrep/v1/evaluate/flags/{key}", "POST: one toggle"),
];

const EVALUATE: &str = "/ofrep/v1/evaluate/flags";

/// What a path answers.
enum Path {
    File(Answer),
    Plan,
    Toggles,
    Rollouts,
    Ghosts,
    Series(String),
    Write(Order),
    EvaluateAll,
    Evaluate(String),
}

impl Path {
    fn parse(path: &str) -> Option<Self> {
        if let Some(file) = page::file(path) {
            return Some(Self::File(file));
        }
        if let Some(key) = path.strip_prefix(EVALUATE).and_then(|rest| rest.strip_prefix('/')) {
            return (!key.is_empty()).then(|| Self::Evaluate(key.to_owned()));
        }
        let series = path.strip_prefix("/rollouts/").and_then(|rest| rest.strip_suffix("/series"));
        match path {
            "/plan" => Some(Self::Plan),
            "/toggles" => Some(Self::Toggles),
            "/rollouts" => Some(Self::Rollouts),
            "/ghosts" => Some(Self::Ghosts),
            EVALUATE => Some(Self::EvaluateAll),
            _ => match series {
                Some(service) => Some(Self::Series(service.to_owned())),
                None => Order::parse(path).map(Self::Write),
            },
        }
    }

    fn method(&self) -> Method {
        match self {
            Self::Write(_) | Self::EvaluateAll | Self::Evaluate(_) => Method::POST,
            _ => Method::GET,
        }
    }
}

/// The paths, with what `follower` knows; who has `token` may write.
pub(super) fn extension(follower: Option<Rc<Follower>>, token: Option<WriteToken>) -> Extension {
    let token = Rc::new(token);
    let answer = move |question: Question| {
        let (follower, token) = (follower.clone(), Rc::clone(&token));
        let answer = async move { answer(follower.as_deref(), (*token).as_ref(), question).await };
        Box::pin(answer) as role::admin::extension::Answering
    };
    Extension { paths: PATHS, answer: Box::new(answer) }
}

async fn answer(
    follower: Option<&Follower>,
    token: Option<&WriteToken>,
    question: Question,
) -> Option<Answer> {
    let path = Path::parse(&question.path)?;
    if question.method != path.method() {
        return Some(Answer::Method(if path.method() == Method::GET { "GET, HEAD" } else { "POST" }));
    }
    Some(match (path, follower) {
        (Path::File(file), _) => file,
        (Path::Write(order), follower) => {
            order.answer(follower.map(|follower| &follower.source), token, &question).await
        }
        (Path::EvaluateAll, follower) => evaluate(follower, None, &question),
        (Path::Evaluate(key), follower) => evaluate(follower, Some(&key), &question),
        (Path::Plan, Some(follower)) => Answer::of(&follower.status()),
        (Path::Plan, None) => Answer::of(&json!({ "source": null, "documents": [], "refused": [] })),
        (Path::Toggles, Some(follower)) => Answer::of(&toggles::rows(&follower.source.plan().borrow())),
        (Path::Rollouts, Some(follower)) => Answer::of(&*follower.reports.borrow()),
        (Path::Ghosts, Some(follower)) => Answer::of(&*follower.ghosts.borrow()),
        (Path::Toggles | Path::Rollouts | Path::Ghosts | Path::Series(_), None) => Answer::of(&json!([])),
        (Path::Series(service), Some(follower)) => Answer::of(&follower.series(&service)),
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
