//! Dialling: connect, run the pipe to its end, wait, again, for as long as the bus lives.

use std::rc::Rc;

use bus_proto::Backoff;
use tracing::{debug, info, warn};

use crate::bus::Inner;
use crate::endpoint::Endpoint;
use crate::pipe::{self, End};
use crate::transport::Transport;

/// Keeps one pipe to `endpoint`.
pub(crate) async fn dial(inner: Rc<Inner>, endpoint: Endpoint) {
    let mut backoff = Backoff::new(fastrand::u64(..));
    let mut is_missing = false;
    loop {
        let wait = match Transport::dial(&endpoint, inner.config.keepalive).await {
            Ok(transport) => {
                is_missing = false;
                info!(%endpoint, "dialled");
                match pipe::run(&inner, transport, endpoint.to_string(), true).await {
                    End::Closed => {
                        backoff.reset();
                        backoff.next_wait()
                    }
                    End::Unopened => backoff.next_wait(),
                    End::Foreign => Backoff::longest(),
                }
            }
            Err(error) => {
                inner.node.borrow_mut().counters.dials_failed += 1;
                // Said once per absence, not at every try.
                if std::mem::replace(&mut is_missing, true) {
                    debug!(%endpoint, %error, "still cannot dial");
                } else {
                    warn!(%endpoint, %error, "cannot dial, trying on");
                }
                backoff.next_wait()
            }
        };
        tokio::time::sleep(wait).await;
    }
}
