//! The end: connections first, then the bus, within one deadline.

use std::rc::Rc;
use std::time::{Duration, Instant};

use role::worker::Workers;

use crate::worker::Worker;

/// How often the workers are asked whether they are done.
const ASK_INTERVAL: Duration = Duration::from_millis(20);
/// How often services are asked to answer what is outstanding, long polls above all.
const FINISH_INTERVAL: Duration = Duration::from_millis(100);

/// Serves on for `time`, in which `/ready` says no and every response that its connection closes,
/// so that load balancers and clients go elsewhere before anything is refused.
pub(super) async fn lame_duck(workers: &Workers<Rc<Worker>>, time: Duration) {
    if time.is_zero() {
        return;
    }
    tracing::info!("/ready says no; everything is served for {} more", humantime::format_duration(time));
    workers.ask(|worker| worker.begin_to_leave()).await;
    tokio::time::sleep(time).await;
}

/// Ends what is idle, waits for what is in flight. Operators may still ask meanwhile. Returns when
/// the drain as a whole has to end.
pub(super) async fn connections(workers: &Workers<Rc<Worker>>, time: Duration) -> Instant {
    let deadline = Instant::now() + time;
    tracing::info!(
        "draining: no new connections, at most {} for requests in flight",
        humantime::format_duration(time)
    );
    workers.ask(|worker| worker.begin_drain()).await;
    let mut ask_to_finish = Instant::now();
    loop {
        // Again and again: a request may have been read meanwhile, and a full queue drops them.
        if Instant::now() >= ask_to_finish {
            ask_to_finish += FINISH_INTERVAL;
            workers.ask(|worker| worker.bus.finish_outstanding()).await;
        }
        let open: usize = workers.ask(|worker| worker.connections.len()).await.into_iter().sum();
        if open == 0 {
            return deadline;
        }
        if Instant::now() >= deadline {
            tracing::warn!(
                open,
                "drain deadline passed with connections open; raise --drain-deadline if requests take that long"
            );
            return deadline;
        }
        tokio::time::sleep(ASK_INTERVAL).await;
    }
}

/// Tells the peers, waits for what is outstanding, ends the threads.
pub(super) async fn bus(workers: Workers<Rc<Worker>>, deadline: Instant) {
    let finished = workers.stop(move |worker| async move { worker.drain_bus(deadline).await }).await;
    if finished.contains(&false) {
        tracing::warn!("the bus had requests outstanding when the drain deadline passed");
    }
}
