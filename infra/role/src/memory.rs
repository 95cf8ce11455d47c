//! The roles' allocator, and when it gives memory back (docs/adr/0008, 0018).
//!
//! Owns: the choice of the allocator, how it is built, and its one call. Invariant: a role whose
//! workers idle after a burst is as small as before it.

use std::time::Duration;

use tokio::time::MissedTickBehavior;

/// For `#[global_allocator]`.
pub use mimalloc::MiMalloc as Allocator;

/// Time between two searches for memory that can be given back.
const LOOK_FOR_MEMORY: Duration = Duration::from_secs(1);

/// Gives memory that this thread has freed back to the system, once a second, as long as it is
/// polled: every thread that allocates much needs its own. mimalloc itself does so only when the
/// thread allocates again: an idle thread would keep the memory of a burst.
pub async fn give_back() {
    let mut ticks = tokio::time::interval(LOOK_FOR_MEMORY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        collect();
    }
}

#[allow(unsafe_code, reason = "the crate mimalloc has no safe form of this call")]
fn collect() {
    // SAFETY: takes no pointers, has no preconditions, and may be called at any time (mimalloc.h).
    unsafe { libmimalloc_sys::mi_collect(true) };
}
