//! `inproc://`: connections between workers and parts of one process. Each is a socket pair that is
//! passed through a registry of names.

use std::collections::HashMap;
use std::io;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, LazyLock, Mutex};

use crossbeam_queue::ArrayQueue;
use tokio::sync::Notify;

/// Length of the queue of connections that wait to be accepted.
const BACKLOG: usize = 128;

static NAMES: LazyLock<Mutex<HashMap<String, Arc<Waiting>>>> = LazyLock::new(Mutex::default);

struct Waiting {
    streams: ArrayQueue<UnixStream>,
    arrived: Notify,
}

/// A bound name.
pub(crate) struct Listener {
    name: String,
    waiting: Arc<Waiting>,
}

impl Listener {
    pub(crate) fn bind(name: &str) -> io::Result<Self> {
        let waiting = Arc::new(Waiting { streams: ArrayQueue::new(BACKLOG), arrived: Notify::new() });
        let mut names = NAMES.lock().expect("no holder of this lock panics");
        if names.contains_key(name) {
            return Err(io::Error::new(
                io::ErrorKind::AddrInUse,
                "the name is already bound in this process",
            ));
        }
        names.insert(name.to_owned(), Arc::clone(&waiting));
        Ok(Self { name: name.to_owned(), waiting })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) async fn accept(&self) -> UnixStream {
        loop {
            let arrived = self.waiting.arrived.notified();
            if let Some(stream) = self.waiting.streams.pop() {
                return stream;
            }
            arrived.await;
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        NAMES.lock().expect("no holder of this lock panics").remove(&self.name);
    }
}

/// Connects to a name bound in this process.
pub(crate) fn connect(name: &str) -> io::Result<UnixStream> {
    let waiting = NAMES.lock().expect("no holder of this lock panics").get(name).map(Arc::clone);
    let waiting = waiting
        .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the name is not bound in this process"))?;
    let (ours, theirs) = UnixStream::pair()?;
    if waiting.streams.push(theirs).is_err() {
        return Err(io::Error::new(
            io::ErrorKind::ConnectionRefused,
            "too many connections wait to be accepted",
        ));
    }
    waiting.arrived.notify_one();
    Ok(ours)
}
