//! A timer with microsecond resolution.
//!
//! Owns a Linux timerfd. tokio's own timers tick once a millisecond, and would send bursts of 50 at
//! 50 000 requests/s.

use std::io;
use std::os::fd::OwnedFd;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use tokio::io::unix::AsyncFd;

/// Expires once per [`Tick::set`].
#[derive(Debug)]
pub(super) struct Tick {
    timer: AsyncFd<OwnedFd>,
}

impl Tick {
    pub(super) fn new() -> io::Result<Self> {
        let timer =
            timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        #[expect(
            deprecated,
            reason = "`register` is unsafe for types that lie about their descriptor; OwnedFd does not"
        )]
        let timer = AsyncFd::new(timer)?;
        Ok(Self { timer })
    }

    /// Expires after `after`, at least a nanosecond.
    pub(super) fn set(&self, after: Duration) -> io::Result<()> {
        let it_value = Timespec {
            tv_sec: i64::try_from(after.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(after.subsec_nanos().max(1)),
        };
        let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value };
        timerfd_settime(self.timer.get_ref(), TimerfdTimerFlags::empty(), &once)?;
        Ok(())
    }

    /// Ready when it has expired.
    pub(super) fn poll(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut count = [0; 8];
        loop {
            let mut guard = ready!(self.timer.poll_read_ready(cx))?;
            match rustix::io::read(self.timer.get_ref(), &mut count) {
                Ok(_) => {
                    guard.clear_ready();
                    return Poll::Ready(Ok(()));
                }
                Err(rustix::io::Errno::AGAIN) => guard.clear_ready(),
                Err(error) => return Poll::Ready(Err(error.into())),
            }
        }
    }
}
