//! The routes that requests have taken on one worker: the deadline and the latency of each.
//!
//! Owns one [`Line`] per route pattern, and choosing a request's route. Leaves matching paths, and
//! which services claim them, to crate `bus`. Invariant: at most [`ROUTES`] lines; further patterns
//! share the line `(other)`.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bus::Bus;
use http::{Method, StatusCode};
use role::metrics::{Counter, Latencies, Latency, RoutePicture};

use crate::config::Config;
use crate::limits::ROUTES;
use crate::rescue::{METHODS, Refusal};

/// The lines of one worker, one per route pattern that a request has taken.
#[derive(Debug)]
pub struct Routes {
    config: Arc<Config>,
    lines: RefCell<Lines<bus::Route>>,
}

/// Deadline and latency of one route.
#[derive(Debug)]
pub struct Line {
    /// Method and path pattern, such as `GET /members/{id}`.
    pub pattern: Arc<str>,
    /// How long a request may take.
    pub deadline: Duration,
    latency: RefCell<Latency>,
    errors: Counter,
}

impl Line {
    fn new(pattern: String, deadline: Duration) -> Rc<Self> {
        let latency = RefCell::new(Latency::new());
        Rc::new(Self { pattern: pattern.into(), deadline, latency, errors: Counter::default() })
    }

    /// Records a response with its latency; one of status 500 and above is an error too.
    #[inline]
    pub fn record(&self, status: StatusCode, elapsed: Duration) {
        self.latency.borrow_mut().record(elapsed);
        if status.is_server_error() {
            self.errors.increment();
        }
    }

    fn picture(&self, latencies: Latencies) -> RoutePicture {
        let mut latency = self.latency.borrow_mut();
        RoutePicture {
            pattern: self.pattern.to_string(),
            requests: latency.count(),
            errors: self.errors.value(),
            latency: latency.of(latencies),
        }
    }
}

impl Routes {
    /// No lines; deadlines are taken from `config`.
    #[must_use]
    pub fn new(config: Arc<Config>) -> Self {
        let lines = RefCell::new(Lines::new(config.deadline));
        Self { config, lines }
    }

    /// The route of a request, and its line. HEAD takes the route of GET where no service claims
    /// HEAD, because its response is that of GET without the body (RFC 9110 section 9.3.2).
    ///
    /// # Errors
    /// [`Refusal::NoRoute`] when no service claims the path; [`Refusal::Method`] when services
    /// claim it for other methods.
    #[inline]
    pub fn find(&self, bus: &Bus, method: &Method, path: &str) -> Result<(bus::Route, Rc<Line>), Refusal> {
        let route = match bus.route(method.as_str(), path) {
            Some(route) => route,
            None if method == Method::HEAD => {
                bus.route("GET", path).ok_or_else(|| missing(bus, method, path))?
            }
            None => return Err(missing(bus, method, path)),
        };
        let place = route.pattern as usize;
        let known = self.lines.borrow().at(place, route);
        let line = known.unwrap_or_else(|| {
            let pattern = bus.route_pattern(route);
            let deadline = self.config.deadline_of(&pattern);
            self.lines.borrow_mut().add(place, route, pattern, deadline)
        });
        Ok((route, line))
    }

    /// Every line that a request took.
    #[must_use]
    pub fn pictures(&self, latencies: Latencies) -> Vec<RoutePicture> {
        self.lines.borrow().each(latencies)
    }
}

#[cold]
fn missing(bus: &Bus, method: &Method, path: &str) -> Refusal {
    let is_claimed = |other: &Method| bus.route(other.as_str(), path).is_some();
    // A claim of GET is also one of HEAD.
    let claimed = |other: &&Method| {
        *other != method && (is_claimed(other) || (**other == Method::HEAD && is_claimed(&Method::GET)))
    };
    let allow: Vec<&str> = METHODS.iter().filter(claimed).map(Method::as_str).collect();
    if allow.is_empty() { Refusal::NoRoute } else { Refusal::Method { allow: allow.join(", ") } }
}

/// Lines by the number that the bus gives a pattern. The bus reuses numbers, so each place keeps
/// the route `K` that it was filled for; a pattern that is claimed again finds its line by its
/// text.
#[derive(Debug)]
struct Lines<K> {
    places: Vec<Option<(K, Rc<Line>)>>,
    all: Vec<Rc<Line>>,
    other: Rc<Line>,
}

impl<K: Copy + PartialEq> Lines<K> {
    fn new(deadline: Duration) -> Self {
        Self { places: Vec::new(), all: Vec::new(), other: Line::new("(other)".to_owned(), deadline) }
    }

    #[inline]
    fn at(&self, place: usize, route: K) -> Option<Rc<Line>> {
        match self.places.get(place) {
            Some(Some((known, line))) if *known == route => Some(Rc::clone(line)),
            _ => None,
        }
    }

    fn add(&mut self, place: usize, route: K, pattern: String, deadline: Duration) -> Rc<Line> {
        let line = match self.all.iter().find(|line| *line.pattern == *pattern) {
            Some(line) => Rc::clone(line),
            None if self.all.len() < ROUTES => {
                let line = Line::new(pattern, deadline);
                self.all.push(Rc::clone(&line));
                line
            }
            None => Rc::clone(&self.other),
        };
        if self.places.len() <= place {
            self.places.resize_with(place + 1, || None);
        }
        self.places[place] = Some((route, Rc::clone(&line)));
        line
    }

    fn each(&self, latencies: Latencies) -> Vec<RoutePicture> {
        self.all
            .iter()
            .chain(std::iter::once(&self.other))
            .map(|line| line.picture(latencies))
            .filter(|route| route.requests > 0)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEADLINE: Duration = Duration::from_secs(1);

    #[test]
    fn a_route_is_looked_up_once() {
        let mut lines = Lines::new(DEADLINE);
        assert!(lines.at(3, 'a').is_none());
        let line = lines.add(3, 'a', "GET /a".to_owned(), DEADLINE);
        assert!(Rc::ptr_eq(&line, &lines.at(3, 'a').unwrap()));
    }

    #[test]
    fn a_place_that_is_used_again_is_another_route() {
        let mut lines = Lines::new(DEADLINE);
        lines.add(0, 'a', "GET /a".to_owned(), DEADLINE);
        assert!(lines.at(0, 'b').is_none());
        lines.add(0, 'b', "GET /b".to_owned(), DEADLINE);
        assert_eq!(&*lines.at(0, 'b').unwrap().pattern, "GET /b");
    }

    #[test]
    fn a_pattern_that_comes_again_keeps_its_numbers() {
        let mut lines = Lines::new(DEADLINE);
        lines.add(0, 'a', "GET /a".to_owned(), DEADLINE).record(StatusCode::OK, DEADLINE);
        lines.add(1, 'b', "GET /a".to_owned(), DEADLINE).record(StatusCode::BAD_GATEWAY, DEADLINE);
        let [route] = &lines.each(Latencies::SinceStart)[..] else { panic!("one route") };
        assert_eq!((route.requests, route.errors, route.latency.count()), (2, 1, 2));
    }

    #[test]
    fn routes_above_the_limit_share_a_line() {
        let mut lines = Lines::new(DEADLINE);
        for at in 0..ROUTES {
            lines.add(at, at, format!("GET /{at}"), DEADLINE);
        }
        let over = lines.add(ROUTES, ROUTES, "GET /over".to_owned(), DEADLINE);
        assert_eq!(&*over.pattern, "(other)");
        assert_eq!(&*lines.at(0, 0).unwrap().pattern, "GET /0");
    }
}
