//! Ranges: order, direction, limits, continuation, selectors, and own writes among them.

use std::cell::Cell;

use store::{Error, KeySelector, KeyValue, Range, Transaction, Versionstamp, limits};

use super::{PATIENT, Place};

/// More rows than fit into three batches, and not a multiple of a batch.
const ROWS: usize = 3 * limits::BATCH_ROWS_MAX + 17;

fn name(index: usize) -> String {
    format!("{index:05}")
}

fn names(rows: &[KeyValue]) -> Vec<String> {
    rows.iter().map(|row| String::from_utf8(row.value.to_vec()).unwrap()).collect()
}

async fn filled(place: &Place) -> Range {
    place.set_all((0..ROWS).map(name)).await;
    place.store.run(&PATIENT, async |tx| tx.set(&place.keys.pack(&(0,)), b"")).await.unwrap();
    Range::between(place.key(""), place.key("~"))
}

async fn read(place: &Place, range: Range) -> Vec<String> {
    let rows = place.store.read(&PATIENT, async |snapshot| snapshot.range(range.clone()).await);
    names(&rows.await.unwrap())
}

pub(crate) async fn a_range_comes_in_order_across_batches(place: &Place) {
    let range = filled(place).await;
    assert_eq!(read(place, range.clone()).await, (0..ROWS).map(name).collect::<Vec<_>>());
    let first = place.store.run(&PATIENT, async |tx| tx.range_batch(&range).await).await.unwrap();
    assert!(first.rows.len() <= limits::BATCH_ROWS_MAX && first.next.is_some());
}

pub(crate) async fn a_range_goes_backwards(place: &Place) {
    let range = filled(place).await.reversed();
    assert_eq!(read(place, range.clone()).await, (0..ROWS).rev().map(name).collect::<Vec<_>>());
    assert_eq!(read(place, range.limit(2)).await, [name(ROWS - 1), name(ROWS - 2)]);
}

pub(crate) async fn a_limit_ends_a_range(place: &Place) {
    let range = filled(place).await;
    for limit in [0, 1, limits::BATCH_ROWS_MAX, limits::BATCH_ROWS_MAX + 1, ROWS, ROWS + 1] {
        assert_eq!(read(place, range.clone().limit(limit)).await.len(), limit.min(ROWS));
    }
}

pub(crate) async fn pages_continue(place: &Place) {
    let range = filled(place).await;
    for range in [range.clone(), range.reversed()] {
        let (mut seen, mut page) = (Vec::new(), range.clone().limit(100));
        loop {
            let rows = place.store.read(&PATIENT, async |snapshot| snapshot.range(page.clone()).await);
            let rows = rows.await.unwrap();
            let Some(last) = rows.last() else { break };
            page = page.after(&last.key);
            seen.extend(names(&rows));
        }
        assert_eq!(seen, read(place, range).await);
    }
}

/// Reads the same ranges from their ends repeatedly while rows are added and removed: what one scan
/// remembers for the next must not affect results.
pub(crate) async fn reversed_ranges_stay_right_while_rows_change(place: &Place) {
    let mut rng = fastrand::Rng::with_seed(super::seed());
    let mut model = std::collections::BTreeSet::new();
    let ends: Vec<_> = [300, 500, 999].into_iter().map(name).collect();
    for _ in 0..200 {
        let (first, len) = (rng.usize(..900), rng.choice([1, 3, 90]).unwrap());
        let names: Vec<_> = (first..first + len).map(name).collect();
        if rng.u8(..) < 80 {
            let range = (place.key(&names[0]), place.key(&name(first + len)));
            let clear = async |tx: &Transaction| tx.clear_range(&range.0, &range.1);
            place.store.run(&PATIENT, clear).await.unwrap();
            model.retain(|name| !names.contains(name));
        } else {
            place.set_all(names.iter().cloned()).await;
            model.extend(names);
        }
        let begin = name(rng.choice([0, 250, 480]).unwrap());
        let (end, limit) = (rng.choice(&ends).unwrap(), rng.choice([2, 5, 20, 400]).unwrap());
        let range = Range::between(place.key(&begin), place.key(end)).reversed().limit(limit);
        let expected = model.iter().rev().filter(|name| (&begin..end).contains(name)).take(limit);
        assert_eq!(read(place, range).await, expected.cloned().collect::<Vec<_>>(), "{begin} {end} {limit}");
    }
}

pub(crate) async fn selectors_step_over_keys(place: &Place) {
    place.set_all(["b", "d", "f"].map(str::to_owned).into_iter()).await;
    let select = async |selector: KeySelector| {
        let key = place.store.run(&PATIENT, async |tx| tx.select(&selector).await).await.unwrap();
        place.keys.unpack::<(String,)>(&key).map_or_else(|_| "outside".to_owned(), |(name,)| name)
    };
    let key = |name| place.key(name);
    assert_eq!(select(KeySelector::first_greater_or_equal(key("d"))).await, "d");
    assert_eq!(select(KeySelector::first_greater_than(key("d"))).await, "f");
    assert_eq!(select(KeySelector::first_greater_or_equal(key("c"))).await, "d");
    assert_eq!(select(KeySelector::last_less_than(key("d"))).await, "b");
    assert_eq!(select(KeySelector::last_less_or_equal(key("d"))).await, "d");
    assert_eq!(select(KeySelector { offset: 2, ..KeySelector::first_greater_than(key("b")) }).await, "f");
    assert_eq!(select(KeySelector { offset: -1, ..KeySelector::last_less_than(key("f")) }).await, "b");
    assert_eq!(select(KeySelector::last_less_than(key("b"))).await, "outside");
    let rows = place.store.run(&PATIENT, async |tx| {
        let range = Range::selected(
            KeySelector::last_less_than(place.key("f")),
            KeySelector { offset: 2, ..KeySelector::first_greater_or_equal(place.key("d")) },
        );
        tx.set(&place.key("e"), b"e")?;
        tx.clear(&place.key("d"))?;
        tx.range(range).await
    });
    // With `e` added and `d` removed: from `e` to before the second key from `d` on, which is `f`.
    assert_eq!(names(&rows.await.unwrap()), ["e"]);
}

pub(crate) async fn own_writes_show_in_ranges(place: &Place) {
    let range = filled(place).await;
    let mut model: std::collections::BTreeSet<_> = (0..ROWS).map(name).collect();
    let seen = place.store.run(&PATIENT, async |tx| {
        tx.clear_range(&place.key(&name(10)), &place.key(&name(300)))?;
        for extra in ["00020", "000205", "00299", "90000"] {
            tx.set(&place.key(extra), extra.as_bytes())?;
        }
        tx.clear(&place.key(&name(301)))?;
        tx.add(&place.key(&name(302)), b"\0\0\0\0\x01")?;
        Ok::<_, Error>((tx.range(range.clone()).await?, tx.range(range.clone().reversed()).await?))
    });
    let (forward, mut backward) = seen.await.unwrap();
    model.retain(|name| !("00010".."00300").contains(&name.as_str()) && name != "00301" && name != "00302");
    model.extend(["00020", "000205", "00299", "90000", "00303"].map(str::to_owned));
    let mut expected: Vec<_> = model.into_iter().collect();
    // The row with the add: '2' + 1 = '3', in its old place.
    expected.insert(expected.iter().position(|name| name == "00303").unwrap(), "00303".to_owned());
    assert_eq!(names(&forward), expected);
    backward.reverse();
    assert_eq!(forward, backward);
    assert_eq!(names(&forward), read(place, range).await, "and are the same after the commit");
}

pub(crate) async fn a_limited_range_conflicts_only_where_it_read(place: &Place) {
    let range = filled(place).await;
    for (written, expected) in [("00001", 2), ("000015", 2), ("00003", 1), ("00900", 1)] {
        let attempts = Cell::new(0);
        let read = place.store.run(&PATIENT, async |tx| {
            attempts.set(attempts.get() + 1);
            assert_eq!(tx.range(range.clone().limit(3)).await?.len(), 3);
            if attempts.get() == 1 {
                place.set(written, written.as_bytes()).await;
            }
            tx.set(&place.keys.pack(&("~done",)), b"")
        });
        read.await.unwrap();
        assert_eq!(attempts.get(), expected, "{written}");
    }
}

pub(crate) async fn an_empty_or_inverted_range_is_empty(place: &Place) {
    let (a, z) = (place.key("a"), place.key("z"));
    place.set("m", b"x").await;
    let read = async |tx: &Transaction| {
        assert_eq!(tx.range(Range::between(&z, &a)).await?, []);
        assert_eq!(tx.range(Range::between(&a, &a)).await?, []);
        tx.clear_range(&a, &a)?;
        assert_eq!(tx.range(Range::between(&a, &z)).await?.len(), 1);
        assert!(tx.clear_range(&z, &a).is_err());
        Ok::<_, Error>(())
    };
    place.store.run(&PATIENT, read).await.unwrap();
}

/// A log of versionstamped keys, read after each of its rows by transactions of every age, while
/// others append.
pub(crate) async fn a_promise_of_late_rows_changes_no_result(place: &Place) {
    let mut rng = fastrand::Rng::with_seed(super::seed());
    let log = place.keys.subspace(&"log");
    let end = log.range().1;
    let mut rows: Vec<(u64, Vec<u8>)> = Vec::new();
    for number in 0..60u32 {
        let commit = place.store.run(&PATIENT, async |tx| {
            let key = log.pack_with_versionstamp(&(Versionstamp::incomplete(0),));
            tx.set_versionstamped_key(&key, &number.to_le_bytes())?;
            Ok::<_, Error>(tx.versionstamp())
        });
        let stamp = commit.await.unwrap().await.unwrap();
        let version = u64::from_be_bytes(*stamp.first_chunk().unwrap());
        rows.push((version, log.pack(&(Versionstamp::complete(stamp, 0),))));
        place.set("elsewhere", &number.to_le_bytes()).await;
        let (version, first) = rows[rng.usize(..rows.len())].clone();
        let compared = place.store.run(&PATIENT, async |tx| {
            let before = Range::between(&first, &end);
            let behind = before.clone().after(&first);
            for plain in [before, behind.clone(), behind.clone().limit(2), behind.reversed()] {
                let promised = plain.clone().written_after(version - 1);
                assert_eq!(tx.range(promised).await?, tx.range(plain).await?);
            }
            Ok::<_, Error>(())
        });
        compared.await.unwrap();
        if rows.len() > 1 && rng.u8(..4) == 0 {
            let (_, key) = rows.remove(rng.usize(..rows.len()));
            place.store.run(&PATIENT, async |tx| tx.clear(&key)).await.unwrap();
        }
    }
    // Another transaction appends after this one has read an empty range, so this one must not
    // commit.
    let (version, last) = rows.last().unwrap().clone();
    let behind = Range::between(&last, &end).after(&last).written_after(version - 1);
    let attempts = Cell::new(0);
    let found = place.store.run(&PATIENT, async |tx| {
        let found = tx.range(behind.clone()).await?;
        attempts.set(attempts.get() + 1);
        if attempts.get() == 1 {
            let append = place.store.run(&PATIENT, async |other| {
                let key = log.pack_with_versionstamp(&(Versionstamp::incomplete(0),));
                other.set_versionstamped_key(&key, b"late")
            });
            append.await?;
            assert_eq!(tx.range(behind.clone()).await?, found, "one moment");
        }
        tx.set(&place.key("decided"), b"")?;
        Ok::<_, Error>(found)
    });
    assert_eq!(names(&found.await.unwrap()), ["late"]);
    assert_eq!(attempts.get(), 2);
}
