//! The value of `--store`, and what it means.
//!
//! `embedded:DIR`, `embedded:DIR?durability=buffered`, `fdb:CLUSTER_FILE`,
//! `fdb:CLUSTER_FILE?grv_cache=true&prefix=NAME`. Parsing touches no file.

use std::{fmt, path::PathBuf, str::FromStr};

use crate::prefix::{Prefix, PrefixError};

/// Where a store is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreAddress {
    /// A directory of this machine, used by this process alone.
    Embedded(EmbeddedAddress),
    /// A FoundationDB cluster.
    Fdb(FdbAddress),
}

/// The embedded store's directory and durability.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmbeddedAddress {
    /// Directory; created when it is missing.
    pub dir: PathBuf,
    /// What an acknowledged commit survives.
    pub durability: Durability,
}

/// A FoundationDB cluster, and how it is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FdbAddress {
    /// Path of the cluster file, which names the coordinators.
    pub cluster_file: PathBuf,
    /// `grv_cache=true`: [`crate::Store::get`] and [`crate::Store::read`] may see the store as it
    /// was up to 100 ms ago (the client's `MAX_VERSION_CACHE_LAG`), which saves one round trip.
    /// They see what this process committed before, but may miss commits of other processes.
    /// Default false. [`crate::Store::run`] is never stale.
    pub grv_cache: bool,
    /// `prefix=NAME`: every key begins with `NAME/`, so that several stacks share a cluster without
    /// seeing each other. Default none.
    pub prefix: Option<Prefix>,
}

/// What an acknowledged commit survives.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Durability {
    /// `durability=fsync`, the default: power failure. The journal has been synced (`fdatasync`),
    /// once for all waiting commits.
    #[default]
    Fsync,
    /// `durability=buffered`: the death of the process, but not of the machine. The kernel has the
    /// journal; a power failure may lose up to some 30 s of it. What remains is a prefix of the
    /// commits.
    Buffered,
}

/// The text is not a store's address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// The text begins with neither `embedded:` nor `fdb:`.
    #[error("store `{text}` has no known kind: use `embedded:DIR` or `fdb:CLUSTER_FILE`")]
    Kind {
        /// The text.
        text: String,
    },
    /// Nothing follows the colon.
    #[error("store `{text}` names no path: use `embedded:DIR` or `fdb:CLUSTER_FILE`")]
    PathEmpty {
        /// The text.
        text: String,
    },
    /// An unknown option, or an unknown value of an option.
    #[error("store option `{option}` is not known: use {known}")]
    Option {
        /// The option.
        option: String,
        /// The options of this kind of store.
        known: &'static str,
    },
    /// The name of a prefix has another form.
    #[error(transparent)]
    Prefix(#[from] PrefixError),
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
        let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
        match kind {
            "embedded" => {
                let mut address = EmbeddedAddress { dir: path(place)?, durability: Durability::default() };
                for option in options(query) {
                    address.durability = match option {
                        "durability=fsync" => Durability::Fsync,
                        "durability=buffered" => Durability::Buffered,
                        _ => return Err(unknown(option, "`durability=fsync` or `durability=buffered`")),
                    };
                }
                Ok(Self::Embedded(address))
            }
            "fdb" => {
                let mut address = FdbAddress { cluster_file: path(place)?, grv_cache: false, prefix: None };
                for option in options(query) {
                    match option.split_once('=') {
                        Some(("grv_cache", "true")) => address.grv_cache = true,
                        Some(("grv_cache", "false")) => address.grv_cache = false,
                        Some(("prefix", name)) => address.prefix = Some(name.parse()?),
                        _ => {
                            return Err(unknown(
                                option,
                                "`grv_cache=true`, `grv_cache=false` or `prefix=NAME`",
                            ));
                        }
                    }
                }
                Ok(Self::Fdb(address))
            }
            _ => Err(AddressError::Kind { text: text.to_owned() }),
        }
    }
}

impl fmt::Display for StoreAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Embedded(EmbeddedAddress { dir, durability }) => {
                let query = match durability {
                    Durability::Fsync => "",
                    Durability::Buffered => "?durability=buffered",
                };
                write!(f, "embedded:{}{query}", dir.display())
            }
            Self::Fdb(FdbAddress { cluster_file, grv_cache, prefix }) => {
                write!(f, "fdb:{}", cluster_file.display())?;
                if *grv_cache {
                    f.write_str("?grv_cache=true")?;
                }
                if let Some(prefix) = prefix {
                    write!(f, "{}prefix={prefix}", if *grv_cache { '&' } else { '?' })?;
                }
                Ok(())
            }
        }
    }
}

fn options(query: &str) -> impl Iterator<Item = &str> {
    query.split('&').filter(|option| !option.is_empty())
}

fn unknown(option: &str, known: &'static str) -> AddressError {
    AddressError::Option { option: option.to_owned(), known }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_back_as_it_was_written() {
        for text in [
            "embedded:/var/lib/x",
            "embedded:data?durability=buffered",
            "fdb:/etc/fdb.cluster",
            "fdb:fdb.cluster?grv_cache=true",
            "fdb:fdb.cluster?prefix=staging",
            "fdb:fdb.cluster?grv_cache=true&prefix=staging",
        ] {
            assert_eq!(text.parse::<StoreAddress>().unwrap().to_string(), text);
        }
        assert_eq!("embedded:d?durability=fsync".parse(), "embedded:d".parse::<StoreAddress>());
        assert_eq!("fdb:f?grv_cache=false".parse(), "fdb:f".parse::<StoreAddress>());
    }

    #[test]
    fn what_is_no_address_is_refused_with_the_text_in_the_error() {
        for text in
            ["", "data", "redis:x", "embedded:", "fdb:", "embedded:?durability=fsync", "fdb:?grv_cache=true"]
        {
            let error = text.parse::<StoreAddress>().unwrap_err().to_string();
            assert!(error.contains(&format!("`{text}`")), "{error}");
        }
        for (text, option) in [
            ("embedded:d?durability=maybe", "durability=maybe"),
            ("embedded:d?grv_cache=true", "grv_cache=true"),
            ("fdb:f?durability=buffered", "durability=buffered"),
            ("fdb:f?grv_cache=1", "grv_cache=1"),
            ("fdb:f?prefix", "prefix"),
        ] {
            let error = text.parse::<StoreAddress>().unwrap_err();
            assert!(
                matches!(&error, AddressError::Option { option: given, .. } if given == option),
                "{error}"
            );
        }
    }
}
