//! The table of outstanding requests: a slab with generations, and a timing wheel linked through
//! its slots.
//!
//! A request id contains worker, generation and slot, so a late reply does not match the next
//! request in the same slot. Deadlines are in a hashed wheel (Varghese and Lauck, "Hashed and
//! Hierarchical Timing Wheels", 1987, scheme 6): opening, closing and expiring a request are O(1),
//! and a request that ends in time leaves nothing in the wheel.

mod state;

use std::task::Waker;
use std::time::{Duration, Instant};

use crate::envelope::RequestId;
use crate::socket::PipeId;

pub use state::{Outcome, Parts, PartsEnd, State};

/// Granularity of deadlines: a request expires at most this long after its deadline, and never
/// before it.
pub const TICK: Duration = Duration::from_nanos(TICK_NANOS);
const TICK_NANOS: u64 = 2_000_000;
const BUCKETS: usize = 1024;
const NIL: u32 = u32::MAX;

const INDEX_BITS: u32 = 20;
const GENERATION_BITS: u32 = 36;
/// Number of slots that an id can name.
pub const SLOTS_MAX: usize = 1 << INDEX_BITS;

/// One outstanding request.
#[derive(Debug)]
pub struct Slot {
    generation: u64,
    /// Neighbours in the list of the wheel's bucket.
    previous: u32,
    next: u32,
    bucket: Option<u16>,
    /// When the asker gives up.
    pub deadline: Instant,
    /// When the request was sent.
    pub sent_at: Instant,
    /// The pipe it was sent to.
    pub pipe: PipeId,
    /// Stream offset of the request's end in that pipe.
    pub end: u64,
    /// Wakes the asker.
    pub waker: Option<Waker>,
    /// The state of the request.
    pub state: State,
}

/// The outstanding requests of one worker.
#[derive(Debug)]
pub struct Pending {
    worker: u8,
    limit: usize,
    slots: Vec<Slot>,
    free: Vec<u32>,
    buckets: Box<[u32; BUCKETS]>,
    epoch: Instant,
    /// Number of ticks swept since `epoch`.
    swept: u64,
}

impl Pending {
    /// An empty table for `worker` that holds at most `limit` requests.
    #[must_use]
    pub fn new(worker: u8, limit: usize, now: Instant) -> Self {
        Self {
            worker,
            limit: limit.min(SLOTS_MAX),
            slots: Vec::new(),
            free: Vec::new(),
            buckets: Box::new([NIL; BUCKETS]),
            epoch: now,
            swept: 0,
        }
    }

    /// The worker that a request id of this process belongs to.
    #[inline]
    #[must_use]
    pub const fn worker_of(id: RequestId) -> u8 {
        (id.0 >> (INDEX_BITS + GENERATION_BITS)) as u8
    }

    /// Number of outstanding requests.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// True when no request is outstanding.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The upper bound of outstanding requests.
    #[must_use]
    pub const fn limit(&self) -> usize {
        self.limit
    }

    /// Takes a slot for a request. `None` when the table is full.
    pub fn open(&mut self, now: Instant, deadline: Instant, pipe: PipeId) -> Option<RequestId> {
        let index = match self.free.pop() {
            Some(index) => index,
            None if self.slots.len() < self.limit => self.grow(now, pipe),
            None => return None,
        };
        let slot = &mut self.slots[index as usize];
        slot.deadline = deadline;
        slot.sent_at = now;
        slot.pipe = pipe;
        slot.end = u64::MAX;
        slot.state = State::Waiting;
        let generation = slot.generation;
        self.link(index);
        Some(self.id(index, generation))
    }

    /// The slot of `id`; `None` when the request has ended or the id was never given.
    #[inline]
    pub fn find(&mut self, id: RequestId) -> Option<&mut Slot> {
        let index = self.index(id)?;
        Some(&mut self.slots[index as usize])
    }

    /// Ends a request with `outcome`: removes its deadline and wakes its asker.
    pub fn end(&mut self, id: RequestId, outcome: Outcome) {
        let Some(index) = self.index(id) else { return };
        self.unlink(index);
        let slot = &mut self.slots[index as usize];
        slot.state = State::Ended(outcome);
        if let Some(waker) = slot.waker.take() {
            waker.wake();
        }
    }

    /// Removes the deadline of `id`, because a reply in parts is complete or broken.
    pub fn disarm(&mut self, id: RequestId) {
        if let Some(index) = self.index(id) {
            self.unlink(index);
        }
    }

    /// Sets another deadline, the one for the next part.
    pub fn renew(&mut self, id: RequestId, deadline: Instant) {
        let Some(index) = self.index(id) else { return };
        self.unlink(index);
        let slot = &mut self.slots[index as usize];
        slot.deadline = deadline;
        self.link(index);
    }

    /// Frees the slot. `id` names nothing from now on.
    pub fn close(&mut self, id: RequestId) {
        let Some(index) = self.index(id) else { return };
        self.unlink(index);
        let slot = &mut self.slots[index as usize];
        slot.generation = (slot.generation + 1) & ((1 << GENERATION_BITS) - 1);
        slot.state = State::Free;
        slot.waker = None;
        self.free.push(index);
    }

    /// The ids of the requests that wait on `pipe`. Linear in the size of the table, because pipes
    /// close rarely.
    #[must_use]
    pub fn waiting_on(&self, pipe: PipeId) -> Vec<RequestId> {
        let on_pipe = self.outstanding().into_iter().filter(|(_, sent_on)| *sent_on == pipe);
        on_pipe.map(|(id, _)| id).collect()
    }

    /// The requests that have not ended, and where each was sent. Linear in the table.
    #[must_use]
    pub fn outstanding(&self) -> Vec<(RequestId, PipeId)> {
        let found = self.slots.iter().zip(0..).filter(|(slot, _)| slot.state.is_outstanding());
        found.map(|(slot, index)| (self.id(index, slot.generation), slot.pipe)).collect()
    }

    /// Removes the ids whose deadline has passed from the wheel and returns them. The caller must
    /// end each of these requests.
    pub fn expired(&mut self, now: Instant) -> Vec<RequestId> {
        let target = self.ticks_until(now);
        let mut expired = Vec::new();
        let first = (self.swept + 1).max(target.saturating_sub(BUCKETS as u64 - 1));
        for tick in first..=target {
            let mut index = self.buckets[bucket_of(tick) as usize];
            while index != NIL {
                let slot = &self.slots[index as usize];
                let (next, due, generation) = (slot.next, slot.deadline <= now, slot.generation);
                if due {
                    self.unlink(index);
                    expired.push(self.id(index, generation));
                }
                index = next;
            }
        }
        self.swept = self.swept.max(target);
        expired
    }

    /// The time at which to look for expired requests next, at most one turn of the wheel ahead.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Instant> {
        if self.is_empty() {
            return None;
        }
        let ahead =
            (1..=BUCKETS as u64).find(|tick| self.buckets[bucket_of(self.swept + tick) as usize] != NIL)?;
        Some(self.epoch + Duration::from_nanos((self.swept + ahead).saturating_mul(TICK_NANOS)))
    }

    fn grow(&mut self, now: Instant, pipe: PipeId) -> u32 {
        let index = u32::try_from(self.slots.len()).expect("the limit fits an index");
        self.slots.push(Slot {
            generation: 0,
            previous: NIL,
            next: NIL,
            bucket: None,
            deadline: now,
            sent_at: now,
            pipe,
            end: u64::MAX,
            waker: None,
            state: State::Free,
        });
        index
    }

    #[inline]
    fn id(&self, index: u32, generation: u64) -> RequestId {
        RequestId(
            u64::from(self.worker) << (INDEX_BITS + GENERATION_BITS)
                | generation << INDEX_BITS
                | u64::from(index),
        )
    }

    #[inline]
    fn index(&self, id: RequestId) -> Option<u32> {
        let index = u32::try_from(id.0 & (SLOTS_MAX as u64 - 1)).expect("twenty bits");
        let slot = self.slots.get(index as usize)?;
        let same = self.id(index, slot.generation) == id && !matches!(slot.state, State::Free);
        same.then_some(index)
    }

    /// Whole ticks since the epoch, rounded down.
    fn ticks_until(&self, at: Instant) -> u64 {
        let nanos = at.saturating_duration_since(self.epoch).as_nanos();
        u64::try_from(nanos).unwrap_or(u64::MAX) / TICK_NANOS
    }

    fn link(&mut self, index: u32) {
        // Rounded up, and never a tick that was already swept: when a bucket is swept, all its
        // deadlines for this turn must have passed.
        let tick = (self.ticks_until(self.slots[index as usize].deadline) + 1).max(self.swept + 1);
        let bucket = bucket_of(tick);
        let first = std::mem::replace(&mut self.buckets[bucket as usize], index);
        let slot = &mut self.slots[index as usize];
        (slot.previous, slot.next, slot.bucket) = (NIL, first, Some(bucket));
        if first != NIL {
            self.slots[first as usize].previous = index;
        }
    }

    fn unlink(&mut self, index: u32) {
        let slot = &mut self.slots[index as usize];
        let Some(bucket) = slot.bucket.take() else { return };
        let (previous, next) = (slot.previous, slot.next);
        match previous {
            NIL => self.buckets[bucket as usize] = next,
            _ => self.slots[previous as usize].next = next,
        }
        if next != NIL {
            self.slots[next as usize].previous = previous;
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the remainder is below BUCKETS")]
const fn bucket_of(tick: u64) -> u16 {
    (tick % BUCKETS as u64) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    const PIPE: PipeId = PipeId { index: 0, generation: 0 };

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn an_id_that_was_closed_finds_nothing_even_when_its_slot_is_used_again() {
        let now = Instant::now();
        let mut table = Pending::new(3, 8, now);
        let first = table.open(now, now + ms(10), PIPE).unwrap();
        assert_eq!(Pending::worker_of(first), 3);
        table.close(first);
        let second = table.open(now, now + ms(10), PIPE).unwrap();
        assert_ne!(first, second);
        assert!(table.find(first).is_none() && table.find(second).is_some());
        table.close(first);
        assert_eq!(table.len(), 1);
    }

    #[test]
    fn a_full_table_refuses() {
        let now = Instant::now();
        let mut table = Pending::new(0, 2, now);
        let id = table.open(now, now, PIPE).unwrap();
        table.open(now, now, PIPE).unwrap();
        assert!(table.open(now, now, PIPE).is_none());
        table.close(id);
        assert!(table.open(now, now, PIPE).is_some());
    }

    /// 2^32 ticks are 99 days.
    #[test]
    fn the_next_timeout_is_right_after_a_year() {
        let epoch = Instant::now();
        let now = epoch + Duration::from_secs(365 * 24 * 3600);
        let mut table = Pending::new(0, 8, epoch);
        table.expired(now);
        table.open(now, now + ms(10), PIPE).unwrap();
        let next = table.next_timeout().unwrap();
        assert!(next >= now + ms(10) && next <= now + ms(10) + TICK, "{:?}", next.duration_since(now));
    }

    /// Deadlines from one tick to several turns of the wheel, swept at irregular times, compared
    /// with a naive model.
    #[test]
    fn every_deadline_expires_within_a_tick_and_never_early() {
        let seed = std::env::var("BUS_SEED")
            .ok()
            .and_then(|seed| seed.parse().ok())
            .unwrap_or_else(|| fastrand::u64(..));
        println!("BUS_SEED={seed}");
        let mut rng = fastrand::Rng::with_seed(seed);
        let epoch = Instant::now();
        let mut now = epoch;
        let mut table = Pending::new(0, 1 << 16, epoch);
        let mut naive: Vec<(Instant, RequestId)> = Vec::new();
        for _ in 0..20_000 {
            let deadline = now + Duration::from_micros(rng.u64(0..9_000_000));
            naive.push((deadline, table.open(now, deadline, PIPE).unwrap()));
            if rng.u8(..) < 100 {
                let (_, id) = naive.swap_remove(rng.usize(..naive.len()));
                table.close(id);
            }
            if rng.u8(..) < 60 {
                now += Duration::from_micros(rng.u64(0..60_000));
                for id in table.expired(now) {
                    let at = naive.iter().position(|(_, open)| *open == id).expect("only open ones expire");
                    assert!(naive.swap_remove(at).0 <= now, "expired early");
                    table.close(id);
                }
                let late = naive.iter().filter(|(deadline, _)| *deadline + TICK < now).count();
                assert_eq!(late, 0, "left behind");
                let soonest = naive.iter().map(|(deadline, _)| *deadline).min();
                let promised = table.next_timeout();
                assert!(soonest.is_none() || promised.is_some_and(|at| at <= soonest.unwrap() + TICK));
            }
        }
        assert_eq!(table.len(), naive.len());
    }
}
