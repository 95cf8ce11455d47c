//! What is wrong with a scheduled task.
//!
//! Owns the texts. Invariant: a text names the task or its times, and what to write instead.

/// Bytes of a task's name: it is a label of metrics.
pub(super) const NAME_BYTES_MAX: usize = 64;

/// A task that cannot be run: the service's own fault.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TaskError {
    #[error("a scheduled task's name {name:?} has {} bytes: give it 1 to {NAME_BYTES_MAX}", name.len())]
    Name { name: String },
    #[error("the scheduled task {name:?} is there twice: give each its own name")]
    Twice { name: String },
    #[error("the scheduled task {name:?} needs a store: start the service with service_host::data")]
    NoStore { name: String },
    #[error("a scheduled task runs every {text:?}: {reason}")]
    Period { text: String, reason: String },
    #[error("a scheduled task has the cron pattern {text:?}: {reason}")]
    Cron { text: String, reason: String },
}
