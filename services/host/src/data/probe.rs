//! Whether the store answers: asked every second, for `/ready`.
//!
//! Owns the question, its time limit, and the lines in the log when the answer changes. It leaves
//! requests to fail by their own deadlines, and telling it to `role::readiness`. Invariant: one
//! question is open at a time, so a store that is stuck gets no more of them.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use role::readiness::Unready;
use store::{Store, StoreAddress};

/// Pause between an answer and the next question. A cluster answers some hundred thousand a second.
const PAUSE: Duration = Duration::from_secs(1);

/// A store that has not answered after this time keeps the service from being ready. A cluster that
/// replaces a failed process answers within about a second.
const LIMIT: Duration = Duration::from_secs(2);

/// The last answer of a store.
pub(super) struct Probe {
    address: StoreAddress,
    answered: Cell<Instant>,
    /// Why the last question had no answer.
    failure: RefCell<Option<String>>,
}

impl Probe {
    /// Asks `store` for as long as this thread's runtime lives. The store has just been opened, so
    /// it has answered.
    pub(super) fn start(store: Store, address: StoreAddress) -> Rc<Self> {
        let probe = Self { address, answered: Cell::new(Instant::now()), failure: RefCell::default() };
        let probe = Rc::new(probe);
        let asking = Rc::clone(&probe);
        tokio::task::spawn_local(async move {
            loop {
                asking.note(store.probe(LIMIT).await.map_err(|error| error.to_string()));
                // After a failure at once, since that took long enough.
                if asking.failure.borrow().is_none() {
                    tokio::time::sleep(PAUSE).await;
                } else {
                    tokio::task::yield_now().await;
                }
            }
        });
        probe
    }

    fn note(&self, answer: Result<(), String>) {
        let Self { address, .. } = self;
        match answer {
            Ok(()) => {
                if self.failure.take().is_some() {
                    let silent = whole_seconds(self.answered.get().elapsed());
                    tracing::info!("the store {address} answers again, after {silent}");
                }
                self.answered.set(Instant::now());
            }
            Err(failure) => {
                if self.failure.replace(Some(failure)).is_none()
                    && let Some(Unready { detail, remedy, .. }) = self.unready()
                {
                    tracing::warn!("{detail}: {remedy}");
                }
            }
        }
    }

    /// The reason for which the service is not ready.
    pub(super) fn unready(&self) -> Option<Unready> {
        let failure = self.failure.borrow();
        let failure = failure.as_ref()?;
        let silent = whole_seconds(self.answered.get().elapsed());
        let detail = format!(
            "the store {} has not answered for {silent}, the limit is {}: {failure}",
            self.address,
            humantime::format_duration(LIMIT)
        );
        let remedy =
            "look at `fdbcli -C CLUSTER_FILE --exec status`; requests are served again when it answers";
        Some(Unready { reason: "store", detail, remedy })
    }
}

fn whole_seconds(time: Duration) -> humantime::FormattedDuration {
    humantime::format_duration(Duration::from_secs(time.as_secs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_is_a_reason_while_it_does_not_answer() {
        let address = "fdb:/etc/fdb.cluster".parse().unwrap();
        let answered = Cell::new(Instant::now());
        let probe = Probe { address, answered, failure: RefCell::default() };
        assert_eq!(probe.unready(), None);
        probe.note(Err("no success within 2s".to_owned()));
        let unready = probe.unready().unwrap();
        assert_eq!(unready.reason, "store");
        assert!(unready.detail.contains("fdb:/etc/fdb.cluster"), "{unready:?}");
        assert!(unready.detail.contains("no success within 2s"), "{unready:?}");
        probe.note(Ok(()));
        assert_eq!(probe.unready(), None);
    }
}
