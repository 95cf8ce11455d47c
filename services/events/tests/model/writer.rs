//! A writer that follows a random number generator, and records what it did.

use std::rc::Rc;

use events::{Append, AppendError, Appender, Condition, EventPosition, EventStore, NewEvent, Query};
use store::RunOptions;

/// A tag that a reader follows while others write.
pub(crate) const FOLLOWED_TAG: &str = "course:3";

const TYPES: u64 = 5;
const COURSES: u64 = 40;

/// What was requested, and the outcome.
pub(crate) struct Attempt {
    pub(crate) events: Vec<Named>,
    pub(crate) condition: Option<Asked>,
    pub(crate) outcome: Outcome,
}

/// An event's names.
#[derive(Clone)]
pub(crate) struct Named {
    pub(crate) id: String,
    pub(crate) event_type: String,
    pub(crate) tags: Vec<String>,
}

/// A condition's names.
#[derive(Clone)]
pub(crate) struct Asked {
    pub(crate) types: Vec<String>,
    pub(crate) tags: Vec<String>,
    pub(crate) after: EventPosition,
    /// True when no other writer writes matching events.
    pub(crate) own: bool,
}

pub(crate) enum Outcome {
    Accepted(Vec<EventPosition>),
    Rejected(EventPosition),
}

pub(crate) struct Writer {
    events: EventStore,
    /// Appends in groups; without it, each append has its own transaction.
    appender: Option<Rc<Appender>>,
    rng: fastrand::Rng,
    own_tag: String,
    /// The writer has seen its own events up to this position.
    last: EventPosition,
    ids: u64,
    pub(crate) attempts: Vec<Attempt>,
}

impl Writer {
    pub(crate) fn new(events: EventStore, appender: Option<Rc<Appender>>, seed: u64, number: u64) -> Self {
        Self {
            events,
            appender,
            rng: fastrand::Rng::with_seed(seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
            own_tag: format!("writer:{number}"),
            last: EventPosition::START,
            ids: 0,
            attempts: Vec::new(),
        }
    }

    /// One append, or the repetition of one.
    pub(crate) async fn attempt(&mut self) {
        let (condition, repeats) = match self.rng.u8(..100) {
            0..25 => (None, false),
            25..55 => (Some(self.on_own_tag()), false),
            55..90 => (Some(self.on_shared_tags().await), false),
            90..95 => (Some(Asked { after: self.last, ..self.on_shared_tags().await }), false),
            _ => (None, true),
        };
        if repeats {
            return self.repeat().await;
        }
        // Lets other writers run in between.
        for _ in 0..self.rng.u8(..20) {
            tokio::task::yield_now().await;
        }
        let events: Vec<Named> = (0..self.rng.u8(1..4)).map(|_| self.event()).collect();
        let outcome = self.append(&events, condition.as_ref()).await;
        if let Outcome::Accepted(positions) = &outcome {
            self.last = *positions.iter().max().unwrap();
        }
        self.attempts.push(Attempt { events, condition, outcome });
    }

    async fn append(&self, events: &[Named], condition: Option<&Asked>) -> Outcome {
        let new = |event: &Named| {
            let data = format!("{{\"of\":{:?}}}", event.id);
            NewEvent::new(event.id.clone(), event.event_type.clone(), event.tags.clone(), &data).unwrap()
        };
        let condition = condition.map(|asked| Condition {
            query: Query::new(asked.types.clone(), asked.tags.clone()).unwrap(),
            after: asked.after,
        });
        let append = Append::new(events.iter().map(new).collect(), condition).unwrap();
        let options = RunOptions::within(std::time::Duration::from_secs(60));
        let appended = match &self.appender {
            Some(appender) => appender.append(append, &options).await,
            None => self.events.append(&append, &options).await,
        };
        match appended {
            Ok(positions) => Outcome::Accepted(positions),
            Err(AppendError::ConditionFailed { position }) => Outcome::Rejected(position),
            Err(error) => panic!("{error}"),
        }
    }

    /// Repeating an append gives the same answer, whatever happened since.
    async fn repeat(&self) {
        let mut accepted = self.attempts.iter().filter_map(|attempt| match &attempt.outcome {
            Outcome::Accepted(positions) => Some((attempt, positions)),
            Outcome::Rejected(_) => None,
        });
        let Some((attempt, positions)) = accepted.next_back() else { return };
        match self.append(&attempt.events, attempt.condition.as_ref()).await {
            Outcome::Accepted(again) => assert_eq!(&again, positions),
            Outcome::Rejected(position) => panic!("a repeated append was rejected for {position}"),
        }
    }

    fn event(&mut self) -> Named {
        self.ids += 1;
        let mut tags = vec![self.own_tag.clone()];
        for _ in 0..self.rng.u8(..3) {
            let course = format!("course:{}", self.rng.u64(..COURSES));
            if !tags.contains(&course) {
                tags.push(course);
            }
        }
        let event_type = format!("Type{}", self.rng.u64(..TYPES));
        Named { id: format!("{}-{}", self.own_tag, self.ids), event_type, tags }
    }

    fn on_own_tag(&mut self) -> Asked {
        let types = self.types();
        Asked { types, tags: vec![self.own_tag.clone()], after: self.last, own: true }
    }

    /// A condition like that of an application with a few courses: after what the writer has read.
    async fn on_shared_tags(&mut self) -> Asked {
        let first = self.rng.u64(..COURSES);
        let mut tags = vec![format!("course:{first}")];
        if self.rng.u8(..4) == 0 {
            tags.push(format!("course:{}", (first + 1) % COURSES));
        }
        let types = self.types();
        let query = Query::new(types.clone(), tags.clone()).unwrap();
        let page = self.events.read(&query, self.last, 1000, &RunOptions::default()).await.unwrap();
        Asked { types, tags, after: page.position, own: false }
    }

    fn types(&mut self) -> Vec<String> {
        let first = self.rng.u64(..TYPES);
        let types = (0..self.rng.u64(..3)).map(|step| format!("Type{}", (first + step) % TYPES));
        types.collect()
    }
}
