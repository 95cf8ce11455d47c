//! Chooses the instance for the next request: power of two choices on peak EWMA, ties broken by
//! fair share.
//!
//! Two instances are drawn (Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing",
//! 2001). The cost of an instance is its latency times its requests in flight; the instance with
//! the clearly lower cost gets the request. The latency is Finagle's peak EWMA: a new peak replaces
//! it at once, and it decays with time.
//!
//! Costs within a factor of two differ because of scheduling noise more than because of the
//! instances. In that range the instance that is behind its weighted share gets the request (stride
//! scheduling, Waldspurger 1995). Equal instances therefore get equal shares, and a slow instance
//! gets less. A lighter instance must be cheaper by this factor times the ratio of the weights.
//!
//! Requests that are sent in one turn of the loop go to one instance for a while if it answers
//! fast. One message costs that instance and this process a wake-up; sixteen messages cost hardly
//! more.

mod pace;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use self::pace::Pace;

/// Time constant of the decay of an old peak.
const DECAY: Duration = Duration::from_secs(2);
/// Latencies below this are equally good: the target is 25 ms, and differences below this value are
/// noise.
const LATENCY_FLOOR_US: f64 = 5_000.0;
/// Added to the number of requests in flight, so that one request more or less on an idle instance
/// makes no difference.
const IN_FLIGHT_FLOOR: f64 = 4.0;
/// The least latency that a failed request counts as.
const FAILURE_PENALTY: Duration = Duration::from_secs(1);
/// Costs within this factor are a tie between instances of equal weight.
const TIE: f64 = 2.0;
/// The share of weight 1. It is divided among the pipes to one instance; 240 divides without a
/// remainder by most numbers of workers.
pub const UNIT: u32 = 240;
/// The share of the default weight, 100. A heavier instance is not drawn more often and gets no
/// longer runs.
const FULL: u32 = 100 * UNIT;
/// The stride of share 1. A heavy instance's stride is this divided by its share, so it needs many
/// digits; a `u64` still holds the strides of 2^32 requests to an instance of share 1.
const STRIDE: u64 = 1 << 32;
/// Upper bound of what an instance catches up on after an absence: one run of a full share.
const CATCH_UP: u64 = RUN_MAX * STRIDE / FULL as u64;

/// Upper bounds of a run: the unwritten requests behind which one more goes to the same instance,
/// and the time that the instance may take for all of them. Within these bounds the extra wait of
/// the last request is noise, see [`LATENCY_FLOOR_US`].
const RUN_MAX: u64 = 64;
const RUN_TIME: Duration = Duration::from_millis(2);

/// The load of one instance as this worker sees it.
#[derive(Clone, Debug)]
pub struct Load {
    latency_us: f64,
    updated: Instant,
    pace: Pace,
    /// Its position in the service's virtual time.
    pass: u64,
    /// The virtual time at which it got its last request, or joined.
    turn: u64,
    /// Requests that this worker sent and that have not ended.
    pub in_flight: u32,
    /// State shared by all workers that send to the instance; `None` when the process has one
    /// worker.
    pub shared: Option<Arc<Shared>>,
    /// Requests sent.
    pub requests: u64,
    /// Replies received.
    pub replies: u64,
    /// Requests that expired or were lost.
    pub failures: u64,
}

/// State of one connection, shared by all workers that send on it.
#[derive(Debug)]
pub struct Shared {
    /// Requests in flight, summed over all workers: the `limit` of a hello holds for the
    /// connection.
    in_flight: AtomicU32,
    /// True while the peer is silent. Only the worker that owns the connection writes it.
    silent: AtomicBool,
    /// For each worker, the number of its replies that were lost between the worker that owns the
    /// connection and that worker.
    lost: Box<[AtomicU32]>,
}

impl Shared {
    /// The state of a new connection of a process with `workers` workers.
    #[must_use]
    pub fn new(workers: u32) -> Self {
        let lost = (0..workers).map(|_| AtomicU32::new(0)).collect();
        Self { in_flight: AtomicU32::new(0), silent: AtomicBool::new(false), lost }
    }

    /// Records that the peer is silent, or no longer silent.
    pub fn set_silent(&self, silent: bool) {
        self.silent.store(silent, Ordering::Relaxed);
    }

    /// Counts a lost reply to `worker` whose request id could not be reported to that worker.
    pub fn lose(&self, worker: u8) {
        if let Some(lost) = self.lost.get(usize::from(worker)) {
            lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The number of replies that [`Shared::lose`] counted for `worker`.
    #[must_use]
    pub fn lost(&self, worker: u8) -> u32 {
        self.lost.get(usize::from(worker)).map_or(0, |lost| lost.load(Ordering::Relaxed))
    }

    /// True when the peer was silent the last time [`Shared::set_silent`] was called.
    #[must_use]
    pub fn is_silent(&self) -> bool {
        self.silent.load(Ordering::Relaxed)
    }
}

impl Load {
    /// The load of an instance that joins when the service's virtual time is `virtual_time`.
    #[must_use]
    pub const fn new(now: Instant, virtual_time: u64, shared: Option<Arc<Shared>>) -> Self {
        Self {
            latency_us: 0.0,
            updated: now,
            pace: Pace::new(now),
            pass: virtual_time,
            turn: virtual_time,
            in_flight: 0,
            shared,
            requests: 0,
            replies: 0,
            failures: 0,
        }
    }

    /// Forgets the measurements, because another service answers on the pipe from now on. Requests
    /// in flight are kept.
    pub fn restart(&mut self, now: Instant, virtual_time: u64) {
        *self = Self { in_flight: self.in_flight, ..Self::new(now, virtual_time, self.shared.take()) };
    }

    /// True when fewer than `limit` requests are in flight; a limit of 0 means no limit.
    #[must_use]
    pub fn is_below(&self, limit: u32) -> bool {
        let in_flight =
            self.shared.as_ref().map_or(self.in_flight, |shared| shared.in_flight.load(Ordering::Relaxed));
        limit == 0 || in_flight < limit
    }

    /// Counts one request as in flight. False when `limit` is reached, for example because another
    /// worker took the last place meanwhile.
    pub fn enter(&mut self, limit: u32) -> bool {
        if let Some(shared) = &self.shared {
            let enter = |count| (limit == 0 || count < limit).then_some(count + 1);
            if shared.in_flight.fetch_update(Ordering::Relaxed, Ordering::Relaxed, enter).is_err() {
                return false;
            }
        }
        self.in_flight += 1;
        true
    }

    /// Ends a request without a measurement: the asker gave up, or the request was never written.
    pub fn leave(&mut self) {
        if let Some(shared) = &self.shared {
            shared.in_flight.fetch_sub(1, Ordering::Relaxed);
        }
        self.in_flight -= 1;
    }

    /// Records that a request was sent, after [`Load::enter`]. Advances the instance's position and
    /// the service's virtual time.
    pub fn sent(&mut self, now: Instant, share: u32, virtual_time: &mut u64) {
        self.requests += 1;
        if self.in_flight == 1 {
            self.pace.begin(now);
        }
        let pass = self.position(*virtual_time);
        *virtual_time = (*virtual_time).max(pass);
        self.turn = pass;
        self.pass = pass + (STRIDE / u64::from(share.max(1))).max(1);
    }

    /// The virtual time at which it got its last request. The virtual time of a part of a
    /// service's instances is the latest of theirs.
    #[must_use]
    pub const fn turn(&self) -> u64 {
        self.turn
    }

    /// Records a reply that arrived `elapsed` after its request.
    pub fn replied(&mut self, now: Instant, elapsed: Duration) {
        self.leave();
        self.replies += 1;
        self.observe(now, elapsed);
    }

    /// Records a request that expired or was lost `elapsed` after it was sent.
    pub fn failed(&mut self, now: Instant, elapsed: Duration) {
        self.leave();
        self.failures += 1;
        self.observe(now, elapsed.max(FAILURE_PENALTY));
    }

    /// The peak EWMA of the reply time, decayed to `now`.
    #[must_use]
    pub fn latency(&self, now: Instant) -> Duration {
        Duration::from_secs_f64(self.decayed(now) / 1e6)
    }

    fn observe(&mut self, now: Instant, elapsed: Duration) {
        self.pace.ended_one(now);
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

    fn cost(&self, now: Instant, share: u32) -> f64 {
        // A latency below the floor only decays further below it, so the decay need not be
        // computed.
        let latency = if self.latency_us <= LATENCY_FLOOR_US {
            LATENCY_FLOOR_US
        } else {
            self.decayed(now).max(LATENCY_FLOOR_US)
        };
        latency * (f64::from(self.in_flight) * f64::from(FULL) / f64::from(share.max(1)) + IN_FLIGHT_FLOOR)
    }

    fn position(&self, virtual_time: u64) -> u64 {
        self.pass.max(virtual_time.saturating_sub(CATCH_UP))
    }
}

/// True when the next request may go to the same instance as the last one. `unwritten` is the
/// number of requests that wait in its out-queue for the end of this turn.
#[must_use]
pub fn goes_on((load, share): Candidate<'_>, unwritten: usize) -> bool {
    // Scaled by the share, so that a light instance keeps its share request by request.
    let run_max = load.pace.requests_in(RUN_TIME).min(RUN_MAX);
    unwritten > 0 && unwritten as u64 * u64::from(FULL) < run_max * u64::from(share.min(FULL))
}

/// A pipe that may be chosen: its load and its share.
pub type Candidate<'a> = (&'a Load, u32);

/// True when `first` is the better choice.
fn better(now: Instant, virtual_time: u64, first: Candidate<'_>, second: Candidate<'_>) -> bool {
    let (a, b) = (first.0.cost(now, first.1), second.0.cost(now, second.1));
    if a > b * clearly(second.1, first.1) {
        return false;
    }
    b > a * clearly(first.1, second.1) || first.0.position(virtual_time) <= second.0.position(virtual_time)
}

/// The factor by which an instance with `share` must be cheaper than one with `other` to get more
/// than its share. Otherwise a newly added instance of low weight would get the others' requests
/// whenever they pause briefly.
fn clearly(share: u32, other: u32) -> f64 {
    TIE * (f64::from(other) / f64::from(share.max(1))).max(1.0)
}

/// Picks one of `len` instances. `candidate(i)` is `None` when instance `i` takes no requests now.
/// O(1) as long as most instances take requests.
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

/// Draws a pipe in proportion to its share, up to a full share. After a few unsuccessful draws it
/// takes the next pipe that accepts requests.
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
        if usable(index).is_some_and(|(_, share)| share >= FULL || rng.u32(..FULL) < share) {
            return Some(index);
        }
    }
    let start = rng.usize(..len);
    (start..len).chain(0..start).find(|&index| usable(index).is_some())
}

#[cfg(test)]
mod tests;
