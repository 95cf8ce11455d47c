//! The row of a task.
//!
//! Owns its bytes. Invariant: a row is read back as it was written; a shorter one has zeros at its
//! end.

/// Bytes of a row.
const ROW_BYTES: usize = 4 * 8 + 4 + 1;

/// What is known of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Row {
    /// The newest slot that was claimed.
    pub(super) slot_ms: u64,
    /// The number of its run.
    pub(super) fence: u64,
    /// When the lease of the run, or the pause after it, ends.
    pub(super) until_ms: u64,
    /// The claim that made the run.
    pub(super) token: u64,
    /// Failures since the last success.
    pub(super) failures: u32,
    /// True when the run succeeded.
    pub(super) is_done: bool,
}

impl Row {
    pub(super) fn parse(value: &[u8]) -> Self {
        let (numbers, _) = value.as_chunks::<8>();
        let number = |at: usize| numbers.get(at).map_or(0, |bytes| u64::from_le_bytes(*bytes));
        let failures = value.get(32..).and_then(|rest| rest.first_chunk().copied());
        Self {
            slot_ms: number(0),
            fence: number(1),
            until_ms: number(2),
            token: number(3),
            failures: failures.map_or(0, u32::from_le_bytes),
            is_done: value.get(36) == Some(&1),
        }
    }

    pub(super) fn to_bytes(self) -> [u8; ROW_BYTES] {
        let mut bytes = [0; ROW_BYTES];
        let numbers = [self.slot_ms, self.fence, self.until_ms, self.token];
        bytes[..32].copy_from_slice(numbers.map(u64::to_le_bytes).as_flattened());
        bytes[32..36].copy_from_slice(&self.failures.to_le_bytes());
        bytes[36] = u8::from(self.is_done);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_read_back() {
        let row = Row { slot_ms: 1, fence: 2, until_ms: 3, token: 4, failures: 5, is_done: true };
        assert_eq!(Row::parse(&row.to_bytes()), row);
        assert_eq!(Row::parse(b""), Row::default());
    }
}
