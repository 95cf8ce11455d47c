//! Errors of feeds, as the client is told.
//!
//! Owns the problem of each error of `feeds`. `service-host` owns those of the store; fields are
//! checked in `entry` and `routes`.

use service_host::problems::ID_TAKEN;
use service_host::{Failure, Problem, ProblemType};
use store::{CallerError, Error};

use crate::feeds::FeedError;

/// The owner follows as many members as allowed.
const FOLLOWS_MAX: ProblemType =
    ProblemType::new("follows_max", 409, "Too many members followed").remedy("unfollow a member first");

/// The entry has more followers than copies fit into one transaction.
const FAN_OUT: ProblemType =
    ProblemType::new("fan_out", 503, "Too many followers").remedy("give the service a lower --fan-out-limit");

impl From<FeedError> for Failure {
    fn from(error: FeedError) -> Self {
        match error {
            FeedError::Store(Error::Caller(error @ CallerError::TransactionTooLarge { .. })) => {
                tracing::error!(%error, "a fan-out is too large; a lower --fan-out-limit helps");
                Problem::new(FAN_OUT, "The entry has too many followers to be copied at once.").into()
            }
            FeedError::Store(error) => error.into(),
            FeedError::IdTaken { id } => {
                let detail = format!("The id {id:?} belongs to an entry with another text or author.");
                Problem::new(ID_TAKEN, detail).field("id").into()
            }
            FeedError::FollowsMax { limit } => {
                let problem = Problem::new(FOLLOWS_MAX, format!("A member follows at most {limit} others."));
                problem.field("other").limit(limit).into()
            }
        }
    }
}
