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
    /// [`Feature::strategies_shown`].
    strategies: Vec<String>,
    variants: Vec<String>,
    source: Origin,
    revision: Revision,
}

/// All toggles in force.
pub(super) fn rows(plan: &Plan) -> Vec<Row> {
    let of = |(key, document): (&change::document::Key, &std::sync::Arc<change::document::Document>)| {
        let feature: Feature = document.parse().ok()?;
        Some(Row {
            name: key.name().to_owned(),
            enabled: feature.enabled,
            strategies: feature.strategies_shown(),
            variants: feature.variants.into_iter().map(|variant| variant.name).collect(),
            source: document.origin,
            revision: document.revision,
        })
    };
    plan.of(Kind::Toggle).filter_map(of).collect()
}
