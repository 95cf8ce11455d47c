//! The conversations that are polled on this worker, and how the worker learns of changes.
//!
//! Owns the rooms, typing and presence, events in both directions, and the watches of the store.
//! The worker learns of a change from the handler that made it, from another instance's event, or
//! from the store's watch, which also fires when the event was lost. Invariant: a shard with polls
//! has one watch, and a room reads its newest change after the watch was set.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use foldhash::fast::RandomState;
use service_host::ID_BYTES_MAX;
use service_host::bus::{Bus, Event};
use service_host::{Finish, Request};
use store::{Error, Position};

use crate::broadcast::Broadcast;
use crate::conversations::Conversations;
use crate::keys::shard_of;
use crate::room::Room;
use crate::transient::{Doing, PRESENT, TYPING, Transients};

/// The topic of every event of this service.
pub(crate) const TOPIC: &str = "chat";

/// Interval between removals of expired typing and presence.
pub(crate) const SWEEP: Duration = Duration::from_secs(1);

/// The presence of a polling member is announced again when it has less than this left.
const PRESENT_AGAIN: Duration = Duration::from_secs(35);

/// Pause before a failed watch is set again. Changes are read at the same interval.
const WATCH_PAUSE: Duration = Duration::from_secs(1);

/// One worker's rooms.
pub(crate) struct Hub {
    pub(crate) conversations: Conversations,
    bus: Bus,
    shards: RefCell<HashMap<u64, Shard, RandomState>>,
    pub(crate) transients: RefCell<Transients>,
    broadcast: Broadcast,
}

/// Rooms that share a watch. Kept while the watch waits.
#[derive(Default)]
struct Shard {
    rooms: HashMap<String, Rc<Room>, RandomState>,
    is_watched: bool,
}

/// A poll's place in a room.
pub(crate) struct Seat {
    hub: Rc<Hub>,
    pub(crate) room: Rc<Room>,
}

impl Hub {
    /// Starts the worker's background tasks: waking polls, and removing what expired.
    pub(crate) fn start(conversations: Conversations, bus: Bus) -> Rc<Self> {
        let hub = Rc::new(Self {
            conversations,
            bus,
            shards: RefCell::default(),
            transients: RefCell::default(),
            broadcast: Broadcast::default(),
        });
        let waking = Rc::clone(&hub);
        tokio::task::spawn_local(async move { waking.broadcast.run(&waking.bus).await });
        let sweeping = Rc::clone(&hub);
        tokio::task::spawn_local(async move { sweeping.sweep().await });
        hub
    }

    /// Takes a seat in the room of `chat`, whose newest change is known afterwards.
    pub(crate) async fn enter(self: &Rc<Self>, chat: &str) -> Result<Seat, Error> {
        let room = self.open(chat);
        room.sit();
        let seat = Seat { hub: Rc::clone(self), room };
        if seat.room.last().is_none() {
            seat.room.learn(self.conversations.last(chat).await?);
        }
        Ok(seat)
    }

    /// Announces a change made on this worker to all polls and instances. `author` stops typing.
    pub(crate) fn changed(&self, chat: &str, position: Position, author: Option<&str>) {
        self.hear_change(chat, position, author);
        let at = position.to_string();
        self.publish(&[("kind", "change"), ("chat", chat), ("at", &at), ("member", author.unwrap_or(""))]);
    }

    /// `member` is typing.
    pub(crate) fn typing(&self, chat: &str, member: &str) {
        self.hear_doing(chat, member, Doing::Typing, TYPING);
        self.publish(&[("kind", "typing"), ("chat", chat), ("member", member)]);
    }

    /// `member` is polling. Announced to other instances when they may not know. A member above the
    /// limit of shown members is shown nowhere, so it is not announced.
    pub(crate) fn present(&self, chat: &str, member: &str) {
        let known = || self.transients.borrow().until(chat, member, Doing::Present);
        if known().is_some_and(|until| until > Instant::now() + PRESENT_AGAIN) {
            return;
        }
        self.hear_doing(chat, member, Doing::Present, PRESENT);
        if known().is_none() {
            return;
        }
        self.publish(&[("kind", "present"), ("chat", chat), ("member", member)]);
    }

    /// Handles an event of another instance. A malformed event is ignored, because the watch
    /// reports the change anyway.
    pub(crate) fn hear(&self, event: &Event) {
        let field = |name| event.envelope.field(name).and_then(|value| std::str::from_utf8(value).ok());
        let id = |name| field(name).filter(|id| (1..=ID_BYTES_MAX).contains(&id.len()));
        let Some(chat) = id("chat") else { return };
        match (field("kind"), id("member")) {
            (Some("change"), member) => {
                if let Some(position) = field("at").and_then(Position::parse) {
                    self.hear_change(chat, position, member);
                }
            }
            (Some("typing"), Some(member)) => self.hear_doing(chat, member, Doing::Typing, TYPING),
            (Some("present"), Some(member)) => self.hear_doing(chat, member, Doing::Present, PRESENT),
            _ => (),
        }
    }

    /// Completes when the poll `request` is to be answered now.
    pub(crate) fn finish(&self, request: &Request) -> Finish {
        request.finish(&self.bus)
    }

    fn hear_change(&self, chat: &str, position: Position, author: Option<&str>) {
        let stopped =
            author.is_some_and(|author| self.transients.borrow_mut().end(chat, author, Doing::Typing));
        let Some(room) = self.room(chat) else { return };
        if stopped {
            room.stir();
        }
        if room.learn(position) || stopped {
            self.broadcast.wake(&room);
        }
    }

    fn hear_doing(&self, chat: &str, member: &str, doing: Doing, time: Duration) {
        let until = Instant::now() + time;
        if self.transients.borrow_mut().tell(chat, member, doing, until) {
            self.stir(chat);
        }
    }

    fn stir(&self, chat: &str) {
        if let Some(room) = self.room(chat) {
            room.stir();
            self.broadcast.wake(&room);
        }
    }

    fn publish(&self, fields: &[(&str, &str)]) {
        self.bus.publish(TOPIC, fields, &Bytes::new());
    }

    async fn sweep(&self) {
        let mut ticks = tokio::time::interval(SWEEP);
        loop {
            ticks.tick().await;
            let changed = self.transients.borrow_mut().expire(Instant::now());
            changed.iter().for_each(|chat| self.stir(chat));
        }
    }

    fn room(&self, chat: &str) -> Option<Rc<Room>> {
        self.shards.borrow().get(&shard_of(chat))?.rooms.get(chat).cloned()
    }

    fn rooms(&self, number: u64) -> Vec<Rc<Room>> {
        let shards = self.shards.borrow();
        shards.get(&number).map(|shard| shard.rooms.values().cloned().collect()).unwrap_or_default()
    }

    /// The room of `chat`, created when it is missing. Its shard is watched from now on.
    fn open(self: &Rc<Self>, chat: &str) -> Rc<Room> {
        let number = shard_of(chat);
        let mut shards = self.shards.borrow_mut();
        let shard = shards.entry(number).or_default();
        if !shard.is_watched {
            shard.is_watched = true;
            tokio::task::spawn_local(Rc::clone(self).watch(number));
        }
        if let Some(room) = shard.rooms.get(chat) {
            return Rc::clone(room);
        }
        let room = Rc::new(Room::new(chat));
        shard.rooms.insert(chat.to_owned(), Rc::clone(&room));
        room
    }

    /// Watches a shard as long as it is polled.
    async fn watch(self: Rc<Self>, number: u64) {
        loop {
            let watch = self.conversations.watch(number).await;
            for room in self.rooms(number) {
                match self.conversations.last(&room.chat).await {
                    Ok(position) if room.learn(position) => self.broadcast.wake(&room),
                    Ok(_) => (),
                    Err(error) => tracing::warn!(%error, "a conversation's newest change cannot be read"),
                }
            }
            let fired = match watch {
                Ok(watch) => watch.await,
                Err(error) => Err(error),
            };
            if let Err(error) = fired {
                tracing::debug!(%error, "no watch; changes are looked for every second");
                tokio::time::sleep(WATCH_PAUSE).await;
            }
            let mut shards = self.shards.borrow_mut();
            if shards.get(&number).is_none_or(|shard| shard.rooms.is_empty()) {
                shards.remove(&number);
                return;
            }
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if self.room.leave()
            && let Some(shard) = self.hub.shards.borrow_mut().get_mut(&shard_of(&self.room.chat))
        {
            shard.rooms.remove(&self.room.chat);
        }
    }
}
