//! What a worker counts.
//!
//! Owns: the counters, and their names in the table of `role::metrics`. Leaves the rest of a
//! worker's picture to `views`, sums and sending to crate `role`.

use std::cell::RefCell;
use std::time::Duration;

use role::metrics::{Counter, Latencies, Latency, Picture, RoutePicture, Statuses};

/// One worker's counters since its start.
#[derive(Debug, Default)]
pub(crate) struct Stats {
    pub(crate) requests: Counter,
    statuses: Statuses,
    /// Expired while they waited for a place.
    pub(crate) expired: Counter,
    /// Refused because limit and queue were full.
    pub(crate) refused: Counter,
    /// Dropped unfinished: the asker cancelled, or the worker ended.
    pub(crate) cancelled: Counter,
    pub(crate) panics: Counter,
    /// By the index of the route.
    routes: RefCell<Vec<Route>>,
}

#[derive(Clone, Debug, Default)]
struct Route {
    latency: Latency,
    errors: u64,
}

impl Stats {
    pub(crate) fn new(routes: usize) -> Self {
        Self { routes: RefCell::new(vec![Route::default(); routes]), ..Self::default() }
    }

    pub(crate) fn answered(&self, status: u16) {
        self.statuses.count(status);
    }

    pub(crate) fn took(&self, route: usize, status: u16, elapsed: Duration) {
        let route = &mut self.routes.borrow_mut()[route];
        route.latency.record(elapsed);
        if status >= 500 {
            route.errors += 1;
        }
    }

    pub(crate) fn add_to(&self, picture: &mut Picture) {
        picture.counters.extend([
            ("requests", self.requests.value()),
            ("cancelled", self.cancelled.value()),
            ("panics", self.panics.value()),
        ]);
        picture.statuses = self.statuses.list();
        picture.rejected = vec![("expired", self.expired.value()), ("full", self.refused.value())];
    }

    /// The routes, whose patterns are given in their order.
    pub(crate) fn routes<'a>(
        &self,
        patterns: impl Iterator<Item = &'a str>,
        latencies: Latencies,
    ) -> Vec<RoutePicture> {
        let mut routes = self.routes.borrow_mut();
        let picture = |(route, pattern): (&mut Route, &str)| RoutePicture {
            pattern: pattern.to_owned(),
            requests: route.latency.count(),
            errors: route.errors,
            latency: route.latency.of(latencies),
        };
        routes.iter_mut().zip(patterns).map(picture).collect()
    }
}
