//! Appends of a worker that share a transaction.
//!
//! Owns which appends share one, and what happens when it fails. `append` decides and writes.
//!
//! Appends wait in a queue while [`GROUPS_AT_ONCE`] transactions are under way, and otherwise for
//! the rest of the loop's turn; all that wait go into the next transaction. So the fixed cost of a
//! transaction is shared under load. A worker that has fewer than [`FEW_APPENDS`] in hand lets none
//! of them wait.
//!
//! Each append is accepted or refused on its own. An append that depends on an earlier one of its
//! group joins the next group. When a transaction fails, for example because another process wrote
//! where a condition was checked, its group is split: appends without a condition stay together,
//! and the others run alone, with all their retries.
//!
//! Invariant: an append that has been answered was decided by a committed transaction, or alone.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    rc::Rc,
};

use store::{RunOptions, StoreError};
use tokio::{
    sync::oneshot,
    time::{Instant, timeout_at},
};

use crate::{
    append::{Append, AppendError},
    join::join,
    limits::{EVENTS_MAX, FEW_APPENDS, GROUP_BYTES_MAX, GROUPS_AT_ONCE},
    log::EventStore,
    position::EventPosition,
};

type Answer = Result<Vec<EventPosition>, AppendError>;

/// One worker's appends. The queue has no bound of its own: each append in it is a request that
/// the worker has in hand, and these are bounded.
pub struct Appender {
    events: EventStore,
    queue: RefCell<VecDeque<Waiting>>,
    /// Appends in the queue and in transactions.
    in_hand: Cell<usize>,
    /// Tasks that take groups from the queue.
    under_way: Cell<usize>,
}

/// An append without an answer.
struct Waiting {
    append: Append,
    until: Instant,
    answer: oneshot::Sender<Answer>,
}

impl Appender {
    /// Appends to these events. Belongs to one thread, which runs a `LocalSet` or a local runtime.
    #[must_use]
    pub fn new(events: EventStore) -> Rc<Self> {
        Rc::new(Self { events, queue: RefCell::default(), in_hand: Cell::new(0), under_way: Cell::new(0) })
    }

    /// As [`EventStore::append`], in a transaction that other appends of this worker may share.
    ///
    /// # Errors
    /// [`AppendError`]; [`StoreError::DeadlineExceeded`] when there is no answer within the timeout
    /// of `options`. Its number of retries is not used.
    ///
    /// # Cancel safety
    /// All events are appended or none; repeat the append to find out.
    pub async fn append(self: &Rc<Self>, append: Append, options: &RunOptions) -> Answer {
        let until = Instant::now() + options.timeout;
        let (answer, answered) = oneshot::channel();
        self.queue.borrow_mut().push_back(Waiting { append, until, answer });
        self.in_hand.update(|appends| appends + 1);
        if self.under_way.get() < self.groups_max() {
            self.under_way.update(|groups| groups + 1);
            tokio::task::spawn_local(Rc::clone(self).work());
        }
        match timeout_at(until, answered).await {
            Ok(Ok(answer)) => answer,
            // The task ended without an answer only when the worker stops.
            Ok(Err(_)) => Err(store::Error::from(StoreError::Closed).into()),
            Err(_) => Err(late(options).into()),
        }
    }

    /// Transactions that may be under way now.
    fn groups_max(&self) -> usize {
        if self.in_hand.get() < FEW_APPENDS { FEW_APPENDS } else { GROUPS_AT_ONCE }
    }

    /// Runs groups until nothing waits, or enough other tasks do.
    async fn work(self: Rc<Self>) {
        while self.under_way.get() <= self.groups_max() {
            // The appends of this turn of the loop come first.
            tokio::task::yield_now().await;
            let group = self.next_group();
            if group.is_empty() {
                break;
            }
            self.run(group).await;
        }
        self.under_way.update(|groups| groups - 1);
    }

    /// The appends that have waited longest, as many as fit into one transaction.
    fn next_group(&self) -> Vec<Waiting> {
        let mut queue = self.queue.borrow_mut();
        queue.retain(|waiting| !self.is_left(waiting));
        let (mut events, mut bytes) = (0, 0);
        let fits = |waiting: &&Waiting| {
            let is_first = events == 0;
            events += waiting.append.len();
            bytes += waiting.append.bytes();
            is_first || (events <= EVENTS_MAX && bytes <= GROUP_BYTES_MAX)
        };
        let len = queue.iter().take_while(fits).count();
        queue.drain(..len).collect()
    }

    /// True when the caller has left; the append is not in hand then.
    fn is_left(&self, waiting: &Waiting) -> bool {
        let is_left = waiting.answer.is_closed();
        self.in_hand.update(|appends| appends - usize::from(is_left));
        is_left
    }

    fn answer(&self, to: oneshot::Sender<Answer>, answer: Answer) {
        self.in_hand.update(|appends| appends - 1);
        // The one who asked may have left meanwhile.
        drop(to.send(answer));
    }

    /// Answers all of the group, in one transaction or, when that fails, in several.
    async fn run(&self, group: Vec<Waiting>) {
        let mut groups = vec![group];
        while !groups.is_empty() {
            let failed = join(groups.into_iter().map(|group| self.attempt(group))).await;
            groups = failed.into_iter().flatten().flat_map(split).collect();
        }
    }

    /// Returns the group when its transaction failed. That of a single append is tried until its
    /// time is up, and answered in any case.
    async fn attempt(&self, group: Vec<Waiting>) -> Option<Vec<Waiting>> {
        let until = group.iter().map(|waiting| waiting.until).max()?;
        let options = RunOptions::within(until.saturating_duration_since(Instant::now()));
        if group.len() == 1 {
            for Waiting { append, answer, .. } in group {
                self.answer(answer, self.events.append(&append, &options).await);
            }
            return None;
        }
        let appends: Vec<&Append> = group.iter().map(|waiting| &waiting.append).collect();
        let Ok(answers) = self.events.append_all(&appends, &options.retries_max(0)).await else {
            return Some(group);
        };
        let mut dependent = Vec::new();
        for (waiting, answer) in group.into_iter().zip(answers) {
            match answer.transpose() {
                Some(answer) => self.answer(waiting.answer, answer),
                None => dependent.push(waiting),
            }
        }
        let mut queue = self.queue.borrow_mut();
        dependent.into_iter().rev().for_each(|waiting| queue.push_front(waiting));
        None
    }
}

/// The groups that take the place of one that failed; each is smaller.
fn split(group: Vec<Waiting>) -> Vec<Vec<Waiting>> {
    let (alone, together): (Vec<_>, Vec<_>) =
        group.into_iter().partition(|waiting| waiting.append.has_condition());
    let parts = alone.into_iter().map(|waiting| vec![waiting]);
    if parts.len() == 0 {
        return together.into_iter().map(|waiting| vec![waiting]).collect();
    }
    parts.chain((!together.is_empty()).then_some(together)).collect()
}

fn late(options: &RunOptions) -> store::Error {
    StoreError::DeadlineExceeded { timeout: options.timeout, attempts: 1, maybe_committed: true, last: None }
        .into()
}
