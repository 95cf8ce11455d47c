//! Features and segments as an Unleash server sends them: whole, or as changes.
//!
//! Owns the shapes of `GET /api/client/features` and of the delta and streaming APIs, and applying
//! changes. Leaves talking to the server to the sources, and what a feature says to
//! [`super::feature`]: the text of each is kept as it was sent, so that one with a fault does not
//! hide the others. Invariant: a state holds what the server would send whole.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::feature::{ParseError, parse};

/// The answer to `GET /api/client/features`.
#[derive(Debug, Default, Deserialize)]
pub struct Features {
    /// All features.
    pub features: Vec<Box<RawValue>>,
    /// The segments that they name.
    #[serde(default)]
    pub segments: Vec<Box<RawValue>>,
}

/// The answer to `GET /api/client/delta`, and the data of a streamed event.
#[derive(Debug, Deserialize)]
pub struct Delta {
    /// In the order in which they happened.
    pub events: Vec<Event>,
}

/// One change: a type, and the fields of that type.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    #[serde(rename = "type")]
    kind: String,
    features: Option<Vec<Box<RawValue>>>,
    segments: Option<Vec<Box<RawValue>>>,
    feature: Option<Box<RawValue>>,
    feature_name: Option<String>,
    segment: Option<Box<RawValue>>,
    segment_id: Option<i64>,
}

/// Why an answer or a change is not the protocol's. What was known before is to be read afresh.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// An event lacks a field of its type.
    #[error("an event `{0}` without its fields")]
    Incomplete(String),
    /// A feature has no name, or a segment no id.
    #[error("a feature without a name or a segment without an id")]
    Unnamed(#[source] ParseError),
}

/// What a server has sent so far.
#[derive(Clone, Debug, Default)]
pub struct State {
    features: BTreeMap<String, Box<RawValue>>,
    segments: BTreeMap<i64, Box<RawValue>>,
}

#[derive(Deserialize)]
struct Named {
    name: String,
}

#[derive(Deserialize)]
struct Numbered {
    id: i64,
}

impl TryFrom<Features> for State {
    type Error = StateError;

    fn try_from(all: Features) -> Result<Self, StateError> {
        let mut state = Self::default();
        all.features.into_iter().try_for_each(|feature| state.update_feature(feature))?;
        all.segments.into_iter().try_for_each(|segment| state.update_segment(segment))?;
        Ok(state)
    }
}

impl State {
    /// Applies one change. A type that this version does not know changes nothing.
    ///
    /// # Errors
    /// When the event is not the protocol's; nothing is changed then.
    pub fn apply(&mut self, event: Event) -> Result<(), StateError> {
        let incomplete = || StateError::Incomplete(event.kind.clone());
        match event.kind.as_str() {
            "hydration" => {
                let features = event.features.ok_or_else(incomplete)?;
                *self = Features { features, segments: event.segments.unwrap_or_default() }.try_into()?;
            }
            "feature-updated" => self.update_feature(event.feature.ok_or_else(incomplete)?)?,
            "feature-removed" => {
                self.features.remove(&event.feature_name.ok_or_else(incomplete)?);
            }
            "segment-updated" => self.update_segment(event.segment.ok_or_else(incomplete)?)?,
            "segment-removed" => {
                self.segments.remove(&event.segment_id.ok_or_else(incomplete)?);
            }
            _ => {}
        }
        Ok(())
    }

    /// The text of all features, by name.
    pub fn features(&self) -> impl Iterator<Item = (&str, &RawValue)> {
        self.features.iter().map(|(name, feature)| (name.as_str(), &**feature))
    }

    /// The text of all segments, by id.
    pub fn segments(&self) -> impl Iterator<Item = &RawValue> {
        self.segments.values().map(|segment| &**segment)
    }

    fn update_feature(&mut self, feature: Box<RawValue>) -> Result<(), StateError> {
        let Named { name } = parse(feature.get().as_bytes()).map_err(StateError::Unnamed)?;
        self.features.insert(name, feature);
        Ok(())
    }

    fn update_segment(&mut self, segment: Box<RawValue>) -> Result<(), StateError> {
        let Numbered { id } = parse(segment.get().as_bytes()).map_err(StateError::Unnamed)?;
        self.segments.insert(id, segment);
        Ok(())
    }
}
