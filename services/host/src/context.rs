//! What a service's set-up closure gets on each worker's thread.
//!
//! Owns access to settings and buses, and tasks that take events. `run` starts and stops the buses.

use std::future::Future;
use std::sync::Arc;

use bus::{Bus, Event};

/// One worker being set up, on its own thread and inside its runtime: `tokio::task::spawn_local`
/// works.
pub struct Context<A> {
    pub(crate) args: Arc<A>,
    pub(crate) worker: usize,
    pub(crate) bus: Bus,
    /// `None` when the service asks on its own bus.
    pub(crate) upstream: Option<Bus>,
    /// Of those that the process serves.
    pub(crate) version: String,
}

impl<A> Context<A> {
    /// The service's settings.
    #[must_use]
    pub fn args(&self) -> &A {
        &self.args
    }

    /// The worker's number, from 0.
    #[must_use]
    pub fn worker(&self) -> usize {
        self.worker
    }

    /// The version that is set up: one of [`Settings::versions`](crate::Settings::versions).
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// True for the first of the versions.
    #[cfg(feature = "store")]
    pub(crate) fn is_first_version(&self) -> bool
    where
        A: crate::Settings,
    {
        self.args.versions().first().is_none_or(|first| *first == self.version)
    }

    /// The bus that the service serves; `publish` is here.
    #[must_use]
    pub fn bus(&self) -> &Bus {
        &self.bus
    }

    /// The bus on which the service asks others: its own when the settings name no upstream.
    #[must_use]
    pub fn upstream(&self) -> &Bus {
        self.upstream.as_ref().unwrap_or(&self.bus)
    }

    /// Calls `handler` with every event of `topic`, one after the other, until the worker ends.
    /// Every worker gets every event except its own: subscribe on worker 0 alone for what must
    /// happen once.
    pub fn on_event<H, F>(&self, topic: &str, handler: H)
    where
        H: Fn(Event) -> F + 'static,
        F: Future<Output = ()> + 'static,
    {
        let mut events = self.bus.subscribe(topic);
        tokio::task::spawn_local(async move {
            loop {
                let event = events.recv().await;
                handler(event).await;
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use bus::Hello;
    use bytes::Bytes;

    use super::*;
    use crate::testing::{Peer, run, socket};

    fn context(peer: &Peer) -> Context<()> {
        Context {
            args: Arc::new(()),
            worker: 0,
            bus: peer.bus.clone(),
            upstream: None,
            version: "1".to_owned(),
        }
    }

    #[test]
    fn events_go_to_subscribers_one_after_the_other() {
        run(async {
            let dir = tempfile::tempdir().unwrap();
            let url = socket(dir.path(), "bus.sock");
            let hello = |name| Some(Hello::new(name, "1", name));
            let speaker = Peer::listen(&url, hello("speaker"));
            let listener = Peer::dial(&url, hello("listener"));
            let heard = Rc::new(RefCell::new(Vec::new()));
            let hearing = Rc::clone(&heard);
            context(&listener).on_event("news", move |event| {
                let hearing = Rc::clone(&hearing);
                async move { hearing.borrow_mut().push(event.envelope.body()) }
            });
            let knows =
                |peer: &bus::PeerInfo| peer.hello.as_ref().is_some_and(|hello| !hello.topics.is_empty());
            speaker.until(|bus| bus.peers().iter().any(knows)).await;
            let context = context(&speaker);
            assert_eq!(context.bus().publish("weather", &[], &Bytes::from_static(b"rain")), 0);
            for word in ["one", "two"] {
                assert_eq!(context.bus().publish("news", &[], &Bytes::from_static(word.as_bytes())), 1);
            }
            listener.until(|_| heard.borrow().len() == 2).await;
            assert_eq!(*heard.borrow(), ["one", "two"]);
        });
    }
}
