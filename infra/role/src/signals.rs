//! The signals that a role answers: SIGTERM and SIGINT stop it, SIGHUP asks it to reopen its files.
//!
//! Owns: telling a second signal to stop from a repetition of the first. Leaves to `life` what a
//! signal ends. Invariant: from [`Signals::new`] on no signal of these kinds kills the process.

use std::io;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::Instant;

/// For this long after the first signal to stop, further ones are its repetitions: `timeout` and
/// shells send one to a process and to its group at once.
pub const SIGNAL_REPEAT: Duration = Duration::from_secs(1);

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// SIGTERM or SIGINT: stop.
    Stop,
    /// SIGHUP: reopen files.
    Reload,
}

/// The signals of one process.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    /// When the first signal to stop came.
    stopped: Option<Instant>,
}

impl Signals {
    /// Installs the handlers; inside a runtime.
    ///
    /// # Errors
    /// When the system refuses a handler.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            stopped: None,
        })
    }

    /// The next signal.
    ///
    /// **Cancel safety**: safe, no signal is lost.
    pub async fn next(&mut self) -> Asked {
        let asked = tokio::select! {
            _ = self.terminate.recv() => Asked::Stop,
            _ = self.interrupt.recv() => Asked::Stop,
            _ = self.hangup.recv() => Asked::Reload,
        };
        if asked == Asked::Stop {
            self.stopped.get_or_insert_with(Instant::now);
        }
        asked
    }

    /// Waits for a signal to stop.
    ///
    /// **Cancel safety**: safe, no signal to stop is lost.
    pub async fn stopped(&mut self) {
        while self.next().await != Asked::Stop {}
    }

    /// Waits for a second signal to stop that comes later than [`SIGNAL_REPEAT`] after the first. A
    /// role that stops for another reason than a signal meets its first one here; that one counts
    /// as the first.
    ///
    /// **Cancel safety**: safe.
    pub async fn stopped_again(&mut self) {
        loop {
            let asked = self.next().await;
            let again = self.stopped.is_some_and(|first| first.elapsed() >= SIGNAL_REPEAT);
            if again && asked == Asked::Stop {
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

    /// Sends this process a signal, and waits until it has come to every [`Signals`].
    async fn send(signal: Signal, witness: &mut Signals) {
        kill_process(getpid(), signal).unwrap();
        witness.next().await;
    }

    /// One test: all tests of a process receive its signals.
    #[tokio::test(start_paused = true)]
    async fn a_repeated_signal_is_one_a_later_one_another_and_hangups_do_not_count() {
        let (mut signals, mut witness) = (Signals::new().unwrap(), Signals::new().unwrap());
        send(Signal::HUP, &mut witness).await;
        assert_eq!(signals.next().await, Asked::Reload);
        send(Signal::TERM, &mut witness).await;
        assert_eq!(signals.next().await, Asked::Stop);
        {
            let mut again = pin!(signals.stopped_again());
            let mut now = Context::from_waker(Waker::noop());
            send(Signal::INT, &mut witness).await;
            assert!(again.as_mut().poll(&mut now).is_pending(), "a repetition");
            tokio::time::advance(SIGNAL_REPEAT).await;
            send(Signal::HUP, &mut witness).await;
            assert!(again.as_mut().poll(&mut now).is_pending(), "no signal to stop");
            send(Signal::INT, &mut witness).await;
            again.await;
        }
    }
}
