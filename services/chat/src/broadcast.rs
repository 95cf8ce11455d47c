//! Waking the polls of a conversation at a bounded pace.
//!
//! Owns the pace. Twenty thousand polls that answer within one turn of the loop would fill the
//! pipes' out-queues (8 192 messages each) and delay all other requests. So polls are woken in
//! portions, each when the queues have room again. Invariant: a peer that does not read delays a
//! room for [`PAUSES_MAX`] pauses at most; its own answers then wait for room in its queue (crate
//! `bus`).

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use service_host::bus::Bus;
use tokio::sync::Notify;

use crate::room::Room;

/// Polls woken between two checks of the queues.
const PORTION: usize = 256;

/// Messages in a pipe's out-queue above which no poll is woken: a quarter of the queue.
const QUEUED_MAX: usize = 2_048;

/// Pause while a queue holds more than `QUEUED_MAX` messages.
const PAUSE: Duration = Duration::from_millis(1);

/// Most pauses for one room: a peer that reads at all has read many portions by then.
const PAUSES_MAX: usize = 100;

/// Rooms whose polls are to be woken.
#[derive(Debug, Default)]
pub(crate) struct Broadcast {
    rooms: RefCell<VecDeque<Rc<Room>>>,
    more: Notify,
}

impl Broadcast {
    /// Wakes all polls in `room`: a few at once, many in portions.
    pub(crate) fn wake(&self, room: &Rc<Room>) {
        if room.seats() <= PORTION {
            room.changed.notify_waiters();
            return;
        }
        let mut rooms = self.rooms.borrow_mut();
        // A room that waits for its turn will also wake polls that arrive until then.
        if !rooms.iter().any(|waiting| Rc::ptr_eq(waiting, room)) {
            rooms.push_back(Rc::clone(room));
            self.more.notify_one();
        }
    }

    /// Wakes rooms in turn, for the life of the worker.
    pub(crate) async fn run(&self, bus: &Bus) {
        loop {
            let room = self.rooms.borrow_mut().pop_front();
            let Some(room) = room else {
                self.more.notified().await;
                continue;
            };
            let (mut left, mut pauses) = (room.seats(), 0);
            while left > 0 {
                while pauses < PAUSES_MAX && bus.peers().iter().any(|peer| peer.queued_messages > QUEUED_MAX)
                {
                    tokio::time::sleep(PAUSE).await;
                    pauses += 1;
                }
                let portion = left.min(PORTION);
                (0..portion).for_each(|_| room.changed.notify_one());
                left -= portion;
                tokio::task::yield_now().await;
            }
        }
    }
}
