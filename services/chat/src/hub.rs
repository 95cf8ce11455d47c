//! The conversations in which somebody polls on this worker, and how it hears of changes.
//!
//! Owns: the rooms, typing and presence, events out and in, the watches of the store. A change is heard three ways: from
//! the handler that made it here, by an event from another instance, at once, and by the store's watch, which also fires
//! when the event was lost. Invariant: a shard in which somebody polls has one watch, and a room learns of its newest
//! change after the watch was set.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use foldhash::fast::RandomState;
use service_host::bus::{Bus, Event};
use store::{Error, Position};

use crate::broadcast::Broadcast;
use crate::conversations::Conversations;
use crate::keys::shard_of;
use crate::message::ID_BYTES_MAX;
use crate::room::Room;
use crate::transient::{Doing, PRESENT, TYPING, Transients};

/// The topic of every event of this service.
pub(crate) const TOPIC: &str = "chat";

/// How often what is over is forgotten.
pub(crate) const SWEEP: Duration = Duration::from_secs(1);

/// A member that polls is announced again when its presence has less left than this.
const PRESENT_AGAIN: Duration = Duration::from_secs(35);

/// Pause before a store that gives no watch is asked again; changes are looked for as often.
const WATCH_PAUSE: Duration = Duration::from_secs(1);

/// One worker's rooms.
pub(crate) struct Hub {
    pub(crate) conversations: Conversations,
    bus: Bus,
    shards: RefCell<HashMap<u64, Shard, RandomState>>,
    pub(crate) transients: RefCell<Transients>,
    broadcast: Broadcast,
    /// No poll waits any more: the worker ends.
    closed: Cell<bool>,
}

/// Rooms with the same watch. Stays for as long as its watch waits.
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
    /// Starts what works beside the requests: waking, forgetting.
    pub(crate) fn start(conversations: Conversations, bus: Bus) -> Rc<Self> {
        let hub = Rc::new(Self {
            conversations,
            bus,
            shards: RefCell::default(),
            transients: RefCell::default(),
            broadcast: Broadcast::default(),
            closed: Cell::new(false),
        });
        let waking = Rc::clone(&hub);
        tokio::task::spawn_local(async move { waking.broadcast.run(&waking.bus).await });
        let sweeping = Rc::clone(&hub);
        tokio::task::spawn_local(async move { sweeping.sweep().await });
        hub
    }

    /// A seat in the room of `chat`, which then knows its newest change.
    pub(crate) async fn enter(self: &Rc<Self>, chat: &str) -> Result<Seat, Error> {
        let room = self.open(chat);
        room.sit();
        let seat = Seat { hub: Rc::clone(self), room };
        if seat.room.last().is_none() {
            seat.room.learn(self.conversations.last(chat).await?);
        }
        Ok(seat)
    }

    /// A change was made here: tells everybody. `author` does not type any more.
    pub(crate) fn changed(&self, chat: &str, position: Position, author: Option<&str>) {
        self.hear_change(chat, position, author);
        let at = position.to_string();
        self.publish(&[("kind", "change"), ("chat", chat), ("at", &at), ("member", author.unwrap_or(""))]);
    }

    /// `member` types.
    pub(crate) fn typing(&self, chat: &str, member: &str) {
        self.hear_doing(chat, member, Doing::Typing, TYPING);
        self.publish(&[("kind", "typing"), ("chat", chat), ("member", member)]);
    }

    /// `member` polls; told to others when they may not know. One of too many is not shown, here or there: nobody needs to know.
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

    /// An event of another instance. One that is not as ours are is ignored: the watch tells the truth anyway.
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

    /// Answers every poll now, and none waits any more.
    pub(crate) fn close(&self) {
        self.closed.set(true);
        self.rooms(|_| true).iter().for_each(|room| self.broadcast.wake(room));
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.get()
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

    fn rooms(&self, of: impl Fn(u64) -> bool) -> Vec<Rc<Room>> {
        let shards = self.shards.borrow();
        let rooms = shards.iter().filter(|(number, _)| of(**number)).map(|(_, shard)| shard.rooms.values());
        rooms.flatten().cloned().collect()
    }

    /// The room of `chat`, made when there is none; its shard is watched from now on.
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

    /// Watches a shard until nobody polls in it.
    async fn watch(self: Rc<Self>, number: u64) {
        loop {
            let watch = self.conversations.watch(number).await;
            for room in self.rooms(|of| of == number) {
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
