//! Sorted keys that were written, each with the version of its last write.
//!
//! All keys are in one buffer, so building a run allocates three times whatever its length, and a
//! search touches little memory.
//!
//! Invariant: keys ascend, and each occurs once.

/// Sorted keys and their versions.
pub(crate) struct Run {
    bytes: Vec<u8>,
    /// Where each key ends in `bytes`.
    ends: Vec<usize>,
    versions: Vec<u64>,
}

impl Run {
    /// The keys that `version` wrote; they must ascend.
    pub(crate) fn new<'k>(version: u64, keys: impl Iterator<Item = &'k [u8]>) -> Self {
        let len = keys.size_hint().0;
        // Sized for keys of 64 bytes, which is long; the buffer grows for longer ones.
        let mut run = Self::with_capacity(len, 64 * len);
        keys.for_each(|key| run.push(key, version));
        run
    }

    /// All keys of `runs`, which are in the order of their versions.
    pub(crate) fn merge<'r>(runs: impl Iterator<Item = &'r Self> + Clone) -> Self {
        let len = runs.clone().map(Self::len).sum();
        let bytes = runs.clone().map(|run| run.bytes.len()).sum();
        let mut merged = Self::with_capacity(len, bytes);
        let mut heads: Vec<_> = runs.map(|run| (run, 0)).collect();
        loop {
            let keys = heads.iter().filter(|(run, at)| *at < run.len()).map(|(run, at)| run.key(*at));
            let Some(least) = keys.min() else { return merged };
            let mut version = 0;
            for (run, at) in &mut heads {
                if *at < run.len() && run.key(*at) == least {
                    version = run.versions[*at];
                    *at += 1;
                }
            }
            merged.push(least, version);
        }
    }

    /// Number of keys.
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// All keys.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.len()).map(|at| self.key(at))
    }

    /// True when `key` was written after `version`.
    pub(crate) fn wrote_key_after(&self, version: u64, key: &[u8]) -> bool {
        let at = self.lower_bound(key);
        at < self.len() && self.key(at) == key && self.versions[at] > version
    }

    /// True when a key from `begin` to before `end` was written after `version`.
    pub(crate) fn wrote_range_after(&self, version: u64, begin: &[u8], end: &[u8]) -> bool {
        let from = self.lower_bound(begin);
        (from..self.len()).take_while(|&at| self.key(at) < end).any(|at| self.versions[at] > version)
    }

    fn with_capacity(len: usize, bytes: usize) -> Self {
        Self {
            bytes: Vec::with_capacity(bytes),
            ends: Vec::with_capacity(len),
            versions: Vec::with_capacity(len),
        }
    }

    fn push(&mut self, key: &[u8], version: u64) {
        debug_assert!(self.len() == 0 || self.key(self.len() - 1) < key, "keys rise");
        self.bytes.extend_from_slice(key);
        self.ends.push(self.bytes.len());
        self.versions.push(version);
    }

    fn key(&self, at: usize) -> &[u8] {
        let begin = at.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.bytes[begin..self.ends[at]]
    }

    /// Index of the first key that is not before `key`.
    fn lower_bound(&self, key: &[u8]) -> usize {
        let (mut from, mut to) = (0, self.len());
        while from < to {
            let middle = from.midpoint(to);
            if self.key(middle) < key {
                from = middle + 1;
            } else {
                to = middle;
            }
        }
        from
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(version: u64, keys: &[&'static str]) -> Run {
        Run::new(version, keys.iter().map(|key| key.as_bytes()))
    }

    #[test]
    fn a_merged_run_has_the_last_version_of_each_key() {
        let merged = Run::merge([run(1, &["a", "c"]), run(2, &[]), run(3, &["", "b", "c"])].iter());
        let found: Vec<_> = merged.keys().zip(merged.versions.iter().copied()).collect();
        assert_eq!(found, [(&b""[..], 3), (b"a", 1), (b"b", 3), (b"c", 3)]);
    }

    #[test]
    fn searches_find_what_is_there_and_newer() {
        let merged = Run::merge([run(1, &["b", "d"]), run(3, &["d", "f"])].iter());
        assert!(merged.wrote_key_after(0, b"b") && !merged.wrote_key_after(1, b"b"));
        assert!(merged.wrote_key_after(2, b"d") && !merged.wrote_key_after(0, b"c"));
        assert!(!merged.wrote_key_after(0, b"g"));
        assert!(merged.wrote_range_after(2, b"c", b"e") && !merged.wrote_range_after(3, b"", b"z"));
        assert!(!merged.wrote_range_after(1, b"b", b"d") && !merged.wrote_range_after(0, b"e", b"f"));
    }
}
