//! JSON bodies as clients send them, before they are checked.
//!
//! Owns the shapes. Unknown members are refused, because a misspelled condition would be no
//! condition.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    append::{Append, Condition},
    event::NewEvent,
    invalid::Invalid,
    limits::EVENTS_MAX,
    position::EventPosition,
    query::Query,
};

/// `{"events":[..],"condition":{..}}`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AppendDraft {
    events: Vec<EventDraft>,
    condition: Option<ConditionDraft>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EventDraft {
    id: String,
    #[serde(rename = "type")]
    event_type: String,
    #[serde(default)]
    tags: Vec<String>,
    data: Option<Box<RawValue>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ConditionDraft {
    query: QueryDraft,
    after: Option<EventPosition>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct QueryDraft {
    #[serde(default)]
    types: Vec<String>,
    #[serde(default)]
    tags: Vec<String>,
}

/// `{"position":"..","previous":"..","state":..}`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ProjectionDraft {
    pub(crate) position: EventPosition,
    pub(crate) previous: Option<EventPosition>,
    pub(crate) state: Box<RawValue>,
}

impl AppendDraft {
    /// Checks the draft.
    pub(crate) fn check(self) -> Result<Append, Invalid> {
        // Checked before the events are built.
        if self.events.len() > EVENTS_MAX {
            return Err(Invalid::over("events", "events", EVENTS_MAX, self.events.len()));
        }
        let events = self.events.into_iter().enumerate().map(|(at, event)| {
            let data = event.data.as_deref().map_or("null", RawValue::get);
            NewEvent::new(event.id, event.event_type, event.tags, data)
                .map_err(|invalid| invalid.inside(&format!("events[{at}]")))
        });
        let events = events.collect::<Result<_, _>>()?;
        let condition = self.condition.map(ConditionDraft::check).transpose()?;
        Append::new(events, condition)
    }
}

impl ConditionDraft {
    fn check(self) -> Result<Condition, Invalid> {
        let query = Query::new(self.query.types, self.query.tags);
        let query = query.map_err(|invalid| invalid.inside("condition.query"))?;
        Ok(Condition { query, after: self.after.unwrap_or(EventPosition::START) })
    }
}
