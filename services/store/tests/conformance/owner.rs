//! The owner of keys on a cluster; `tests/damage.rs` has that of a directory.

use store::{OpenError, Owner, Store, StoreAddress, Subspace};

use crate::{PATIENT, run};

/// Two processes' first openings at once, then another layout.
pub(crate) fn keys_belong_to_one_layout() {
    let Ok(file) = std::env::var("FDB_CLUSTER_FILE") else {
        println!("SKIPPED: FDB_CLUSTER_FILE is not set");
        return;
    };
    let address: StoreAddress = format!("fdb:{file}").parse().unwrap();
    // A name of this run.
    let service: &'static str = format!("store-conformance-{}", fastrand::u64(..)).leak();
    std::thread::scope(|scope| {
        let openings: Vec<_> =
            (0..4).map(|_| scope.spawn(|| Store::open_for(&address, Owner::new(service, 1)))).collect();
        for opening in openings {
            opening.join().unwrap().unwrap();
        }
    });
    let refused = Store::open_for(&address, Owner::new(service, 2)).unwrap_err();
    let store = Store::open_for(&address, Owner::new(service, 1)).unwrap();
    let stamp = Subspace::from(("store", "owner")).pack(&(service,));
    run(async { store.run(&PATIENT, async |tx| tx.clear(&stamp)).await.unwrap() }).unwrap();
    assert!(matches!(refused, OpenError::LayoutDiffers { .. }), "{refused}");
    assert!(refused.to_string().contains(&file), "{refused}");
}
