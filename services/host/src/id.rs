//! The rule for ids that clients choose: of members, conversations, entries, messages and profiles.
//!
//! Invariant: an id that was checked fits into a path segment and into a key of the store.

use std::borrow::Cow;

use role::problem::Problem;

use crate::problems::BAD_ID;
use crate::request::Request;

/// Longest id, in bytes. Ids are path segments and parts of keys, so anything longer is probably a
/// misplaced document.
pub const ID_BYTES_MAX: usize = 200;

/// An id that is empty or too long.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{field}` has 1 to {ID_BYTES_MAX} bytes, this one has {len}")]
pub struct BadId {
    /// Where the id was.
    pub field: &'static str,
    /// Its length in bytes.
    pub len: usize,
}

/// Checks an id; `field` names it in the error.
///
/// # Errors
/// [`BadId`] unless `id` has 1 to [`ID_BYTES_MAX`] bytes.
pub fn check_id(field: &'static str, id: &str) -> Result<(), BadId> {
    match id.len() {
        1..=ID_BYTES_MAX => Ok(()),
        len => Err(BadId { field, len }),
    }
}

impl From<BadId> for Problem {
    fn from(bad: BadId) -> Self {
        Self::because(BAD_ID, &bad).field(bad.field).limit(ID_BYTES_MAX as u64)
    }
}

impl Request {
    /// The path parameter `name`, decoded and checked as an id.
    ///
    /// # Errors
    /// A 400 that names the parameter.
    ///
    /// # Panics
    /// When the route has no parameter of this name.
    pub fn param_id(&self, name: &'static str) -> Result<Cow<'_, str>, Problem> {
        let id = self.param(name)?;
        check_id(name, &id).map_err(|bad| Problem::from(bad).request_id(self.id()))?;
        Ok(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_one_to_two_hundred_bytes() {
        assert!(check_id("id", "a").is_ok() && check_id("id", &"é".repeat(100)).is_ok());
        assert_eq!(check_id("id", "").unwrap_err().len, 0);
        let problem = Problem::from(check_id("owner", &"é".repeat(101)).unwrap_err());
        assert_eq!(
            (problem.status, problem.field.as_deref(), problem.limit),
            (400, Some("owner"), Some(200))
        );
        assert!(problem.detail.contains("202"), "{problem}");
    }
}
