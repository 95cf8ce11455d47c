//! Errors of conversations, as the client is told.
//!
//! Owns the problem of each error of `conversations`. `service-host` owns those of the store;
//! fields are checked in `message` and `routes`.

use service_host::problems::ID_TAKEN;
use service_host::{Failure, Problem};

use crate::conversations::ChatError;

impl From<ChatError> for Failure {
    fn from(error: ChatError) -> Self {
        match error {
            ChatError::Store(error) => error.into(),
            ChatError::IdTaken { id } => {
                let detail = format!("The id {id:?} belongs to a message with another text or author.");
                Problem::new(ID_TAKEN, detail).field("id").into()
            }
        }
    }
}
