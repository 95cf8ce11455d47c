//! Seeds: printed by every test that draws, taken from `HTTP1_SEED` to replay a failure.

use fastrand::Rng;

/// A generator, and its seed on the output of the test.
#[allow(clippy::print_stdout, reason = "whoever replays a failure reads it there")]
pub(crate) fn seeded() -> Rng {
    let given = std::env::var("HTTP1_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or_else(|| fastrand::u64(..));
    println!("HTTP1_SEED={seed}");
    Rng::with_seed(seed)
}

/// How often a test draws: `HTTP1_MUTATIONS`, or `default`.
pub(crate) fn count(default: usize) -> usize {
    std::env::var("HTTP1_MUTATIONS").ok().and_then(|count| count.parse().ok()).unwrap_or(default)
}

/// Up to `max` ascending positions within `len` bytes.
pub(crate) fn cuts(rng: &mut Rng, len: usize, max: usize) -> Vec<usize> {
    let mut cuts: Vec<usize> = (0..rng.usize(0..=max)).map(|_| rng.usize(0..=len)).collect();
    cuts.sort_unstable();
    cuts
}
