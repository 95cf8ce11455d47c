//! Cursors, trimming and gaps of topics; and a random run against a naive model.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use super::{
    BATCH_MAX, Batch, Gap, PubsubError, Retention, SUBSCRIBER_BYTES_MAX, Size, Start, Subscription, Topic,
};
use crate::{Error, RunOptions, Store, Subspace, layers::Clock, layers::Id};

struct Place {
    topic: Topic,
    now_ms: Arc<AtomicU64>,
    _dir: tempfile::TempDir,
}

fn place() -> Place {
    let dir = tempfile::tempdir().unwrap();
    let address = format!("embedded:{}?durability=buffered", dir.path().display());
    let store = Store::open(&address.parse().unwrap()).unwrap();
    let now_ms = Arc::new(AtomicU64::new(1_000_000));
    let reads = Arc::clone(&now_ms);
    let clock = Clock::of(move || reads.load(Ordering::Relaxed));
    let topic = Topic::with(&store, &Subspace::from("topic"), clock, RunOptions::default());
    Place { topic, now_ms, _dir: dir }
}

impl Place {
    async fn publish(&self, numbers: std::ops::Range<u64>) -> Vec<Id> {
        let bodies: Vec<_> = numbers.map(u64::to_le_bytes).collect();
        self.topic.publish(&bodies).await.unwrap()
    }

    fn pass(&self, ms: u64) {
        self.now_ms.fetch_add(ms, Ordering::Relaxed);
    }
}

const KEEP: Retention =
    Retention { acked_for: Duration::ZERO, age_max: Duration::from_secs(10), bytes_max: 800 };

fn numbers(batch: &Batch) -> Vec<u64> {
    batch.messages.iter().map(|message| u64::from_le_bytes(message.body[..].try_into().unwrap())).collect()
}

async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), future).await.expect("the wait does not end")
}

#[tokio::test]
async fn a_subscriber_continues_where_it_acknowledged() {
    let place = place();
    let mut first = place.topic.subscribe("a", Start::Oldest).await.unwrap();
    let ids = place.publish(0..5).await;
    assert_eq!(numbers(&first.next(3).await.unwrap()), [0, 1, 2]);
    first.ack(ids[1]).await.unwrap();
    first.ack(ids[0]).await.unwrap();
    assert_eq!(numbers(&first.next(3).await.unwrap()), [3, 4]);
    let mut again = place.topic.subscribe("a", Start::Now).await.unwrap();
    let batch = again.next(BATCH_MAX).await.unwrap();
    assert_eq!((numbers(&batch), batch.gap), (vec![2, 3, 4], None));
    assert_eq!((batch.last(), again.position()), (Some(ids[4]), ids[4]));
    assert!(again.next(1).await.unwrap().messages.is_empty());
}

#[tokio::test]
async fn a_late_subscriber_chooses_where_to_begin() {
    let place = place();
    place.publish(0..2).await;
    let mut all = place.topic.subscribe("all", Start::Oldest).await.unwrap();
    let mut new = place.topic.subscribe("new", Start::Now).await.unwrap();
    place.publish(2..3).await;
    assert_eq!(numbers(&all.next(10).await.unwrap()), [0, 1, 2]);
    assert_eq!(numbers(&new.next(10).await.unwrap()), [2]);
    let names = place.topic.subscribers().await.unwrap();
    assert_eq!(names.iter().map(|one| &one.name[..]).collect::<Vec<_>>(), ["all", "new"]);
    assert!(names[0].cursor < names[1].cursor);
}

#[tokio::test]
async fn a_subscriber_that_caught_up_waits_for_the_next_message() {
    let place = place();
    let mut subscriber = place.topic.subscribe("a", Start::Oldest).await.unwrap();
    for number in 0..3 {
        let publish = async {
            tokio::task::yield_now().await;
            place.publish(number..number + 1).await
        };
        let (batch, _) = soon(async { tokio::join!(subscriber.wait(10), publish) }).await;
        assert_eq!(numbers(&batch.unwrap()), [number]);
    }
}

#[tokio::test]
async fn messages_that_all_acknowledged_are_trimmed_and_others_are_kept() {
    let place = place();
    let (fast, slow) = (
        place.topic.subscribe("fast", Start::Oldest).await.unwrap(),
        place.topic.subscribe("slow", Start::Oldest).await.unwrap(),
    );
    let ids = place.publish(0..10).await;
    fast.ack(ids[9]).await.unwrap();
    assert_eq!(place.topic.trim(&KEEP).await.unwrap().messages, 0);
    slow.ack(ids[3]).await.unwrap();
    let later = Retention { acked_for: Duration::from_secs(1), ..KEEP };
    assert_eq!(place.topic.trim(&later).await.unwrap().messages, 0);
    let trimmed = place.topic.trim(&KEEP).await.unwrap();
    assert_eq!((trimmed.messages, trimmed.unread, trimmed.bytes), (4, 0, 32));
    assert_eq!(place.topic.size().await.unwrap(), Size { messages: 6, bytes: 48 });
    // What was trimmed is no gap for those that had acknowledged it, nor for a new subscriber.
    for name in ["slow", "new"] {
        let batch = place.topic.subscribe(name, Start::Oldest).await.unwrap().next(10).await.unwrap();
        assert_eq!((numbers(&batch), batch.gap), ((4..10).collect(), None));
    }
    assert!(place.topic.unsubscribe("slow").await.unwrap());
    assert!(place.topic.unsubscribe("new").await.unwrap());
    assert!(!place.topic.unsubscribe("new").await.unwrap());
    assert_eq!(place.topic.trim(&KEEP).await.unwrap().messages, 6);
}

#[tokio::test]
async fn a_subscriber_that_is_too_slow_is_told_of_the_gap_once() {
    let place = place();
    let mut slow = place.topic.subscribe("slow", Start::Oldest).await.unwrap();
    let old = place.publish(0..3).await;
    let start = slow.position();
    place.pass(10_001);
    place.publish(3..5).await;
    let trimmed = place.topic.trim(&KEEP).await.unwrap();
    assert_eq!((trimmed.messages, trimmed.unread), (3, 3));
    let batch = slow.next(10).await.unwrap();
    assert_eq!(batch.gap, Some(Gap { after: start, upto: old[2] }));
    assert_eq!(numbers(&batch), [3, 4]);
    assert_eq!(slow.next(10).await.unwrap(), Batch::default());
    // By size: 800 bytes are 100 messages. One that waits is told at once.
    place.publish(5..105).await;
    slow.next(BATCH_MAX).await.unwrap();
    let last = place.publish(105..205).await;
    let behind = place.topic.trim(&KEEP).await.unwrap();
    assert_eq!((behind.messages, behind.unread, behind.bytes), (102, 102, 816));
    assert_eq!(place.topic.size().await.unwrap(), Size { messages: 100, bytes: 800 });
    assert_eq!(numbers(&slow.next(BATCH_MAX).await.unwrap()).len(), 100);
    let all_gone = Retention { bytes_max: 0, ..KEEP };
    let mut again = place.topic.subscribe("slow", Start::Now).await.unwrap();
    place.topic.trim(&all_gone).await.unwrap();
    let gap = soon(again.wait(10)).await.unwrap();
    assert_eq!((gap.messages.len(), gap.last()), (0, Some(last[99])));
    again.ack(gap.last().unwrap()).await.unwrap();
    let after = place.topic.subscribe("slow", Start::Now).await.unwrap().next(10).await.unwrap();
    assert_eq!(after, Batch::default(), "an acknowledged gap is not told again");
}

#[tokio::test]
async fn a_publication_and_a_cursor_belong_to_the_caller_s_transaction() {
    let place = place();
    let mut subscriber = place.topic.subscribe("a", Start::Oldest).await.unwrap();
    let run = RunOptions::default();
    let both = place.topic.store.run(&run, async |tx| {
        place.topic.publish_in(tx, &7_u64.to_le_bytes())?;
        place.topic.publish_in(tx, &8_u64.to_le_bytes())
    });
    both.await.unwrap();
    let batch = subscriber.next(10).await.unwrap();
    assert_eq!(numbers(&batch), [7, 8]);
    for count in [1_u8, 1] {
        let handled = place.topic.store.run(&run, async |tx| {
            let last = batch.last().unwrap();
            if subscriber.cursor_in(tx).await? < last {
                tx.add(b"handled", &[1])?;
                subscriber.ack_in(tx, last).await?;
            }
            Ok::<_, PubsubError>(())
        });
        handled.await.unwrap();
        assert_eq!(place.topic.store.get(b"handled").await.unwrap().as_deref(), Some(&[count][..]));
    }
}

#[tokio::test]
async fn bounds_are_errors_that_name_the_value_and_the_limit() {
    let place = place();
    let none: [&[u8]; 0] = [];
    let error = place.topic.publish(&none).await.unwrap_err().to_string();
    assert_eq!(error, "0 messages in one call: give 1 to 256");
    let long = "x".repeat(SUBSCRIBER_BYTES_MAX + 1);
    for (name, len) in [("", "0 bytes"), (&long, "257 bytes")] {
        let error = place.topic.subscribe(name, Start::Now).await.unwrap_err().to_string();
        assert!(error.contains(len) && error.contains("1 to 256"), "{error}");
    }
    let mut gone = place.topic.subscribe("gone", Start::Now).await.unwrap();
    assert!(matches!(gone.next(BATCH_MAX + 1).await, Err(PubsubError::Batch { len: 257 })));
    place.topic.unsubscribe("gone").await.unwrap();
    let error = gone.ack(Id::newest_at(1)).await.unwrap_err();
    assert!(error.to_string().contains("\"gone\" does not subscribe"), "{error}");
    let large = vec![0; crate::limits::VALUE_BYTES_MAX];
    assert!(matches!(place.topic.publish(&[large]).await, Err(PubsubError::Store(Error::Caller(_)))));
}

/// A subscriber, and what it expects.
struct Reader {
    subscription: Subscription,
    /// The next number.
    at: u64,
    /// The next number after a restart.
    acked: u64,
    /// True when a gap was told, so the next number may be a greater one.
    jumps: bool,
}

/// What a subscriber has seen, naively: every number in order, or a gap instead.
#[tokio::test]
async fn subscribers_see_every_message_in_order_or_a_gap() {
    let seed = std::env::var("STORE_SEED").ok().map(|seed| seed.parse().expect("STORE_SEED is a number"));
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    println!("STORE_SEED={seed}");
    let mut rng = fastrand::Rng::with_seed(seed);
    let place = place();
    let mut subscribers: BTreeMap<u64, Reader> = BTreeMap::new();
    let (mut next, mut gaps, mut read) = (0, 0, 0);
    for _ in 0..600 {
        let name = rng.u64(..3);
        match rng.u32(..10) {
            0..3 => {
                let count = rng.u64(1..30);
                place.publish(next..next + count).await;
                next += count;
            }
            3 => place.pass(rng.u64(..8_000)),
            4 => drop(place.topic.trim(&KEEP).await.unwrap()),
            5 => {
                // Restarts: continues at its cursor.
                let subscription = place.topic.subscribe(&name.to_string(), Start::Now).await.unwrap();
                let acked = subscribers.remove(&name).map_or(next, |reader| reader.acked);
                subscribers.insert(name, Reader { subscription, at: acked, acked, jumps: false });
            }
            _ => {
                let Some(reader) = subscribers.get_mut(&name) else { continue };
                let batch = reader.subscription.next(rng.usize(1..40)).await.unwrap();
                gaps += usize::from(batch.gap.is_some());
                reader.jumps |= batch.gap.is_some();
                for number in numbers(&batch) {
                    let is_next = number == reader.at || (reader.jumps && number > reader.at);
                    assert!(is_next, "{number} after {}", reader.at);
                    (reader.at, reader.jumps) = (number + 1, false);
                    read += 1;
                }
                if batch == Batch::default() {
                    assert!(reader.at == next || reader.jumps, "a message is missing");
                }
                if let Some(last) = batch.last().filter(|_| !batch.messages.is_empty() && rng.bool()) {
                    reader.subscription.ack(last).await.unwrap();
                    reader.acked = reader.at;
                }
            }
        }
    }
    println!("{next} published, {read} read, {gaps} gaps");
    assert!(read > 100 && gaps > 0, "{read} read, {gaps} gaps");
}
