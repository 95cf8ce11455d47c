//! When a request may be sent again. Only the asker retries, and only requests whose effect cannot
//! occur twice.

use std::time::Instant;

use crate::envelope::Flags;

/// How often one request is sent at most. More would multiply the load of a failing route.
pub const ATTEMPTS_MAX: u32 = 3;

/// True when a lost request may go to another instance. A request that was not completely written
/// cannot have been read. A written one may be sent again only if it is idempotent (RFC 9110
/// section 9.2.2). The deadline must not have passed. A copy (flag `shadow`) is never sent again.
#[must_use]
pub fn may_retry(written: bool, flags: Flags, attempts: u32, now: Instant, deadline: Instant) -> bool {
    attempts < ATTEMPTS_MAX
        && now < deadline
        && !flags.contains(Flags::SHADOW)
        && (!written || flags.contains(Flags::IDEMPOTENT))
}

/// True when a request with this HTTP method is idempotent (RFC 9110 section 9.2.2, without TRACE).
#[must_use]
pub fn is_idempotent(method: &str) -> bool {
    matches!(method, "GET" | "HEAD" | "PUT" | "DELETE" | "OPTIONS")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn only_requests_without_a_second_effect_are_sent_again() {
        let now = Instant::now();
        let later = now + Duration::from_millis(1);
        assert!(may_retry(true, Flags::IDEMPOTENT, 1, now, later));
        assert!(may_retry(false, Flags::NONE, 1, now, later));
        assert!(!may_retry(true, Flags::NONE, 1, now, later));
        assert!(!may_retry(false, Flags::IDEMPOTENT.union(Flags::SHADOW), 1, now, later));
        assert!(!may_retry(false, Flags::IDEMPOTENT, ATTEMPTS_MAX, now, later));
        assert!(!may_retry(false, Flags::IDEMPOTENT, 1, later, later));
        assert!(!is_idempotent("POST") && !is_idempotent("PATCH") && is_idempotent("PUT"));
    }
}
