//! Which differences between stable and the candidate are not noise.
//!
//! Owns the counters, the samples and the rule. Leaves finding the differences of two replies to
//! [`super::difference`]. Invariant: routes, paths and samples are bounded; what exceeds a bound is
//! counted as dropped.
//!
//! Source of the rule and its constants: Diffy's `JoinedDifferences` and `Settings`
//! (github.com/twitter-archive/diffy). A path that differs between two stable replies at times must
//! also show that this is not chance: given that a path differs in one of the two pairs only, an
//! equal candidate is in that pair half of the time.

use std::collections::BTreeMap;

use serde::Serialize;

use super::difference::{Answer, Reply};
use crate::statistics::proportion::log_above;
use crate::statistics::{bound, real};

/// Most routes that are told apart.
const ROUTES_MAX: usize = 200;
/// Most differing paths of a route.
const PATHS_MAX: usize = 200;
/// Most samples of a path.
const SAMPLES_MAX: usize = 10;

/// A path is reported when the candidate differs at least this often.
const RAW_MIN: u64 = 5;
/// The counts of raw differences and of noise must differ by more than this part of their sum.
const RELATIVE_MIN: f64 = 0.2;
/// The counts must differ by more than this part of the comparisons.
const ABSOLUTE_MIN: f64 = 0.000_3;
/// Rate of false reports of a path with noise, over all looks.
const ALPHA: f64 = 0.001;

/// The comparison of one service's candidate with stable.
#[derive(Clone, Debug, Default)]
pub struct Comparison {
    service: String,
    candidate: String,
    ignore: Vec<String>,
    counted: Counted,
    routes: BTreeMap<String, Route>,
}

/// What became of the requests that were chosen to be copied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counted {
    /// Requests that were copied.
    pub copies: u64,
    /// Requests whose three replies were compared.
    pub compared: u64,
    /// Copied requests that lack a reply.
    pub lost: u64,
    /// Requests that were not copied, because of a bound or because stable's answer cannot be kept.
    pub skipped: u64,
    /// Compared requests with the second copy at the instance that had answered, because stable has
    /// no other. What an instance says of itself, such as its name, then differs between stable and
    /// the candidate and is not recognised as noise.
    pub same_instance: u64,
    /// What was not counted.
    pub dropped: Dropped,
}

#[derive(Clone, Debug, Default)]
struct Route {
    compared: u64,
    paths: BTreeMap<String, Path>,
}

#[derive(Clone, Debug, Default)]
struct Path {
    /// Stable and the candidate differ.
    raw: u64,
    /// Stable and the second stable differ.
    noise: u64,
    /// Both pairs of the same request differ.
    both: u64,
    samples: Vec<Sample>,
}

/// What was not counted because a bound was reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Dropped {
    /// Comparisons on further routes.
    pub routes: u64,
    /// Differences in further paths of a route.
    pub paths: u64,
}

/// Values of a path in one comparison, shortened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Sample {
    /// What stable answered.
    pub stable: String,
    /// What the candidate answered.
    pub candidate: String,
}

/// A path in which the candidate differs from stable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The route.
    pub route: String,
    /// `status`, `header.NAME` or `body.a.b[].c`.
    pub path: String,
    /// Comparisons in which stable and the candidate differ.
    pub raw: u64,
    /// Comparisons in which two instances of stable differ.
    pub noise: u64,
    /// Comparisons on the route.
    pub total: u64,
    /// Some of the differing values.
    pub samples: Vec<Sample>,
}

/// One element of the answer to the admin path `/ghosts`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The service.
    pub service: String,
    /// The version that gets the copies.
    pub candidate: String,
    /// What became of the copies.
    #[serde(flatten)]
    pub counted: Counted,
    /// Differences that are not noise, by route and path.
    pub differences: Vec<Difference>,
}

impl Comparison {
    /// Compares the candidate of a service. `ignore` holds the paths that the document ignores.
    pub fn new(service: impl Into<String>, candidate: impl Into<String>, ignore: Vec<String>) -> Self {
        Self { service: service.into(), candidate: candidate.into(), ignore, ..Self::default() }
    }

    /// Counts a request whose copies are sent. [`Self::compare`] or [`Self::lose`] follows.
    pub fn copy(&mut self) {
        self.counted.copies += 1;
    }

    /// Counts a copied request that lacks a reply: a copy was dropped, or timed out.
    pub fn lose(&mut self) {
        self.counted.lost += 1;
    }

    /// Counts a chosen request that is not copied.
    pub fn skip(&mut self) {
        self.counted.skipped += 1;
    }

    /// Notes that the second copy of the request that is compared next went to the instance that
    /// had answered it.
    pub fn same_instance(&mut self) {
        self.counted.same_instance += 1;
    }

    /// Compares the replies to one request: stable's, which the client got, the candidate's, and
    /// that of the second copy, which went to stable.
    pub fn compare(&mut self, route: &str, stable: &Reply<'_>, candidate: &Reply<'_>, second: &Reply<'_>) {
        self.counted.compared += 1;
        let dropped = &mut self.counted.dropped;
        let Some(counted) = route_in(&mut self.routes, route) else {
            dropped.routes += 1;
            return;
        };
        counted.compared += 1;
        let stable = Answer::new(stable);
        let raw = stable.differences(&Answer::new(candidate), &self.ignore);
        let mut noise = stable.differences(&Answer::new(second), &self.ignore);
        for (path, values) in raw {
            let both = noise.remove(&path).is_some();
            let Some(path) = counted.path(path) else {
                dropped.paths += 1;
                continue;
            };
            let sample = Sample { stable: values.first, candidate: values.second };
            path.add(Path { raw: 1, noise: u64::from(both), both: u64::from(both), samples: vec![sample] });
        }
        for (path, _) in noise {
            match counted.path(path) {
                Some(path) => path.noise += 1,
                None => dropped.paths += 1,
            }
        }
    }

    /// Adds what another worker compared, of the same service and candidate.
    pub fn merge(&mut self, other: Self) {
        self.counted.add(other.counted);
        for (name, theirs) in other.routes {
            let Some(route) = route_in(&mut self.routes, &name) else {
                self.counted.dropped.routes += theirs.compared;
                continue;
            };
            route.compared += theirs.compared;
            for (name, path) in theirs.paths {
                match route.path(name) {
                    Some(ours) => ours.add(path),
                    None => self.counted.dropped.paths += path.raw.max(path.noise),
                }
            }
        }
    }

    /// Takes what was counted so far, and begins anew.
    pub fn take(&mut self) -> Self {
        let fresh = Self::new(self.service.as_str(), self.candidate.as_str(), self.ignore.clone());
        std::mem::replace(self, fresh)
    }

    /// True when nothing was counted.
    pub fn is_empty(&self) -> bool {
        self.counted == Counted::default()
    }

    /// True when both compare the same: the service, its candidate, and without the same paths.
    pub fn is_like(&self, other: &Self) -> bool {
        (&self.service, &self.candidate, &self.ignore) == (&other.service, &other.candidate, &other.ignore)
    }

    /// The service.
    pub fn service(&self) -> &str {
        &self.service
    }

    /// What became of the copies so far.
    pub fn counted(&self) -> Counted {
        self.counted
    }

    /// Routes and paths in which the candidate differs, and not by noise.
    pub fn differences(&self) -> impl Iterator<Item = (&str, &str)> {
        self.reported().map(|(name, _, place, _)| (name, place))
    }

    fn reported(&self) -> impl Iterator<Item = (&str, &Route, &str, &Path)> {
        self.routes.iter().flat_map(|(name, route)| {
            let reported = route.paths.iter().filter(|(_, path)| path.is_reported(route.compared));
            reported.map(move |(place, path)| (name.as_str(), route, place.as_str(), path))
        })
    }

    /// What differs so far.
    pub fn report(&self) -> Report {
        let differences = self.reported().map(|(name, route, place, path)| Difference {
            route: name.to_owned(),
            path: place.to_owned(),
            raw: path.raw,
            noise: path.noise,
            total: route.compared,
            samples: path.samples.clone(),
        });
        Report {
            service: self.service.clone(),
            candidate: self.candidate.clone(),
            counted: self.counted,
            differences: differences.collect(),
        }
    }
}

/// The counters of a route, `None` when there are too many.
fn route_in<'a>(routes: &'a mut BTreeMap<String, Route>, name: &str) -> Option<&'a mut Route> {
    if !routes.contains_key(name) {
        if routes.len() >= ROUTES_MAX {
            return None;
        }
        routes.insert(name.to_owned(), Route::default());
    }
    routes.get_mut(name)
}

impl Counted {
    fn add(&mut self, other: Self) {
        self.copies += other.copies;
        self.compared += other.compared;
        self.lost += other.lost;
        self.skipped += other.skipped;
        self.same_instance += other.same_instance;
        self.dropped.routes += other.dropped.routes;
        self.dropped.paths += other.dropped.paths;
    }
}

impl Route {
    /// The counters of a path, `None` when the route has too many.
    fn path(&mut self, path: String) -> Option<&mut Path> {
        if self.paths.len() >= PATHS_MAX && !self.paths.contains_key(&path) {
            return None;
        }
        Some(self.paths.entry(path).or_default())
    }
}

impl Path {
    fn add(&mut self, other: Self) {
        self.raw += other.raw;
        self.noise += other.noise;
        self.both += other.both;
        let room = SAMPLES_MAX.saturating_sub(self.samples.len());
        self.samples.extend(other.samples.into_iter().take(room));
    }

    /// True when the candidate differs in this path, and not by noise.
    fn is_reported(&self, total: u64) -> bool {
        let Some(more) = self.raw.checked_sub(self.noise) else { return false };
        let (raw, noise, more) = (real(self.raw), real(self.noise), real(more));
        self.raw >= RAW_MIN
            && more / (raw + noise) > RELATIVE_MIN
            && more / real(total) > ABSOLUTE_MIN
            && (self.noise == 0 || self.is_no_chance())
    }

    /// True when the path differs in the candidate's pair alone too often for an equal candidate.
    fn is_no_chance(&self) -> bool {
        let (candidate, second) = (self.raw - self.both, self.noise - self.both);
        log_above(candidate, candidate + second, 0.5) >= bound(ALPHA)
    }
}
