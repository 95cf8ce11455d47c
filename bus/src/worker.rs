//! Worker threads: each with a tokio `LocalRuntime`, its own [`Bus`] and its own state.

use std::io;

use crate::api::{Bus, Seed};

/// The threads of a role, each with a state `S` that never leaves it.
pub struct Workers<S> {
    _s: std::marker::PhantomData<fn(S)>,
}

/// Starts one thread per seed. `build` runs on each thread, inside its runtime: it spawns the local tasks
/// (listeners, connections) and returns the worker's state. Returns when every `build` has, with the first error.
///
/// # Errors
/// A thread that cannot be started, or the first `build` that failed.
pub fn start<S: 'static, B>(name: &str, seeds: Vec<Seed>, build: B) -> io::Result<Workers<S>>
where
    B: Fn(usize, Bus) -> io::Result<S> + Clone + Send + 'static,
{
    let _ = (name, seeds, build);
    Err(io::Error::other("stub"))
}

impl<S: 'static> Workers<S> {
    /// Runs `question` on every worker's thread and gathers the answers in the workers' order (admin, telemetry: never per request).
    /// A worker that has ended is left out.
    pub async fn ask<T, F>(&self, question: F) -> Vec<T>
    where
        T: Send + 'static,
        F: Fn(&S) -> T + Clone + Send + 'static,
    {
        let _ = question;
        Vec::new()
    }

    /// Runs `last` on every worker (drain, with its deadline inside), then ends the threads. The answers in order.
    pub async fn stop<T, F, Fut>(self, last: F) -> Vec<T>
    where
        T: Send + 'static,
        F: Fn(std::rc::Rc<S>) -> Fut + Clone + Send + 'static,
        Fut: Future<Output = T> + 'static,
    {
        let _ = last;
        Vec::new()
    }
}
