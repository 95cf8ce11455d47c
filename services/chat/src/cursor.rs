//! What a poller has seen.
//!
//! Owns the cursor's text: 20 hexadecimal digits of a position, and 8 digits of a digest when
//! typing or presence were seen. Invariant: any instance can read the cursor of any other.

use std::fmt;

use service_host::Problem;
use service_host::problems::BAD_CURSOR;
use store::Position;

/// A point in a conversation, and the typing and presence that were known there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cursor {
    /// All changes up to this position were seen.
    pub(crate) position: Position,
    /// Digest of the members who type and are present; 0 means none.
    pub(crate) state: u32,
}

impl Cursor {
    /// Reads a cursor from the parameter `field`.
    ///
    /// # Errors
    /// A 400 that names the field.
    pub(crate) fn read(field: &'static str, text: &str) -> Result<Self, Problem> {
        Self::parse(text).ok_or_else(|| {
            let detail = format!("`{field}` is {text:?}, not 20 or 28 hexadecimal digits.");
            let problem = Problem::new(BAD_CURSOR, detail).field(field).limit(28);
            problem.remedy("give a cursor or position of this conversation")
        })
    }

    fn parse(text: &str) -> Option<Self> {
        let (position, state) = text.split_at_checked(20)?;
        let state = match state {
            "" => 0,
            state if state.len() == 8 && state.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
                u32::from_str_radix(state, 16).ok()?
            }
            _ => return None,
        };
        Some(Self { position: Position::parse(position)?, state })
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.state {
            0 => write!(f, "{}", self.position),
            state => write!(f, "{}{state:08x}", self.position),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_back_and_other_text_is_refused() {
        for text in ["00010203fa05060708ff", "00010203fa05060708ff0000000a"] {
            assert_eq!(Cursor::parse(text).unwrap().to_string(), text);
        }
        for bad in ["", "1", "00010203fa05060708ff0", "00010203fa05060708ff+000000a", "ééééééééééé"]
        {
            let problem = Cursor::read("after", bad).unwrap_err();
            assert_eq!(problem.status, 400, "{bad}");
        }
    }
}
