//! Many writers with random conditions, checked by a model that knows only names and positions.
//!
//! The appends of a thread run alone, or in groups that share a transaction, as those of the
//! service do.
//!
//! `MODEL_APPENDS` (default 4 000) is the number of appends, `MODEL_SEED` determines them; the
//! interleaving of threads is not determined. Full size: `MODEL_APPENDS=100000 cargo nextest run
//! --release -p events --test model`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![allow(clippy::print_stdout, reason = "a seed is printed, and the rates that were found")]

mod model {
    pub(crate) mod check;
    pub(crate) mod writer;
}

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use events::{Append, Appender, EventPosition, EventStore, NewEvent, Query, Tail};
use model::check::{self, Seen};
use model::writer::{Attempt, Writer};
use service_host::testing::stores::Place;
use store::RunOptions;

service_host::store_tests! {
    on_stores:
        accepted_appends_are_there_once_in_one_order_and_rejected_ones_truly_conflict,
        appends_that_share_transactions_are_as_good_as_one_after_the_other;
}

const WRITERS: u64 = 250;
const THREADS: u64 = 2;

fn from_environment(name: &str, default: u64) -> u64 {
    let value = std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default);
    println!("{name}={value}");
    value
}

fn run<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(tokio::runtime::LocalOptions::default())
        .unwrap();
    runtime.block_on(work)
}

fn accepted_appends_are_there_once_in_one_order_and_rejected_ones_truly_conflict(place: &Place) {
    on(place, false);
}

fn appends_that_share_transactions_are_as_good_as_one_after_the_other(place: &Place) {
    on(place, true);
}

fn on(place: &Place, grouped: bool) {
    let all = check(&EventStore::new(place.open()), grouped);
    let again = EventStore::new(place.open());
    assert_eq!(run(follow(&again, &Query::default(), 1000)), all, "after a restart");
}

/// Runs the writers and compares what is there with the model. Returns all events.
fn check(events: &EventStore, grouped: bool) -> Vec<Seen> {
    let seed = from_environment("MODEL_SEED", fastrand::u64(..));
    let appends = from_environment("MODEL_APPENDS", 4_000);
    let left = Arc::new(AtomicU64::new(appends));
    let threads = (0..THREADS).map(|thread| {
        let (events, left) = (events.clone(), Arc::clone(&left));
        std::thread::spawn(move || run(write_all(events, grouped, seed, thread, left)))
    });
    let threads: Vec<_> = threads.collect();
    let reader = {
        let events = events.clone();
        std::thread::spawn(move || run(read_all(events)))
    };
    let attempts: Vec<Attempt> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
    run(end(events));
    let (followed, tagged) = reader.join().unwrap();
    let all = run(follow(events, &Query::default(), 1000));

    check::order(&all);
    check::followed(&all, &followed, None);
    check::followed(&all, &tagged, Some(model::writer::FOLLOWED_TAG));
    check::accepted(&all, &attempts);
    check::rejected(&all, &attempts);
    check::rates(&all, &attempts);
    all
}

async fn write_all(
    events: EventStore,
    grouped: bool,
    seed: u64,
    thread: u64,
    left: Arc<AtomicU64>,
) -> Vec<Attempt> {
    let appender = grouped.then(|| Appender::new(events.clone()));
    let writers = (0..WRITERS).filter(|writer| writer % THREADS == thread).map(|writer| {
        let (mut writer, left) =
            (Writer::new(events.clone(), appender.clone(), seed, writer), Arc::clone(&left));
        tokio::task::spawn_local(async move {
            while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
            {
                writer.attempt().await;
            }
            writer.attempts
        })
    });
    let mut attempts = Vec::new();
    for writer in writers.collect::<Vec<_>>() {
        attempts.append(&mut writer.await.unwrap());
    }
    attempts
}

/// Appends an event that tells readers to stop.
async fn end(events: &EventStore) {
    let tags = vec![model::writer::FOLLOWED_TAG.to_owned()];
    let event = NewEvent::new("end".into(), "End".into(), tags, "null").unwrap();
    events.append(&Append::new(vec![event], None).unwrap(), &RunOptions::default()).await.unwrap();
}

/// What two long polls receive while others write: one reads everything in small pages, one reads a
/// tag.
async fn read_all(events: EventStore) -> (Vec<Seen>, Vec<Seen>) {
    let tail = Tail::new(events.clone());
    let tagged = Query::new(vec![], vec![model::writer::FOLLOWED_TAG.to_owned()]).unwrap();
    let tagged = {
        let (events, tail) = (events.clone(), tail.clone());
        tokio::task::spawn_local(async move { poll(&events, &tail, tagged, 1000).await })
    };
    let all = poll(&events, &tail, Query::default(), 7).await;
    (all, tagged.await.unwrap())
}

async fn poll(events: &EventStore, tail: &std::rc::Rc<Tail>, query: Query, limit: usize) -> Vec<Seen> {
    let query = std::rc::Rc::new(query);
    let (mut seen, mut after) = (Vec::new(), EventPosition::START);
    loop {
        let page = events.read(&query, after, limit, &RunOptions::default()).await.unwrap();
        after = page.position;
        let found = !page.events.is_empty();
        seen.extend(page.events.iter().map(Seen::new));
        if seen.last().is_some_and(|seen: &Seen| seen.id == "end") {
            return seen;
        }
        if !found
            && !page.more
            && let Some(waiting) = tail.wait(&query, after)
        {
            waiting.await;
        }
    }
}

/// Reads everything, page by page.
async fn follow(events: &EventStore, query: &Query, limit: usize) -> Vec<Seen> {
    let (mut seen, mut after) = (Vec::new(), EventPosition::START);
    loop {
        let page = events.read(query, after, limit, &RunOptions::default()).await.unwrap();
        assert!(page.position >= after);
        after = page.position;
        seen.extend(page.events.iter().map(Seen::new));
        if !page.more {
            return seen;
        }
    }
}
