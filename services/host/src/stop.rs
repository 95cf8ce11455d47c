//! The signals that stop a service: SIGTERM and SIGINT.
//!
//! Owns: telling a second signal from a repeated one. Does not own: what they end (`run`).

use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::Instant;

/// For so long after the first signal further ones are its repetitions: `timeout` and shells send one to a process and
/// to its group at once.
const REPEAT: Duration = Duration::from_secs(1);

/// SIGTERM and SIGINT.
pub(crate) struct Stop {
    terminate: Signal,
    interrupt: Signal,
    first: Option<Instant>,
}

impl Stop {
    /// From here on a signal is answered, not obeyed by dying.
    pub(crate) fn new() -> std::io::Result<Self> {
        let (terminate, interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        Ok(Self { terminate, interrupt, first: None })
    }

    /// Waits for a signal.
    pub(crate) async fn asked(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => (),
            _ = self.interrupt.recv() => (),
        }
        self.first.get_or_insert_with(Instant::now);
    }

    /// Waits for one that is not the first one's repetition.
    pub(crate) async fn asked_again(&mut self) {
        loop {
            self.asked().await;
            if self.first.is_some_and(|first| first.elapsed() >= REPEAT) {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Waker};

    use rustix::process::{Signal, getpid, kill_process};

    use super::*;

    /// Sends this process a signal, and waits until it has come to every [`Stop`].
    async fn send(signal: Signal, witness: &mut Stop) {
        kill_process(getpid(), signal).unwrap();
        witness.asked().await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_repeated_signal_is_one_and_a_later_one_another() {
        let (mut stop, mut witness) = (Stop::new().unwrap(), Stop::new().unwrap());
        send(Signal::TERM, &mut witness).await;
        stop.asked().await;
        for signal in [Signal::INT, Signal::TERM] {
            send(signal, &mut witness).await;
            let again = pin!(stop.asked_again());
            assert!(again.poll(&mut Context::from_waker(Waker::noop())).is_pending(), "{signal:?}");
        }
        tokio::time::advance(REPEAT).await;
        send(Signal::INT, &mut witness).await;
        stop.asked_again().await;
    }
}
