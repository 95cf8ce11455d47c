//! One compiled toggle, and what it decides for a request.
//!
//! Owns the order of the decision: dependencies, then strategies, then variants. Leaves the parts
//! to [`super::strategy`] and [`super::variant`], and the plan as a whole to [`super::set`].
//! Invariant: a decision allocates nothing, unless a constraint compares non-ASCII text without
//! case, matches a regular expression, or compares the clock as text.

use std::sync::Arc;

use super::context::{Dependence, Field, Input};
use super::feature::Feature;
use super::strategy::{Branch, Condition, Surroundings};
use super::variant::{Choice, Found, Stickiness, Variant};
use super::warning::Warnings;

/// A compiled toggle.
pub struct Toggle {
    name: Box<str>,
    /// False when the document says so; the toggle is then off for every request.
    enabled: bool,
    parents: Box<[Parent]>,
    /// The first that holds turns the toggle on.
    branches: Box<[Branch]>,
    /// Among the toggle's own variants.
    choice: Choice,
    /// Those of the toggle and of its strategies.
    variants: Box<[Variant]>,
    depends_on: Dependence,
}

/// A compiled dependency.
pub(super) struct Parent {
    pub(super) toggle: Arc<Toggle>,
    /// What the parent must be.
    pub(super) enabled: bool,
    /// If not empty, the parent must have one of these variants.
    pub(super) variants: Box<[Box<str>]>,
}

/// Why a toggle is on or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// It is on for every request.
    Static,
    /// The request meets a strategy's constraints or an override.
    Targeting,
    /// The request is within a share.
    Split,
    /// No strategy holds, or a dependency does not.
    NoMatch,
    /// The document turns it off.
    Disabled,
}

/// A decision without the toggle that it is about.
#[derive(Clone, Copy)]
pub(super) struct Decision {
    pub(super) enabled: bool,
    variant: Option<usize>,
    cause: Cause,
}

/// What a toggle is for one request.
#[derive(Clone, Copy)]
pub struct Outcome<'a> {
    pub(super) toggle: &'a Toggle,
    pub(super) decision: Decision,
}

impl<'a> Outcome<'a> {
    /// The toggle's name.
    #[must_use]
    pub fn name(&self) -> &'a str {
        &self.toggle.name
    }

    /// True when the toggle is on.
    #[must_use]
    pub fn enabled(&self) -> bool {
        self.decision.enabled
    }

    /// The variant of a toggle that is on; `None` is Unleash's variant `disabled`.
    #[must_use]
    pub fn variant(&self) -> Option<&'a Variant> {
        self.decision.variant.map(|index| &self.toggle.variants[index])
    }

    /// What decided.
    #[must_use]
    pub fn cause(&self) -> Cause {
        self.decision.cause
    }

    /// The value of the head field `toggle` (see [`super::wire`]); `None` for a toggle that is off,
    /// which has no field.
    #[must_use]
    pub fn on_wire(&self) -> Option<&'a str> {
        self.enabled().then(|| self.variant().map_or(self.name(), Variant::on_wire))
    }
}

impl Toggle {
    /// Compiles a feature. `parents` are its compiled dependencies, or `None` if one of them can
    /// never hold.
    pub(super) fn compile(
        feature: &Feature,
        parents: Option<Vec<Parent>>,
        surroundings: &Surroundings<'_>,
        warnings: &mut Warnings<'_>,
    ) -> Self {
        let mut variants = Vec::new();
        let stickiness = feature.variants.first().and_then(|variant| variant.stickiness.as_deref());
        let group = (feature.name.as_str(), stickiness);
        let choice = Choice::compile(&feature.variants, group, "variants", &mut variants, warnings);
        let mut branches = Vec::new();
        for (at, strategy) in feature.strategies.iter().enumerate() {
            let path = format!("strategies[{at}]");
            branches.extend(Branch::compile(strategy, &path, surroundings, &mut variants, warnings));
        }
        if feature.strategies.is_empty() {
            branches.push(Branch { conditions: Box::default(), choice: None, is_split: false });
        }
        // Branches behind one that always holds are never reached.
        if let Some(at) = branches.iter().position(|branch| branch.conditions.is_empty()) {
            branches.truncate(at + 1);
        }
        let parents = parents.filter(|_| feature.enabled && !branches.is_empty()).unwrap_or_else(|| {
            branches.clear();
            Vec::new()
        });
        let mut toggle = Self {
            name: feature.name.as_str().into(),
            enabled: feature.enabled,
            parents: parents.into(),
            branches: branches.into(),
            choice,
            variants: variants.into(),
            depends_on: Dependence::default(),
        };
        toggle.depends_on = toggle.dependence();
        toggle
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// True when it or one of its strategies has variants.
    #[must_use]
    pub fn has_variants(&self) -> bool {
        !self.variants.is_empty()
    }

    /// What its outcome depends on.
    #[must_use]
    pub fn depends_on(&self) -> &Dependence {
        &self.depends_on
    }

    /// True when a share or the variants are sticky by userId alone, so that a request without one
    /// cannot be placed.
    #[must_use]
    pub fn needs_user_id(&self) -> bool {
        let by_user = |stickiness: &Stickiness| matches!(stickiness, Stickiness::Field(Field::UserId));
        let choice = |choice: &Choice| matches!(choice, Choice::Weighted { stickiness, buckets, .. } if buckets.len() > 1 && by_user(stickiness));
        self.branches.iter().any(|branch| {
            choice(branch.choice.as_ref().unwrap_or(&self.choice))
                || branch.conditions.iter().any(
                    |condition| matches!(condition, Condition::Share { stickiness, .. } if by_user(stickiness)),
                )
        }) || self.parents.iter().any(|parent| parent.toggle.needs_user_id())
    }

    pub(super) fn decide(&self, input: &mut Input<'_>) -> Decision {
        let off = Decision {
            enabled: false,
            variant: None,
            cause: if self.enabled { Cause::NoMatch } else { Cause::Disabled },
        };
        if !self.parents.iter().all(|parent| parent.holds(input)) {
            return off;
        }
        let Some(branch) = self.branches.iter().find(|branch| branch.holds(input)) else { return off };
        let (variant, found) = branch.choice.as_ref().unwrap_or(&self.choice).make(input);
        let cause = match found {
            Found::Weight => Cause::Split,
            _ if branch.is_split => Cause::Split,
            Found::Fixed if branch.conditions.is_empty() && self.parents.is_empty() => Cause::Static,
            Found::Fixed | Found::Override => Cause::Targeting,
        };
        Decision { enabled: true, variant, cause }
    }

    fn dependence(&self) -> Dependence {
        let mut dependence = Dependence::default();
        self.parents.iter().for_each(|parent| dependence.add(&parent.toggle.depends_on));
        for branch in &self.branches {
            branch.add_to(&mut dependence);
            if branch.choice.is_none() {
                self.choice.add_to(&mut dependence);
            }
        }
        dependence
    }
}

impl Parent {
    /// True when the parent is what the child needs. Variants only matter for a parent that must be
    /// on.
    pub(super) fn holds(&self, input: &mut Input<'_>) -> bool {
        let decision = self.toggle.decide(input);
        if decision.enabled != self.enabled {
            return false;
        }
        if !self.enabled || self.variants.is_empty() {
            return true;
        }
        let variant = Outcome { toggle: &self.toggle, decision }.variant();
        let name = variant.map_or(super::feature::NO_VARIANT, Variant::name);
        self.variants.iter().any(|wanted| **wanted == *name)
    }
}
