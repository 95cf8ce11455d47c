//! The life of a role after its start: serve, leave, drain, flush, end. Written once for all roles.
//!
//! Owns: the order of these steps and their times. Leaves to the [`Role`] what a step does to its
//! connections and to its admin listener, to crate `bus` what a drain does to pipes. Invariant:
//! after a signal to stop nothing new is accepted once the drain begins, and what is in flight
//! finishes or its time runs out; a second signal ends everything at once.

use std::rc::Rc;
use std::time::{Duration, Instant};

use bus::Bus;

use crate::handover::{Stand, Succeeded};
use crate::notify;
use crate::signals::{Asked, Signals};
pub use crate::steps::Role;
use crate::worker::Workers;

/// How often the workers are asked whether they are done.
const ASK_INTERVAL: Duration = Duration::from_millis(20);

/// Turns of the control thread within which a cancelled task has been dropped.
const CANCEL_TURNS: usize = 100;

/// The times of a role's end.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// How long everything is served after the signal to stop.
    pub delay: Duration,
    /// How long the drain may take after that.
    pub deadline: Duration,
}

/// Why a life ended otherwise than asked.
#[derive(Debug, thiserror::Error)]
pub enum LifeError {
    /// The operator would not wait.
    #[error("second signal: ended with requests in flight")]
    SecondSignal,
    /// A defect of the role: [`Role::finish`] kept a handle.
    #[error("the workers are still in use after everything has ended")]
    WorkersInUse,
}

/// How long connections are served after a handover, each told to close with its next response,
/// before idle ones are closed: a request that crosses the closing of its connection would fail.
const HANDOVER_DELAY: Duration = Duration::from_secs(1);

/// How long clients are told to close their connections, at least, before idle ones are closed.
const IDLE_GRACE: Duration = Duration::from_millis(500);

/// Lives until a signal or a successor at `stand` ends it.
///
/// # Errors
/// [`LifeError::SecondSignal`]; the process is to end with an exit code of 1.
pub async fn live<R: Role>(
    mut role: R,
    workers: Rc<Workers<R::Worker>>,
    mut signals: Signals,
    times: Times,
    stand: Option<Stand>,
) -> Result<(), LifeError> {
    notify::ready();
    let end = serve(&mut role, &workers, &mut signals, stand.as_ref()).await;
    drop(stand);
    let finished = tokio::select! {
        finished = finish(&mut role, &workers, times, end) => finished,
        () = notify::watchdog(&workers) => unreachable!("it never completes"),
        () = signals.stopped_again() => return Err(LifeError::SecondSignal),
    };
    drop(role);
    sole(workers).await?.end();
    if finished {
        tracing::info!("stopped; every request in hand was answered");
    } else {
        tracing::warn!(
            "stopped at the drain deadline with requests in hand; raise --drain-deadline if they take that long"
        );
    }
    Ok(())
}

/// The workers, once this is their only handle: a cancelled task drops its own some turns later.
async fn sole<S>(mut workers: Rc<Workers<S>>) -> Result<Workers<S>, LifeError> {
    for _ in 0..CANCEL_TURNS {
        match Rc::try_unwrap(workers) {
            Ok(workers) => return Ok(workers),
            Err(shared) => workers = shared,
        }
        tokio::task::yield_now().await;
    }
    Err(LifeError::WorkersInUse)
}

/// What ended the serving.
#[derive(Debug)]
enum End {
    Signal,
    Successor(Succeeded),
}

async fn serve<R: Role>(
    role: &mut R,
    workers: &Workers<R::Worker>,
    signals: &mut Signals,
    stand: Option<&Stand>,
) -> End {
    let until_stop = async {
        while signals.next().await == Asked::Reload {
            role.reload();
        }
    };
    let until_succeeded = async {
        match stand {
            Some(stand) => stand.successor::<R>(workers).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = until_stop => End::Signal,
        succeeded = until_succeeded => End::Successor(succeeded),
        () = notify::watchdog(workers) => unreachable!("it never completes"),
    }
}

/// True when nothing was in flight in the end.
async fn finish<R: Role>(role: &mut R, workers: &Workers<R::Worker>, times: Times, end: End) -> bool {
    let told = match end {
        End::Signal => {
            notify::stopping();
            role.leave();
            leave::<R>(workers, times.delay).await;
            times.delay
        }
        End::Successor(Succeeded { pid, missing }) => {
            notify::main_process(pid);
            tracing::info!(pid, "a successor serves; this process drains");
            role.hand_over();
            role.leave();
            workers
                .ask(|worker| {
                    R::buses(worker).iter().for_each(Bus::hand_over_listening);
                    R::close_worker(worker);
                })
                .await;
            let delay = times.delay.max(HANDOVER_DELAY);
            until_closed::<R>(workers, Instant::now() + delay).await;
            // A guest that ignores the request to dial again dials when its pipe ends.
            workers.ask(move |worker| R::buses(worker).iter().for_each(|bus| bus.dismiss(&missing))).await;
            delay
        }
    };
    let finished = drain(role, workers, times.deadline, IDLE_GRACE.saturating_sub(told)).await;
    role.finish().await;
    finished
}

/// Waits until no worker has anything open, or until `end`; how much is open then.
async fn until_closed<R: Role>(workers: &Workers<R::Worker>, end: Instant) -> usize {
    loop {
        let open: usize = workers.ask(R::open).await.into_iter().sum();
        if open == 0 || Instant::now() >= end {
            return open;
        }
        tokio::time::sleep(ASK_INTERVAL).await;
    }
}

/// Serves on for `time`, so that load balancers and clients go elsewhere before anything is
/// refused.
async fn leave<R: Role>(workers: &Workers<R::Worker>, time: Duration) {
    if time.is_zero() {
        return;
    }
    tracing::info!("/ready says no; everything is served for {} more", humantime::format_duration(time));
    workers.ask(R::leave_worker).await;
    tokio::time::sleep(time).await;
}

/// Ends what is idle, waits for what is in flight, then tells the peers and waits for what is
/// outstanding on the buses; `time` in all. Connections stay open for `grace` although they are
/// idle. True when all of it has ended.
async fn drain<R: Role>(role: &mut R, workers: &Workers<R::Worker>, time: Duration, grace: Duration) -> bool {
    let deadline = Instant::now() + time;
    tracing::info!(
        "draining: no new connections, at most {} for requests in flight; a second signal ends them",
        humantime::format_duration(time)
    );
    role.drain();
    workers
        .ask(|worker| {
            R::buses(worker).iter().for_each(Bus::stop_listening);
            R::close_worker(worker);
        })
        .await;
    until_closed::<R>(workers, deadline.min(Instant::now() + grace)).await;
    workers.ask(R::drain_worker).await;
    let open = until_closed::<R>(workers, deadline).await;
    let finished = workers.run(move |worker| drain_buses::<R>(worker, deadline)).await;
    open == 0 && !finished.contains(&false)
}

async fn drain_buses<R: Role>(worker: Rc<R::Worker>, deadline: Instant) -> bool {
    let mut finished = true;
    for bus in R::buses(&worker) {
        finished &= bus.drain(deadline).await;
    }
    finished
}
