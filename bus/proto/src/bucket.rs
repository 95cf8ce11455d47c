//! A token bucket: how many messages a peer with a short queue may be sent now.
//!
//! For peers whose hello announces no `limit`. Such a peer may be a stock one: libnng 1.5 holds 16
//! messages that its application has not taken and drops further ones silently (PROTOCOL.md section 1).
//! A bucket of 16 tokens that fills at the rate of [`GUEST_INTERVAL`] lets a burst through that fits the
//! queue, and then as many as an application takes that is not slow.

use std::time::{Duration, Instant};

use crate::limits::{GUEST_INTERVAL, GUEST_QUEUE};

/// The tokens of one peer.
#[derive(Clone, Debug)]
pub struct Bucket {
    /// When the bucket is full again, if nothing more is spent.
    full_at: Instant,
}

impl Bucket {
    /// A full bucket.
    #[must_use]
    pub const fn new(now: Instant) -> Self {
        Self { full_at: now }
    }

    /// Messages that may be sent now.
    #[must_use]
    pub fn available(&self, now: Instant) -> usize {
        let missing = self.full_at.saturating_duration_since(now).as_nanos();
        let missing = missing.div_ceil(GUEST_INTERVAL.as_nanos());
        GUEST_QUEUE.saturating_sub(usize::try_from(missing).unwrap_or(usize::MAX))
    }

    /// So many messages were sent.
    pub fn spend(&mut self, now: Instant, messages: usize) {
        let cost = GUEST_INTERVAL * u32::try_from(messages).unwrap_or(u32::MAX);
        self.full_at = self.full_at.max(now) + cost;
    }

    /// How long to wait when there is no token: until half of them are back, so that few wake-ups carry
    /// many messages.
    #[must_use]
    pub fn wait(&self, now: Instant) -> Duration {
        let half = GUEST_INTERVAL * u32::try_from(GUEST_QUEUE / 2).unwrap_or(u32::MAX);
        self.full_at.saturating_duration_since(now).saturating_sub(half)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_fits_the_queue_and_what_follows_has_a_rate() {
        let start = Instant::now();
        let mut bucket = Bucket::new(start);
        assert_eq!(bucket.available(start), GUEST_QUEUE);
        bucket.spend(start, GUEST_QUEUE);
        assert_eq!(bucket.available(start), 0);
        let later = start + bucket.wait(start);
        assert_eq!(bucket.available(later), GUEST_QUEUE / 2);
        let (mut now, mut sent) = (start, 0);
        while now < start + Duration::from_secs(1) {
            let messages = bucket.available(now);
            bucket.spend(now, messages);
            sent += messages;
            now += bucket.wait(now).max(Duration::from_micros(1));
        }
        let rate = 1_000_000_000 / usize::try_from(GUEST_INTERVAL.as_nanos()).unwrap();
        assert!(sent.abs_diff(rate) <= GUEST_QUEUE, "{sent} in a second");
    }

    #[test]
    fn what_is_not_used_is_not_saved_up() {
        let start = Instant::now();
        let mut bucket = Bucket::new(start);
        bucket.spend(start, 3);
        assert_eq!(bucket.available(start), GUEST_QUEUE - 3);
        assert_eq!(bucket.available(start + Duration::from_secs(60)), GUEST_QUEUE);
    }
}
