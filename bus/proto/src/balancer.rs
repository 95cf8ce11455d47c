//! Which instance gets the next request: power of two choices on peak EWMA, ties broken by fair share.
//!
//! Two instances are drawn (Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing", 2001); the one
//! whose cost, latency times requests in flight, is clearly lower wins. The latency is Finagle's peak EWMA: it jumps to
//! a new peak at once and decays with time. Costs within a factor of two say more about the scheduler than about the
//! instances, so there the one that is behind its weighted share wins (stride scheduling, Waldspurger 1995):
//! equal instances get equal shares, a slow one gets less.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// How fast an old peak is forgotten.
const DECAY: Duration = Duration::from_secs(2);
/// Latencies below this are all good: the target is 25 ms, and differences under it are noise.
const LATENCY_FLOOR_US: f64 = 5_000.0;
/// Added to the requests in flight, so that one more or less on an idle instance is no difference.
const IN_FLIGHT_FLOOR: f64 = 4.0;
/// What a failed request counts as, if it did not take longer.
const FAILURE_PENALTY: Duration = Duration::from_secs(1);
/// Costs within this factor are a tie.
const TIE: f64 = 2.0;
/// The stride of weight 1.
const STRIDE: u64 = 1 << 20;
/// An instance that was away does not catch up on more than this many requests of weight 100.
const CATCH_UP: u64 = 16 * STRIDE / 100;

/// What is known of one instance's load, from this worker's point of view.
#[derive(Clone, Debug)]
pub struct Load {
    latency_us: f64,
    updated: Instant,
    /// Where it stands in the service's virtual time.
    pass: u64,
    /// Requests sent and not ended, by this worker.
    pub in_flight: u32,
    /// The same by all workers that share the pipe; `None` when there is one worker.
    pub shared: Option<Shared>,
    /// Requests sent.
    pub requests: u64,
    /// Replies that came.
    pub replies: u64,
    /// Requests that expired or were lost.
    pub failures: u64,
}

/// Requests in flight on one connection, counted by all workers that send there: the `limit` of its hello is the
/// instance's, whoever asks.
pub type Shared = Arc<AtomicU32>;

impl Load {
    /// An instance that joins when the service's virtual time is `virtual_time`.
    #[must_use]
    pub const fn new(now: Instant, virtual_time: u64, shared: Option<Shared>) -> Self {
        Self {
            latency_us: 0.0,
            updated: now,
            pass: virtual_time,
            in_flight: 0,
            shared,
            requests: 0,
            replies: 0,
            failures: 0,
        }
    }

    /// The peer behind the pipe has become another: what was learnt of the old one says nothing.
    pub fn restart(&mut self, now: Instant, virtual_time: u64) {
        *self = Self { in_flight: self.in_flight, ..Self::new(now, virtual_time, self.shared.take()) };
    }

    /// Whether fewer than `limit` requests are in flight; 0 is no limit.
    #[must_use]
    pub fn is_below(&self, limit: u32) -> bool {
        let in_flight = self.shared.as_ref().map_or(self.in_flight, |shared| shared.load(Ordering::Relaxed));
        limit == 0 || in_flight < limit
    }

    /// Takes one of the places that `limit` allows; false when another worker took the last one meanwhile.
    pub fn enter(&mut self, limit: u32) -> bool {
        if let Some(shared) = &self.shared {
            let enter = |count| (limit == 0 || count < limit).then_some(count + 1);
            if shared.fetch_update(Ordering::Relaxed, Ordering::Relaxed, enter).is_err() {
                return false;
            }
        }
        self.in_flight += 1;
        true
    }

    /// Gives the place back: the asker gave up, or the request was never written. Says nothing about the instance.
    pub fn leave(&mut self) {
        if let Some(shared) = &self.shared {
            shared.fetch_sub(1, Ordering::Relaxed);
        }
        self.in_flight -= 1;
    }

    /// A request has gone to it, after [`Load::enter`]. Advances its share and the service's virtual time.
    pub fn sent(&mut self, weight: u32, virtual_time: &mut u64) {
        self.requests += 1;
        let pass = self.position(*virtual_time);
        *virtual_time = (*virtual_time).max(pass);
        self.pass = pass + (STRIDE / u64::from(weight.max(1))).max(1);
    }

    /// Its reply came after `elapsed`.
    pub fn replied(&mut self, now: Instant, elapsed: Duration) {
        self.leave();
        self.replies += 1;
        self.observe(now, elapsed);
    }

    /// It did not answer in time, or went away.
    pub fn failed(&mut self, now: Instant, elapsed: Duration) {
        self.leave();
        self.failures += 1;
        self.observe(now, elapsed.max(FAILURE_PENALTY));
    }

    /// The peak EWMA of its reply time.
    #[must_use]
    pub fn latency(&self, now: Instant) -> Duration {
        Duration::from_secs_f64(self.decayed(now) / 1e6)
    }

    fn observe(&mut self, now: Instant, elapsed: Duration) {
        let sample = elapsed.as_secs_f64() * 1e6;
        if sample >= self.latency_us {
            self.latency_us = sample;
        } else {
            let keep = self.keep(now);
            self.latency_us = self.latency_us * keep + sample * (1.0 - keep);
        }
        self.updated = now;
    }

    fn decayed(&self, now: Instant) -> f64 {
        self.latency_us * self.keep(now)
    }

    fn keep(&self, now: Instant) -> f64 {
        let elapsed = now.saturating_duration_since(self.updated).as_secs_f64();
        (-elapsed / DECAY.as_secs_f64()).exp()
    }

    fn cost(&self, now: Instant, weight: u32) -> f64 {
        // A latency under the floor decays to under the floor: no need to compute how far.
        let latency = if self.latency_us <= LATENCY_FLOOR_US {
            LATENCY_FLOOR_US
        } else {
            self.decayed(now).max(LATENCY_FLOOR_US)
        };
        latency * (f64::from(self.in_flight) * 100.0 / f64::from(weight.max(1)) + IN_FLIGHT_FLOOR)
    }

    fn position(&self, virtual_time: u64) -> u64 {
        self.pass.max(virtual_time.saturating_sub(CATCH_UP))
    }
}

/// One of the instances to choose from: its load and its weight.
pub type Candidate<'a> = (&'a Load, u32);

/// The better of two.
fn better(now: Instant, virtual_time: u64, first: Candidate<'_>, second: Candidate<'_>) -> bool {
    let (a, b) = (first.0.cost(now, first.1), second.0.cost(now, second.1));
    if a > b * TIE {
        return false;
    }
    b > a * TIE || first.0.position(virtual_time) <= second.0.position(virtual_time)
}

/// Picks one of `len` instances. `candidate(i)` is `None` for one that takes nothing now. O(1) while most take requests.
pub fn pick<'a>(
    rng: &mut fastrand::Rng,
    now: Instant,
    virtual_time: u64,
    len: usize,
    candidate: impl Fn(usize) -> Option<Candidate<'a>>,
) -> Option<usize> {
    if len <= 2 {
        return pick_two(
            now,
            virtual_time,
            (0, (len > 0).then(|| candidate(0))?),
            (1, (len > 1).then(|| candidate(1)).flatten()),
        );
    }
    let first = draw(rng, len, &candidate, None)?;
    let Some(second) = draw(rng, len, &candidate, Some(first)) else { return Some(first) };
    pick_two(now, virtual_time, (first, candidate(first)), (second, candidate(second)))
}

fn pick_two(
    now: Instant,
    virtual_time: u64,
    (a, first): (usize, Option<Candidate<'_>>),
    (b, second): (usize, Option<Candidate<'_>>),
) -> Option<usize> {
    match (first, second) {
        (Some(first), Some(second)) => Some(if better(now, virtual_time, first, second) { a } else { b }),
        (Some(_), None) => Some(a),
        (None, Some(_)) => Some(b),
        (None, None) => None,
    }
}

/// Draws an instance in proportion to its weight, which is at most 100 for most: a few draws, then the next that takes requests.
fn draw<'a>(
    rng: &mut fastrand::Rng,
    len: usize,
    candidate: &impl Fn(usize) -> Option<Candidate<'a>>,
    other: Option<usize>,
) -> Option<usize> {
    const DRAWS: usize = 4;
    let usable = |index: usize| if Some(index) == other { None } else { candidate(index) };
    for _ in 0..DRAWS {
        let index = rng.usize(..len);
        if usable(index).is_some_and(|(_, weight)| weight >= 100 || rng.u32(..100) < weight) {
            return Some(index);
        }
    }
    let start = rng.usize(..len);
    (start..len).chain(0..start).find(|&index| usable(index).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Model {
        loads: Vec<(Load, u32)>,
        virtual_time: u64,
        rng: fastrand::Rng,
        now: Instant,
    }

    impl Model {
        fn new(weights: &[u32]) -> Self {
            let seed = std::env::var("BUS_SEED")
                .ok()
                .and_then(|seed| seed.parse().ok())
                .unwrap_or_else(|| fastrand::u64(..));
            println!("BUS_SEED={seed}");
            let now = Instant::now();
            let loads = weights.iter().map(|&weight| (Load::new(now, 0, None), weight)).collect();
            Self { loads, virtual_time: 0, rng: fastrand::Rng::with_seed(seed), now }
        }

        fn send(&mut self) -> Option<usize> {
            let loads = &self.loads;
            let takes = |i: usize| (loads[i].1 > 0).then_some((&loads[i].0, loads[i].1));
            let picked = pick(&mut self.rng, self.now, self.virtual_time, loads.len(), takes)?;
            let (load, weight) = &mut self.loads[picked];
            assert!(load.enter(0));
            load.sent(*weight, &mut self.virtual_time);
            Some(picked)
        }

        /// `rounds` batches of `batch` requests; instance i answers a batch after `latency(i)`.
        fn run(
            &mut self,
            rounds: usize,
            batch: usize,
            latency: impl Fn(usize, &mut fastrand::Rng) -> Duration,
        ) {
            for _ in 0..rounds {
                let sent: Vec<usize> = (0..batch).filter_map(|_| self.send()).collect();
                self.now += Duration::from_millis(2);
                for picked in sent {
                    let elapsed = latency(picked, &mut self.rng);
                    let now = self.now;
                    self.loads[picked].0.replied(now, elapsed);
                }
            }
        }

        fn shares(&self) -> Vec<f64> {
            let total: u64 = self.loads.iter().map(|(load, _)| load.requests).sum();
            #[expect(clippy::cast_precision_loss, reason = "counts of a test")]
            self.loads.iter().map(|(load, _)| load.requests as f64 / total as f64).collect()
        }
    }

    #[test]
    fn equal_instances_with_noisy_latencies_get_equal_shares() {
        let mut model = Model::new(&[100; 3]);
        model.run(3000, 40, |_, rng| Duration::from_micros(rng.u64(200..9_000)));
        for share in model.shares() {
            assert!((share - 1.0 / 3.0).abs() < 0.03, "{:?}", model.shares());
        }
    }

    #[test]
    fn weights_are_kept_and_weight_zero_gets_nothing() {
        let mut model = Model::new(&[100, 10, 0, 50]);
        model.run(3000, 40, |_, rng| Duration::from_micros(rng.u64(200..4_000)));
        let shares = model.shares();
        assert!((shares[1] - 10.0 / 160.0).abs() < 0.03 && shares[2] == 0.0, "{shares:?}");
        assert!(shares[0] > shares[3] && shares[3] > shares[1], "{shares:?}");
    }

    #[test]
    fn a_slow_instance_gets_clearly_less() {
        let mut model = Model::new(&[100; 3]);
        model.run(2000, 40, |i, _| Duration::from_millis(if i == 1 { 200 } else { 2 }));
        assert!(model.shares()[1] < 0.1, "{:?}", model.shares());
    }

    #[test]
    fn one_that_was_away_does_not_get_a_flood_when_it_returns() {
        let mut model = Model::new(&[100, 0]);
        model.run(1000, 40, |_, _| Duration::from_millis(1));
        model.loads[1].1 = 100;
        let before = model.loads[0].0.requests;
        model.run(10, 40, |_, _| Duration::from_millis(1));
        assert!(model.loads[0].0.requests - before > 150, "the first still gets near its half of 400");
    }

    #[test]
    fn a_limit_holds_for_all_who_share_an_instance() {
        let shared = Shared::default();
        let mut loads = [(); 2].map(|()| Load::new(Instant::now(), 0, Some(Arc::clone(&shared))));
        assert!(loads[0].enter(2) && loads[1].enter(2));
        assert!(!loads[0].is_below(2) && !loads[0].enter(2) && !loads[1].enter(2));
        loads[0].leave();
        assert!(loads[1].is_below(2) && loads[1].enter(2));
        assert_eq!((loads[0].in_flight, loads[1].in_flight), (0, 2));
    }

    #[test]
    fn a_failure_is_forgotten_in_time() {
        let mut model = Model::new(&[100, 100]);
        let now = model.now;
        assert!(model.loads[0].0.enter(0));
        model.loads[0].0.failed(now, Duration::from_millis(1));
        assert_eq!(model.send(), Some(1));
        assert!(model.loads[0].0.latency(now) >= FAILURE_PENALTY);
        assert!(model.loads[0].0.latency(now + DECAY * 8) < Duration::from_millis(5));
    }
}
