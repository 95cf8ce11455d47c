//! Keys that were written recently, without their values, for reads.
//!
//! Shares the resolver's runs. Pure. Invariant: every key written by a commit after `since`, up to
//! the version of the view that owns this value, is in one of the runs.

use std::sync::Arc;

use super::run::Run;

/// The keys written in the last seconds.
pub(crate) struct Recent {
    since: u64,
    /// Each run with the version of its last group, the newest first.
    runs: Vec<(u64, Arc<Run>)>,
}

impl Recent {
    pub(crate) fn new(since: u64, runs: impl Iterator<Item = (u64, Arc<Run>)>) -> Self {
        Self { since, runs: runs.collect() }
    }

    /// True when certainly no commit after `version` wrote a key from `begin` to before `end`.
    pub(crate) fn is_untouched(&self, version: u64, begin: &[u8], end: &[u8]) -> bool {
        let mut missed = self.runs.iter().take_while(|(newest, _)| *newest > version);
        version >= self.since && missed.all(|(_, run)| !run.wrote_range_after(version, begin, end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_remembered_is_certain() {
        let run = |version: u64, key: &'static str| {
            (version, Arc::new(Run::new(version, [key.as_bytes()].into_iter())))
        };
        let recent = Recent::new(3, [run(7, "k"), run(5, "c")].into_iter());
        assert!(recent.is_untouched(3, b"d", b"k") && recent.is_untouched(5, b"a", b"k"));
        assert!(!recent.is_untouched(4, b"a", b"d") && !recent.is_untouched(6, b"k", b"l"));
        assert!(recent.is_untouched(7, b"a", b"z"));
        assert!(!recent.is_untouched(2, b"x", b"z"), "earlier writes are not remembered");
    }
}
