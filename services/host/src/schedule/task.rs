//! A task: its name, its times, its handler.
//!
//! Owns the call of the handler. Invariant: a task that exists can be run.

use std::error::Error;
use std::future::Future;
use std::pin::Pin;

use store::layers::slots::Run;

use super::error::{NAME_BYTES_MAX, TaskError};
use super::when::When;

/// What a run ends with.
pub(super) type Outcome = Result<(), String>;

/// Calls the task.
pub(super) type Handler = Box<dyn Fn(Run) -> Pin<Box<dyn Future<Output = Outcome>>>>;

/// A task of a service.
pub(super) struct Task {
    pub(super) name: String,
    pub(super) when: When,
    pub(super) handler: Handler,
}

impl Task {
    pub(super) fn new(name: &str, when: When, handler: Handler) -> Result<Self, TaskError> {
        let name = name.to_owned();
        match name.len() {
            1..=NAME_BYTES_MAX => Ok(Self { name, when, handler }),
            _ => Err(TaskError::Name { name }),
        }
    }
}

/// The handler behind one type. Its errors become texts with all their causes.
pub(super) fn boxed<H, F, E>(handler: H) -> Handler
where
    H: Fn(Run) -> F + 'static,
    F: Future<Output = Result<(), E>> + 'static,
    E: Into<Box<dyn Error>> + 'static,
{
    Box::new(move |run| {
        let work = handler(run);
        Box::pin(async move { work.await.map_err(|error| with_causes(&*error.into())) })
    })
}

fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}
