//! When a request may be sent again. Only the asker retries, and only what cannot happen twice.

use std::time::Instant;

use crate::envelope::Flags;

/// Times one request is sent at most: more would turn one sick route into a storm.
pub const ATTEMPTS_MAX: u32 = 3;

/// Whether a lost request may go to another instance. A request that was never completely written cannot have been
/// read; one that was may be sent again when it is idempotent (RFC 9110 section 9.2.2). Time must be left.
#[must_use]
pub fn may_retry(written: bool, flags: Flags, attempts: u32, now: Instant, deadline: Instant) -> bool {
    attempts < ATTEMPTS_MAX && now < deadline && (!written || flags.contains(Flags::IDEMPOTENT))
}

/// Whether a request with this HTTP method may be sent again (RFC 9110 section 9.2.2, less TRACE).
#[must_use]
pub fn is_idempotent(method: &str) -> bool {
    matches!(method, "GET" | "HEAD" | "PUT" | "DELETE" | "OPTIONS")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn only_what_cannot_happen_twice_is_sent_again() {
        let now = Instant::now();
        let later = now + Duration::from_millis(1);
        assert!(may_retry(true, Flags::IDEMPOTENT, 1, now, later));
        assert!(may_retry(false, Flags::NONE, 1, now, later));
        assert!(!may_retry(true, Flags::NONE, 1, now, later));
        assert!(!may_retry(false, Flags::IDEMPOTENT, ATTEMPTS_MAX, now, later));
        assert!(!may_retry(false, Flags::IDEMPOTENT, 1, later, later));
        assert!(!is_idempotent("POST") && !is_idempotent("PATCH") && is_idempotent("PUT"));
    }
}
