//! Variants: which one a request gets.
//!
//! Owns overrides, weights and stickiness. Leaves whether the toggle is on to [`super::strategy`].
//! Invariant: the same identity gets the same variant while names, weights and order stay.
//!
//! A variant is chosen by `murmur3_32("{group}:{id}", 86028157) % sum of weights + 1`, the seed
//! being Unleash's, so that a share of the users who see a toggle is independent of the share who
//! see a variant of it.

use std::ops::Range;

use super::constraint::Values;
use super::context::{Context, Dependence, Field, Input};
use super::feature::{self, Payload};
use super::warning::Warnings;
use super::wire;
use crate::hash::Prefix;

/// Unleash's seed for variants.
const SEED: u32 = 86_028_157;

/// A variant of a toggle.
#[derive(Clone, Debug)]
pub struct Variant {
    name: Box<str>,
    payload: Option<Payload>,
    on_wire: Box<str>,
}

impl Variant {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its value, if it has one.
    #[must_use]
    pub fn payload(&self) -> Option<&Payload> {
        self.payload.as_ref()
    }

    /// The value of the head field `toggle`.
    pub(super) fn on_wire(&self) -> &str {
        &self.on_wire
    }
}

/// How a request's variant is found; a variant is an index into the toggle's variants.
pub(super) enum Choice {
    /// The same for every request.
    Fixed(Option<usize>),
    /// An override, or else the weights.
    Weighted {
        overrides: Box<[(Field, Values, usize)]>,
        stickiness: Stickiness,
        group: Prefix,
        total: u32,
        /// The largest bucket of each variant. Variants of weight 0 have no bucket.
        buckets: Box<[(u32, usize)]>,
    },
}

/// The value that decides in which bucket a request falls.
pub(super) enum Stickiness {
    /// userId, else sessionId, else a random number.
    Default,
    /// A random number.
    Random,
    /// One field.
    Field(Field),
}

/// What found a variant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// It is the only one, or there is none.
    Fixed,
    Override,
    Weight,
}

impl Stickiness {
    pub(super) fn named(name: Option<&str>) -> Self {
        match name {
            None | Some("default" | "") => Self::Default,
            Some("random") => Self::Random,
            Some(field) => Self::Field(Field::named(field)),
        }
    }

    /// The identity to hash; `None` if it is unknown or a random number decides.
    pub(super) fn of<'a>(&self, context: &Context<'a>) -> Option<&'a str> {
        match self {
            Self::Default => context.user_id.or(context.session_id),
            Self::Random => None,
            Self::Field(field) => field.of(context),
        }
    }

    /// What a choice depends on that falls back to a random number when the field is unknown.
    pub(super) fn add_to(&self, dependence: &mut Dependence) {
        match self {
            Self::Default => {
                dependence.user_id = true;
                dependence.session_id = true;
                dependence.random_if_anonymous = true;
            }
            Self::Random => dependence.random = true,
            Self::Field(field) => {
                dependence.add_field(field);
                match field {
                    Field::UserId => dependence.random_without_user = true,
                    Field::SessionId => dependence.random_without_session = true,
                    _ => dependence.random = true,
                }
            }
        }
    }
}

impl Choice {
    /// Appends `variants` to those of the toggle and prepares the choice among them.
    pub(super) fn compile(
        variants: &[feature::Variant],
        (group, stickiness): (&str, Option<&str>),
        path: &str,
        all: &mut Vec<Variant>,
        warnings: &mut Warnings<'_>,
    ) -> Self {
        let range = all.len()..all.len() + variants.len();
        all.extend(variants.iter().map(|variant| Variant {
            name: variant.name.as_str().into(),
            payload: variant.payload.clone(),
            on_wire: wire::encode(warnings.toggle, Some(&variant.name)).into(),
        }));
        warn(variants, path, warnings);
        Self::among(variants, range, group, stickiness)
    }

    fn among(
        variants: &[feature::Variant],
        range: Range<usize>,
        group: &str,
        stickiness: Option<&str>,
    ) -> Self {
        let mut total = 0_u32;
        let mut buckets = Vec::new();
        for (variant, index) in variants.iter().zip(range.clone()).filter(|(variant, _)| variant.weight > 0) {
            total = total.saturating_add(variant.weight);
            buckets.push((total, index));
        }
        let overrides = variants.iter().zip(range).flat_map(|(variant, index)| {
            variant.overrides.iter().map(move |over| {
                let values = over.values.iter().map(|value| value.as_str().into()).collect();
                (Field::named(&over.context_name), values, index)
            })
        });
        let overrides: Box<[_]> = overrides.collect();
        if overrides.is_empty() && buckets.len() <= 1 {
            return Self::Fixed(buckets.first().map(|(_, index)| *index));
        }
        let (stickiness, group) = (Stickiness::named(stickiness), Prefix::new(group, SEED));
        Self::Weighted { overrides, stickiness, group, total, buckets: buckets.into() }
    }

    /// The variant of one request.
    pub(super) fn make(&self, input: &mut Input<'_>) -> (Option<usize>, Found) {
        let Self::Weighted { overrides, stickiness, group, total, buckets } = self else {
            let Self::Fixed(variant) = self else { unreachable!("two kinds of choice") };
            return (*variant, Found::Fixed);
        };
        for (field, values, variant) in overrides {
            if field.of(&input.context).is_some_and(|value| values.contains(value)) {
                return (Some(*variant), Found::Override);
            }
        }
        if *total == 0 {
            return (None, Found::Fixed);
        }
        let bucket = match stickiness.of(&input.context) {
            Some(id) => group.normalized(id, *total),
            None => input.random.u32(1..=*total),
        };
        (buckets.iter().find(|(last, _)| bucket <= *last).map(|(_, variant)| *variant), Found::Weight)
    }

    pub(super) fn add_to(&self, dependence: &mut Dependence) {
        if let Self::Weighted { overrides, stickiness, buckets, .. } = self {
            overrides.iter().for_each(|(field, ..)| dependence.add_field(field));
            if buckets.len() > 1 {
                stickiness.add_to(dependence);
            }
        }
    }
}

fn warn(variants: &[feature::Variant], path: &str, warnings: &mut Warnings<'_>) {
    if !variants.is_empty() && variants.iter().all(|variant| variant.weight == 0) {
        warnings.add(path, "every weight is 0, so the weights choose no variant; usually the sum is 1000");
    }
    for (at, variant) in variants.iter().enumerate() {
        let path = format!("{path}[{at}]");
        if variants[..at].iter().any(|earlier| earlier.name == variant.name) {
            warnings.add(&path, format!("the variant {:?} is there twice", variant.name));
        }
        let Some(Payload { kind, value }) = &variant.payload else { continue };
        let parses = match kind.as_str() {
            "json" => serde_json::from_str::<serde::de::IgnoredAny>(value).is_ok(),
            "number" => serde_json::from_str::<serde_json::Number>(value).is_ok(),
            _ => true,
        };
        if !parses {
            warnings.add(
                &format!("{path}.payload"),
                format!("{value:?} is not a {kind} and is passed on as a string"),
            );
        }
    }
}
