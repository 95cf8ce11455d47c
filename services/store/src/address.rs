//! What is typed after `--store`, and what it means.
//!
//! `embedded:DIR`, `embedded:DIR?durability=buffered`, `fdb:CLUSTER_FILE`. Parsing touches no file.

use std::{fmt, path::PathBuf, str::FromStr};

/// Where a store is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreAddress {
    /// A directory of this machine, used by this process alone.
    Embedded(EmbeddedAddress),
    /// A FoundationDB cluster.
    Fdb {
        /// Path of the cluster file.
        cluster_file: PathBuf,
    },
}

/// The embedded store's place and promise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmbeddedAddress {
    /// Directory; made when it is missing.
    pub dir: PathBuf,
    /// What `Ok` from a commit promises.
    pub durability: Durability,
}

/// What a commit has survived once it is acknowledged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Durability {
    /// `durability=fsync`, the default: power failure. The journal was `fdatasync`ed, once for all commits that waited.
    #[default]
    Fsync,
    /// `durability=buffered`: the death of the process, not that of the machine. The kernel has the journal;
    /// up to some 30 s of it may be lost with the power. What remains is still a prefix of the commits.
    Buffered,
}

/// Text that is no address of a store.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Neither `embedded:` nor `fdb:`.
    #[error("store `{text}` has no known kind: use `embedded:DIR` or `fdb:CLUSTER_FILE`")]
    Kind {
        /// What was typed.
        text: String,
    },
    /// Nothing after the colon.
    #[error("store `{text}` names no path: use `embedded:DIR` or `fdb:CLUSTER_FILE`")]
    PathEmpty {
        /// What was typed.
        text: String,
    },
    /// An option that does not exist, or one with a value that does not exist.
    #[error("store option `{option}` is not known: use `durability=fsync` or `durability=buffered`")]
    Option {
        /// What was typed.
        option: String,
    },
}

impl FromStr for StoreAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let (kind, rest) =
            text.split_once(':').ok_or_else(|| AddressError::Kind { text: text.to_owned() })?;
        let path = |path: &str| match path {
            "" => Err(AddressError::PathEmpty { text: text.to_owned() }),
            path => Ok(PathBuf::from(path)),
        };
        match kind {
            "embedded" => {
                let (dir, query) = rest.split_once('?').unwrap_or((rest, ""));
                Ok(Self::Embedded(EmbeddedAddress { dir: path(dir)?, durability: durability(query)? }))
            }
            "fdb" => Ok(Self::Fdb { cluster_file: path(rest)? }),
            _ => Err(AddressError::Kind { text: text.to_owned() }),
        }
    }
}

impl fmt::Display for StoreAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Embedded(EmbeddedAddress { dir, durability: Durability::Fsync }) => {
                write!(f, "embedded:{}", dir.display())
            }
            Self::Embedded(EmbeddedAddress { dir, durability: Durability::Buffered }) => {
                write!(f, "embedded:{}?durability=buffered", dir.display())
            }
            Self::Fdb { cluster_file } => write!(f, "fdb:{}", cluster_file.display()),
        }
    }
}

fn durability(query: &str) -> Result<Durability, AddressError> {
    query.split('&').filter(|option| !option.is_empty()).try_fold(Durability::default(), |_, option| {
        match option {
            "durability=fsync" => Ok(Durability::Fsync),
            "durability=buffered" => Ok(Durability::Buffered),
            _ => Err(AddressError::Option { option: option.to_owned() }),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_back_as_it_was_written() {
        for text in ["embedded:/var/lib/x", "embedded:data?durability=buffered", "fdb:/etc/fdb.cluster"] {
            assert_eq!(text.parse::<StoreAddress>().unwrap().to_string(), text);
        }
        assert_eq!("embedded:d?durability=fsync".parse(), "embedded:d".parse::<StoreAddress>());
    }

    #[test]
    fn what_is_no_address_is_refused_with_the_text_in_the_error() {
        for text in ["", "data", "redis:x", "embedded:", "fdb:", "embedded:?durability=fsync"] {
            let error = text.parse::<StoreAddress>().unwrap_err().to_string();
            assert!(error.contains(&format!("`{text}`")), "{error}");
        }
        let error = "embedded:d?durability=maybe".parse::<StoreAddress>().unwrap_err();
        assert_eq!(error, AddressError::Option { option: "durability=maybe".into() });
    }
}
