//! Discovery: which listeners of a bus a process dials, and how it makes its own known.
//!
//! Owns the rule by which a listener is dialled and given up. Leaves dialling to `bus`, which tells
//! of connections; leaves records to `source`. Time is an argument. Invariant: a URL is dialled
//! once however many records have it, and given up once.
//!
//! **The rule.** A listener is dialled when its record appears. It is given up when, for
//! [`LINGER`] without a break, it has had no record and no connection. So a record that vanishes
//! because etcd lost its data, or because its owner could not renew a lease, costs no connection
//! that works; a listener that ended is redialled for [`LINGER`] and then forgotten; and one that
//! comes and goes in between causes no action at all.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::document::{Key, KeyError, Kind, Listener, Plan};
use crate::source::{Hold, Source, SourceError};

/// How long a listener without record and connection is still dialled: a lease, in which its owner
/// would have published it again.
pub const LINGER: Duration = Duration::from_secs(10);

/// Most listeners that one process dials on one bus.
pub const LISTENERS_MAX: usize = 1024;

/// What the caller is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Dial this URL, and keep dialling.
    Dial(String),
    /// Close the connection to this URL, if there is one, and dial it no more.
    Undial(String),
}

/// The listeners of one bus as one process sees them.
pub struct Membership {
    bus: String,
    /// This process on the bus; it does not dial itself.
    instance: Option<String>,
    accepts: fn(&str) -> bool,
    targets: BTreeMap<String, Target>,
    /// Listeners above the limit, or without a URL that can be dialled.
    ignored: usize,
}

/// A URL that is dialled.
struct Target {
    listed: bool,
    connected: bool,
    /// Since when it is neither.
    idle_since: Option<Instant>,
}

impl Membership {
    /// A process that joins `bus`, on which it is `instance` if it listens there itself. `accepts`
    /// tells which URLs it can dial: of each listener the first such one is.
    pub fn new(bus: &str, instance: Option<&str>, accepts: fn(&str) -> bool) -> Self {
        let instance = instance.map(str::to_owned);
        Self { bus: bus.to_owned(), instance, accepts, targets: BTreeMap::new(), ignored: 0 }
    }

    /// Takes the present records.
    pub fn update(&mut self, records: &Plan, now: Instant) -> Vec<Action> {
        let listed = self.listed(records);
        for (url, target) in &mut self.targets {
            target.listed = listed.contains(url);
            target.settle(now);
        }
        let mut actions = self.handle_timeout(now);
        for url in listed {
            if self.targets.contains_key(&url) {
                continue;
            }
            if self.targets.len() >= LISTENERS_MAX {
                self.ignored += 1;
                continue;
            }
            self.targets.insert(url.clone(), Target { listed: true, connected: false, idle_since: None });
            actions.push(Action::Dial(url));
        }
        actions
    }

    /// Takes the news that the connection to a URL that is dialled is there or gone.
    pub fn handle_connection(&mut self, url: &str, connected: bool, now: Instant) {
        if let Some(target) = self.targets.get_mut(url) {
            target.connected = connected;
            target.settle(now);
        }
    }

    /// When [`Membership::handle_timeout`] is due.
    pub fn next_timeout(&self) -> Option<Instant> {
        self.targets.values().filter_map(|target| target.idle_since).min().map(|since| since + LINGER)
    }

    /// Gives up what has been away for long enough.
    pub fn handle_timeout(&mut self, now: Instant) -> Vec<Action> {
        let over = |target: &Target| target.idle_since.is_some_and(|since| now >= since + LINGER);
        self.targets.extract_if(.., |_, target| over(target)).map(|(url, _)| Action::Undial(url)).collect()
    }

    /// The URLs that are dialled, each with true when a record lists it.
    pub fn dialled(&self) -> impl Iterator<Item = (&str, bool)> {
        self.targets.iter().map(|(url, target)| (url.as_str(), target.listed))
    }

    /// Listeners of the last update that are not dialled: above [`LISTENERS_MAX`], or without a URL
    /// that this process can dial.
    pub fn ignored(&self) -> usize {
        self.ignored
    }

    fn listed(&mut self, records: &Plan) -> BTreeSet<String> {
        let mut listed = BTreeSet::new();
        self.ignored = 0;
        for (key, record) in records.of(Kind::Bus).filter(|(key, _)| key.name() == self.bus) {
            if self.instance.as_deref() == Some(key.instance()) {
                continue;
            }
            let Ok(listener) = record.parse::<Listener>() else { continue };
            match listener.urls.into_iter().find(|url| (self.accepts)(url)) {
                Some(url) => drop(listed.insert(url)),
                None => self.ignored += 1,
            }
        }
        listed
    }
}

impl Target {
    fn settle(&mut self, now: Instant) {
        if self.listed || self.connected {
            self.idle_since = None;
        } else {
            self.idle_since.get_or_insert(now);
        }
    }
}

/// Makes a listener known on a bus for as long as the handle lives: under a lease, written again
/// when its key is deleted or the lease has ended.
///
/// # Errors
/// [`SourceError::Settings`] when a name is no name, [`SourceError::Document`] when a URL is none,
/// [`SourceError::NeedsEtcd`] when the source is a directory.
pub fn publish(source: &Source, bus: &str, instance: &str, listener: &Listener) -> Result<Hold, SourceError> {
    let key = Key::new(Kind::Bus, &[bus, instance]);
    let key = key.map_err(|error: KeyError| SourceError::Settings(error.to_string()))?;
    source.hold(key, &serde_json::to_string(listener).expect("is plain data"))
}

#[cfg(test)]
mod tests;
