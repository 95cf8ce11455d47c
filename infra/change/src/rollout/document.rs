//! The document of a rollout: what an operator writes.
//!
//! Owns its JSON, its defaults and its checks. Leaves file names, keys and lines to the source of
//! the plan. Invariant: a [`Document`] in memory is valid.

use serde::{Deserialize, Serialize};

use super::order::Order;
use crate::split::Percent;

/// Most stages of a rollout.
const STAGES_MAX: usize = 50;
/// Longest stage: 30 days.
const STAGE_SECONDS_MAX: u64 = 30 * 24 * 3_600;
/// Largest number of requests that a stage may demand of each group.
const MIN_REQUESTS_MAX: u64 = 10_000_000;
/// Lowest confidence: below it, a verdict says less than a coin.
const CONFIDENCE_MIN: f64 = 0.5;
/// Highest confidence.
const CONFIDENCE_MAX: f64 = 0.999_999;
/// Longest name of an operator, in bytes. The history repeats it.
const WHO_BYTES_MAX: usize = 256;
/// Largest ratio of two 99th percentiles.
const RATIO_MAX: f64 = 100.0;

/// What identifies the requests that must meet the same version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sticky {
    /// The user, else the session, else the request alone.
    #[default]
    User,
    /// The session, else the request alone.
    Session,
    /// Nothing: every request is drawn anew.
    Random,
}

/// A step of a rollout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// The candidate gets copies of this share of requests; every client gets stable's answer.
    Ghost(Percent),
    /// The candidate answers this share of requests.
    Percent(Percent),
}

impl Stage {
    /// The share of requests that the candidate answers.
    pub fn share(self) -> Percent {
        match self {
            Self::Ghost(_) => Percent::ZERO,
            Self::Percent(percent) => percent,
        }
    }

    /// The share of requests that is copied to the candidate.
    pub fn ghost(self) -> Percent {
        match self {
            Self::Ghost(percent) => percent,
            Self::Percent(_) => Percent::ZERO,
        }
    }
}

/// The candidate must not fail more often than control.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ErrorsCheck {
    /// Part of the rollouts of an equal candidate that this check lets through.
    pub confidence: f64,
}

/// The candidate's 99th percentile must not exceed control's by this ratio.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct P99Check {
    /// Largest ratio of the candidate's 99th percentile to control's.
    pub ratio: f64,
    /// Part of the rollouts within the ratio that this check lets through.
    pub confidence: f64,
}

/// What is compared. A check that is `null` is off.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Checks {
    /// Error rates. Default: confidence 0.99.
    pub errors: Option<ErrorsCheck>,
    /// 99th percentiles of the latency. Default: ratio 1.2, confidence 0.95.
    pub p99: Option<P99Check>,
}

impl Default for Checks {
    fn default() -> Self {
        Self {
            errors: Some(ErrorsCheck { confidence: 0.99 }),
            p99: Some(P99Check { ratio: 1.2, confidence: 0.95 }),
        }
    }
}

/// What follows a failed verdict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnFail {
    /// The share falls to 0 and the rollout ends.
    #[default]
    Rollback,
    /// The share falls to that of the last passed stage, or to 0 on the fast path, until an
    /// operator decides.
    Pause,
}

/// A rollout of one service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Written")]
pub struct Document {
    /// Version that serves the requests now.
    pub stable: String,
    /// Version that is to take over.
    pub candidate: String,
    /// What keeps its version. Default: `user`.
    pub sticky: Sticky,
    /// Ghost stages first, then growing shares. Default: ghost 10, then 1, 10, 50 and 100 %.
    pub stages: Vec<Stage>,
    /// Seconds that a stage lasts at least. Default: 60.
    pub stage_seconds: u64,
    /// Requests of each group that a stage needs. Default: 200.
    pub min_requests: u64,
    /// What is compared.
    pub checks: Checks,
    /// What follows a failed verdict. Default: `rollback`.
    pub on_fail: OnFail,
    /// When the rollout was started, in milliseconds since 1970. With another
    /// value the rollout begins again, even if it has ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_ms: Option<u64>,
    /// The latest order of an operator.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order: Option<Order>,
}

/// A field has a value that the rollout cannot work with.
#[derive(Debug, PartialEq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct Invalid {
    /// Path of the field, for example `stages[2].percent`.
    pub field: String,
    /// The value, the limit and the remedy.
    pub problem: String,
}

fn invalid(field: impl Into<String>, problem: impl Into<String>) -> Invalid {
    Invalid { field: field.into(), problem: problem.into() }
}

/// The document as it is written, before its checks.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    stable: String,
    candidate: String,
    #[serde(default)]
    sticky: Sticky,
    #[serde(default = "default_stages")]
    stages: Vec<WrittenStage>,
    #[serde(default = "default_stage_seconds")]
    stage_seconds: u64,
    #[serde(default = "default_min_requests")]
    min_requests: u64,
    #[serde(default)]
    checks: Checks,
    #[serde(default)]
    on_fail: OnFail,
    start_ms: Option<u64>,
    order: Option<Order>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum WrittenStage {
    Ghost(f64),
    Percent(f64),
}

fn default_stages() -> Vec<WrittenStage> {
    let shares = [1.0, 10.0, 50.0, 100.0];
    std::iter::once(WrittenStage::Ghost(10.0)).chain(shares.map(WrittenStage::Percent)).collect()
}

fn default_stage_seconds() -> u64 {
    60
}

fn default_min_requests() -> u64 {
    200
}

impl TryFrom<Written> for Document {
    type Error = Invalid;

    fn try_from(written: Written) -> Result<Self, Invalid> {
        for (field, version) in [("stable", &written.stable), ("candidate", &written.candidate)] {
            if version.is_empty() {
                return Err(invalid(field, "is empty: name the version that the service's hello carries"));
            }
        }
        let Written { stable, candidate, stage_seconds, min_requests, checks, .. } = written;
        if stable == candidate {
            return Err(invalid("candidate", format!("`{candidate}` is stable's version too: name another")));
        }
        within("stage_seconds", stage_seconds, STAGE_SECONDS_MAX)?;
        within("min_requests", min_requests, MIN_REQUESTS_MAX)?;
        if let Some(errors) = checks.errors {
            confidence("checks.errors.confidence", errors.confidence)?;
        }
        if let Some(p99) = checks.p99 {
            confidence("checks.p99.confidence", p99.confidence)?;
            if !(1.0..=RATIO_MAX).contains(&p99.ratio) {
                let problem = format!("{} is not from 1 to {RATIO_MAX}", p99.ratio);
                return Err(invalid("checks.p99.ratio", problem));
            }
        }
        if written.order.as_ref().is_some_and(|order| !(1..=WHO_BYTES_MAX).contains(&order.who.len())) {
            return Err(invalid(
                "order.who",
                format!("has not 1 to {WHO_BYTES_MAX} bytes: name who orders it"),
            ));
        }
        let stages = validated(&written.stages)?;
        let Written { sticky, on_fail, start_ms, order, .. } = written;
        Ok(Self {
            stable,
            candidate,
            sticky,
            stages,
            stage_seconds,
            min_requests,
            checks,
            on_fail,
            start_ms,
            order,
        })
    }
}

fn within(field: &str, number: u64, max: u64) -> Result<(), Invalid> {
    if (1..=max).contains(&number) {
        return Ok(());
    }
    Err(invalid(field, format!("{number} is not from 1 to {max}")))
}

fn confidence(field: &str, number: f64) -> Result<(), Invalid> {
    if (CONFIDENCE_MIN..=CONFIDENCE_MAX).contains(&number) {
        return Ok(());
    }
    Err(invalid(
        field,
        format!("{number} is not from {CONFIDENCE_MIN} to {CONFIDENCE_MAX}, for example 0.99"),
    ))
}

fn validated(written: &[WrittenStage]) -> Result<Vec<Stage>, Invalid> {
    if written.is_empty() || written.len() > STAGES_MAX {
        return Err(invalid("stages", format!("{} stages are not from 1 to {STAGES_MAX}", written.len())));
    }
    let mut stages: Vec<Stage> = Vec::with_capacity(written.len());
    for (at, stage) in written.iter().enumerate() {
        let (kind, number) = match stage {
            WrittenStage::Ghost(number) => ("ghost", *number),
            WrittenStage::Percent(number) => ("percent", *number),
        };
        let field = || format!("stages[{at}].{kind}");
        let percent = Percent::try_from(number).map_err(|problem| invalid(field(), problem.to_string()))?;
        if percent == Percent::ZERO {
            return Err(invalid(field(), "0 sends the candidate nothing: remove the stage"));
        }
        let stage = match stage {
            WrittenStage::Ghost(_) => Stage::Ghost(percent),
            WrittenStage::Percent(_) => Stage::Percent(percent),
        };
        match (stages.last(), stage) {
            (Some(Stage::Percent(_)), Stage::Ghost(_)) => {
                return Err(invalid(field(), "a ghost stage follows a percent stage: move it to the front"));
            }
            (Some(Stage::Ghost(before)), Stage::Ghost(_))
            | (Some(Stage::Percent(before)), Stage::Percent(_))
                if *before >= percent =>
            {
                let problem = format!("{number} is not above the {} of the stage before", f64::from(*before));
                return Err(invalid(field(), problem));
            }
            _ => stages.push(stage),
        }
    }
    Ok(stages)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(json: &str) -> String {
        serde_json::from_str::<Document>(json).unwrap_err().to_string()
    }

    #[test]
    fn defaults_are_those_of_the_design() {
        let short: Document = serde_json::from_str(r#"{"stable":"1","candidate":"2"}"#).unwrap();
        let long: Document = serde_json::from_str(
            r#"{"stable":"1","candidate":"2","sticky":"user",
                "stages":[{"ghost":10},{"percent":1},{"percent":10},{"percent":50},{"percent":100}],
                "stage_seconds":60,"min_requests":200,
                "checks":{"errors":{"confidence":0.99},"p99":{"ratio":1.2,"confidence":0.95}},
                "on_fail":"rollback"}"#,
        )
        .unwrap();
        assert_eq!(short, long);
        let written = serde_json::to_string(&long).unwrap();
        assert_eq!(serde_json::from_str::<Document>(&written).unwrap(), long);
    }

    #[test]
    fn a_check_can_be_turned_off() {
        let json = r#"{"stable":"1","candidate":"2","checks":{"p99":null}}"#;
        let document: Document = serde_json::from_str(json).unwrap();
        assert_eq!(document.checks.p99, None);
        assert!(document.checks.errors.is_some());
    }

    #[test]
    fn errors_name_the_field_the_value_and_the_limit() {
        let rest = r#""stable":"1","candidate":"2""#;
        for (json, parts) in [
            (r#"{"stable":"1","candidate":"1"}"#.to_owned(), vec!["candidate: `1`"]),
            (r#"{"stable":"","candidate":"1"}"#.to_owned(), vec!["stable: is empty"]),
            (r#"{"stable":"1"}"#.to_owned(), vec!["`candidate`"]),
            (format!(r#"{{{rest},"stages":[]}}"#), vec!["stages: 0 stages"]),
            (
                format!(r#"{{{rest},"stages":[{{"percent":10}},{{"percent":5}}]}}"#),
                vec!["stages[1].percent: 5", "10"],
            ),
            (
                format!(r#"{{{rest},"stages":[{{"percent":10}},{{"percent":101}}]}}"#),
                vec!["stages[1].percent: 101", "100"],
            ),
            (
                format!(r#"{{{rest},"stages":[{{"percent":1}},{{"ghost":50}}]}}"#),
                vec!["stages[1].ghost:", "front"],
            ),
            (format!(r#"{{{rest},"stages":[{{"percent":0}}]}}"#), vec!["stages[0].percent: 0"]),
            (format!(r#"{{{rest},"stages":[{{"share":1}}]}}"#), vec!["`share`", "`percent`"]),
            (format!(r#"{{{rest},"stage_seconds":0}}"#), vec!["stage_seconds: 0", "2592000"]),
            (format!(r#"{{{rest},"min_requests":0}}"#), vec!["min_requests: 0"]),
            (
                format!(r#"{{{rest},"checks":{{"errors":{{"confidence":99}}}}}}"#),
                vec!["checks.errors.confidence: 99", "0.99"],
            ),
            (
                format!(r#"{{{rest},"checks":{{"p99":{{"ratio":0.5,"confidence":0.9}}}}}}"#),
                vec!["checks.p99.ratio: 0.5"],
            ),
            (format!(r#"{{{rest},"on_fail":"explode"}}"#), vec!["`explode`", "`pause`"]),
            (format!(r#"{{{rest},"stage_second":1}}"#), vec!["`stage_second`"]),
            (
                format!(r#"{{{rest},"order":{{"command":"stop","at_ms":1,"who":"a"}}}}"#),
                vec!["`stop`", "`abort`"],
            ),
            (
                format!(r#"{{{rest},"order":{{"command":"abort","at_ms":1,"who":""}}}}"#),
                vec!["order.who: has not 1 to 256 bytes"],
            ),
        ] {
            let message = refused(&json);
            for part in parts {
                assert!(message.contains(part), "{json}: {message}");
            }
        }
    }
}
