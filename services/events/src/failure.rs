//! Errors of events and projections, as the client is told.
//!
//! Owns the problem of each error of this service. `service-host` owns those of the store; other
//! modules define the errors.

use service_host::problems::{FIELD_INVALID, FIELD_TOO_LONG, ID_TAKEN};
use service_host::{Failure, Problem, ProblemType};

use crate::{append::AppendError, invalid::Invalid, limits::CONDITION_ROWS_MAX, projections::PutError};

/// The condition of an append does not hold.
const CONDITION_FAILED: ProblemType = ProblemType::new("condition_failed", 409, "Condition failed")
    .remedy("read the events that match, decide again, and append after their position");

/// The condition of an append needs more rows than are examined.
const CONDITION_TOO_BROAD: ProblemType = ProblemType::new("condition_too_broad", 422, "Condition too broad")
    .remedy("give a position to look after, or a rarer tag");

/// Another client has written the projection.
const PROJECTION_MOVED: ProblemType = ProblemType::new("projection_moved", 409, "Projection moved")
    .remedy("read the projection and continue from its position");

impl From<Invalid> for Failure {
    fn from(invalid: Invalid) -> Self {
        let kind = if invalid.too_long { FIELD_TOO_LONG } else { FIELD_INVALID };
        let problem = Problem::because(kind, &invalid).field(invalid.field);
        Self::from(match invalid.limit {
            Some(limit) => problem.limit(limit),
            None => problem,
        })
    }
}

impl From<AppendError> for Failure {
    fn from(error: AppendError) -> Self {
        let detail = format!("Nothing was appended: {error}.");
        match error {
            AppendError::ConditionFailed { .. } => {
                Problem::new(CONDITION_FAILED, detail).field("condition").into()
            }
            AppendError::IdTaken { index, .. } => {
                Problem::new(ID_TAKEN, detail).field(format!("events[{index}].id")).into()
            }
            AppendError::ConditionTooBroad => {
                let problem = Problem::new(CONDITION_TOO_BROAD, detail).field("condition");
                problem.limit(CONDITION_ROWS_MAX as u64).into()
            }
            AppendError::Store(error) => error.into(),
        }
    }
}

impl From<PutError> for Failure {
    fn from(error: PutError) -> Self {
        match error {
            PutError::Moved { .. } => {
                let problem = Problem::new(PROJECTION_MOVED, format!("Nothing was written: {error}."));
                problem.field("previous").into()
            }
            PutError::Store(error) => error.into(),
        }
    }
}
