//! The token with which operators write through the admin listener.
//!
//! Owns its form. Leaves comparing it to `control::writes`. Invariant: it is in no `Debug` output.

use std::fmt;
use std::str::FromStr;

/// The value of `--admin-write-token`.
#[derive(Clone, PartialEq, Eq)]
pub struct WriteToken(String);

impl WriteToken {
    /// Its text, for a comparison in constant time.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for WriteToken {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(
                "no token: expected visible ASCII characters, such as those of `openssl rand -hex 32`",
            );
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Debug for WriteToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}
