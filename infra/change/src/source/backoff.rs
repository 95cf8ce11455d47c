//! How long to wait before the next attempt: longer each time, with jitter, so that the processes
//! that lost etcd together do not come back together.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

/// After the first failure: a restarted etcd answers within a second or two.
const DELAY_MIN: Duration = Duration::from_millis(100);

/// With jitter at most twice as long: operators wait for a change after etcd's return.
const DELAY_MAX: Duration = Duration::from_secs(2);

/// The delays of one task.
pub(crate) struct Backoff(ExponentialBackoff);

impl Backoff {
    pub(crate) fn new() -> Self {
        let builder = ExponentialBuilder::new().with_min_delay(DELAY_MIN).with_max_delay(DELAY_MAX);
        Self(builder.with_factor(2.0).with_jitter().without_max_times().build())
    }

    /// Waits before the next attempt.
    pub(crate) async fn wait(&mut self) {
        tokio::time::sleep(self.0.next().unwrap_or(DELAY_MAX)).await;
    }
}
