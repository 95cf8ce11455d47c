//! Which events exist already: the rows of ids.
//!
//! Owns reading and writing them. `append` decides what an existing id means.
//!
//! An id has a row of its own, or is in a *bucket*: one row for ids that differ in their last two
//! characters only, as in `import-7-0041`. An append with [`RUN_IDS_MIN`] or more such ids puts
//! them into their bucket, so that they cost a few rows and reads instead of one each. Every other
//! id is looked for in its own row and in its bucket, but in buckets only when the store has any,
//! which a row of its own tells.
//!
//! A bucket's value is one part for each commit that wrote to it: the length of the part's entries
//! (u16), the commit's versionstamp, and for each id the event's index in the commit (u16), the
//! length of the suffix (u8) and the suffix.
//!
//! Invariant: an id is in one row. All rows in which an id could be are read, and these reads
//! conflict with their writing.

use std::{
    collections::{BTreeMap, HashMap},
    sync::atomic::{AtomicBool, Ordering},
};

use bytes::{Buf, Bytes};
use store::{Error, Transaction, limits::STAMP_BYTES};

use crate::{
    event::NewEvent,
    keys::{Keys, stamped_position},
    limits::{BUCKET_BYTES_MAX, RUN_IDS_MIN},
    position::EventPosition,
};

/// Bytes before the entries of a part of a bucket.
const PART_HEAD: usize = size_of::<u16>() + STAMP_BYTES;

/// What the store holds about the ids of one transaction.
pub(crate) struct Ids<'a> {
    known: HashMap<String, EventPosition>,
    buckets: HashMap<&'a str, Bytes>,
    /// The prefixes that enough ids of one append share.
    runs: BTreeMap<&'a str, Run<'a>>,
    /// True when the store has buckets.
    used: bool,
}

/// Ids that share all but their last two characters.
struct Run<'a> {
    ids: Vec<&'a str>,
    /// Entries to write.
    new: Vec<u8>,
}

/// A key to read.
#[derive(Clone, Copy)]
enum Point<'a> {
    Used,
    Id(&'a str),
    Bucket(&'a str),
}

impl<'a> Ids<'a> {
    /// Reads the rows of the ids of these appends. `used` remembers that the store has buckets.
    pub(crate) async fn read(
        keys: &Keys,
        transaction: &Transaction,
        appends: &[&'a [NewEvent]],
        used: &AtomicBool,
    ) -> Result<Self, Error> {
        let runs = runs(appends);
        let ids = || appends.iter().flat_map(|events| events.iter().map(|event| &*event.id));
        let alone = || ids().filter(|id| !runs.contains_key(cut(id).0));
        let buckets_of_alone = || {
            let mut prefixes: Vec<&str> = alone().map(|id| cut(id).0).collect();
            prefixes.sort_unstable();
            prefixes.dedup();
            prefixes.into_iter().map(Point::Bucket)
        };
        let mut first: Vec<Point<'a>> = alone().map(Point::Id).chain([Point::Used]).collect();
        first.extend(runs.keys().copied().map(Point::Bucket));
        let was_used = used.load(Ordering::Relaxed);
        if was_used {
            first.extend(buckets_of_alone());
        }
        let ranges: Vec<_> = runs.values().map(|run| run.rows(keys)).collect();
        let points_first = points(keys, &first);
        let (values, rows) = tokio::join!(transaction.get_all(&points_first), transaction.range_all(&ranges));
        let mut found =
            Self { known: HashMap::new(), buckets: HashMap::new(), runs: BTreeMap::new(), used: false };
        found.add(&first, values?);
        let mut second = Vec::new();
        for (run, rows) in runs.values().zip(rows?) {
            if rows.len() < run.rows_max() {
                let rows =
                    rows.into_iter().map(|row| (keys.id_of(&row.key), EventPosition::at_end_of(&row.value)));
                found.known.extend(rows);
            } else {
                second.extend(run.ids.iter().copied().map(Point::Id));
            }
        }
        if found.used && !was_used {
            used.store(true, Ordering::Relaxed);
            second.extend(buckets_of_alone());
        }
        found.add(&second, transaction.get_all(&points(keys, &second)).await?);
        Ok(Self { runs, ..found })
    }

    fn add(&mut self, points: &[Point<'a>], values: Vec<Option<Bytes>>) {
        for (point, value) in points.iter().zip(values) {
            match (*point, value) {
                (Point::Used, value) => self.used = value.is_some(),
                (Point::Id(id), Some(value)) => {
                    self.known.insert(id.to_owned(), EventPosition::at_end_of(&value));
                }
                (Point::Bucket(prefix), Some(value)) => {
                    self.buckets.insert(prefix, value);
                }
                (Point::Id(_) | Point::Bucket(_), None) => {}
            }
        }
    }

    /// The position of the event with this id, if it exists.
    pub(crate) fn position(&self, id: &str) -> Option<EventPosition> {
        let (prefix, suffix) = cut(id);
        let in_bucket = || in_bucket(self.buckets.get(prefix)?.clone(), suffix);
        self.known.get(id).copied().or_else(in_bucket)
    }

    /// Writes the ids of the new events of the transaction.
    pub(crate) fn write(
        mut self,
        keys: &Keys,
        transaction: &Transaction,
        events: &[&NewEvent],
    ) -> Result<(), Error> {
        for (event, index) in events.iter().zip(0u16..) {
            let (prefix, suffix) = cut(&event.id);
            let stored = self.buckets.get(prefix).map_or(0, Bytes::len);
            match self.runs.get_mut(prefix) {
                Some(run) if stored + PART_HEAD + run.new.len() + suffix.len() < BUCKET_BYTES_MAX => {
                    run.new.extend_from_slice(&index.to_be_bytes());
                    run.new.push(u8::try_from(suffix.len()).expect("two characters are at most 8 bytes"));
                    run.new.extend_from_slice(suffix.as_bytes());
                }
                _ => transaction.set_versionstamped_value(&keys.id(&event.id), &stamped_position(index))?,
            }
        }
        let mut wrote = false;
        for (prefix, run) in self.runs.into_iter().filter(|(_, run)| !run.new.is_empty()) {
            let stored = self.buckets.remove(prefix).unwrap_or_default();
            let len = u16::try_from(run.new.len()).expect("a bucket is shorter than 2^16 bytes");
            let offset = u32::try_from(stored.len() + size_of_val(&len)).expect("a bucket is short");
            let stamp = [0; STAMP_BYTES];
            let value = [&stored, &len.to_be_bytes()[..], &stamp, &run.new, &offset.to_le_bytes()].concat();
            transaction.set_versionstamped_value(&keys.bucket(prefix), &value)?;
            wrote = true;
        }
        match wrote && !self.used {
            true => transaction.set(&keys.buckets_used(), b"1"),
            false => Ok(()),
        }
    }
}

impl Run<'_> {
    /// The rows of single ids between the run's first and last.
    fn rows(&self, keys: &Keys) -> store::Range {
        let first = self.ids.iter().min().expect("a run has ids");
        let last = self.ids.iter().max().expect("a run has ids");
        keys.ids_between(first, last).limit(self.rows_max())
    }

    /// Rows up to which reading those between is cheaper than reading each id's.
    fn rows_max(&self) -> usize {
        2 * self.ids.len()
    }
}

/// The prefixes that enough ids of one append share, with all ids that have them.
fn runs<'a>(appends: &[&'a [NewEvent]]) -> BTreeMap<&'a str, Run<'a>> {
    let mut runs = BTreeMap::new();
    for events in appends.iter().filter(|events| events.len() >= RUN_IDS_MIN) {
        let mut of_append = BTreeMap::<&str, usize>::new();
        events.iter().for_each(|event| *of_append.entry(cut(&event.id).0).or_default() += 1);
        let shared = of_append.into_iter().filter(|(_, ids)| *ids >= RUN_IDS_MIN);
        runs.extend(shared.map(|(prefix, _)| (prefix, Run { ids: Vec::new(), new: Vec::new() })));
    }
    for event in appends.iter().copied().flatten() {
        if let Some(run) = runs.get_mut(cut(&event.id).0) {
            run.ids.push(&event.id);
        }
    }
    runs
}

fn points(keys: &Keys, points: &[Point<'_>]) -> Vec<Vec<u8>> {
    let key = |point: &Point<'_>| match *point {
        Point::Used => keys.buckets_used(),
        Point::Id(id) => keys.id(id),
        Point::Bucket(prefix) => keys.bucket(prefix),
    };
    points.iter().map(key).collect()
}

/// The id without its last two characters, and these.
fn cut(id: &str) -> (&str, &str) {
    id.split_at(id.char_indices().rev().nth(1).map_or(0, |(at, _)| at))
}

fn in_bucket(mut bucket: Bytes, suffix: &str) -> Option<EventPosition> {
    while bucket.has_remaining() {
        let len = usize::from(bucket.get_u16());
        let mut stamp = [0; STAMP_BYTES];
        bucket.copy_to_slice(&mut stamp);
        let mut entries = &bucket.split_to(len)[..];
        while entries.has_remaining() {
            let (index, len) = (entries.get_u16(), usize::from(entries.get_u8()));
            let (found, rest) = entries.split_at(len);
            if found == suffix.as_bytes() {
                return Some(EventPosition::new(stamp, index));
            }
            entries = rest;
        }
    }
    None
}
