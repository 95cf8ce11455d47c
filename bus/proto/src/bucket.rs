//! A token bucket that limits how many messages a peer with a short queue may be sent now.
//!
//! It applies to peers whose hello announces no `limit`. Such a peer may be a stock one: libnng 1.5
//! keeps 16 messages that its application has not received, and silently drops further ones
//! (PROTOCOL.md section 1). A bucket of 16 tokens that is refilled at one token per
//! [`GUEST_INTERVAL`] admits a burst that fits this queue, and then a rate that a reasonably fast
//! application keeps up with.

use std::time::{Duration, Instant};

use crate::limits::{GUEST_INTERVAL, GUEST_QUEUE};

/// The tokens of one peer.
#[derive(Clone, Debug)]
pub struct Bucket {
    /// The time at which the bucket is full again if no more tokens are spent.
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

    /// Records that `messages` messages were sent.
    pub fn spend(&mut self, now: Instant, messages: usize) {
        let cost = GUEST_INTERVAL * u32::try_from(messages).unwrap_or(u32::MAX);
        self.full_at = self.full_at.max(now) + cost;
    }

    /// The time until half of the tokens are back: waiting for half means few wake-ups that carry
    /// many messages each.
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
    fn a_burst_fits_the_queue_and_later_messages_are_rate_limited() {
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
    fn unused_tokens_do_not_accumulate_beyond_the_queue() {
        let start = Instant::now();
        let mut bucket = Bucket::new(start);
        bucket.spend(start, 3);
        assert_eq!(bucket.available(start), GUEST_QUEUE - 3);
        assert_eq!(bucket.available(start + Duration::from_secs(60)), GUEST_QUEUE);
    }
}
