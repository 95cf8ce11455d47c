//! Strategies: the ways to turn a toggle on.
//!
//! Owns Unleash's strategies, and which of them holds for a request. Leaves constraints to
//! [`super::constraint`] and variants to [`super::variant`]. Invariant: a strategy that is unknown,
//! lacks a parameter or names an unknown segment never holds, and a warning says so.

use std::collections::{BTreeMap, HashMap};

use super::constraint::{self, Check, Compiled};
use super::context::{Dependence, Field, Input};
use super::feature::{Segment, Strategy};
use super::variant::{Choice, Stickiness, Variant};
use super::warning::Warnings;
use crate::hash::Prefix;

/// What compiled strategies are made from, beside the strategy itself.
pub(super) struct Surroundings<'a> {
    pub(super) segments: &'a HashMap<i64, &'a Segment>,
    /// The name of this host, for `applicationHostname`.
    pub(super) host: &'a str,
}

/// A compiled strategy that can hold.
pub(super) struct Branch {
    /// All of them must hold.
    pub(super) conditions: Box<[Condition]>,
    /// Among the strategy's own variants; `None` if it has none.
    pub(super) choice: Option<Choice>,
    /// True when a share is among the conditions.
    pub(super) is_split: bool,
}

/// One thing that must hold.
pub(super) enum Condition {
    Check(Check),
    /// The field is known.
    Known(Field),
    /// The identity's bucket is within the first `percent` of 100.
    Share {
        stickiness: Stickiness,
        group: Prefix,
        percent: u32,
    },
}

impl Branch {
    /// Compiles the strategy at `path`; its variants are appended to `variants`. `None` if it never
    /// holds.
    pub(super) fn compile(
        strategy: &Strategy,
        path: &str,
        surroundings: &Surroundings<'_>,
        variants: &mut Vec<Variant>,
        warnings: &mut Warnings<'_>,
    ) -> Option<Self> {
        if strategy.disabled {
            return None;
        }
        let mut conditions = Vec::new();
        let mut never = !add_constraints(strategy, path, surroundings, &mut conditions, warnings);
        match own_condition(strategy, path, surroundings, warnings) {
            Ok(Own::Always) => {}
            Ok(Own::Never) => never = true,
            Ok(Own::If(condition)) => conditions.push(condition),
            Err(problem) => {
                warnings.add(path, format!("{problem}; the strategy never holds"));
                never = true;
            }
        }
        let group = strategy.parameters.get("groupId").map_or(warnings.toggle, String::as_str);
        let stickiness = strategy.parameters.get("stickiness").map(String::as_str);
        let own_variants = &strategy.variants;
        let choice = (!own_variants.is_empty()).then(|| {
            Choice::compile(
                own_variants,
                (group, stickiness),
                &format!("{path}.variants"),
                variants,
                warnings,
            )
        });
        let is_split = conditions.iter().any(|condition| matches!(condition, Condition::Share { .. }));
        (!never).then_some(Self { conditions: conditions.into(), choice, is_split })
    }

    pub(super) fn holds(&self, input: &mut Input<'_>) -> bool {
        self.conditions.iter().all(|condition| condition.holds(input))
    }

    pub(super) fn add_to(&self, dependence: &mut Dependence) {
        self.conditions.iter().for_each(|condition| condition.add_to(dependence));
        self.choice.iter().for_each(|choice| choice.add_to(dependence));
    }
}

impl Condition {
    fn holds(&self, input: &mut Input<'_>) -> bool {
        match self {
            Self::Check(check) => check.holds(input),
            Self::Known(field) => field.of(&input.context).is_some(),
            Self::Share { stickiness, group, percent } => match stickiness.of(&input.context) {
                Some(id) => group.normalized(id, 100) <= *percent,
                None if matches!(stickiness, Stickiness::Field(_)) => false,
                None => input.random.u32(1..=100) <= *percent,
            },
        }
    }

    fn add_to(&self, dependence: &mut Dependence) {
        match self {
            Self::Check(check) => dependence.add_field(&check.field),
            Self::Known(field) | Self::Share { stickiness: Stickiness::Field(field), .. } => {
                dependence.add_field(field);
            }
            Self::Share { stickiness, .. } => stickiness.add_to(dependence),
        }
    }
}

enum Own {
    Always,
    Never,
    If(Condition),
}

impl From<Compiled> for Own {
    fn from(compiled: Compiled) -> Self {
        match compiled {
            Compiled::Always => Self::Always,
            Compiled::Never => Self::Never,
            Compiled::Check(check) => Self::If(Condition::Check(check)),
        }
    }
}

/// Adds the strategy's constraints and those of its segments. False if one of them never holds.
fn add_constraints(
    strategy: &Strategy,
    path: &str,
    surroundings: &Surroundings<'_>,
    conditions: &mut Vec<Condition>,
    warnings: &mut Warnings<'_>,
) -> bool {
    let mut possible = true;
    let mut add = |compiled: Compiled| match compiled {
        Compiled::Always => {}
        Compiled::Never => possible = false,
        Compiled::Check(check) => conditions.push(Condition::Check(check)),
    };
    for (at, constraint) in strategy.constraints.iter().enumerate() {
        add(constraint::compile(constraint, &format!("{path}.constraints[{at}]"), warnings));
    }
    for (at, id) in strategy.segments.iter().enumerate() {
        let path = format!("{path}.segments[{at}]");
        let Some(segment) = surroundings.segments.get(id) else {
            warnings.add(&path, format!("there is no segment {id}; the strategy never holds"));
            add(Compiled::Never);
            continue;
        };
        for (at, constraint) in segment.constraints.iter().enumerate() {
            let path = format!("{path} (segment {id}).constraints[{at}]");
            add(constraint::compile(constraint, &path, warnings));
        }
    }
    possible
}

/// What the strategy asks for by its name and its parameters.
fn own_condition(
    strategy: &Strategy,
    path: &str,
    surroundings: &Surroundings<'_>,
    warnings: &mut Warnings<'_>,
) -> Result<Own, String> {
    let parameters = &strategy.parameters;
    let group = || parameters.get("groupId").map_or_else(|| warnings.toggle.to_owned(), Clone::clone);
    Ok(match strategy.name.as_str() {
        "default" => Own::Always,
        "userWithId" => {
            constraint::is_in(Field::UserId, list(parameters, "userIds")?.map(Into::into).collect()).into()
        }
        "gradualRolloutUserId" => share(
            Stickiness::Field(Field::UserId),
            required(parameters, "groupId")?,
            percent(parameters, "percentage")?,
        ),
        "gradualRolloutSessionId" => share(
            Stickiness::Field(Field::SessionId),
            required(parameters, "groupId")?,
            percent(parameters, "percentage")?,
        ),
        "gradualRolloutRandom" => share(Stickiness::Random, "", percent(parameters, "percentage")?),
        "flexibleRollout" => share(
            Stickiness::named(parameters.get("stickiness").map(String::as_str)),
            &group(),
            percent(parameters, "rollout")?,
        ),
        "remoteAddress" => {
            constraint::is_within(list(parameters, "IPs")?, &format!("{path}.parameters.IPs"), warnings)
                .into()
        }
        "applicationHostname" => {
            let mut names = list(parameters, "hostNames")?;
            if names.any(|name| name.eq_ignore_ascii_case(surroundings.host)) {
                Own::Always
            } else {
                Own::Never
            }
        }
        unknown => {
            return Err(format!(
                "unknown strategy {unknown:?}: known are default, flexibleRollout, userWithId, \
                 gradualRolloutUserId, gradualRolloutSessionId, gradualRolloutRandom, remoteAddress and \
                 applicationHostname"
            ));
        }
    })
}

fn share(stickiness: Stickiness, group: &str, percent: u32) -> Own {
    match (percent, stickiness) {
        (0, _) => Own::Never,
        (100, Stickiness::Field(field)) => Own::If(Condition::Known(field)),
        (100, _) => Own::Always,
        (percent, stickiness) => {
            Own::If(Condition::Share { stickiness, group: Prefix::new(group, 0), percent })
        }
    }
}

fn required<'a>(parameters: &'a BTreeMap<String, String>, name: &str) -> Result<&'a str, String> {
    parameters.get(name).map(String::as_str).ok_or_else(|| format!("the parameter {name} is missing"))
}

fn percent(parameters: &BTreeMap<String, String>, name: &str) -> Result<u32, String> {
    let text = required(parameters, name)?;
    let percent = text.trim().parse().ok().filter(|percent| *percent <= 100);
    percent.ok_or_else(|| format!("the parameter {name} is {text:?}: give a whole number from 0 to 100"))
}

/// The parts of a list with commas, without spaces around them and without empty ones.
fn list<'a>(
    parameters: &'a BTreeMap<String, String>,
    name: &str,
) -> Result<impl Iterator<Item = &'a str> + use<'a>, String> {
    Ok(required(parameters, name)?.split(',').map(str::trim).filter(|part| !part.is_empty()))
}
