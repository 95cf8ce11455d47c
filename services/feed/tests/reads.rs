//! How many rows a request reads: each is a round trip to a cluster.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use feed::{Feeds, NewEntry};
use service_host::testing::run;
use service_host::testing::stores::Place;
use store::{RunOptions, Store};

service_host::store_tests! {
    counted:
        a_head_that_did_not_change_costs_one_row_and_any_change_is_seen;
}

const OPTIONS: RunOptions =
    RunOptions { timeout: std::time::Duration::from_secs(5), retries_max: 100, idempotent: false };

/// Keys and batches of ranges that `work` reads.
async fn read_by(store: &Store, work: impl Future) -> (u64, u64) {
    let count = |name| store.counters().into_iter().find(|(known, _)| *known == name).unwrap().1;
    let before = (count("store.reads"), count("store.ranges"));
    work.await;
    (count("store.reads") - before.0, count("store.ranges") - before.1)
}

async fn post(feeds: &Feeds, owner: &str, id: &str) {
    let entry = NewEntry { id: id.into(), author: owner.into(), text: "text".into() };
    feeds.post(owner, &entry, 0, &OPTIONS).await.unwrap();
}

fn a_head_that_did_not_change_costs_one_row_and_any_change_is_seen(place: &Place) {
    run(async {
        let store = place.open();
        // One follower makes an owner large for the next ones.
        let feeds = Feeds::new(store.clone(), 1, 1 << 20);
        feeds.follow("ada", "bob", &OPTIONS).await.unwrap();
        let head = async || feeds.head("ada", 20, &OPTIONS).await.unwrap();
        let ids = async || {
            let entries = head().await.0.entries;
            let id = |entry: &[u8]| entry[7..8].to_vec();
            entries.iter().map(|entry| String::from_utf8(id(&entry.entry)).unwrap()).collect::<String>()
        };

        post(&feeds, "ada", "1").await;
        assert_eq!(ids().await, "1");
        let of_page = read_by(&store, async { feeds.page("ada", None, 20, &OPTIONS).await.unwrap() }).await;
        assert_eq!((read_by(&store, head()).await, of_page), ((1, 0), (1, 0)));

        post(&feeds, "bob", "2").await;
        assert_eq!((ids().await.as_str(), head().await.1.count), ("21", 1), "a copy arrived");
        post(&feeds, "ada", "3").await;
        assert_eq!(ids().await, "321", "the owner posted");
        feeds.mark_read("ada", None, &OPTIONS).await.unwrap();
        assert_eq!(head().await.1.count, 0, "the owner has read");
        assert_eq!(read_by(&store, head()).await, (1, 0));

        feeds.follow("eve", "bob", &OPTIONS).await.unwrap();
        head().await;
        post(&feeds, "bob", "4").await;
        assert_eq!((ids().await.as_str(), head().await.1.count), ("4321", 1), "a large owner posted");
        assert_eq!(read_by(&store, head()).await, (2, 0), "its counter is the second row");
        feeds.unfollow("ada", "bob", &OPTIONS).await.unwrap();
        post(&feeds, "bob", "5").await;
        assert_eq!(ids().await, "4321", "the interval ended");
        assert_eq!(read_by(&store, head()).await, (1, 0));
    });
}
