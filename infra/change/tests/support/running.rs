//! A source with its driver, and waiting for what it shall know.

use std::sync::Arc;
use std::time::Duration;

use change::document::{Key, Plan, Revision};
use change::source::{Expected, PlanSettings, Source, Status, Write};
use tokio::sync::{oneshot, watch};
use tokio::task::{JoinHandle, LocalSet};

/// Within this everything happens that a test waits for, also on a machine that is busy.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// A source and its driver.
pub(crate) struct Running {
    pub(crate) source: Source,
    stop: Option<oneshot::Sender<()>>,
    driver: JoinHandle<()>,
}

/// Runs a test as a role runs its source: on one thread.
pub(crate) fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("builds");
    LocalSet::new().block_on(&runtime, test);
}

impl Running {
    pub(crate) fn start(settings: &PlanSettings) -> Self {
        let (source, driver) = Source::open(settings).expect("the settings are good");
        let (stop, stopped) = oneshot::channel::<()>();
        let driver = tokio::task::spawn_local(driver.run(async {
            // A dropped sender stops the driver as well.
            let _ = stopped.await;
        }));
        Self { source, stop: Some(stop), driver }
    }

    /// Stops the driver as a role does at its end.
    pub(crate) async fn stop(mut self) {
        drop(self.stop.take());
        within("the driver ends", async {
            while !self.driver.is_finished() {
                turn().await
            }
        })
        .await;
    }

    /// Stops the driver as the end of a process without warning does.
    pub(crate) fn crash(self) {
        self.driver.abort();
    }

    /// Waits until the plan is as it should be.
    pub(crate) async fn plan(&self, what: &str, is: impl FnMut(&Arc<Plan>) -> bool) -> Arc<Plan> {
        self.wait(what, self.source.plan(), is).await
    }

    /// Waits until the records are as they should be.
    pub(crate) async fn records(&self, what: &str, are: impl FnMut(&Arc<Plan>) -> bool) -> Arc<Plan> {
        self.wait(what, self.source.records(), are).await
    }

    async fn wait(
        &self,
        what: &str,
        mut plans: watch::Receiver<Arc<Plan>>,
        is: impl FnMut(&Arc<Plan>) -> bool,
    ) -> Arc<Plan> {
        let found = tokio::time::timeout(DEADLINE, plans.wait_for(is)).await;
        let Ok(found) = found else { panic!("not seen: {what}; status: {:#?}", self.source.status()) };
        Arc::clone(&found.expect("the source is there"))
    }

    /// Waits until the state is as it should be.
    pub(crate) async fn status(&self, what: &str, is: impl Fn(&Status) -> bool) -> Status {
        let mut status = self.source.status();
        let seen = async {
            while !is(&status) {
                turn().await;
                status = self.source.status();
            }
        };
        let seen = tokio::time::timeout(DEADLINE, seen).await;
        assert!(seen.is_ok(), "not seen: {what}; status: {:#?}", self.source.status());
        status
    }

    /// As [`put`].
    pub(crate) async fn put(&self, name: &str, document: &str) -> Revision {
        put(&self.source, name, document).await
    }
}

/// Writes whatever is there; repeats it while etcd is not ready.
pub(crate) async fn put(source: &Source, name: &str, document: &str) -> Revision {
    within("a write", async {
        loop {
            if let Ok(revision) = source.write(write(name, Some(document), Expected::Any)).await {
                return revision;
            }
            turn().await;
        }
    })
    .await
}

/// A write by `ann`.
pub(crate) fn write(name: &str, document: Option<&str>, expected: Expected) -> Write {
    let document = document.map(str::to_owned);
    Write { key: key(name), document, expected, who: Some("ann".to_owned()) }
}

pub(crate) fn key(name: &str) -> Key {
    name.parse().expect("is a key")
}

/// True when the document in force is this one.
pub(crate) fn has(plan: &Plan, name: &str, document: &str) -> bool {
    plan.document(&key(name)).is_some_and(|found| *found.text == *document)
}

/// Waits with a deadline.
pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(DEADLINE, future).await {
        Ok(done) => done,
        Err(_) => panic!("did not happen: {what}"),
    }
}

/// Lets everything else happen before a condition is looked at again.
pub(crate) async fn turn() {
    tokio::time::sleep(Duration::from_millis(10)).await;
}
