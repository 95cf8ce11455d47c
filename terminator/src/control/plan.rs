//! The plan on the control thread: it follows the source, and gives every change to the workers.
//!
//! Owns the source's driver and the task that compiles snapshots. Leaves documents to
//! `change::document`, the shares of rollouts to `rollouts`, comparisons to `ghosts`, and decisions
//! to `live`. Invariant: workers see whole revisions of the plan; losing the source changes nothing
//! for them.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use change::document::{Kind, Plan};
use change::source::{PlanSettings, Source, Status};
use change::toggle::{Feature, Segment, Set};
use role::worker::Workers;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use super::ghosts::{Ghosts, Shown};
use super::rollouts::{Rollouts, now_ms};
use super::series::{Point, Series};
use crate::live::Snapshot;
use crate::worker::Worker;

/// Longest wait for the first answer of the source. Without it the terminator starts with no plan.
const LOAD_TIMEOUT: Duration = Duration::from_secs(3);

/// How often the counts of the workers are looked at while there is a rollout or ghost traffic: a
/// regression is found within a few of these.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// The plan of a running terminator.
pub(super) struct Follower {
    /// The plan's source.
    pub(super) source: Source,
    /// The toggles in force, for questions about them.
    pub(super) snapshot: watch::Receiver<Arc<Snapshot>>,
    /// What `/rollouts` answers.
    pub(super) reports: watch::Receiver<Vec<change::rollout::Report>>,
    /// What `/ghosts` answers.
    pub(super) ghosts: watch::Receiver<Vec<Shown>>,
    series: Rc<RefCell<Series>>,
    stop: oneshot::Sender<()>,
    driver: JoinHandle<()>,
    task: JoinHandle<()>,
}

impl Follower {
    /// Opens the source, waits for its documents, and gives them to the workers.
    ///
    /// # Errors
    /// When the source cannot be opened. One that does not answer is no error.
    pub(super) async fn start(
        settings: &PlanSettings,
        instance: &str,
        workers: Rc<Workers<Rc<Worker>>>,
    ) -> Result<Self> {
        let (source, driver) = Source::open(settings).context("the plan cannot be opened")?;
        let (stop, stopped) = oneshot::channel::<()>();
        let driver = tokio::task::spawn_local(driver.run(async {
            let _ = stopped.await;
        }));
        if tokio::time::timeout(LOAD_TIMEOUT, source.loaded()).await.is_err() {
            for state in source.status().unconnected() {
                tracing::warn!(
                    source = state.source,
                    "the plan's source does not answer: starting without its documents until it does"
                );
            }
        }
        let (snapshots, snapshot) = watch::channel(Arc::default());
        let (shown, reports) = watch::channel(Vec::new());
        let (shown_ghosts, ghosts) = watch::channel(Vec::new());
        let rollouts = Rollouts::new(source.clone(), instance);
        let series = Rc::<RefCell<Series>>::default();
        let mut following = Following {
            plan: source.plan(),
            workers,
            rollouts,
            ghosts: Ghosts::default(),
            snapshots,
            shown,
            noted: Rc::clone(&series),
            shown_ghosts,
        };
        following.publish().await;
        let task = tokio::task::spawn_local(following.run());
        Ok(Self { source, snapshot, reports, ghosts, series, stop, driver, task })
    }

    /// What `/plan` answers.
    pub(super) fn status(&self) -> Status {
        self.source.status()
    }

    /// The verdicts of a service's rollout over time, the oldest first.
    pub(super) fn series(&self, service: &str) -> Vec<Point> {
        self.series.borrow().of(service).into_iter().flatten().cloned().collect()
    }

    /// Ends it: the cache is written, and the lease given back.
    pub(super) async fn stop(self) {
        self.task.abort();
        // Waits until it holds the workers no longer; the error says that it was aborted.
        let _ = self.task.await;
        drop(self.stop);
        if self.driver.await.is_err() {
            tracing::error!("the plan's source panicked");
        }
    }
}

/// The task that follows the source.
struct Following {
    plan: watch::Receiver<Arc<Plan>>,
    workers: Rc<Workers<Rc<Worker>>>,
    rollouts: Rollouts,
    ghosts: Ghosts,
    snapshots: watch::Sender<Arc<Snapshot>>,
    shown: watch::Sender<Vec<change::rollout::Report>>,
    shown_ghosts: watch::Sender<Vec<Shown>>,
    noted: Rc<RefCell<Series>>,
}

impl Following {
    async fn run(mut self) {
        let mut looks = tokio::time::interval(LOOK_INTERVAL);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                changed = self.plan.changed() => match changed {
                    Ok(()) => self.publish().await,
                    Err(_) => return,
                },
                _ = looks.tick(), if self.rollouts.any() || self.ghosts.any() => self.look().await,
            }
        }
    }

    /// Looks at what the workers have counted.
    async fn look(&mut self) {
        if self.rollouts.any() {
            if self.rollouts.look(&self.workers).await {
                self.publish().await;
            }
            self.show();
        }
        if self.ghosts.any() && self.ghosts.gather(&self.workers).await {
            self.shown_ghosts.send_replace(self.ghosts.reports());
        }
    }

    /// Shows what the rollouts are now.
    fn show(&self) {
        let reports = self.rollouts.reports();
        self.noted.borrow_mut().note(now_ms(), &reports);
        self.shown.send_replace(reports);
    }

    /// Compiles the plan and gives it to every worker.
    async fn publish(&mut self) {
        let plan = Arc::clone(&self.plan.borrow_and_update());
        // What was counted belongs to the shares that were in force.
        self.rollouts.gather(&self.workers).await;
        self.ghosts.gather(&self.workers).await;
        self.rollouts.follow(&plan);
        self.ghosts.follow(&plan, self.rollouts.staged());
        let (rollouts, ghosts) = (self.rollouts.splits(), self.ghosts.in_force());
        let snapshot = Arc::new(Snapshot { toggles: compile(&plan), rollouts, ghosts });
        self.snapshots.send_replace(Arc::clone(&snapshot));
        let differences = self.ghosts.differences();
        let set = move |worker: &Rc<Worker>| {
            worker.decisions.set(Arc::clone(&snapshot));
            worker.show_differences(differences);
        };
        self.workers.ask(set).await;
        self.show();
        self.shown_ghosts.send_replace(self.ghosts.reports());
    }
}

/// The toggles of a plan.
fn compile(plan: &Plan) -> Set {
    let parsed = plan.of(Kind::Toggle).map(|(key, document)| (key, document.parse::<Feature>()));
    let features: Vec<Feature> = parsed
        .filter_map(|(key, feature)| {
            feature.map_err(|fault| tracing::error!(%key, "not a toggle: {fault}")).ok()
        })
        .collect();
    let segments: Vec<Segment> = plan
        .of(Kind::Segments)
        .filter_map(|(_, document)| document.parse::<Vec<Segment>>().ok())
        .flatten()
        .collect();
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let (set, warnings) = Set::compile(&features, &segments, &host);
    for warning in warnings {
        tracing::warn!("plan: {warning}");
    }
    set
}
