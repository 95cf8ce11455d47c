//! A part of a store, beside keys that are not its own.

use store::{Error, KeySelector, Range, Snapshot, Transaction};

use crate::{PATIENT, Place};

/// Around the keys of [`crate::Place::part`]: none begins with `part/`.
const OTHERS: [&[u8]; 5] = [b"\x02conformance\x00", b"part", b"part.", b"part0", b"z"];

/// Reads and clears all that a part has, and steps over both of its ends.
pub(crate) async fn keys_outside_a_part_are_neither_seen_nor_changed() {
    let whole = Place::embedded();
    let set = async |tx: &Transaction| OTHERS.iter().try_for_each(|key| tx.set(key, b"other"));
    whole.store.run(&PATIENT, set).await.unwrap();
    let part = whole.store.part(&"part".parse().unwrap());
    let own: [&[u8]; 2] = [b"a", b"m"];
    part.run(&PATIENT, async |tx| own.iter().try_for_each(|key| tx.set(key, b"own"))).await.unwrap();

    let read = async |snapshot: Snapshot<'_>| {
        let mut found = Vec::new();
        let stepping = |key: &str, offset| KeySelector { offset, ..KeySelector::first_greater_or_equal(key) };
        for (begin, end) in [
            (KeySelector::first_greater_or_equal(""), KeySelector::first_greater_or_equal(b"\xff")),
            (KeySelector::last_less_than("a"), KeySelector::first_greater_than("z")),
            (stepping("a", -3), stepping("m", 4)),
        ] {
            let range = Range::selected(begin, end);
            for range in [range.clone(), range.reversed()] {
                found.push(snapshot.range(range).await?.len());
            }
        }
        let ends = [snapshot.select(&stepping("a", -2)).await?, snapshot.select(&stepping("m", 3)).await?];
        let last = snapshot.select(&KeySelector::last_less_or_equal(b"\xff")).await?;
        Ok::<_, Error>((found, ends, last))
    };
    let (found, ends, last) = part.read(&PATIENT, read).await.unwrap();
    assert_eq!(found, [own.len(); 6]);
    assert_eq!((&ends[0][..], &ends[1][..], &last[..]), (&b""[..], &b"\xff"[..], &b"m"[..]));

    part.run(&PATIENT, async |tx| tx.clear_range(b"", b"\xff")).await.unwrap();
    let all = async |snapshot: Snapshot<'_>| snapshot.range(Range::all()).await;
    let left = whole.store.read(&PATIENT, all).await.unwrap();
    assert_eq!(left.iter().map(|row| &row.key[..]).collect::<Vec<_>>(), OTHERS);
    assert!(part.read(&PATIENT, all).await.unwrap().is_empty());
}
