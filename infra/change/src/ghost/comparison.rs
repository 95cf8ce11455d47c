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
    copies: u64,
    compared: u64,
    lost: u64,
    dropped: Dropped,
    routes: BTreeMap<String, Route>,
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
    /// Requests that were copied.
    pub copies: u64,
    /// Requests whose three replies were compared.
    pub compared: u64,
    /// Copied requests that lack a reply.
    pub lost: u64,
    /// What was not counted.
    pub dropped: Dropped,
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
        self.copies += 1;
    }

    /// Counts a copied request that lacks a reply: a copy was dropped, or timed out.
    pub fn lose(&mut self) {
        self.lost += 1;
    }

    /// Compares the replies to one request: stable's, which the client got, the candidate's, and
    /// that of the second copy, which went to stable.
    pub fn compare(&mut self, route: &str, stable: &Reply<'_>, candidate: &Reply<'_>, second: &Reply<'_>) {
        self.compared += 1;
        if !self.routes.contains_key(route) {
            if self.routes.len() >= ROUTES_MAX {
                self.dropped.routes += 1;
                return;
            }
            self.routes.insert(route.to_owned(), Route::default());
        }
        let counted = self.routes.get_mut(route).expect("is there or was inserted");
        counted.compared += 1;
        let stable = Answer::new(stable);
        let raw = stable.differences(&Answer::new(candidate), &self.ignore);
        let mut noise = stable.differences(&Answer::new(second), &self.ignore);
        for (path, values) in raw {
            let both = noise.remove(&path).is_some();
            let Some(path) = counted.path(path) else {
                self.dropped.paths += 1;
                continue;
            };
            path.raw += 1;
            path.noise += u64::from(both);
            path.both += u64::from(both);
            if path.samples.len() < SAMPLES_MAX {
                path.samples.push(Sample { stable: values.first, candidate: values.second });
            }
        }
        for (path, _) in noise {
            match counted.path(path) {
                Some(path) => path.noise += 1,
                None => self.dropped.paths += 1,
            }
        }
    }

    /// What differs so far.
    pub fn report(&self) -> Report {
        let differences = self.routes.iter().flat_map(|(name, route)| {
            route.paths.iter().filter(|(_, path)| path.is_reported(route.compared)).map(|(place, path)| {
                Difference {
                    route: name.clone(),
                    path: place.clone(),
                    raw: path.raw,
                    noise: path.noise,
                    total: route.compared,
                    samples: path.samples.clone(),
                }
            })
        });
        Report {
            service: self.service.clone(),
            candidate: self.candidate.clone(),
            copies: self.copies,
            compared: self.compared,
            lost: self.lost,
            dropped: self.dropped,
            differences: differences.collect(),
        }
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
