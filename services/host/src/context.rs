//! What a service's set-up closure gets on each worker's thread.
//!
//! Owns: access to settings and buses, and tasks that take events. Does not own: the buses' life (`run`).

use std::future::Future;
use std::sync::Arc;

use bus::{Bus, Event};

/// One worker being set up, on its own thread and inside its runtime: `tokio::task::spawn_local` works.
pub struct Context<A> {
    pub(crate) args: Arc<A>,
    pub(crate) worker: usize,
    pub(crate) bus: Bus,
    /// `None` when the service asks on its own bus.
    pub(crate) upstream: Option<Bus>,
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

    /// The bus that the service serves; `publish` is here.
    #[must_use]
    pub fn bus(&self) -> &Bus {
        &self.bus
    }

    /// The bus on which the service asks others: its own one when the settings name no upstream.
    #[must_use]
    pub fn upstream(&self) -> &Bus {
        self.upstream.as_ref().unwrap_or(&self.bus)
    }

    /// Calls `handler` with every event of `topic`, one after the other, until the worker ends. Each worker has pipes
    /// of its own and gets every event: subscribe on worker 0 alone for what must happen once.
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
