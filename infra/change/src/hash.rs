//! The hash that makes a choice sticky: an identity gets the same number wherever it is computed.
//!
//! Owns MurmurHash3's 32-bit form and Unleash's normalisation of it, which toggles and rollout
//! splits share. Leaves what a number means to `toggle` and `split`. Invariant: the result depends
//! on the group, the identity and the seed alone; no version of this crate may change it.
//!
//! Own code because a group's prefix is hashed once per plan, and hashing an identity then needs
//! neither an allocation nor a copy. The tests compare it with the crate `murmur3`.

/// The multipliers of MurmurHash3's x86 32-bit form (Austin Appleby, MurmurHash3.cpp).
const C1: u32 = 0xcc9e_2d51;
const C2: u32 = 0x1b87_3593;

/// The bucket of `id` in `group`: `murmur3_32("{group}:{id}", seed 0) % modulus + 1`, so from 1 to
/// `modulus`. The formula is Unleash's `normalizedValue`.
///
/// # Panics
///
/// If `modulus` is 0.
#[must_use]
pub fn normalized(group: &str, id: &str, modulus: u32) -> u32 {
    Prefix::new(group, 0).normalized(id, modulus)
}

/// A group whose part of the hash is done: `"{group}:"` under a seed.
#[derive(Clone, Copy, Debug)]
pub struct Prefix {
    state: u32,
    /// Bytes of the prefix that do not fill a block of four, little-endian.
    rest: u32,
    /// How many bytes `rest` has, times 8: 0, 8, 16 or 24.
    rest_bits: u32,
    /// Bytes of the prefix, modulo 2^32.
    len: u32,
}

impl Prefix {
    /// Hashes `"{group}:"` under `seed`.
    #[must_use]
    pub fn new(group: &str, seed: u32) -> Self {
        Self { state: seed, rest: 0, rest_bits: 0, len: 0 }.absorb(group.as_bytes()).absorb(b":")
    }

    /// The bucket of `id` in this group, from 1 to `modulus`.
    ///
    /// # Panics
    ///
    /// If `modulus` is 0.
    #[must_use]
    pub fn normalized(&self, id: &str, modulus: u32) -> u32 {
        self.absorb(id.as_bytes()).finish() % modulus + 1
    }

    #[inline]
    fn absorb(self, bytes: &[u8]) -> Self {
        let Self { mut state, rest, rest_bits, len } = self;
        // Holds up to three bytes that wait for their block, and the four that come.
        let mut pending = u64::from(rest);
        let mut blocks = bytes.chunks_exact(4);
        for block in &mut blocks {
            let block = u32::from_le_bytes(block.try_into().expect("four bytes"));
            pending |= u64::from(block) << rest_bits;
            state = mix(state, low(pending));
            pending >>= 32;
        }
        let mut bits = rest_bits;
        for byte in blocks.remainder() {
            pending |= u64::from(*byte) << bits;
            bits += 8;
        }
        if bits >= 32 {
            state = mix(state, low(pending));
            pending >>= 32;
            bits -= 32;
        }
        #[expect(clippy::cast_possible_truncation, reason = "the algorithm's length is modulo 2^32")]
        let len = len.wrapping_add(bytes.len() as u32);
        Self { state, rest: low(pending), rest_bits: bits, len }
    }

    #[inline]
    fn finish(self) -> u32 {
        // Without rest this is the identity: scramble(0) is 0.
        let mut hash = self.state ^ scramble(self.rest) ^ self.len;
        hash = (hash ^ (hash >> 16)).wrapping_mul(0x85eb_ca6b);
        hash = (hash ^ (hash >> 13)).wrapping_mul(0xc2b2_ae35);
        hash ^ (hash >> 16)
    }
}

#[inline]
fn low(pending: u64) -> u32 {
    #[expect(clippy::cast_possible_truncation, reason = "the upper bytes wait for the next block")]
    let low = pending as u32;
    low
}

#[inline]
fn mix(state: u32, block: u32) -> u32 {
    (state ^ scramble(block)).rotate_left(13).wrapping_mul(5).wrapping_add(0xe654_6b64)
}

#[inline]
fn scramble(block: u32) -> u32 {
    block.wrapping_mul(C1).rotate_left(15).wrapping_mul(C2)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hash(text: &[u8], seed: u32) -> u32 {
        Prefix { state: seed, rest: 0, rest_bits: 0, len: 0 }.absorb(text).finish()
    }

    /// The vectors of Wikipedia's article MurmurHash, which come from the reference implementation.
    #[test]
    fn published_vectors_are_reproduced() {
        for (text, seed, expected) in [
            ("", 0, 0),
            ("", 1, 0x514e_28b7),
            ("", 0xffff_ffff, 0x81f1_6f39),
            ("test", 0, 0xba6b_d213),
            ("test", 0x9747_b28c, 0x704b_81dc),
            ("Hello, world!", 0, 0xc036_3e43),
            ("Hello, world!", 0x9747_b28c, 0x2488_4cba),
            ("The quick brown fox jumps over the lazy dog", 0, 0x2e4f_f723),
            ("The quick brown fox jumps over the lazy dog", 0x9747_b28c, 0x2fa8_26cd),
        ] {
            assert_eq!(hash(text.as_bytes(), seed), expected, "{text:?} under {seed:#x}");
        }
    }

    /// Unleash's own vectors: `util.test.ts` of unleash-client-node.
    #[test]
    fn vectors_of_unleash_are_reproduced() {
        assert_eq!(normalized("gr1", "123", 100), 73);
        assert_eq!(normalized("groupX", "999", 100), 25);
        let variants = |group, id| Prefix::new(group, 86_028_157).normalized(id, 100);
        assert_eq!(variants("gr1", "123"), 96);
        assert_eq!(variants("groupX", "999"), 60);
    }

    proptest! {
        #[test]
        fn any_cut_between_group_and_identity_gives_the_hash_of_the_whole(
            group in ".{0,40}", id in ".{0,40}", seed in any::<u32>(), modulus in 1u32..100_000,
        ) {
            let whole = format!("{group}:{id}");
            let reference = murmur3::murmur3_32(&mut whole.as_bytes(), seed).expect("reads a slice");
            prop_assert_eq!(Prefix::new(&group, seed).normalized(&id, modulus), reference % modulus + 1);
        }
    }

    #[test]
    fn share_of_30_percent_of_100_000_identities_is_right_within_half_a_point() {
        for group in ["checkout", "profile", "new-member-page", "7"] {
            let within = (0..100_000).filter(|id| normalized(group, &format!("user-{id}"), 100) <= 30);
            let share = f64::from(u32::try_from(within.count()).expect("small")) / 1000.0;
            assert!((share - 30.0).abs() < 0.5, "group {group}: {share} %");
        }
    }
}
