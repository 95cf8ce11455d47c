//! The plan: the documents in force, and the refused documents with the reason.
//!
//! Owns the rule that a document which fails its check leaves the last good one in force, the bound
//! on documents, and what the log says about both. Sources feed it; it opens nothing and takes
//! `now`. Invariant: a key in force has passed its check; [`DOCUMENTS_MAX`] bounds both maps.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::check::{DOCUMENT_LEN_MAX, SERVED_LEN_MAX, check_within};
use super::fault::{Fault, parse};
use super::key::{Key, Kind};

/// Most documents of a plan, and most refused ones that are remembered. Readers walk all of them
/// after a change.
pub const DOCUMENTS_MAX: usize = 10_000;

/// A version of one document: etcd's `mod_revision`, or a hash of a file's content. Two revisions
/// of one key compare for equality only. 0 is the revision of an absent document.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub u64);

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Revision {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

/// As a string: JSON's numbers are exact to 2^53 only.
impl Serialize for Revision {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Revision {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Where a document was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// A file of the plan's directory.
    Directory,
    /// etcd.
    Etcd,
    /// An Unleash server.
    Unleash,
    /// The cache file: the source has not answered since the start.
    Cache,
    /// In force although the source has lost it: etcd came back without its data.
    Lost,
}

/// What a source read under one key.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The key as the source spells it, without its prefix or `.json`.
    pub name: String,
    /// The document, or why it cannot be read.
    pub document: Result<Bytes, String>,
    /// Its version.
    pub revision: Revision,
    /// The version that first had this key since its last removal; etcd only, else 0.
    pub created: Revision,
    /// The lease that it is under; 0 for none.
    pub lease: i64,
    /// Where it was read.
    pub origin: Origin,
}

/// A document in force.
#[derive(Clone, Debug)]
pub struct Document {
    /// Its text; [`Document::parse`] reads it.
    pub text: Arc<str>,
    /// Its version.
    pub revision: Revision,
    /// As [`Entry::created`].
    pub created: Revision,
    /// As [`Entry::lease`].
    pub lease: i64,
    /// Where it was read.
    pub origin: Origin,
    /// Since when this process has this version in force, in milliseconds of Unix time.
    pub since_ms: u64,
}

impl Document {
    /// The document as `T`.
    ///
    /// # Errors
    /// A [`Fault`] when it is no `T`; the check of its kind rules that out for the type of that
    /// kind.
    pub fn parse<T: serde::de::DeserializeOwned>(&self) -> Result<T, Fault> {
        parse(&self.text)
    }
}

/// A document that is not in force.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// Why, and where in its text.
    pub fault: Fault,
    /// The version that was refused.
    pub revision: Revision,
    /// When, in milliseconds of Unix time.
    pub since_ms: u64,
}

/// The documents of one source.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    documents: BTreeMap<Key, Arc<Document>>,
    /// By [`Entry::name`], which need not be a key.
    refused: BTreeMap<String, Arc<Refusal>>,
    refusals: u64,
}

impl Plan {
    /// The document in force under a key.
    pub fn document(&self, key: &Key) -> Option<&Arc<Document>> {
        self.documents.get(key)
    }

    /// Every document in force, by key.
    pub fn documents(&self) -> impl Iterator<Item = (&Key, &Arc<Document>)> {
        self.documents.iter()
    }

    /// The documents in force of one kind, by name.
    pub fn of(&self, kind: Kind) -> impl Iterator<Item = (&Key, &Arc<Document>)> {
        self.documents.iter().filter(move |(key, _)| key.kind() == kind)
    }

    /// What was refused and has not been corrected or removed since, by the source's name for it.
    pub fn refused(&self) -> impl Iterator<Item = (&str, &Arc<Refusal>)> {
        self.refused.iter().map(|(name, refusal)| (name.as_str(), refusal))
    }

    /// How often a document was refused since the start.
    pub fn refusals(&self) -> u64 {
        self.refusals
    }

    /// Takes `entries` as all that the source has: others that the source `has` by their names are
    /// removed, but for those that `kept` returns true for, which stay in force as
    /// [`Origin::Lost`]. Returns true when anything changed.
    pub fn replace(
        &mut self,
        entries: Vec<Entry>,
        has: impl Fn(&str) -> bool,
        kept: impl Fn(&Key, &Document) -> bool,
        now_ms: u64,
    ) -> bool {
        let names: BTreeSet<String> = entries.iter().map(|entry| entry.name.clone()).collect();
        let gone = |name: &String| has(name) && !names.contains(name);
        let mut changed = false;
        let absent: Vec<Key> = self.documents.keys().filter(|key| gone(&key.to_string())).cloned().collect();
        for key in absent {
            let document = self.documents.get_mut(&key).expect("its key was just listed");
            if !kept(&key, document) {
                self.documents.remove(&key);
                changed = true;
            } else if document.origin != Origin::Lost {
                Arc::make_mut(document).origin = Origin::Lost;
                changed = true;
            }
        }
        let refused = self.refused.len();
        self.refused.retain(|name, _| !gone(name));
        changed |= refused != self.refused.len();
        for entry in entries {
            changed |= self.put(entry, now_ms);
        }
        changed
    }

    /// Takes one document into force, or refuses it. Returns true when anything changed.
    pub fn put(&mut self, entry: Entry, now_ms: u64) -> bool {
        match self.admit(&entry, now_ms) {
            Ok((key, document)) => {
                let unrefused = self.refused.remove(&entry.name).is_some();
                let same = |known: &Arc<Document>| {
                    (known.revision, known.origin, known.lease)
                        == (document.revision, document.origin, document.lease)
                };
                if self.documents.get(&key).is_some_and(same) {
                    return unrefused;
                }
                self.documents.insert(key, Arc::new(document));
                true
            }
            Err(fault) => self.refuse(entry, fault, now_ms),
        }
    }

    /// Removes what the source has removed. Returns true when anything changed.
    pub fn remove(&mut self, name: &str) -> bool {
        let refused = self.refused.remove(name).is_some();
        let key: Option<Key> = name.parse().ok();
        key.is_some_and(|key| self.documents.remove(&key).is_some()) || refused
    }

    fn admit(&self, entry: &Entry, now_ms: u64) -> Result<(Key, Document), Fault> {
        let key: Key =
            entry.name.parse().map_err(|error: super::key::KeyError| Fault::whole(error.to_string()))?;
        let bytes = entry.document.as_ref().map_err(|reason| Fault::whole(reason.clone()))?;
        let len_max = match entry.origin {
            Origin::Directory | Origin::Etcd | Origin::Lost => DOCUMENT_LEN_MAX,
            // Unleash's segments are one document.
            Origin::Unleash | Origin::Cache => SERVED_LEN_MAX,
        };
        let text = check_within(key.kind(), bytes, len_max)?;
        let known = self.documents.get(&key);
        if known.is_none() && self.documents.len() >= DOCUMENTS_MAX {
            let reason = format!("the limit of {DOCUMENTS_MAX} documents is reached: remove others first");
            return Err(Fault::whole(reason));
        }
        // A document that only moved, e.g. from the cache to etcd, keeps its age.
        let same = known.filter(|known| *known.text == *text);
        let document = Document {
            text: same.map_or_else(|| text.into(), |known| Arc::clone(&known.text)),
            revision: entry.revision,
            created: entry.created,
            lease: entry.lease,
            origin: entry.origin,
            since_ms: same.map_or(now_ms, |known| known.since_ms),
        };
        Ok((key, document))
    }

    fn refuse(&mut self, entry: Entry, fault: Fault, now_ms: u64) -> bool {
        let known = self.refused.get(&entry.name);
        if known.is_some_and(|known| known.revision == entry.revision && known.fault == fault) {
            return false;
        }
        self.refusals += 1;
        if known.is_none() && self.refused.len() >= DOCUMENTS_MAX {
            return true;
        }
        let in_force = entry.name.parse().is_ok_and(|key: Key| self.documents.contains_key(&key));
        tracing::warn!(
            document = entry.name,
            revision = %entry.revision,
            "refused: {fault}; {}",
            if in_force { "the last good version stays in force" } else { "no version of it is in force" }
        );
        let refusal = Refusal { fault, revision: entry.revision, since_ms: now_ms };
        self.refused.insert(entry.name, Arc::new(refusal));
        true
    }
}

#[cfg(test)]
mod tests;
