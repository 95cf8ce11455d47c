//! Accepting: one task for each listener of a worker, until the bus stops listening.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tracing::warn;

use crate::io::listener::{Accepting, Listener};
use crate::io::transport::Transport;
use crate::state::inner::Inner;
use crate::state::listening::Listening;
use crate::tasks::pipe::{self, Peer};

/// Pause after a failed accept, for example when the process has no file descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Accepts connections for one worker until its bus stops listening. The socket is closed when no
/// worker accepts any more.
pub(crate) async fn accept(inner: Rc<Inner>, listener: Arc<Listener>) {
    let mut listening = inner.listening.subscribe();
    loop {
        let now = *listening.borrow_and_update();
        match now {
            // This also ends a pause after a failed accept. Otherwise the worker would accept a
            // connection during the drain that is never served.
            Listening::On => tokio::select! {
                biased;
                _ = listening.changed() => {}
                () = accept_all(&inner, &listener) => return,
            },
            // The sender lives in `inner`.
            Listening::Paused => {
                drop(listening.changed().await);
                // Peers that dialled again because of the pause have a pipe here: with those that
                // wait accepted they would have two.
                if *listening.borrow() == Listening::On {
                    listener.refuse_waiting();
                }
            }
            Listening::Closed => return,
            Listening::HandedOver => return listener.leave_file(),
        }
    }
}

async fn accept_all(inner: &Rc<Inner>, listener: &Listener) {
    let mut accepting = match Accepting::new(listener) {
        Ok(accepting) => accepting,
        Err(error) => return warn!(endpoint = %listener.endpoint(), %error, "cannot accept"),
    };
    loop {
        match accepting.next(inner.config.keepalive).await {
            Ok((transport, from)) if inner.places.has_room() || inner.evict_silent() => {
                let peer = Peer {
                    from,
                    dialled: None,
                    claims: listener.claims().cloned(),
                    place: inner.places.take(),
                    drains: None,
                };
                tokio::task::spawn_local(serve(Rc::clone(inner), transport, peer));
            }
            Ok((_, from)) => {
                let counters = &mut inner.node.borrow_mut().counters;
                counters.pipes_refused += 1;
                let (refused, limit) = (counters.pipes_refused, inner.places.max());
                // Logged less and less often, because a refused peer keeps dialling.
                if refused.is_power_of_two() {
                    warn!(endpoint = %listener.endpoint(), %from, limit, refused, "limit of pipes reached: connection refused");
                }
            }
            Err(error) => {
                warn!(endpoint = %listener.endpoint(), %error, "cannot accept, retrying after a pause");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve(inner: Rc<Inner>, transport: Transport, peer: Peer) {
    pipe::run(&inner, transport, peer).await;
}
