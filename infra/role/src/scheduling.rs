//! How the kernel's scheduler treats a worker's thread.
//!
//! Invariant: a policy that somebody gave the process, real time or idle, is left as it is.

use std::fmt;
use std::str::FromStr;

use preempt_rt::sched::{Pid, RtResult, Scheduler, SchedulerParams, get_scheduler, set_scheduler};

/// How a worker's thread is scheduled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scheduling {
    /// `SCHED_BATCH` (sched(7)) instead of `SCHED_OTHER`: a worker that is woken does not interrupt
    /// who runs, so more messages have come when its turn comes. docs/adr/0012 has the numbers, and
    /// what it costs.
    Batch,
    /// As the process that started this one has it.
    #[default]
    Inherit,
}

impl Scheduling {
    /// Applies to the current thread. A kernel, or a sandbox, that refuses costs speed only.
    pub(crate) fn apply(self) {
        if self == Self::Batch
            && let Err(error) = batch()
        {
            tracing::debug!(%error, "the thread keeps its scheduling policy");
        }
    }
}

fn batch() -> RtResult<()> {
    let thread = Pid::current_thread();
    if get_scheduler(thread)? == Scheduler::SCHED_NORMAL {
        set_scheduler(thread, Scheduler::SCHED_BATCH, SchedulerParams { priority: 0 })?;
    }
    Ok(())
}

impl FromStr for Scheduling {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "batch" => Ok(Self::Batch),
            "inherit" => Ok(Self::Inherit),
            _ => Err("give batch or inherit".to_owned()),
        }
    }
}

impl fmt::Display for Scheduling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Batch => "batch",
            Self::Inherit => "inherit",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> Scheduler {
        get_scheduler(Pid::current_thread()).unwrap()
    }

    #[test]
    fn a_thread_is_scheduled_as_asked_and_other_policies_are_left() {
        let begin = policy();
        Scheduling::Inherit.apply();
        assert_eq!(policy(), begin);
        if begin == Scheduler::SCHED_NORMAL {
            Scheduling::Batch.apply();
            assert_eq!(policy(), Scheduler::SCHED_BATCH);
        }
        set_scheduler(Pid::current_thread(), Scheduler::SCHED_IDLE, SchedulerParams { priority: 0 }).unwrap();
        Scheduling::Batch.apply();
        assert_eq!(policy(), Scheduler::SCHED_IDLE);
    }

    #[test]
    fn its_text_is_read_back() {
        for scheduling in [Scheduling::Batch, Scheduling::Inherit] {
            assert_eq!(scheduling.to_string().parse(), Ok(scheduling));
        }
        assert_eq!("fifo".parse::<Scheduling>(), Err("give batch or inherit".to_owned()));
    }
}
