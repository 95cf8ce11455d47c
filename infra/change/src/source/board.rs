//! What a source knows: two plans that readers on any thread see, and the state of the source.
//!
//! Owns the split into the plan (what operators write) and the records (what processes write), so
//! that a count written each second wakes no reader of toggles, and which documents a source has
//! when two share a plan. Drivers write it, handles read it. Invariant: readers see whole batches
//! of changes only, and a source changes no document of the other.

use std::sync::{Arc, Mutex};

use serde::Serialize;
use tokio::sync::watch;

use super::request::now_ms;
use crate::document::{Document, Entry, Key, Kind, Origin, Plan, Revision};

/// One change that a source reports.
pub(crate) enum Event {
    Put(Entry),
    Remove(String),
}

impl Event {
    fn name(&self) -> &str {
        match self {
            Self::Put(entry) => &entry.name,
            Self::Remove(name) => name,
        }
    }

    pub(crate) fn is_put(&self) -> bool {
        matches!(self, Self::Put(_))
    }

    pub(crate) fn into_entry(self) -> Option<Entry> {
        match self {
            Self::Put(entry) => Some(entry),
            Self::Remove(_) => None,
        }
    }
}

/// What readers on any thread see. The two sources of one plan share it.
#[derive(Default)]
pub(crate) struct Plans {
    plan: watch::Sender<Arc<Plan>>,
    records: watch::Sender<Arc<Plan>>,
}

/// Which documents of a plan a source has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// All of them.
    Whole,
    /// Toggles and segments.
    Toggles,
    /// All but toggles and segments.
    Rest,
}

/// The state of one source.
pub(crate) struct Board {
    plans: Arc<Plans>,
    part: Part,
    state: Mutex<State>,
    /// True once documents came from the source or the cache.
    loaded: watch::Sender<bool>,
}

/// How the source is.
#[derive(Clone, Debug, Serialize)]
pub struct State {
    /// The directory, or etcd's URLs.
    pub source: String,
    /// True while the source answers.
    pub connected: bool,
    /// Since when it is connected or not, in milliseconds of Unix time.
    pub since_ms: u64,
    /// Why it is not connected.
    pub error: Option<String>,
    /// True from the start until the source answers when documents came from the cache file.
    pub from_cache: bool,
    /// The store's revision up to which everything is known; 0 for a directory.
    pub revision: Revision,
    /// How often the connection was made.
    pub connects: u64,
    /// How often everything was read afresh because etcd had compacted the changes.
    pub compactions: u64,
    /// How often etcd came back without its data.
    pub wipes: u64,
    /// How often the cache file could not be written or read.
    pub cache_errors: u64,
    /// Toggles and segments of a directory or etcd that are not in force because Unleash has the
    /// toggles of this plan.
    pub ignored: usize,
}

/// What `/plan` answers.
#[derive(Debug, Serialize)]
pub struct Status {
    /// How the source is.
    #[serde(flatten)]
    pub state: State,
    /// How the Unleash server is that has the toggles beside a source that has the rest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unleash: Option<State>,
    /// How often a document was refused since the start.
    pub refusals: u64,
    /// What is in force.
    pub documents: Vec<DocumentStatus>,
    /// What is not.
    pub refused: Vec<RefusalStatus>,
}

impl Status {
    /// The sources that do not answer.
    pub fn unconnected(&self) -> impl Iterator<Item = &State> {
        [&self.state].into_iter().chain(&self.unleash).filter(|state| !state.connected)
    }
}

/// A document in force.
#[derive(Debug, Serialize)]
pub struct DocumentStatus {
    /// Its key.
    pub key: String,
    /// Where it was read.
    pub source: Origin,
    /// Its version.
    pub revision: Revision,
    /// How long this process has had this version in force.
    pub age_ms: u64,
}

/// A document that was refused.
#[derive(Debug, Serialize)]
pub struct RefusalStatus {
    /// Its key, or what the source calls it.
    pub key: String,
    /// The version that was refused.
    pub revision: Revision,
    /// Why.
    pub reason: String,
    /// First is 1; 0 when the fault is in no single place.
    pub line: usize,
    /// First is 1; 0 when the fault is in no single place.
    pub column: usize,
    /// The field; empty for the whole document.
    pub path: String,
    /// How long ago.
    pub age_ms: u64,
    /// True when an earlier version is in force.
    pub in_force: bool,
}

impl Board {
    pub(crate) fn new(source: String, plans: &Arc<Plans>, part: Part) -> Self {
        let state = State {
            source,
            connected: false,
            since_ms: now_ms(),
            error: None,
            from_cache: false,
            revision: Revision::default(),
            connects: 0,
            compactions: 0,
            wipes: 0,
            cache_errors: 0,
            ignored: 0,
        };
        Self { plans: Arc::clone(plans), part, state: Mutex::new(state), loaded: watch::Sender::new(false) }
    }

    pub(crate) fn plan(&self) -> watch::Receiver<Arc<Plan>> {
        self.plans.plan.subscribe()
    }

    pub(crate) fn records(&self) -> watch::Receiver<Arc<Plan>> {
        self.plans.records.subscribe()
    }

    pub(crate) fn loaded(&self) -> watch::Receiver<bool> {
        self.loaded.subscribe()
    }

    /// Which documents the source has.
    pub(crate) fn part(&self) -> Part {
        self.part
    }

    /// Takes everything that the source has. When it has `lost` data, what is missing stays in
    /// force, but for records under a lease.
    pub(crate) fn replace(&self, entries: Vec<Entry>, lost: bool) {
        let now = now_ms();
        let has = |name: &str| self.part.has(name);
        let all = entries.len();
        let (records, plan): (Vec<_>, Vec<_>) =
            entries.into_iter().filter(|entry| has(&entry.name)).partition(|entry| is_record(&entry.name));
        self.ignores(all - records.len() - plan.len());
        let kept = |key: &Key, document: &Document| {
            key.kind().is_durable() && (lost || document.origin == Origin::Lost)
        };
        change(&self.plans.plan, |known| known.replace(plan, has, kept, now));
        change(&self.plans.records, |known| known.replace(records, has, kept, now));
        self.loaded.send_replace(true);
    }

    /// Takes changes.
    pub(crate) fn apply(&self, events: Vec<Event>) {
        let now = now_ms();
        let (records, plan): (Vec<_>, Vec<_>) = events
            .into_iter()
            .filter(|event| self.part.has(event.name()))
            .partition(|event| is_record(event.name()));
        for (sender, events) in [(&self.plans.plan, plan), (&self.plans.records, records)] {
            if events.is_empty() {
                continue;
            }
            change(sender, |known| {
                events.into_iter().fold(false, |changed, event| {
                    changed
                        | match event {
                            Event::Put(entry) => known.put(entry, now),
                            Event::Remove(name) => known.remove(&name),
                        }
                })
            });
        }
    }

    /// Notes how many documents of another source's part are here, which the log says when there
    /// are more.
    fn ignores(&self, ignored: usize) {
        self.note(|state| {
            if ignored > state.ignored {
                tracing::warn!(
                    source = state.source,
                    ignored,
                    "toggles and segments are not read here, because Unleash has the toggles of this plan"
                );
            }
            state.ignored = ignored;
        });
    }

    pub(crate) fn state(&self) -> State {
        self.state.lock().expect("no holder of the lock panics").clone()
    }

    pub(crate) fn note(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().expect("no holder of the lock panics"));
    }

    /// The source answers.
    pub(crate) fn connected(&self, revision: Revision) {
        self.note(|state| {
            state.revision = revision;
            if !state.connected {
                (state.connected, state.since_ms, state.error) = (true, now_ms(), None);
                state.from_cache = false;
                state.connects += 1;
                tracing::info!(source = state.source, %revision, "the plan's source answers");
            }
        });
    }

    /// The source does not answer. The log says so once for each loss.
    pub(crate) fn disconnected(&self, reason: &str) {
        self.note(|state| {
            if state.connected || state.error.is_none() {
                (state.connected, state.since_ms) = (false, now_ms());
                let source = &state.source;
                tracing::warn!(
                    source,
                    "the plan's source is lost: {reason}; what is in force stays in force"
                );
            }
            state.error = Some(reason.to_owned());
        });
    }

    /// What `/plan` answers; `unleash` is the source of the toggles beside this one.
    pub(crate) fn status(&self, unleash: Option<&Self>) -> Status {
        let now = now_ms();
        let Plans { plan, records } = &*self.plans;
        let (plan, records) = (Arc::clone(&plan.borrow()), Arc::clone(&records.borrow()));
        let all = || [&plan, &records].into_iter();
        let documents = all().flat_map(|plan| plan.documents()).map(|(key, document)| DocumentStatus {
            key: key.to_string(),
            source: document.origin,
            revision: document.revision,
            age_ms: now.saturating_sub(document.since_ms),
        });
        let refused = all().flat_map(|plan| plan.refused().map(move |refused| (plan, refused)));
        let refused = refused.map(|(plan, (name, refusal))| RefusalStatus {
            key: name.to_owned(),
            revision: refusal.revision,
            reason: refusal.fault.reason.clone(),
            line: refusal.fault.line,
            column: refusal.fault.column,
            path: refusal.fault.path.clone(),
            age_ms: now.saturating_sub(refusal.since_ms),
            in_force: name.parse().is_ok_and(|key| plan.document(&key).is_some()),
        });
        Status {
            state: self.state(),
            unleash: unleash.map(Self::state),
            refusals: all().map(|plan| plan.refusals()).sum(),
            documents: documents.collect(),
            refused: refused.collect(),
        }
    }
}

impl Part {
    /// True for a document of this name.
    pub(crate) fn has(self, name: &str) -> bool {
        let folder = name.split('/').next().unwrap_or_default();
        let is_toggle = [Kind::Toggle, Kind::Segments].iter().any(|kind| kind.folder() == folder);
        match self {
            Self::Whole => true,
            Self::Toggles => is_toggle,
            Self::Rest => !is_toggle,
        }
    }
}

fn change(sender: &watch::Sender<Arc<Plan>>, change: impl FnOnce(&mut Plan) -> bool) {
    sender.send_if_modified(|plan| change(Arc::make_mut(plan)));
}

/// True for what processes write. What is no key at all is shown beside the operator's documents.
fn is_record(name: &str) -> bool {
    const KINDS: [Kind; 4] = [Kind::Bus, Kind::RolloutState, Kind::Counts, Kind::Candidate];
    let folder = name.split('/').next().unwrap_or_default();
    KINDS.iter().any(|kind| kind.folder() == folder)
}
