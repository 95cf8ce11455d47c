//! A service with two versions under a load, second by second, as terminators count it.
//!
//! Owns the random numbers. Invariant: a run is a function of its seed.

use change::rollout::{Accepted, Counts, Document, GroupCounts, Machine, Phase};
use change::statistics::evidence::Tally;
use change::statistics::histogram::Histogram;
use fastrand::Rng;

/// The seed of a test: `SEED` from the environment, or a random one. It is printed.
pub(crate) fn seed() -> u64 {
    let seed = std::env::var("SEED").map_or_else(|_| fastrand::u64(..), |seed| seed.parse().unwrap());
    println!("SEED={seed}");
    seed
}

/// How a version answers.
#[derive(Clone, Copy)]
pub(crate) struct Behaviour {
    /// Probability of an error.
    pub(crate) errors: f64,
    /// Latencies in µs with their probabilities; the last takes what is left.
    pub(crate) latencies: &'static [(u64, f64)],
}

/// Mean 6.06 ms, 99th percentile 30 ms.
pub(crate) const USUAL: &[(u64, f64)] =
    &[(34_000, 0.004), (30_000, 0.012), (24_000, 0.006), (15_000, 0.03), (11_000, 0.05), (5_000, 1.0)];

/// The same mean, 99th percentile 90 ms.
pub(crate) const SLOW_TAIL: &[(u64, f64)] =
    &[(102_000, 0.003), (90_000, 0.010), (60_000, 0.004), (10_000, 0.05), (7_500, 0.05), (3_950, 1.0)];

pub(crate) const WELL: Behaviour = Behaviour { errors: 0.001, latencies: USUAL };

/// A rollout under load.
pub(crate) struct Run {
    pub(crate) machine: Machine,
    pub(crate) rng: Rng,
    pub(crate) now_ms: u64,
    /// Requests a second of the whole service.
    pub(crate) load: f64,
    pub(crate) stable: Behaviour,
    pub(crate) candidate: Behaviour,
    /// Errors that clients got from the candidate.
    pub(crate) client_errors: u64,
    sequence: u64,
}

impl Run {
    pub(crate) fn new(document: Document, load: f64, seed: u64) -> Self {
        let now_ms = 1_700_000_000_000;
        let machine = Machine::new("profile", document, now_ms);
        let rng = Rng::with_seed(seed);
        Self { machine, rng, now_ms, load, stable: WELL, candidate: WELL, client_errors: 0, sequence: 0 }
    }

    /// Lets `ms` pass and returns what a terminator counted in it.
    pub(crate) fn counted(&mut self, ms: u32) -> Counts {
        let state = self.machine.state();
        let (percent, ghost, epoch) = (state.percent, state.ghost, state.epoch());
        self.now_ms += u64::from(ms);
        self.sequence += 1;
        let requests = self.load * f64::from(ms) / 1_000.0;
        let (candidate, control) = if ghost.fraction() > 0.0 {
            let copies = poisson(&mut self.rng, requests * ghost.fraction());
            (copies, copies)
        } else {
            let candidate = poisson(&mut self.rng, requests * percent.fraction());
            (candidate, poisson(&mut self.rng, requests * percent.control().fraction()))
        };
        let candidate = group(&mut self.rng, candidate, self.candidate);
        let control = group(&mut self.rng, control, self.stable);
        if ghost.fraction() == 0.0 {
            self.client_errors += candidate.tally.errors;
        }
        Counts {
            terminator: "terminator-1".to_owned(),
            incarnation: 1,
            sequence: self.sequence,
            epoch,
            instances: 1,
            candidate,
            control,
        }
    }

    /// Lets `ms` pass with counts at its end, and a verdict when one is due.
    pub(crate) fn step(&mut self, ms: u32) {
        let counts = self.counted(ms);
        let accepted = self.machine.count(self.now_ms, &counts);
        assert!(matches!(accepted, Accepted::Added | Accepted::Ended), "{accepted:?}");
        self.machine.tick(self.now_ms);
    }

    /// Runs until `done`, or for `seconds`. True when `done` was reached.
    pub(crate) fn until(&mut self, seconds: u32, done: impl Fn(&Machine) -> bool) -> bool {
        for _ in 0..seconds {
            if done(&self.machine) {
                return true;
            }
            self.step(1_000);
        }
        done(&self.machine)
    }

    pub(crate) fn phase(&self) -> Phase {
        self.machine.state().phase
    }

    pub(crate) fn percent(&self) -> f64 {
        self.machine.state().percent.into()
    }
}

/// The document of the design with other times.
pub(crate) fn document(stage_seconds: u64) -> Document {
    let json = format!(r#"{{"stable":"1","candidate":"2","stage_seconds":{stage_seconds}}}"#);
    serde_json::from_str(&json).unwrap()
}

fn group(rng: &mut Rng, requests: u64, Behaviour { errors, latencies }: Behaviour) -> GroupCounts {
    let mut histogram = Histogram::new();
    let (mut left, mut mass) = (requests, 1.0);
    for (latency_us, probability) in latencies {
        let share: f64 = probability / mass;
        let count = binomial(rng, left, share.min(1.0));
        histogram.record_many(*latency_us, count);
        (left, mass) = (left - count, mass - probability);
    }
    let errors = binomial(rng, requests, errors);
    GroupCounts { tally: Tally { requests, errors }, latencies: histogram }
}

/// Exact while the mean is small, where the tests decide; else the normal approximation.
fn binomial(rng: &mut Rng, trials: u64, probability: f64) -> u64 {
    if probability >= 1.0 || trials == 0 {
        return trials;
    }
    if probability > 0.5 {
        return trials - binomial(rng, trials, 1.0 - probability);
    }
    let count = trials as f64;
    if count * probability > 30.0 {
        let deviation = (count * probability * (1.0 - probability)).sqrt();
        return rounded(count * probability + deviation * normal(rng)).min(trials);
    }
    let odds = probability / (1.0 - probability);
    let mut mass = (count * (-probability).ln_1p()).exp();
    let (mut left, mut hits) = (rng.f64() - mass, 0);
    while left > 0.0 && hits < trials {
        mass *= odds * (count - hits as f64) / (hits + 1) as f64;
        left -= mass;
        hits += 1;
    }
    hits
}

fn poisson(rng: &mut Rng, mean: f64) -> u64 {
    if mean > 30.0 {
        return rounded(mean + mean.sqrt() * normal(rng));
    }
    let mut mass = (-mean).exp();
    let (mut left, mut hits) = (rng.f64() - mass, 0);
    while left > 0.0 && hits < 200 {
        hits += 1;
        mass *= mean / hits as f64;
        left -= mass;
    }
    hits
}

/// The sum of twelve uniform numbers is close enough to a normal one within three deviations.
fn normal(rng: &mut Rng) -> f64 {
    (0..12).map(|_| rng.f64()).sum::<f64>() - 6.0
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small and not negative")]
fn rounded(number: f64) -> u64 {
    number.max(0.0).round() as u64
}
