//! Backups of a store that another process writes to.
//!
//! The writer is this test binary started again (`child_writes_until_it_is_killed`), and the backup
//! is asked for by the program `store-backup`.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests fail by panic and say what they did")]

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Output, Stdio},
};

use store::{BackupError, Error, Owner, Range, RunOptions, Store, StoreAddress, Subspace};

/// The child's variable with the store's address; without it the child does nothing.
const ADDRESS: &str = "STORE_BACKUP_ADDRESS";
const OWNER: Owner = Owner { service: "row", layout: 1 };

fn embedded(dir: &Path) -> StoreAddress {
    format!("embedded:{}", dir.display()).parse().unwrap()
}

fn number(value: Option<impl AsRef<[u8]>>) -> u64 {
    value.map_or(0, |value| u64::from_le_bytes(value.as_ref().try_into().unwrap()))
}

/// Appends a row and counts it in one transaction; returns the count.
async fn append(store: &Store) -> u64 {
    let (rows, total) = (Subspace::from("row"), Subspace::from("row-total").pack(&()));
    let options = RunOptions::default();
    let append = store.run(&options, async |tx| {
        let count = number(tx.get(&total).await?) + 1;
        tx.set(&rows.pack(&(count,)), &[b'x'; 500])?;
        tx.set(&total, &count.to_le_bytes())?;
        Ok::<_, Error>(count)
    });
    append.await.unwrap()
}

/// The rows that a store has, which must be those that it counted.
async fn count(store: &Store) -> u64 {
    let rows = Subspace::from("row");
    let options = RunOptions::default();
    let read = store.read(&options, async |snapshot| {
        let total = number(snapshot.get(&Subspace::from("row-total").pack(&())).await?);
        let mut numbers = snapshot.rows(Range::subspace(&rows));
        let mut found = 0;
        while let Some(row) = numbers.next().await? {
            found += 1;
            assert_eq!(rows.unpack::<(u64,)>(&row.key).unwrap(), (found,));
        }
        assert_eq!(found, total, "the copy has half a transaction");
        Ok::<_, Error>(total)
    });
    read.await.unwrap()
}

#[tokio::test]
async fn child_writes_until_it_is_killed() {
    let Ok(address) = std::env::var(ADDRESS) else { return };
    let store = Store::open_for(&address.parse().unwrap(), OWNER).unwrap();
    loop {
        println!("\nwrote {}", append(&store).await);
    }
}

struct Writer {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Writer {
    fn start(dir: &Path) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_writes_until_it_is_killed", "--nocapture"])
            .env(ADDRESS, embedded(dir).to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    /// The next count that the writer acknowledges.
    fn wrote(&mut self) -> u64 {
        let lines = self.lines.by_ref().map(Result::unwrap);
        let mut numbers = lines.filter_map(|line| line.strip_prefix("wrote ")?.parse().ok());
        numbers.next().expect("the child writes until it is killed")
    }
}

fn backup(dir: &Path, to: &Path) -> Output {
    let mut program = Command::new(env!("CARGO_BIN_EXE_store-backup"));
    program.arg(embedded(dir).to_string()).arg(to).output().unwrap()
}

#[tokio::test]
async fn a_backup_of_a_store_under_writes_is_the_store_at_one_moment() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("store");
    let mut writer = Writer::start(&store);
    for round in 0..3 {
        let mut before = 0;
        for _ in 0..100 {
            before = writer.wrote();
        }
        let to = dir.path().join(format!("backup-{round}"));
        let said = backup(&store, &to);
        assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
        println!("{}", String::from_utf8_lossy(&said.stdout).trim());
        let copy = Store::open_for(&embedded(&to), OWNER).unwrap();
        let found = count(&copy).await;
        assert!(found >= before, "{before} were acknowledged before the backup, it has {found}");
        // The copy is a store, and its versions go on.
        assert_eq!(append(&copy).await, found + 1);
        assert_eq!(count(&copy).await, found + 1);
    }
    let again = backup(&store, &dir.path().join("backup-0"));
    assert_eq!(again.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&again.stderr).contains("backup-0 exists already"), "{again:?}");

    writer.child.kill().unwrap();
    writer.child.wait().unwrap();
    // The killed process left its socket behind; no process answers, so the program opens the
    // store.
    let said = backup(&store, &dir.path().join("after"));
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    let copied = count(&Store::open(&embedded(&dir.path().join("after"))).unwrap()).await;
    assert_eq!(copied, count(&Store::open(&embedded(&store)).unwrap()).await);
}

#[tokio::test]
async fn a_backup_that_fails_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let missing = Store::backup_of(&embedded(&dir.path().join("none")), &dir.path().join("to")).unwrap_err();
    assert!(matches!(missing, BackupError::Missing { .. }), "{missing}");
    assert!(!dir.path().join("none").exists());

    let store = Store::open(&embedded(&dir.path().join("store"))).unwrap();
    append(&store).await;
    std::fs::write(dir.path().join("file"), b"").unwrap();
    let refused = store.backup(&dir.path().join("file/to")).unwrap_err();
    assert!(matches!(refused, BackupError::Directory { .. }), "{refused}");
    let asked =
        Store::backup_of(&embedded(&dir.path().join("store")), &dir.path().join("file/to")).unwrap_err();
    assert!(
        matches!(&asked, BackupError::Refused { reason } if reason.contains("can't be written")),
        "{asked}"
    );
    store.backup(&dir.path().join("to")).unwrap();
    assert!(!dir.path().join("to.unfinished").exists());
}

#[tokio::test]
async fn a_directory_with_a_long_path_has_a_socket_too() {
    let dir = tempfile::tempdir().unwrap();
    let long = dir.path().join("a".repeat(100)).join("b".repeat(100));
    let store = Store::open(&embedded(&long)).unwrap();
    append(&store).await;
    let backup = Store::backup_of(&embedded(&long), &dir.path().join("to")).unwrap();
    assert_eq!(backup.rows, 2);
    drop(store);
    assert!(!long.join("control").exists());
}
