//! Writes: reading own writes, atomic add, versionstamps, limits.

use store::{CallerError, Error, Range, StoreError, Transaction, Versionstamp, limits};

use super::{PATIENT, Place, number};

fn refusal<T: std::fmt::Debug>(result: Result<T, Error>) -> CallerError {
    match result {
        Err(Error::Caller(error)) => error,
        other => panic!("expected the caller's error, got {other:?}"),
    }
}

pub(crate) async fn a_transaction_reads_its_own_writes(place: &Place) {
    place.set("old", b"1").await;
    let (old, new) = (place.key("old"), place.key("new"));
    let read = async |tx: &Transaction| {
        tx.set(&new, b"2")?;
        assert_eq!(tx.get(&new).await?, Some("2".into()));
        assert_eq!(tx.snapshot().get(&new).await?, Some("2".into()));
        tx.clear(&old)?;
        assert_eq!(tx.get(&old).await?, None);
        tx.set(&old, b"3")?;
        tx.clear_range(&place.key("n"), &place.key("z"))?;
        assert_eq!((tx.get(&old).await?, tx.get(&new).await?), (None, None));
        tx.set(&new, b"4")?;
        assert_eq!(tx.get(&new).await?, Some("4".into()));
        Ok::<_, Error>(())
    };
    place.store.run(&PATIENT, read).await.unwrap();
    assert_eq!((place.get("old").await, place.get("new").await), (None, Some(b"4".to_vec())));
}

pub(crate) async fn add_adds_without_conflicts(place: &Place) {
    let key = place.key("counter");
    let attempts = std::cell::Cell::new(0);
    let add = place.store.run(&PATIENT, async |tx| {
        attempts.set(attempts.get() + 1);
        tx.add(&key, &1u64.to_le_bytes())?;
        place.store.run(&PATIENT, async |tx| tx.add(&key, &2u64.to_le_bytes())).await
    });
    add.await.unwrap();
    assert_eq!((attempts.get(), number(place.get("counter").await)), (1, 3));
}

pub(crate) async fn add_follows_foundationdb(place: &Place) {
    for (before, operand, after) in [
        (None, &[5u8, 0][..], &[5u8, 0][..]),
        (Some(&[255u8][..]), &[1, 0], &[0, 1]),
        (Some(&[1, 2, 3]), &[1], &[2]),
        (Some(&[255, 255]), &[1, 0], &[0, 0]),
        (Some(&[]), &[7], &[7]),
    ] {
        let key = place.key("k");
        let add = async |tx: &Transaction| {
            tx.clear(&key)?;
            before.map_or(Ok(()), |before| tx.set(&key, before))
        };
        place.store.run(&PATIENT, add).await.unwrap();
        let own = place.store.run(&PATIENT, async |tx| {
            tx.add(&key, operand)?;
            tx.get(&key).await
        });
        assert_eq!(own.await.unwrap().as_deref(), Some(after), "read by the transaction itself");
        assert_eq!(place.get("k").await.as_deref(), Some(after), "{before:?} + {operand:?}");
    }
}

pub(crate) async fn stamps_order_keys_as_the_commits(place: &Place) {
    let log = place.keys.subspace(&"log");
    let append = async |number: u32| {
        let commit = place.store.run(&PATIENT, async |tx| {
            for user in 0..2u16 {
                let key = log.pack_with_versionstamp(&(Versionstamp::incomplete(user),));
                tx.set_versionstamped_key(&key, &number.to_le_bytes())?;
            }
            Ok::<_, Error>(tx.versionstamp())
        });
        commit.await.unwrap().await.unwrap()
    };
    let mut stamps = Vec::new();
    for number in 0..20 {
        stamps.push(append(number).await);
    }
    assert!(stamps.is_sorted_by(|a, b| a < b), "{stamps:?}");

    // Commits of one group.
    let concurrent = tokio::task::LocalSet::new();
    let together = (20..60).map(|number| {
        let (store, log) = (place.store.clone(), log.clone());
        concurrent.spawn_local(async move {
            let commit = store.run(&PATIENT, async |tx| {
                let key = log.pack_with_versionstamp(&(Versionstamp::incomplete(0),));
                tx.set_versionstamped_key(&key, &u32::to_le_bytes(number))?;
                Ok::<_, Error>(tx.versionstamp())
            });
            (commit.await.unwrap().await.unwrap(), number)
        })
    });
    let together: Vec<_> = together.collect();
    concurrent.await;
    let mut expected = Vec::new();
    for commit in together {
        expected.push(commit.await.unwrap());
    }
    expected.sort_unstable();

    let rows = place.store.read(&PATIENT, async |snapshot| snapshot.range(Range::subspace(&log)).await);
    let rows = rows.await.unwrap();
    let rows: Vec<([u8; limits::STAMP_BYTES], u32)> = rows
        .iter()
        .map(|row| {
            let (stamp,) = log.unpack::<(Versionstamp,)>(&row.key).unwrap();
            (
                stamp.transaction_version().try_into().unwrap(),
                u32::from_le_bytes(row.value.as_ref().try_into().unwrap()),
            )
        })
        .collect();
    assert_eq!(rows[..40].iter().step_by(2).map(|row| row.0).collect::<Vec<_>>(), stamps);
    assert_eq!(rows[40..], expected);
}

pub(crate) async fn a_stamped_value_is_the_commit_stamp(place: &Place) {
    let key = place.key("k");
    let commit = place.store.run(&PATIENT, async |tx| {
        tx.set_versionstamped_value(&key, b"ab..........z\x02\0\0\0")?;
        Ok::<_, Error>(tx.versionstamp())
    });
    let stamp = commit.await.unwrap().await.unwrap();
    assert_eq!(place.get("k").await.unwrap(), [b"ab", &stamp[..], b"z"].concat());
}

pub(crate) async fn a_stamp_is_unreadable_before_its_commit(place: &Place) {
    let log = place.keys.subspace(&"log");
    let append = async |tx: &Transaction| {
        let key = log.pack_with_versionstamp(&(Versionstamp::incomplete(0),));
        tx.set_versionstamped_key(&key, b"")
    };
    place.store.run(&PATIENT, append).await.unwrap();
    // Older clients treat a key of the read version itself as one that may still be written.
    place.set("between", b"").await;
    let read = place.store.run(&PATIENT, async |tx| {
        tx.read_version().await?;
        append(tx).await?;
        let earlier = tx.range(Range::subspace(&log).limit(1)).await?;
        assert_eq!(earlier.len(), 1, "what was committed before can be read");
        assert_eq!(refusal(tx.range(Range::subspace(&log)).await), CallerError::AccessedUnreadable);
        tx.set_versionstamped_value(&place.key("v"), &[0; 14])?;
        assert_eq!(refusal(tx.get(&place.key("v")).await), CallerError::AccessedUnreadable);
        assert_eq!(tx.get(&place.key("w")).await?, None);
        tx.set(&place.key("w"), b"x")
    });
    assert_eq!(refusal(read.await), CallerError::AccessedUnreadable, "and is not committed");
    assert_eq!(place.get("w").await, None);
}

pub(crate) async fn only_a_committed_write_has_a_stamp(place: &Place) {
    let stamp = place.store.run(&PATIENT, async |tx| Ok::<_, Error>(tx.versionstamp())).await.unwrap();
    assert_eq!(refusal(stamp.await), CallerError::NoCommitVersion);

    let kept = std::cell::RefCell::new(None);
    let failed = place.store.run(&PATIENT, async |tx| {
        *kept.borrow_mut() = Some(tx.versionstamp());
        Err::<(), _>(Error::from(StoreError::Closed))
    });
    assert!(failed.await.is_err());
    assert_eq!(refusal(kept.take().unwrap().await), CallerError::NotCommitted);
}

pub(crate) async fn a_key_has_a_limit(place: &Place) {
    let prefix = place.keys.bytes();
    let longest = [prefix, &vec![b'k'; place.key_bytes_max - prefix.len()]].concat();
    let too_long = [&longest[..], b"k"].concat();
    let write = async |tx: &Transaction| {
        tx.set(&longest, b"x")?;
        let expected = CallerError::KeyTooLarge { len: limits::KEY_BYTES_MAX + 1 };
        assert_eq!(refusal(tx.set(&too_long, b"x")), expected);
        assert_eq!(refusal(tx.clear(&too_long)), expected);
        assert_eq!(refusal(tx.add(&too_long, b"x")), expected);
        assert_eq!(refusal(tx.get(&too_long).await), expected);
        assert_eq!(refusal(tx.range(Range::between(&too_long, "z")).await), expected);
        let stamped = [&longest[..longest.len() - 3], &[0; 4]].concat();
        assert_eq!(refusal(tx.set_versionstamped_key(&stamped, b"x")), expected);
        assert_eq!(refusal(tx.set(b"\xffsystem", b"x")), CallerError::KeyOutsideLegalRange);
        assert_eq!(refusal(tx.clear_range(b"", b"\xff\xff")), CallerError::KeyOutsideLegalRange);
        assert_eq!(refusal(tx.set(b"", b"x")), CallerError::KeyEmpty);
        Ok::<_, Error>(())
    };
    place.store.run(&PATIENT, write).await.unwrap();
    assert_eq!(place.store.get(&longest).await.unwrap(), Some("x".into()));
}

pub(crate) async fn a_value_has_a_limit(place: &Place) {
    let largest = vec![b'v'; limits::VALUE_BYTES_MAX];
    let too_large = vec![b'v'; limits::VALUE_BYTES_MAX + 1];
    let write = async |tx: &Transaction| {
        tx.set(&place.key("k"), &largest)?;
        let refused = refusal(tx.set(&place.key("k"), &too_large));
        assert_eq!(refused, CallerError::ValueTooLarge { len: too_large.len() });
        let text = refused.to_string();
        assert!(text.contains("100001") && text.contains("100000") && text.contains("split"), "{text}");
        Ok::<_, Error>(())
    };
    place.store.run(&PATIENT, write).await.unwrap();
    assert_eq!(place.get("k").await.unwrap(), largest);
}

pub(crate) async fn a_transaction_has_a_limit(place: &Place) {
    let value = vec![b'v'; limits::VALUE_BYTES_MAX];
    let write = async |count: usize| {
        let write = place.store.run(&PATIENT, async |tx| {
            (0..count).try_for_each(|index| tx.set(&place.key(&index.to_string()), &value))
        });
        write.await
    };
    write(99).await.unwrap();
    assert!(
        matches!(refusal(write(100).await), CallerError::TransactionTooLarge { len } if len > limits::TRANSACTION_BYTES_MAX)
    );
}

pub(crate) async fn a_stamp_must_fit(place: &Place) {
    let write = async |tx: &Transaction| {
        for packed in [&b"abc"[..], b"kkkkkkkkkk\x01\0\0\0", b"kkkkkkkkkk\xff\xff\xff\xff"] {
            let refused = refusal(tx.set_versionstamped_key(packed, b""));
            assert!(matches!(refused, CallerError::StampOffset { .. }), "{refused}");
            let refused = refusal(tx.set_versionstamped_value(&place.key("k"), packed));
            assert!(matches!(refused, CallerError::StampOffset { .. }), "{refused}");
        }
        Ok::<_, Error>(())
    };
    place.store.run(&PATIENT, write).await.unwrap();
}

pub(crate) async fn large_values_come_back(place: &Place) {
    let value = |index: usize| vec![u8::try_from(index % 251).unwrap(); 90_000 + index];
    for chunk in 0..4 {
        let write = async |tx: &Transaction| {
            (chunk * 50..chunk * 50 + 50)
                .try_for_each(|index| tx.set(&place.keys.pack(&(index as u64,)), &value(index)))
        };
        place.store.run(&PATIENT, write).await.unwrap();
    }
    let read = place.store.read(&PATIENT, async |snapshot| {
        let (mut rows, mut count) = (snapshot.rows(Range::subspace(&place.keys)), 0);
        while let Some(row) = rows.next().await? {
            assert!(row.value == value(count), "row {count}");
            count += 1;
        }
        Ok::<_, Error>(count)
    });
    assert_eq!(read.await.unwrap(), 200);
}
