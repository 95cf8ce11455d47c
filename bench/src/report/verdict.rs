//! Bounds, beside what was measured.
//!
//! Owns comparing. Each command has its bounds. Invariant: a bound without figures is "not
//! measured", never passed.

/// A bound.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

/// A bound and its result.
#[derive(Clone, Debug)]
pub(crate) struct Verdict {
    pub(crate) what: String,
    pub(crate) bound: String,
    pub(crate) measured: Option<f64>,
    pub(crate) holds: Option<bool>,
}

impl Verdict {
    pub(crate) fn new(what: impl Into<String>, bound: Bound, measured: Option<f64>) -> Self {
        let holds = measured.map(|measured| match bound {
            Bound::AtLeast(least) => measured >= least,
            Bound::AtMost(most) => measured <= most,
        });
        let bound = match bound {
            Bound::AtLeast(least) => format!("≥ {least}"),
            Bound::AtMost(most) => format!("≤ {most}"),
        };
        Self { what: what.into(), bound, measured, holds }
    }

    pub(crate) const fn word(&self) -> &'static str {
        match self.holds {
            Some(true) => "pass",
            Some(false) => "FAIL",
            None => "not measured",
        }
    }
}
