//! What a worker does besides its requests, as `run` sees it.
//!
//! Owns the trait; `schedule` implements it. Invariant: after `stop` nothing new begins.

use std::rc::Rc;

use role::metrics::Picture;

/// Work beside the requests, on one worker's thread.
pub(crate) trait Background {
    /// Begins nothing new; what runs may end.
    fn stop(&self);

    /// What runs now.
    fn running(&self) -> usize;

    /// Adds its metrics.
    fn add_to(&self, picture: &mut Picture);
}

/// Starts the work, inside the worker's runtime.
pub(crate) type Start = Box<dyn FnOnce() -> Rc<dyn Background>>;
