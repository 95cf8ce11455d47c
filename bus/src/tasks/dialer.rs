//! Dialling: connect, run the pipe until it ends, wait, and repeat for as long as the bus exists.
//!
//! A peer that drains is dialled again at once, beside the pipe that still works: its successor may
//! accept there already, and gets a pipe before the old one ends.
//!
//! A host name is looked up before every dial, and each of its addresses gets a pipe, because
//! several instances may be behind one name. Added and removed addresses are noticed when one of
//! the name's pipes is dialled again.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::{Duration, Instant};

use bus_proto::Backoff;
use tokio::sync::Notify;
use tokio::task::spawn_local;
use tracing::{debug, info, warn};

use crate::io::endpoint::Endpoint;
use crate::io::transport::Transport;
use crate::state::dials::Worth;
use crate::state::inner::Inner;
use crate::tasks::pipe::{self, End, Ended, Peer};

/// Upper bound of the time of a look-up.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);

/// Starts tasks that keep a pipe to `endpoint`, or one pipe to each address of its host name, until
/// it is undialled.
pub(crate) fn dial(inner: Rc<Inner>, endpoint: &Endpoint) {
    dial_by(inner, endpoint, lookup);
}

/// The present addresses of a host name from the system's resolver.
async fn lookup(host: String, port: u16) -> io::Result<Vec<SocketAddr>> {
    let found = tokio::time::timeout(LOOKUP_TIMEOUT, tokio::net::lookup_host((host, port))).await;
    Ok(found.map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "no answer within 5 s"))??.collect())
}

/// Like [`dial`], with another function that looks host names up.
fn dial_by<L, F>(inner: Rc<Inner>, endpoint: &Endpoint, lookup: L)
where
    L: Fn(String, u16) -> F + 'static,
    F: Future<Output = io::Result<Vec<SocketAddr>>> + 'static,
{
    let at = inner.dials.borrow_mut().add(endpoint, Instant::now());
    let dial = Dial { inner, at, endpoint: endpoint.clone() };
    match dial.endpoint.clone() {
        Endpoint::Tcp { host, port } if host.parse::<IpAddr>().is_err() => {
            let addresses = RefCell::default();
            spawn_local(Rc::new(Name { dial, host, port, lookup, addresses }).begin());
        }
        _ => drop(spawn_local(Rc::new(dial).keep_one(None))),
    }
}

/// One endpoint that is dialled.
struct Dial {
    inner: Rc<Inner>,
    at: usize,
    endpoint: Endpoint,
}

impl Dial {
    /// Keeps one pipe to the endpoint, in the place of the pipe `before` if there is one. It awaits
    /// the pipe directly rather than in another `async fn`, because the pipe is polled for every
    /// batch.
    async fn keep_one(self: Rc<Self>, before: Option<Rc<Replaced>>) {
        let mut backoff = Backoff::new(fastrand::u64(..));
        let to = self.endpoint.to_string();
        while self.is_wanted() {
            let said = drains(before.as_deref());
            let wait = match Transport::dial(&self.endpoint, self.inner.config.keepalive).await {
                Ok(_) if !self.is_wanted() => return,
                Ok(transport) => {
                    let dial = Rc::clone(&self);
                    let replaced = Replaced::by(move |before| {
                        drop(spawn_local(Rc::clone(&dial).keep_one(Some(before))))
                    });
                    let ended = pipe::run(&self.inner, transport, self.peer(&to, &replaced)).await;
                    let wait = self.ended(&to, &ended, &mut backoff, before.as_deref());
                    if replaced.end() {
                        return;
                    }
                    next_dial(before.as_deref(), said).await;
                    wait
                }
                Err(error) => self.not_dialled(&to, &error, &mut backoff, before.as_deref()),
            };
            tokio::time::sleep(wait).await;
        }
    }

    /// False once the endpoint was undialled.
    fn is_wanted(&self) -> bool {
        self.inner.dials.borrow().contains(self.at)
    }

    fn peer(&self, to: &str, replaced: &Rc<Replaced>) -> Peer {
        debug!(%to, "connected");
        let place = self.inner.places.take();
        let replaced = Rc::clone(replaced);
        let drains: Rc<dyn Fn()> = Rc::new(move || replaced.drain());
        Peer { from: to.to_owned(), dialled: Some(self.at), claims: None, place, drains: Some(drains) }
    }

    /// Records a failed connection attempt. Returns the time to wait before the next one.
    fn not_dialled(
        &self,
        to: &str,
        error: &io::Error,
        backoff: &mut Backoff,
        before: Option<&Replaced>,
    ) -> Duration {
        self.failed(to, error.to_string());
        self.wait(backoff, before)
    }

    /// Records the end of a pipe. Returns the time to wait before the next attempt.
    fn ended(&self, to: &str, ended: &Ended, backoff: &mut Backoff, before: Option<&Replaced>) -> Duration {
        match ended.end {
            End::Closed => {
                self.inner.dials.borrow_mut().closed(self.at, Instant::now());
                backoff.reset();
                backoff.next_wait()
            }
            End::Unopened => {
                self.failed(to, ended.failure.to_string());
                self.wait(backoff, before)
            }
            End::Foreign => {
                self.failed(to, ended.failure.to_string());
                Backoff::longest()
            }
        }
    }

    /// The time to wait after a failure. It is long when another address of the name is connected,
    /// because some addresses never answer, such as `[::1]` when the listener is on `127.0.0.1`. It
    /// is short while the pipe `before` still works, because its successor is about to listen.
    fn wait(&self, backoff: &mut Backoff, before: Option<&Replaced>) -> Duration {
        if before.is_some_and(|before| !before.has_ended.get()) {
            backoff.reset();
            return backoff.next_wait();
        }
        let is_connected = self.inner.dials.borrow().is_connected(self.at);
        if is_connected { Backoff::longest() } else { backoff.next_wait() }
    }

    fn failed(&self, to: &str, error: String) {
        self.inner.node.borrow_mut().counters.dials_failed += 1;
        match self.inner.dials.borrow_mut().failed(self.at, Instant::now(), error.clone()) {
            Worth::Warning => warn!(%to, %error, "cannot dial, retrying"),
            Worth::Debug => debug!(%to, %error, "cannot dial"),
        }
    }
}

/// A pipe whose peer may drain. The endpoint is then dialled again, by a task that keeps it from
/// there on; this pipe's task ends with the pipe.
struct Replaced {
    replace: Box<dyn Fn(Rc<Self>)>,
    /// How often the peer has said that it drains: after the first time, another task has begun.
    drains: Cell<u32>,
    /// This pipe is closed.
    has_ended: Cell<bool>,
    /// Told when this pipe has ended, and when its peer drains once more.
    changed: Notify,
}

impl Replaced {
    fn by(replace: impl Fn(Rc<Self>) + 'static) -> Rc<Self> {
        Rc::new(Self {
            replace: Box::new(replace),
            drains: Cell::new(0),
            has_ended: Cell::new(false),
            changed: Notify::new(),
        })
    }

    fn drain(self: &Rc<Self>) {
        self.drains.set(self.drains.get() + 1);
        match self.drains.get() {
            1 => (self.replace)(Rc::clone(self)),
            _ => self.changed.notify_waiters(),
        }
    }

    /// The pipe is closed. True when another task keeps the endpoint now.
    fn end(&self) -> bool {
        self.has_ended.set(true);
        self.changed.notify_waiters();
        self.drains.get() > 0
    }
}

/// Waits until a dial makes sense again. A connection that has ended while the pipe before it still
/// works was to a successor that failed, or was refused by a peer that continues: that peer says
/// once more when it drains, by the old pipe.
///
/// `drains` is what [`drains`] said before the last dial.
async fn next_dial(before: Option<&Replaced>, drains: u32) {
    while let Some(before) = before
        && !before.has_ended.get()
        && before.drains.get() == drains
    {
        before.changed.notified().await;
    }
}

/// How often the peer of the pipe before has said that it drains.
fn drains(before: Option<&Replaced>) -> u32 {
    before.map_or(0, |before| before.drains.get())
}

/// A host name, and its addresses that are being dialled.
struct Name<L> {
    dial: Dial,
    host: String,
    port: u16,
    lookup: L,
    addresses: RefCell<HashSet<SocketAddr>>,
}

impl<L, F> Name<L>
where
    L: Fn(String, u16) -> F + 'static,
    F: Future<Output = io::Result<Vec<SocketAddr>>> + 'static,
{
    /// Looks the name up until it has an address. From then on the task of each address repeats the
    /// look-up.
    async fn begin(self: Rc<Self>) {
        let mut backoff = Backoff::new(fastrand::u64(..));
        while let Err(error) = self.look_up().await
            && self.dial.is_wanted()
        {
            self.dial.failed(&self.dial.endpoint.to_string(), error.to_string());
            tokio::time::sleep(backoff.next_wait()).await;
        }
    }

    /// Looks the name up and starts to dial new addresses. Returns all present addresses.
    async fn look_up(self: &Rc<Self>) -> io::Result<Vec<SocketAddr>> {
        let found = (self.lookup)(self.host.clone(), self.port).await?;
        if found.is_empty() {
            return Err(io::Error::new(io::ErrorKind::NotFound, "the host name has no address"));
        }
        for address in &found {
            if self.addresses.borrow_mut().insert(*address) {
                spawn_local(Rc::clone(self).keep(*address, None));
            }
        }
        Ok(found)
    }

    /// Keeps one pipe to `address` for as long as the name has this address.
    async fn keep(self: Rc<Self>, address: SocketAddr, before: Option<Rc<Replaced>>) {
        let mut backoff = Backoff::new(fastrand::u64(..));
        let to = format!("{} at {}", self.dial.endpoint, address.ip());
        while self.dial.is_wanted() {
            let said = drains(before.as_deref());
            let wait = match Transport::dial_address(address, self.dial.inner.config.keepalive).await {
                Ok(_) if !self.dial.is_wanted() => return,
                Ok(transport) => {
                    let name = Rc::clone(&self);
                    let replaced = Replaced::by(move |before| {
                        drop(spawn_local(Rc::clone(&name).keep(address, Some(before))));
                    });
                    let ended = pipe::run(&self.dial.inner, transport, self.dial.peer(&to, &replaced)).await;
                    let wait = self.dial.ended(&to, &ended, &mut backoff, before.as_deref());
                    if replaced.end() {
                        return;
                    }
                    next_dial(before.as_deref(), said).await;
                    wait
                }
                Err(error) => self.dial.not_dialled(&to, &error, &mut backoff, before.as_deref()),
            };
            tokio::time::sleep(wait).await;
            // A failed look-up does not mean that the address is gone.
            let found = self.look_up().await.unwrap_or_else(|_| vec![address]);
            if !found.contains(&address) {
                info!(%to, "the host name no longer has this address");
                self.addresses.borrow_mut().remove(&address);
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests;
