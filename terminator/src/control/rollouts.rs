//! The rollouts of the plan: their counts, their verdicts, and the shares that follow.
//!
//! Owns one `change::rollout::Machine` per rollout, the exchange of counts and states with other
//! terminators through the plan's source, and the candidacy for deciding. Leaves verdicts to
//! `change::rollout`, and counting to the workers. Invariant: only the elected terminator moves a
//! share, and a share grows only once it is stored; the others take the stored state, and without
//! one the last share stays.

mod running;

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use change::document::{Key, Kind, Plan, Revision};
use change::rollout::{Counts, Document, Machine, Recorder, Report, State};
use change::source::{Election, Expected, Source, SourceError, Write};
use change::split::{Percent, Split};
use role::worker::Workers;
use running::Running;

use super::ghosts::Staged;
use crate::live::Rollout;
use crate::worker::Worker;

/// The election in which the terminators choose the one that decides.
const ELECTION: &str = "rollouts";

/// How often counts are sent to the deciding terminator, and the state is stored, in milliseconds.
const SHARE_MS: u64 = 1_000;

/// Longest wait for a state to be stored: a rollback must not wait for an etcd that hangs.
const STORE_WITHIN: Duration = Duration::from_secs(1);

/// All rollouts of one terminator.
pub(super) struct Rollouts {
    source: Source,
    instance: String,
    incarnation: u64,
    election: Option<Election>,
    running: BTreeMap<String, Running>,
}

impl Rollouts {
    /// No rollouts. `instance` names this terminator in its counts.
    pub(super) fn new(source: Source, instance: &str) -> Self {
        let (incarnation, instance) = (now_ms(), instance.to_owned());
        Self { source, instance, incarnation, election: None, running: BTreeMap::new() }
    }

    /// True when there is a rollout.
    pub(super) fn any(&self) -> bool {
        !self.running.is_empty()
    }

    /// Takes the documents of the plan: begins, changes and ends rollouts.
    pub(super) fn follow(&mut self, plan: &Plan) {
        let now = now_ms();
        let documents: BTreeMap<String, Document> = plan
            .of(Kind::Rollout)
            .filter_map(|(key, document)| Some((key.name().to_owned(), document.parse().ok()?)))
            .collect();
        self.running.retain(|service, _| documents.contains_key(service));
        for (service, document) in documents {
            match self.running.get_mut(&service) {
                Some(running) if *running.machine.document() == document => {}
                Some(running) => running.follow(document, now),
                None => {
                    let recorder = Recorder::new(self.instance.clone(), self.incarnation);
                    let running = Running::new(&service, document, self.stored(&service), recorder, now);
                    self.running.insert(service, running);
                }
            }
        }
        if self.running.is_empty() {
            self.election = None;
        } else if self.election.is_none() {
            self.election = self.source.elect(ELECTION).ok();
        }
    }

    /// The state that the source has of a rollout.
    fn stored(&self, service: &str) -> (Revision, Option<State>) {
        let records = self.source.records();
        let records = records.borrow();
        let key = Key::new(Kind::RolloutState, &[service]).ok();
        let document = key.and_then(|key| records.document(&key).cloned());
        document.map_or_else(Default::default, |document| (document.revision, document.parse().ok()))
    }

    /// The splits in force.
    pub(super) fn splits(&self) -> Vec<Rollout> {
        let split = |(service, running): (&String, &Running)| {
            let (document, state) = (running.machine.document(), running.machine.state());
            let split = Split::new(service.as_str(), state.percent);
            Rollout::new(service, &document.stable, &document.candidate, document.sticky, split)
        };
        self.running.iter().map(split).collect()
    }

    /// The shares that ghost stages have in force.
    pub(super) fn staged(&self) -> impl Iterator<Item = Staged<'_>> {
        self.running.iter().map(|(service, running)| Staged {
            service,
            candidate: &running.machine.document().candidate,
            percent: running.machine.state().ghost,
        })
    }

    /// What `/rollouts` answers.
    pub(super) fn reports(&self) -> Vec<Report> {
        self.running.values().map(|running| Report::from(running.machine.state())).collect()
    }

    /// Takes what the workers have counted since the last time.
    pub(super) async fn gather(&mut self, workers: &Workers<Rc<Worker>>) {
        if self.running.is_empty() {
            return;
        }
        let counted = workers.ask(|worker: &Rc<Worker>| worker.decisions.take_counts()).await;
        for (service, mut counts) in counted.into_iter().flatten() {
            if let Some(running) = self.running.get_mut(&*service) {
                running.recorder.absorb(&mut counts);
            }
        }
    }

    /// Counts, decides or follows the one who decides. True when a share has changed.
    pub(super) async fn look(&mut self, workers: &Workers<Rc<Worker>>) -> bool {
        self.gather(workers).await;
        let leads = self.election.as_ref().is_some_and(Election::is_leader);
        let now = now_ms();
        let instances = self.instances(workers).await;
        let mut changed = false;
        let services: Vec<String> = self.running.keys().cloned().collect();
        for service in services {
            let candidates = instances.get(&service).copied().unwrap_or(0);
            let others = if leads { self.others(&service) } else { Vec::new() };
            let stored = self.stored(&service);
            let running = self.running.get_mut(&service).expect("its key was just listed");
            let is_due = now.saturating_sub(running.shared_ms) >= SHARE_MS;
            let before = shares(&running.machine);
            if leads {
                running.count(now, candidates, &others);
                self.decide(&service, now, is_due).await;
            } else {
                running.obey(now, stored);
                if is_due {
                    self.send(&service, candidates, now);
                }
            }
            changed |= shares(&self.running[&service].machine) != before;
        }
        changed
    }

    /// Obeys the operator, takes a verdict, and stores what follows. A share that cannot be stored
    /// falls, and does not grow: the next terminator to decide would not know it.
    async fn decide(&mut self, service: &str, now: u64, is_due: bool) {
        let running = self.running.get_mut(service).expect("the caller found it");
        let before = running.machine.clone();
        running.decide(now);
        let (was, is) = (before.state(), running.machine.state());
        let has_grown = is.percent > was.percent || is.ghost > was.ghost;
        let is_new =
            shares(&running.machine) != shares(&before) || (was.phase, &was.order) != (is.phase, &is.order);
        let may_try = running.failed_ms.is_none_or(|failed| now.saturating_sub(failed) >= SHARE_MS);
        let is_stored = (is_due || is_new) && may_try && self.store(service, now).await;
        if has_grown && !is_stored {
            let running = self.running.get_mut(service).expect("the caller found it");
            running.machine = before;
        }
    }

    /// Counts that other terminators have sent.
    fn others(&self, service: &str) -> Vec<Counts> {
        let records = self.source.records();
        let records = records.borrow();
        let of_service = records.of(Kind::Counts).filter(|(key, _)| key.name() == service);
        let parsed = of_service.filter_map(|(_, document)| document.parse::<Counts>().ok());
        parsed.filter(|counts| counts.terminator != self.instance).collect()
    }

    /// Instances of each rollout's candidate that this terminator is connected to.
    async fn instances(&self, workers: &Workers<Rc<Worker>>) -> BTreeMap<String, u32> {
        let wanted: Vec<(String, String)> = self
            .running
            .iter()
            .map(|(service, running)| (service.clone(), running.machine.document().candidate.clone()))
            .collect();
        let count = move |worker: &Rc<Worker>| {
            let peers = worker.bus.peers();
            let of = |service: &str, version: &str| {
                let is_one = |hello: &&bus::Hello| hello.service == service && hello.version == version;
                peers.iter().filter_map(|peer| peer.hello.as_ref()).filter(is_one).count()
            };
            wanted
                .iter()
                .map(|(service, version)| {
                    (service.clone(), u32::try_from(of(service, version)).unwrap_or(u32::MAX))
                })
                .collect::<Vec<_>>()
        };
        let mut most = BTreeMap::new();
        for (service, instances) in workers.ask(count).await.into_iter().flatten() {
            let known: &mut u32 = most.entry(service).or_default();
            *known = instances.max(*known);
        }
        most
    }

    /// Stores the state, so that another terminator can continue from it. True when it is stored.
    async fn store(&mut self, service: &str, now: u64) -> bool {
        let running = self.running.get_mut(service).expect("the caller found it");
        running.shared_ms = now;
        let state = running.machine.state().clone();
        if running.stored.1.as_ref() == Some(&state) {
            return true;
        }
        let Ok(key) = Key::new(Kind::RolloutState, &[service]) else { return false };
        let document = Some(serde_json::to_string(&state).expect("a state has string keys"));
        let expected = Expected::At(running.stored.0);
        let write = self.source.write(Write { key, document, expected, who: None });
        let late = || SourceError::OutcomeUnknown(format!("no answer within {STORE_WITHIN:?}"));
        let written = tokio::time::timeout(STORE_WITHIN, write).await.unwrap_or_else(|_| Err(late()));
        let stored = self.stored(service);
        let running = self.running.get_mut(service).expect("the caller found it");
        match written {
            Ok(revision) => {
                if running.failed_ms.take().is_some() {
                    tracing::info!(service, "the state of the rollout is stored again");
                }
                running.stored = (revision, Some(state));
                return true;
            }
            Err(SourceError::Conflict { .. }) => running.reconcile(now, stored),
            Err(error) => {
                if running.failed_ms.is_none() {
                    tracing::warn!(service, %error, "the state of the rollout is not stored; its share does not grow");
                }
                running.failed_ms = Some(now);
            }
        }
        false
    }

    /// Sends the counts to the terminator that decides.
    fn send(&mut self, service: &str, candidates: u32, now: u64) {
        let Some(running) = self.running.get_mut(service) else { return };
        running.shared_ms = now;
        let counts = running.recorder.take(running.machine.state().epoch(), candidates);
        let text = serde_json::to_string(&counts).expect("counts have string keys");
        match &running.hold {
            Some(hold) => hold.set(&text),
            // A directory is for one terminator; others on it only follow.
            None => {
                let key = Key::new(Kind::Counts, &[service, &self.instance]).ok();
                running.hold = key.and_then(|key| self.source.hold(key, &text).ok());
            }
        }
    }
}

fn shares(machine: &Machine) -> (Percent, Percent) {
    (machine.state().percent, machine.state().ghost)
}

/// Milliseconds since 1970.
pub(super) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
