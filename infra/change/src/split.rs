//! Which version of a service an identity meets while a candidate is rolled out.
//!
//! Owns shares in percent and the assignment of identities to groups. Leaves choosing the share to
//! [`crate::rollout`], and finding an instance of the version to the terminator. Invariant: an
//! identity keeps its group while the share stays, and a growing share never moves an identity
//! from the candidate back to stable.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::hash;

/// Identities are spread over this many buckets, so a share has steps of 0.001 %.
pub const BUCKETS: u32 = 100_000;

/// Buckets of one percent.
const BUCKETS_PER_PERCENT: f64 = 1_000.0;

/// A share of requests, from 0 to 100 % in steps of 0.001 %. A JSON number in percent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "f64", try_from = "f64")]
pub struct Percent(u32);

/// The number is no share.
#[derive(Debug, PartialEq, thiserror::Error)]
#[error("{0} is not a percentage: give a number from 0 to 100, and at least 0.001 unless it is 0")]
pub struct NotAPercentage(f64);

impl Percent {
    /// No request.
    pub const ZERO: Self = Self(0);
    /// Every request.
    pub const ALL: Self = Self(BUCKETS);

    /// The share as a number from 0 to 1.
    pub fn fraction(self) -> f64 {
        f64::from(self.0) / f64::from(BUCKETS)
    }

    /// True for the share of a `bucket` in `1..=BUCKETS`, drawn at random or from an identity.
    pub fn holds(self, bucket: u32) -> bool {
        bucket <= self.0
    }

    /// The share of the control group beside a candidate of this share: as large as the
    /// candidate's while stable has that much left, else all that stable has left.
    pub fn control(self) -> Self {
        Self(self.0.min(BUCKETS - self.0))
    }
}

impl TryFrom<f64> for Percent {
    type Error = NotAPercentage;

    fn try_from(percent: f64) -> Result<Self, NotAPercentage> {
        let buckets = (percent * BUCKETS_PER_PERCENT).round();
        if !(0.0..=100.0).contains(&percent) || (percent > 0.0 && buckets < 1.0) {
            return Err(NotAPercentage(percent));
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to BUCKETS")]
        Ok(Self(buckets as u32))
    }
}

impl From<Percent> for f64 {
    fn from(percent: Percent) -> Self {
        Self::from(percent.0) / BUCKETS_PER_PERCENT
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} %", f64::from(*self))
    }
}

/// Where a request goes and whether it is counted for the comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Group {
    /// Goes to the candidate.
    Candidate,
    /// Goes to stable and is compared with the candidate's requests.
    Control,
    /// Goes to stable and is not counted.
    Stable,
}

/// Splits the requests of one service by identity.
///
/// The candidate owns the lowest buckets and the control group the highest. Growing the share
/// extends both towards the middle: beyond 50 % the candidate takes buckets from control.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    service: String,
    candidate: Percent,
}

impl Split {
    /// Sends the share `candidate` of the requests of `service` to the candidate.
    pub fn new(service: impl Into<String>, candidate: Percent) -> Self {
        Self { service: service.into(), candidate }
    }

    /// The share that goes to the candidate.
    pub fn candidate(&self) -> Percent {
        self.candidate
    }

    /// The group of an identity: a user, a session, or whatever the rollout is sticky by.
    pub fn group(&self, identity: &str) -> Group {
        self.group_of(hash::normalized(&self.service, identity, BUCKETS))
    }

    /// The group of a bucket in `1..=BUCKETS`, for a request without an identity: its bucket is
    /// drawn at random.
    pub fn group_of(&self, bucket: u32) -> Group {
        if self.candidate.holds(bucket) {
            Group::Candidate
        } else if bucket > BUCKETS - self.candidate.control().0 {
            Group::Control
        } else {
            Group::Stable
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn percent(number: f64) -> Percent {
        Percent::try_from(number).unwrap()
    }

    fn sizes(split: &Split) -> [u32; 3] {
        let mut sizes = [0; 3];
        for bucket in 1..=BUCKETS {
            sizes[split.group_of(bucket) as usize] += 1;
        }
        sizes
    }

    #[test]
    fn control_is_as_large_as_the_candidate_up_to_half() {
        for (share, expected) in [
            (0.0, [0, 0, 100_000]),
            (0.01, [10, 10, 99_980]),
            (1.0, [1_000, 1_000, 98_000]),
            (10.0, [10_000, 10_000, 80_000]),
            (50.0, [50_000, 50_000, 0]),
            (70.0, [70_000, 30_000, 0]),
            (100.0, [100_000, 0, 0]),
        ] {
            assert_eq!(sizes(&Split::new("profile", percent(share))), expected, "{share} %");
        }
    }

    #[test]
    fn a_growing_share_takes_no_identity_from_the_candidate() {
        let shares = [0.01, 0.1, 1.0, 5.0, 10.0, 33.3, 50.0, 50.01, 75.0, 100.0];
        let splits: Vec<Split> = shares.iter().map(|share| Split::new("profile", percent(*share))).collect();
        for user in 0..20_000 {
            let identity = format!("user-{user}");
            let groups: Vec<Group> = splits.iter().map(|split| split.group(&identity)).collect();
            let first = groups.iter().position(|group| *group == Group::Candidate).expect("100 % has all");
            assert!(groups[first..].iter().all(|group| *group == Group::Candidate), "{identity}: {groups:?}");
            let control = groups.iter().position(|group| *group == Group::Control).unwrap_or(first);
            assert!(groups[control..first].iter().all(|group| *group == Group::Control), "{identity}");
        }
    }

    #[test]
    fn identities_spread_evenly_and_services_are_independent() {
        let (here, there) = (Split::new("profile", percent(30.0)), Split::new("feed", percent(30.0)));
        let (mut candidates, mut both) = (0, 0);
        for user in 0..100_000 {
            let identity = format!("user-{user}");
            let candidate = here.group(&identity) == Group::Candidate;
            assert_eq!(candidate, here.group(&identity) == Group::Candidate);
            candidates += i32::from(candidate);
            both += i32::from(candidate && there.group(&identity) == Group::Candidate);
        }
        assert!((candidates - 30_000).abs() < 500, "{candidates}");
        assert!((both - 9_000).abs() < 500, "{both}");
    }

    #[test]
    fn numbers_outside_the_range_are_refused() {
        for number in [-1.0, 100.1, f64::NAN, f64::INFINITY, 0.000_4] {
            assert!(Percent::try_from(number).is_err(), "{number}");
        }
        assert_eq!(percent(0.01).to_string(), "0.01 %");
        assert_eq!(serde_json::to_string(&percent(12.5)).unwrap(), "12.5");
    }
}
