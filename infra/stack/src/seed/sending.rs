//! Sending: a sequence of requests, distributed over many connections.
//!
//! Owns which connection sends a request, and when. Leaves reading requests to `source`, sending
//! one to `target`, recording which are done to `front` and `checkpoint`, and what is printed to
//! `shown`. Invariant: when order matters, requests about one member or conversation use one
//! connection, in order; a request that must wait is sent when no other is outstanding; after a
//! signal nothing further is sent.

use std::cell::Cell;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::checkpoint::Checkpoint;
use super::error::Error;
use super::front::{Answer, Front};
use super::options::Options;
use super::place::{Item, Place};
use super::request::Request;
use super::shown::Shown;
use super::source::Source;
use super::target::{Connection, Destination, Outcome};
use crate::signals::Signals;

/// Requests that wait for one connection.
const LANE_MAX: usize = 16;
/// Pause between two checkpoints. After a kill, requests since the last one are sent again.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(1);
/// Time for outstanding answers after a stop.
const ANSWERS_WITHIN: Duration = Duration::from_secs(5);
/// Bad lines that are reported one by one; further ones are counted.
const TOLD_MAX: u64 = 100;

/// How a seed ended without an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Everything was accepted, except bad lines.
    Complete {
        /// Lines skipped, including those of earlier runs.
        bad: u64,
    },
    /// A signal stopped it.
    Stopped,
}

/// An outstanding request, with its number at the front.
type Sent = (u64, Place, Request);

/// A seed in progress.
pub struct Sending<'a> {
    options: &'a Options,
    source: &'a Source,
    /// `None` for a source that cannot be resumed.
    checkpoint: Option<&'a Checkpoint>,
    shown: &'a Shown,
    front: Front,
    /// Bad lines of this run.
    told: u64,
    lanes: Vec<mpsc::Sender<Sent>>,
    answers: mpsc::Receiver<(u64, Place, Outcome)>,
    /// The connection of the next request in unordered mode.
    turn: usize,
    /// True when the lanes must send nothing further.
    stopping: Rc<Cell<bool>>,
    failure: Option<Error>,
}

impl<'a> Sending<'a> {
    /// Begins after `place`; must be called on a `LocalSet` or a local runtime.
    pub fn new(
        options: &'a Options,
        destination: &Destination,
        source: &'a Source,
        checkpoint: Option<&'a Checkpoint>,
        shown: &'a Shown,
        (place, bad): (Place, u64),
    ) -> Self {
        let count = usize::from(options.connections);
        let (answered, answers) = mpsc::channel(count);
        let (retries, stopping) = (shown.retries(), Rc::<Cell<bool>>::default());
        let lane = || lane(options, destination, answered.clone(), Rc::clone(&retries), Rc::clone(&stopping));
        let (front, lanes) = (Front::new(place, bad), std::iter::repeat_with(lane).take(count).collect());
        Self {
            options,
            source,
            checkpoint,
            shown,
            front,
            told: 0,
            lanes,
            answers,
            turn: 0,
            stopping,
            failure: None,
        }
    }

    /// Sends everything.
    ///
    /// # Errors
    /// The first bad line, the first request that was not accepted in time, or a checkpoint that
    /// cannot be written. Before it returns, the checkpoint is written once more.
    pub async fn run(mut self, signals: &mut Signals) -> Result<End, Error> {
        let (mut items, thread) = self.source.ahead(self.front.place())?;
        let mut ticks = interval(CHECKPOINT_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut next, mut exhausted, mut stopped) = (None::<Item>, false, false);
        while self.failure.is_none() && !stopped && !(exhausted && next.is_none() && self.front.open() == 0) {
            let lane = next.as_ref().filter(|item| self.may_begin(item)).map(|item| self.lane(item));
            tokio::select! {
                Some((number, place, outcome)) = self.answers.recv() => self.answered(number, place, outcome),
                permit = reserve(lane), if lane.is_some() => {
                    if let (Some(permit), Some(Item { place, request: Ok(request) })) = (permit, next.take()) {
                        self.turn += 1;
                        permit.send((self.front.begin(place), place, request));
                    }
                }
                item = items.recv(), if next.is_none() && !exhausted => match item.transpose() {
                    Ok(Some(Item { place, request: Err(reason) })) => {
                        let number = self.front.begin(place);
                        self.answered(number, place, Outcome::Refused(reason));
                    }
                    Ok(item) => next = item,
                    Err(source) => self.fail(Error::System(source)),
                },
                _ = ticks.tick() => self.tick()?,
                () = signals.next() => stopped = true,
            }
            exhausted |= items.is_closed() && items.is_empty();
        }
        drop(items);
        if exhausted && let Err(panic) = thread.join() {
            std::panic::resume_unwind(panic);
        }
        // Everything before a bad line is sent, so that the next run begins with that line.
        let is_bad = matches!(self.failure, Some(Error::Bad { .. }));
        self.stopping.set(stopped || self.failure.is_some() && !is_bad);
        self.settle(signals).await;
        self.end(stopped)
    }

    /// Waits a limited time for outstanding answers.
    async fn settle(&mut self, signals: &mut Signals) {
        // Ends lanes that wait for requests.
        self.lanes.clear();
        let rest = async {
            // Ends when every lane has ended.
            while let Some((number, place, outcome)) = self.answers.recv().await {
                self.answered(number, place, outcome);
            }
        };
        tokio::select! {
            _ = timeout(ANSWERS_WITHIN, rest) => {}
            () = signals.next() => {}
        }
    }

    fn end(mut self, stopped: bool) -> Result<End, Error> {
        let complete = self.failure.is_none() && !stopped;
        if let Some(checkpoint) = self.checkpoint {
            if complete {
                checkpoint.remove()?
            } else {
                checkpoint.write(self.front.place(), self.front.bad())?
            }
        }
        match self.failure.take() {
            Some(failure) => Err(failure),
            None if stopped => Ok(End::Stopped),
            None => Ok(End::Complete { bad: self.front.bad() }),
        }
    }

    fn may_begin(&self, item: &Item) -> bool {
        let waits = item.request.as_ref().is_ok_and(|request| request.wait);
        self.front.has_room() && !(waits && self.front.open() > 0)
    }

    fn lane(&self, item: &Item) -> mpsc::Sender<Sent> {
        let place = match &item.request {
            Ok(request) if !self.options.unordered => {
                let mut hasher = DefaultHasher::new();
                request.subject().hash(&mut hasher);
                usize::try_from(hasher.finish() % self.lanes.len() as u64).expect("is below a length")
            }
            _ => self.turn % self.lanes.len(),
        };
        self.lanes[place].clone()
    }

    fn answered(&mut self, number: u64, place: Place, outcome: Outcome) {
        let at = || self.source.at(place);
        let answer = match outcome {
            Outcome::Taken => {
                self.shown.taken();
                Answer::Taken
            }
            Outcome::Refused(reason) if self.options.skip_bad => {
                self.told += 1;
                if self.told <= TOLD_MAX {
                    self.shown.line(&format!("{}: {reason}", at()));
                }
                if self.told == TOLD_MAX {
                    self.shown.line("further bad lines are only counted");
                }
                Answer::Bad
            }
            Outcome::Refused(reason) => return self.fail(Error::Bad { at: at(), reason }),
            Outcome::GaveUp(reason) => {
                return self.fail(Error::GaveUp { at: at(), reason, patience: self.options.patience });
            }
            Outcome::Ended(reason) => return self.fail(Error::Ended { at: at(), reason }),
        };
        self.front.done(number, answer);
        self.shown.reached(self.front.place());
    }

    /// Records the first failure. Its request stays outstanding, so that the front stays before it.
    fn fail(&mut self, failure: Error) {
        self.failure.get_or_insert(failure);
    }

    fn tick(&mut self) -> Result<(), Error> {
        self.shown.tick();
        if let Some(checkpoint) = self.checkpoint {
            let unwritable = |source| Error::File { path: checkpoint.path().to_owned(), source };
            checkpoint.write(self.front.place(), self.front.bad()).map_err(unwritable)?;
        }
        Ok(())
    }
}

/// Starts a connection and its queue.
fn lane(
    options: &Options,
    destination: &Destination,
    answered: mpsc::Sender<(u64, Place, Outcome)>,
    retries: Rc<Cell<u64>>,
    stopping: Rc<Cell<bool>>,
) -> mpsc::Sender<Sent> {
    let (sender, mut waiting) = mpsc::channel::<Sent>(LANE_MAX);
    let mut connection = Connection::new(destination.clone(), options.patience);
    tokio::task::spawn_local(async move {
        while let Some((number, place, request)) = waiting.recv().await.filter(|_| !stopping.get()) {
            let outcome = connection.send(&request, || retries.set(retries.get() + 1)).await;
            if answered.send((number, place, outcome)).await.is_err() {
                return;
            }
        }
    });
    sender
}

/// A place in the lane's queue; waits for ever when there is no lane.
async fn reserve(lane: Option<mpsc::Sender<Sent>>) -> Option<mpsc::OwnedPermit<Sent>> {
    lane?.reserve_owned().await.ok()
}
