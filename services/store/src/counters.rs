//! What the stores of this process did, in numbers.
//!
//! Owns the counters, the times of the last successes, and their names. Every thread counts in a
//! shard of its own, so counting is a load and a store of memory that no other thread writes;
//! reading sums the shards up. The counters are those of the process, which has one store.
//!
//! Invariant: a counter never decreases, and a time never goes back unless the clock does.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

macro_rules! counters {
    ($($(#[$doc:meta])+ $counter:ident = $name:literal,)+) => {
        /// A counter, by its place in a shard.
        #[derive(Clone, Copy)]
        pub(crate) enum Counter {
            $($(#[$doc])+ $counter,)+
        }

        const NAMES: &[&str] = &[$($name,)+];
    };
}

counters! {
    /// Transactions begun by `run` and `read`, and on FoundationDB those that point reads shared.
    Transactions = "store.transactions",
    /// Read versions: one for each attempt that read something.
    ReadVersions = "store.read_versions",
    /// Read versions whose time is in `store.read_version_ms`.
    #[cfg_attr(not(feature = "fdb"), expect(dead_code, reason = "the embedded store has its version at once"))]
    ReadVersionsTimed = "store.read_versions_timed",
    /// Microseconds that these took.
    ReadVersionTime = "store.read_version_ms",
    /// Single keys read, by `get` or by a selector.
    Reads = "store.reads",
    /// Batches of ranges read.
    Ranges = "store.ranges",
    /// Bytes of keys and values in the answers.
    ReadBytes = "store.read_bytes",
    /// Commits that wrote something and succeeded.
    Commits = "store.commits",
    /// Microseconds that these took.
    CommitTime = "store.commit_ms",
    /// Attempts that another transaction's commit ended.
    Conflicts = "store.conflicts",
    /// Attempts after the first.
    Retries = "store.retries",
    /// Commits refused because the store takes no writes, such as on a full disk.
    Unwritable = "store.unwritable",
    /// Groups of commits that failed while they were written.
    WriteFailures = "store.write_failures",
    /// Bytes of journals that could not be replayed.
    TornBytes = "store.torn_bytes",
}

/// Counted in microseconds, and told in milliseconds.
const MICROSECONDS: &[Counter] = &[Counter::ReadVersionTime, Counter::CommitTime];

/// One thread's counters. Only that thread writes them.
#[repr(align(128))]
struct Shard([AtomicU64; NAMES.len()]);

impl Shard {
    fn add(&self, counter: Counter, count: u64) {
        let number = &self.0[counter as usize];
        number.store(number.load(Ordering::Relaxed).wrapping_add(count), Ordering::Relaxed);
    }
}

struct Shards {
    running: Vec<Arc<Shard>>,
    /// The sums of threads that ended.
    ended: [u64; NAMES.len()],
}

static SHARDS: Mutex<Shards> = Mutex::new(Shards { running: Vec::new(), ended: [0; NAMES.len()] });

thread_local! {
    static OWN: Arc<Shard> = {
        let shard = Arc::new(Shard(std::array::from_fn(|_| AtomicU64::new(0))));
        shards().running.push(Arc::clone(&shard));
        shard
    };
}

/// Adds `count`.
pub(crate) fn add(counter: Counter, count: u64) {
    // A thread that is ending counts no more.
    OWN.try_with(|shard| shard.add(counter, count)).ok();
}

/// Counts a read of a key or of a batch, and the bytes of its answer.
pub(crate) fn add_read(counter: Counter, bytes: usize) {
    let added = OWN.try_with(|shard| {
        shard.add(counter, 1);
        shard.add(Counter::ReadBytes, bytes as u64);
    });
    added.ok();
}

/// What last succeeded at a time that is told.
#[derive(Clone, Copy)]
pub(crate) enum Last {
    /// A read version.
    ReadVersion,
    /// A commit that wrote something.
    Commit,
}

/// Seconds since 1970, by [`Last`]; 0 for never. Written once a second at most.
static LAST: [AtomicU64; 2] = [const { AtomicU64::new(0) }; 2];

/// Notes that it succeeded now.
pub(crate) fn succeeded(what: Last) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let last = &LAST[what as usize];
    if last.load(Ordering::Relaxed) != now {
        last.store(now, Ordering::Relaxed);
    }
}

/// Counts a commit that wrote something and took `time`.
pub(crate) fn add_commit(time: Duration) {
    add(Counter::Commits, 1);
    add_time(Counter::CommitTime, time);
    succeeded(Last::Commit);
}

/// When each last succeeded, in seconds since 1970, with its name.
pub(crate) fn times() -> Vec<(&'static str, u64)> {
    let time = |what: Last| LAST[what as usize].load(Ordering::Relaxed);
    vec![
        ("store.last_read_version_seconds", time(Last::ReadVersion)),
        ("store.last_commit_seconds", time(Last::Commit)),
    ]
}

/// Adds a time to a counter of microseconds.
pub(crate) fn add_time(counter: Counter, time: Duration) {
    add(counter, u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
}

/// All counters with their names, always the same ones in the same order.
pub(crate) fn collect() -> Vec<(&'static str, u64)> {
    let mut shards = shards();
    let Shards { running, ended } = &mut *shards;
    // Nothing but this list holds the shard of a thread that ended.
    for shard in running.extract_if(.., |shard| Arc::strong_count(shard) == 1) {
        for (sum, number) in ended.iter_mut().zip(&shard.0) {
            *sum += number.load(Ordering::Relaxed);
        }
    }
    let mut sums = *ended;
    for shard in running {
        for (sum, number) in sums.iter_mut().zip(&shard.0) {
            *sum += number.load(Ordering::Relaxed);
        }
    }
    for counter in MICROSECONDS {
        sums[*counter as usize] /= 1000;
    }
    NAMES.iter().copied().zip(sums).collect()
}

fn shards() -> MutexGuard<'static, Shards> {
    // Nothing that can panic leaves the sums inconsistent.
    SHARDS.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(name: &str) -> u64 {
        collect().into_iter().find(|(known, _)| *known == name).unwrap().1
    }

    #[test]
    fn threads_that_ended_stay_counted() {
        let before = number("store.torn_bytes");
        for _ in 0..4 {
            std::thread::spawn(|| add(Counter::TornBytes, 5)).join().unwrap();
        }
        add(Counter::TornBytes, 1);
        assert_eq!(number("store.torn_bytes"), before + 21);
        assert_eq!(number("store.torn_bytes"), before + 21);
    }

    #[test]
    fn times_are_told_in_milliseconds() {
        let before = number("store.read_version_ms");
        for _ in 0..10 {
            add_time(Counter::ReadVersionTime, Duration::from_micros(300));
        }
        assert!((3..=4).contains(&(number("store.read_version_ms") - before)));
    }
}
