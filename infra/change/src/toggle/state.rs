//! Features and segments as an Unleash server sends them: whole, or as changes.
//!
//! Owns the shapes of `GET /api/client/features` and of the delta and streaming APIs, and applying
//! changes. Leaves talking to the server to the sources. Invariant: a state holds what the server
//! would send whole.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::feature::{Feature, Segment};

/// The answer to `GET /api/client/features`.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Features {
    /// All features.
    pub features: Vec<Feature>,
    /// The segments that they name.
    #[serde(default)]
    pub segments: Vec<Segment>,
}

/// The answer to `GET /api/client/delta`, and the data of a streamed event.
#[derive(Clone, Debug, Deserialize)]
pub struct Delta {
    /// In the order in which they happened.
    pub events: Vec<Event>,
}

/// One change.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case", rename_all_fields = "camelCase")]
pub enum Event {
    /// Everything; the first event of a stream.
    Hydration {
        /// All features.
        features: Vec<Feature>,
        /// All segments.
        #[serde(default)]
        segments: Vec<Segment>,
    },
    /// A feature is new or changed.
    FeatureUpdated {
        /// As it is now.
        feature: Box<Feature>,
    },
    /// A feature is gone.
    FeatureRemoved {
        /// Its name.
        feature_name: String,
    },
    /// A segment is new or changed.
    SegmentUpdated {
        /// As it is now.
        segment: Segment,
    },
    /// A segment is gone.
    SegmentRemoved {
        /// Its id.
        segment_id: i64,
    },
}

/// What a server has sent so far.
#[derive(Clone, Debug, Default)]
pub struct State {
    features: BTreeMap<String, Feature>,
    segments: BTreeMap<i64, Segment>,
}

impl From<Features> for State {
    fn from(all: Features) -> Self {
        let features = all.features.into_iter().map(|feature| (feature.name.clone(), feature)).collect();
        let segments = all.segments.into_iter().map(|segment| (segment.id, segment)).collect();
        Self { features, segments }
    }
}

impl State {
    /// Applies one change.
    pub fn apply(&mut self, event: Event) {
        match event {
            Event::Hydration { features, segments } => *self = Features { features, segments }.into(),
            Event::FeatureUpdated { feature } => _ = self.features.insert(feature.name.clone(), *feature),
            Event::FeatureRemoved { feature_name } => _ = self.features.remove(&feature_name),
            Event::SegmentUpdated { segment } => _ = self.segments.insert(segment.id, segment),
            Event::SegmentRemoved { segment_id } => _ = self.segments.remove(&segment_id),
        }
    }

    /// All features, by name.
    pub fn features(&self) -> impl Iterator<Item = &Feature> {
        self.features.values()
    }

    /// All segments, by id.
    pub fn segments(&self) -> impl Iterator<Item = &Segment> {
        self.segments.values()
    }
}
