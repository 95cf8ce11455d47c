//! Damaged and foreign directories: what can't be replayed is kept, and another service's store is
//! refused.
//!
//! `STORE_SEED` repeats the random cuts.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests fail by panic and print their seed")]

use std::{
    fs,
    path::{Path, PathBuf},
};

use store::{Error, OpenError, Owner, Range, RunOptions, Store, StoreAddress, Subspace};

const ROWS: u64 = 200;

fn embedded(dir: &Path) -> StoreAddress {
    format!("embedded:{}?durability=buffered", dir.display()).parse().unwrap()
}

fn seed() -> u64 {
    let given = std::env::var("STORE_SEED").ok().map(|seed| seed.parse().expect("STORE_SEED is a number"));
    let seed = given.unwrap_or_else(|| fastrand::u64(..));
    println!("STORE_SEED={seed}");
    seed
}

/// The newest journal of a store that is not open.
fn journal(dir: &Path) -> PathBuf {
    let files = fs::read_dir(dir.join("engine")).unwrap().map(|entry| entry.unwrap().path());
    let journals = files.filter(|path| path.extension().is_some_and(|extension| extension == "jnl"));
    let number = |path: &PathBuf| path.file_stem().unwrap().to_str().unwrap().parse::<u64>().unwrap();
    journals.max_by_key(number).unwrap()
}

/// The files in `torn`, in the order of their names.
fn kept(dir: &Path) -> Vec<Vec<u8>> {
    let Ok(files) = fs::read_dir(dir.join("torn")) else { return Vec::new() };
    let mut paths: Vec<_> = files.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

/// Commits rows one by one; returns the version of the last commit.
async fn fill(dir: &Path, first: u64) -> u64 {
    let store = Store::open(&embedded(dir)).unwrap();
    let rows = Subspace::from("row");
    for number in first..first + ROWS {
        let options = RunOptions::default();
        let set = async |tx: &store::Transaction| tx.set(&rows.pack(&(number,)), &[b'x'; 100]);
        store.run(&options, set).await.unwrap();
    }
    version(&store).await
}

async fn version(store: &Store) -> u64 {
    store.read(&RunOptions::default(), async |snapshot| snapshot.read_version().await).await.unwrap()
}

async fn numbers(store: &Store) -> Vec<u64> {
    let rows = Subspace::from("row");
    let options = RunOptions::default();
    let all = Range::subspace(&rows);
    let found = store.read(&options, async |snapshot| snapshot.range(all.clone()).await).await.unwrap();
    found.iter().map(|row| rows.unpack::<(u64,)>(&row.key).unwrap().0).collect()
}

#[tokio::test]
async fn the_end_of_a_cut_journal_is_kept_and_versions_are_not_used_twice() {
    let mut rng = fastrand::Rng::with_seed(seed());
    for _ in 0..20 {
        let dir = tempfile::tempdir().unwrap();
        let newest = fill(dir.path(), 0).await;
        // The second opening ends the journal where its data end.
        drop(Store::open(&embedded(dir.path())).unwrap());
        let journal = journal(dir.path());
        let whole = fs::read(&journal).unwrap();
        let cut = rng.usize(1..whole.len());
        fs::write(&journal, &whole[..cut]).unwrap();

        let store = Store::open(&embedded(dir.path())).unwrap();
        let found = numbers(&store).await;
        assert!(found.iter().copied().eq(0..found.len() as u64), "not a prefix: {found:?}");
        let rest = kept(dir.path());
        assert!(rest.len() <= 1);
        let rest = rest.first().map_or(&[][..], |rest| &rest[..]);
        assert!(
            whole[..cut].ends_with(rest),
            "cut at {cut}: the file of {} bytes is not its end",
            rest.len()
        );
        assert!(fs::read(&journal).unwrap().starts_with(&whole[..cut - rest.len()]));
        drop(store);

        // Without damage nothing is kept, and what was written since is there.
        fill(dir.path(), ROWS).await;
        let store = Store::open(&embedded(dir.path())).unwrap();
        assert_eq!(numbers(&store).await.len(), found.len() + usize::try_from(ROWS).unwrap());
        assert_eq!(kept(dir.path()).len(), usize::from(!rest.is_empty()));
        if found.len() + 2 < usize::try_from(ROWS).unwrap() && !rest.is_empty() {
            let lost = newest - found.len() as u64;
            println!(
                "cut at {cut} of {}: {} rows found, {} bytes kept, {lost} lost",
                whole.len(),
                found.len(),
                rest.len()
            );
        }
    }
}

#[tokio::test]
async fn one_large_commit_that_is_cut_in_half_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&embedded(dir.path())).unwrap();
    let rows = Subspace::from("row");
    let options = RunOptions::default();
    let fill = store.run(&options, async |tx| {
        (0..1000u64).try_for_each(|number| tx.set(&rows.pack(&(number,)), &[b'x'; 200]))?;
        Ok::<_, Error>(tx.versionstamp())
    });
    let stamp = fill.await.unwrap().await.unwrap();
    drop(store);
    drop(Store::open(&embedded(dir.path())).unwrap());
    let journal = journal(dir.path());
    let whole = fs::read(&journal).unwrap();
    fs::write(&journal, &whole[..whole.len() / 2]).unwrap();

    let store = Store::open(&embedded(dir.path())).unwrap();
    assert!(numbers(&store).await.is_empty());
    let kept = kept(dir.path());
    assert!(
        whole[..whole.len() / 2].ends_with(&kept[0]) && kept[0].len() > 100_000,
        "{} bytes",
        kept[0].len()
    );
    let again = store.run(&options, async |tx| {
        tx.set(b"again", b"x")?;
        Ok::<_, Error>(tx.versionstamp())
    });
    assert!(again.await.unwrap().await.unwrap() > stamp, "a position was given twice");
}

#[tokio::test]
async fn garbage_behind_the_last_commit_is_kept_and_the_commits_are_replayed() {
    let mut rng = fastrand::Rng::with_seed(seed());
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path(), 0).await;
    drop(Store::open(&embedded(dir.path())).unwrap());
    let journal = journal(dir.path());
    // A first byte that is not an entry's tag; no zero at the end, because zeros are not kept.
    let len = rng.usize(1..200_000);
    let garbage: Vec<u8> = std::iter::repeat_with(|| rng.u8(5..)).take(len).collect();
    let whole = [fs::read(&journal).unwrap(), garbage.clone()].concat();
    fs::write(&journal, whole).unwrap();
    let store = Store::open(&embedded(dir.path())).unwrap();
    assert_eq!(numbers(&store).await.len() as u64, ROWS);
    assert_eq!(kept(dir.path()), [garbage]);
}

#[tokio::test]
async fn a_store_is_opened_only_for_its_owner() {
    let dir = tempfile::tempdir().unwrap();
    let address = embedded(dir.path());
    drop(Store::open_for(&address, Owner::new("feed", 1)).unwrap());
    drop(Store::open_for(&address, Owner::new("feed", 1)).unwrap());

    let other = Store::open_for(&address, Owner::new("chat", 1)).unwrap_err();
    assert!(matches!(other, OpenError::OwnedByOther { .. }), "{other}");
    let text = other.to_string();
    assert!(
        text.contains("belongs to feed (layout 1), not to chat") && text.contains("directory of its own")
    );
    assert!(text.contains(dir.path().to_str().unwrap()), "{text}");
    let layout = Store::open_for(&address, Owner::new("feed", 2)).unwrap_err();
    assert!(matches!(layout, OpenError::LayoutDiffers { .. }), "{layout}");
}

#[tokio::test]
async fn a_store_without_a_stamp_is_told_by_its_keys() {
    let dir = tempfile::tempdir().unwrap();
    let address = embedded(dir.path());
    let store = Store::open(&address).unwrap();
    let options = RunOptions::default();
    let key = Subspace::from(("chat", "message")).pack(&(1,));
    store.run(&options, async |tx| tx.set(&key, b"x")).await.unwrap();
    drop(store);
    let other = Store::open_for(&address, Owner::new("feed", 1)).unwrap_err();
    assert!(matches!(other, OpenError::OwnedByOther { .. }), "{other}");
    let store = Store::open_for(&address, Owner::new("chat", 1)).unwrap();
    assert_eq!(store.get(&key).await.unwrap().as_deref(), Some(&b"x"[..]));
}
