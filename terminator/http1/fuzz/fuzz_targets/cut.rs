//! The first three bytes of a fuzz input say which limits apply and how the rest is cut into reads.

use http1::Limits;

/// Limits, seed of the cuts, and the bytes of the connection.
pub fn split(data: &[u8]) -> Option<(Limits, u16, &[u8])> {
    let [limits, low, high, input @ ..] = data else { return None };
    let limits = match limits % 3 {
        0 => Limits::default(),
        1 => Limits { head_len_max: 96, fields_max: 4, body_len_max: 64 },
        _ => Limits { head_len_max: 48, fields_max: 2, body_len_max: 9 },
    };
    Some((limits, u16::from_le_bytes([*low, *high]), input))
}

/// Ascending positions; every byte for seed 0.
pub fn cuts(seed: u16, len: usize) -> impl Iterator<Item = usize> {
    let mut state = u32::from(seed);
    let mut at = 0;
    std::iter::from_fn(move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        at += if seed == 0 { 1 } else { 1 + (state >> 16) as usize % (2 + usize::from(seed) % 61) };
        (at < len).then_some(at)
    })
}
