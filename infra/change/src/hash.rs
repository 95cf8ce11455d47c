//! The hash that makes a choice sticky.
//!
//! Owns Unleash's normalised hash, which toggles and splits share. Invariant: the result is the
//! same on every machine, for every run and every version of this crate.

/// Hashes `id` within `group` into `1..=modulus`, as Unleash does:
/// `murmur3_32("{group}:{id}", seed 0) % modulus + 1`.
pub fn normalized(group: &str, id: &str, modulus: u32) -> u32 {
    let key = format!("{group}:{id}");
    let hash = murmur3::murmur3_32(&mut key.as_bytes(), 0).expect("a slice reads without errors");
    hash % modulus + 1
}
