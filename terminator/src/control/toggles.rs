//! The toggles of the plan as `/toggles` answers them.
//!
//! Owns the shape of the answer. Leaves evaluating toggles to `change::ofrep`. Invariant: every
//! toggle in force is in it, by name.

use change::document::{Kind, Origin, Plan, Revision};
use change::toggle::Feature;
use serde::Serialize;

/// One toggle.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    name: String,
    enabled: bool,
    /// The strategies in force, with the share of those that have one: `flexibleRollout 50 %`.
    strategies: Vec<String>,
    variants: Vec<String>,
    source: Origin,
    revision: Revision,
}

/// All toggles in force.
pub(super) fn rows(plan: &Plan) -> Vec<Row> {
    let of = |(key, document): (&change::document::Key, &std::sync::Arc<change::document::Document>)| {
        let feature: Feature = document.parse().ok()?;
        let strategies = feature.strategies.iter().filter(|strategy| !strategy.disabled);
        let strategies = strategies.map(|strategy| {
            let share = ["rollout", "percentage"].iter().find_map(|name| strategy.parameters.get(*name));
            share.map_or_else(|| strategy.name.clone(), |share| format!("{} {share} %", strategy.name))
        });
        Some(Row {
            name: key.name().to_owned(),
            enabled: feature.enabled,
            strategies: strategies.collect(),
            variants: feature.variants.into_iter().map(|variant| variant.name).collect(),
            source: document.origin,
            revision: document.revision,
        })
    };
    plan.of(Kind::Toggle).filter_map(of).collect()
}
