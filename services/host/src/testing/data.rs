//! Tests that every service with a store has: it shares one FoundationDB cluster with others.
//!
//! Owns the checks; a service says which requests fill its store.

use std::process::Command;

use store::{Range, RunOptions, Snapshot, Store, Subspace};

/// Checks that the store at `address` has rows, and that every key begins with one of `names`.
///
/// # Panics
/// When a row belongs to another service, there are fewer than two rows, or the store is still
/// open.
pub async fn assert_rows_are_of(names: &[&str], address: &str) {
    let address = address.parse().expect("the test's address is right");
    let store = Store::open(&address).expect("the service has closed its store");
    let all = async |snapshot: Snapshot<'_>| snapshot.range(Range::all()).await;
    let rows = store.read(&RunOptions::default(), all).await.expect("the store can be read");
    // On a cluster the owner's stamp is a row too.
    let stamp = Subspace::from(("store", "owner"));
    let own: Vec<Subspace> = names.iter().map(|name| Subspace::from(*name)).chain([stamp]).collect();
    let is_foreign = |key: &[u8]| !own.iter().any(|own| own.is_start_of(key));
    let foreign: Vec<_> = rows.iter().filter(|row| is_foreign(&row.key)).collect();
    assert!(rows.len() >= 2 && foreign.is_empty(), "{} rows, foreign: {foreign:?}", rows.len());
}

/// Checks that a build without FoundationDB refuses a cluster as a usage error that names the
/// feature; `what` are further arguments.
///
/// # Panics
/// When it does not.
pub fn assert_cluster_needs_feature(binary: &str, what: &[&str]) {
    let args = ["--store", "fdb:/etc/foundationdb/fdb.cluster"];
    let output = Command::new(binary).args(args).args(what).output().expect("the binary can be started");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(
        said.contains("`fdb:/etc/foundationdb/fdb.cluster`") && said.contains("--features fdb"),
        "{said}"
    );
}

/// Checks that a service without `--store` ends with a usage error that names the flag.
///
/// # Panics
/// When it does not.
pub fn assert_store_is_needed(binary: &str, what: &[&str]) {
    let output = Command::new(binary).args(what).output().expect("the binary can be started");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("--store embedded:DIR"), "{said}");
}
