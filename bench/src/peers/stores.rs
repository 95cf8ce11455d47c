//! The stores of a run's services: embedded ones in a temporary directory, or a cluster.
//!
//! Owns the flag `--store`, and the services' keys on a cluster while a run lasts. Invariant: a run
//! neither changes nor removes keys that no run of `bench` wrote: it refuses a cluster on which a
//! service has keys, except those of a run that was killed, and removes its own at its end.

use std::fmt;
use std::str::FromStr;

use anyhow::{Context, Result, bail};
use clap::Args;
use serde::{Deserialize, Serialize};
use store::{FdbAddress, Network, Range, RunOptions, Snapshot, Store, StoreAddress, Subspace, Transaction};

/// The first elements of the keys that services write, and of those of `bench store`.
const SPACES: [&str; 6] = ["profile", "profile-load", "feed", "chat", "events", "bench-store"];

/// The flag of the commands that start services with data.
#[derive(Clone, Debug, Args)]
pub struct StoreFlag {
    /// Where the data is stored: `embedded`, in a temporary directory (`TMPDIR` selects the disk),
    /// or fdb:CLUSTER_FILE, in a build with the feature fdb. On a cluster the run writes the
    /// services' own keys; it refuses a cluster that has any, and removes them at its end
    #[arg(long = "store", value_name = "STORE", default_value = "embedded")]
    pub kind: StoreKind,
}

/// Where the data of a run is stored. In a report it is the flag's text.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum StoreKind {
    /// Embedded stores in the run's temporary directory.
    #[default]
    Embedded,
    /// A FoundationDB cluster.
    Fdb(FdbAddress),
}

impl StoreKind {
    /// The suffix of the run's directory and of its tables in bench/README.md.
    pub(crate) const fn suffix(&self) -> &'static str {
        match self {
            Self::Embedded => "",
            Self::Fdb(_) => "-fdb",
        }
    }

    /// True for a FoundationDB cluster.
    pub(crate) const fn is_cluster(&self) -> bool {
        matches!(self, Self::Fdb(_))
    }

    /// Where services store their data, for a report.
    pub(crate) const fn described(&self) -> &'static str {
        match self {
            Self::Embedded => "embedded stores",
            Self::Fdb(_) => "a FoundationDB cluster",
        }
    }
}

impl FromStr for StoreKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse() {
            Ok(StoreAddress::Fdb(address)) => Ok(Self::Fdb(address)),
            _ if text == "embedded" => Ok(Self::Embedded),
            _ => Err("a run stores its data in `embedded` or `fdb:CLUSTER_FILE`".to_owned()),
        }
    }
}

impl TryFrom<String> for StoreKind {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<StoreKind> for String {
    fn from(kind: StoreKind) -> Self {
        kind.to_string()
    }
}

impl fmt::Display for StoreKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Embedded => f.write_str("embedded"),
            Self::Fdb(address) => StoreAddress::Fdb(address.clone()).fmt(f),
        }
    }
}

/// The services' keys on a cluster, for one run.
pub(crate) struct Keys {
    pub(crate) store: Store,
    /// Dropped after the store.
    _network: Network,
}

impl Keys {
    /// Opens the cluster at `address`, and removes what a run that was killed left there.
    ///
    /// # Errors
    /// A service has keys that no run wrote; the cluster does not answer; this build has no
    /// FoundationDB.
    pub(crate) async fn take(address: &FdbAddress) -> Result<Self> {
        let network = Network::new();
        let address = StoreAddress::Fdb(address.clone());
        let store = Store::open(&address).context("build with `--features bench/fdb` to use fdb:")?;
        let keys = Self { store, _network: network };
        if keys.store.get(&marker()).await?.is_some() {
            keys.clear().await?;
        }
        for space in SPACES {
            let range = Range::subspace(&Subspace::from(space)).limit(1);
            let find = async |snapshot: Snapshot<'_>| snapshot.range(range.clone()).await;
            if !keys.store.read(&RunOptions::default(), find).await?.is_empty() {
                bail!(
                    "{address}: there are keys of {space} already, which a run would overwrite and remove; give another \
                     cluster, or remove them with fdbcli (services/store/README.md)"
                );
            }
        }
        let mark = async |transaction: &Transaction| transaction.set(&marker(), b"");
        keys.store.run(&RunOptions::default().idempotent(), mark).await?;
        Ok(keys)
    }

    /// Removes everything that the run wrote. The services must have ended.
    ///
    /// # Errors
    /// Errors of the cluster.
    pub(crate) async fn clear(&self) -> Result<()> {
        let clear = async |transaction: &Transaction| {
            for space in SPACES {
                let (begin, end) = Subspace::from(space).range();
                transaction.clear_range(&begin, &end)?;
                transaction.clear(&Subspace::from(("store", "owner")).pack(&(space,)))?;
            }
            transaction.clear(&marker())
        };
        Ok(self.store.run(&RunOptions::default().idempotent(), clear).await?)
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").finish_non_exhaustive()
    }
}

/// Exists while a run's keys do.
fn marker() -> Vec<u8> {
    Subspace::from("bench-run").pack(&())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_stores_its_data_in_a_place_of_its_own() {
        for text in ["embedded", "fdb:/etc/fdb.cluster", "fdb:f?grv_cache=true"] {
            assert_eq!(text.parse::<StoreKind>().unwrap().to_string(), text);
        }
        for text in ["", "embedded:data", "fdb:", "redis"] {
            assert!(text.parse::<StoreKind>().unwrap_err().contains("fdb:CLUSTER_FILE"), "{text}");
        }
    }

    #[tokio::test]
    async fn a_run_removes_the_keys_of_services_and_no_others() {
        let dir = tempfile::tempdir().unwrap();
        let address = format!("embedded:{}", dir.path().display()).parse().unwrap();
        let keys = Keys { store: Store::open(&address).unwrap(), _network: Network::new() };
        let written = [
            Subspace::from("profile").pack(&("1",)),
            Subspace::from("profile-load").pack(&(7,)),
            Subspace::from(("feed", "own")).pack(&("1",)),
            Subspace::from(("store", "owner")).pack(&("chat",)),
            marker(),
        ];
        let others = [Subspace::from("other").pack(&("1",)), Subspace::from("profiles").pack(&("1",))];
        let write = async |transaction: &Transaction| {
            written.iter().chain(&others).try_for_each(|key| transaction.set(key, b"x"))
        };
        keys.store.run(&RunOptions::default(), write).await.unwrap();
        keys.clear().await.unwrap();
        for key in &written {
            assert_eq!(keys.store.get(key).await.unwrap(), None, "{key:?}");
        }
        for key in &others {
            assert!(keys.store.get(key).await.unwrap().is_some(), "{key:?}");
        }
    }
}
