//! Feeds against a model: what members see while entries arrive, owners grow large, and members
//! follow and unfollow.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![allow(clippy::print_stdout, reason = "a seed is printed")]

use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::rc::Rc;

use feed::{Feeds, NewEntry, PageEntry, Position};
use service_host::testing::run;
use service_host::testing::stores::Place;
use store::RunOptions;

service_host::store_tests! {
    on_stores:
        no_entry_twice_and_none_missed_while_entries_arrive,
        feeds_and_counters_are_those_of_the_model_whatever_the_fan_out,
        unread_entries_are_counted_to_a_thousand;
}

/// The seed, from the environment when set, so that a failure can be repeated.
fn seed() -> u64 {
    std::env::var("SEED").ok().and_then(|text| text.parse().ok()).unwrap_or_else(|| fastrand::u64(..))
}

fn open(place: &Place, fan_out_limit: u32, cache_bytes: u64) -> Feeds {
    Feeds::new(place.open_buffered(), fan_out_limit, cache_bytes)
}

/// More than all feeds of a test need.
const CACHE_BYTES: u64 = 1 << 20;

fn options() -> RunOptions {
    RunOptions::default()
}

async fn post(feeds: &Feeds, author: &str, id: &str) -> Position {
    let entry = NewEntry { id: id.to_owned(), author: author.to_owned(), text: format!("text of {id}") };
    let posted = feeds.post(author, &entry, 0, &options()).await.unwrap();
    assert!(posted.is_new);
    posted.position
}

fn id_of(entry: &PageEntry) -> String {
    let entry: serde_json::Value = serde_json::from_slice(&entry.entry).unwrap();
    entry["id"].as_str().unwrap().to_owned()
}

/// Reads page by page to the end; `between` is awaited after each page.
async fn walk(
    feeds: &Feeds,
    owner: &str,
    limit: impl Fn() -> usize,
    between: impl AsyncFn(),
) -> Vec<PageEntry> {
    let (mut found, mut before) = (Vec::new(), None);
    loop {
        let limit = limit();
        let page = feeds.page(owner, before, limit, &options()).await.unwrap();
        assert!(page.entries.len() <= limit);
        found.extend(page.entries);
        if page.next.is_none() {
            return found;
        }
        assert_eq!(page.next, found.last().map(|entry| entry.position));
        before = page.next;
        between().await;
    }
}

struct Scene {
    feeds: Feeds,
    /// Acknowledged entries that the reader's feed must contain.
    acknowledged: RefCell<BTreeSet<String>>,
    writers: Cell<u32>,
}

/// Posts entries of one author as fast as the store accepts them.
async fn write(scene: Rc<Scene>, author: &'static str, count: u32) {
    for n in 0..count {
        let id = format!("{author}-{n}");
        post(&scene.feeds, author, &id).await;
        scene.acknowledged.borrow_mut().insert(id);
    }
    scene.writers.set(scene.writers.get() - 1);
}

/// Follows and unfollows the authors, which makes them large while they post.
async fn churn(scene: Rc<Scene>, authors: [&'static str; 4], seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    while scene.writers.get() > 0 {
        let fan = format!("fan{}", random.u32(..6));
        let author = authors[random.usize(..authors.len())];
        if random.bool() {
            scene.feeds.follow(&fan, author, &options()).await.unwrap();
        } else {
            scene.feeds.unfollow(&fan, author, &options()).await.unwrap();
        }
    }
}

fn no_entry_twice_and_none_missed_while_entries_arrive(place: &Place) {
    let seed = seed();
    println!("SEED={seed}");
    run(async {
        let authors = ["a", "b", "c", "reader"];
        let feeds = open(place, 2, CACHE_BYTES);
        for author in &authors[..3] {
            feeds.follow("reader", author, &options()).await.unwrap();
        }
        let scene = Rc::new(Scene { feeds, acknowledged: RefCell::default(), writers: Cell::new(4) });
        let mut tasks: Vec<_> = authors
            .into_iter()
            .map(|author| tokio::task::spawn_local(write(Rc::clone(&scene), author, 150)))
            .collect();
        tasks.push(tokio::task::spawn_local(churn(Rc::clone(&scene), authors, seed)));

        let random = RefCell::new(fastrand::Rng::with_seed(seed));
        let (mut walks, mut last) = (0, false);
        while !last {
            last = scene.writers.get() == 0;
            let before = scene.acknowledged.borrow().clone();
            let limit = || random.borrow_mut().usize(1..30);
            let found = walk(&scene.feeds, "reader", limit, async || tokio::task::yield_now().await).await;
            let ordered = found.windows(2).all(|pair| pair[0].position > pair[1].position);
            assert!(ordered, "SEED={seed}: not the newest first, or an entry twice");
            let ids: HashSet<String> = found.iter().map(id_of).collect();
            assert_eq!(ids.len(), found.len(), "SEED={seed}: an entry twice");
            let missed: Vec<_> = before.iter().filter(|id| !ids.contains(*id)).collect();
            assert!(missed.is_empty(), "SEED={seed}: missed {missed:?}");
            walks += 1;
            tokio::task::yield_now().await;
        }
        for task in tasks {
            task.await.unwrap();
        }
        assert!(walks > 1 && scene.acknowledged.borrow().len() == 600);
    });
}

/// What feeds must contain: an entry is in the feeds of members that followed when it was posted.
#[derive(Default)]
struct Model {
    follows: HashSet<(usize, usize)>,
    /// By owner: entries, the oldest first, and who posted them.
    seen: HashMap<usize, Vec<(String, usize)>>,
    /// By owner: how many of `seen` it has read.
    read: HashMap<usize, usize>,
}

impl Model {
    fn post(&mut self, author: usize, id: &str) {
        let follows = &self.follows;
        for owner in (0..MEMBERS).filter(|&owner| owner == author || follows.contains(&(owner, author))) {
            self.seen.entry(owner).or_default().push((id.to_owned(), author));
        }
    }

    fn newest_first(&self, owner: usize) -> Vec<String> {
        self.seen.get(&owner).into_iter().flatten().rev().map(|(id, _)| id.clone()).collect()
    }

    fn unread(&self, owner: usize) -> u64 {
        let read = self.read.get(&owner).copied().unwrap_or(0);
        let unread = self.seen.get(&owner).into_iter().flatten().skip(read);
        unread.filter(|(_, author)| *author != owner).count() as u64
    }
}

const MEMBERS: usize = 5;

fn feeds_and_counters_are_those_of_the_model_whatever_the_fan_out(place: &Place) {
    let seed = seed();
    println!("SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    // A cache of 6 000 bytes evicts heads all the time.
    for (fan_out_limit, cache) in [(0, CACHE_BYTES), (1, 6_000), (2, CACHE_BYTES), (2, 0), (100, CACHE_BYTES)]
    {
        run(async {
            let place = place.another();
            let feeds = open(&place, fan_out_limit, cache);
            let mut model = Model::default();
            for step in 0..250 {
                let (one, two) = (random.usize(..MEMBERS), random.usize(..MEMBERS));
                let (name, other) = (format!("m{one}"), format!("m{two}"));
                let what = format!("SEED={seed} fan-out {fan_out_limit} cache {cache} step {step}");
                match random.u32(..10) {
                    0..=1 if one != two => {
                        let is_new = feeds.follow(&name, &other, &options()).await.unwrap();
                        assert_eq!(is_new, model.follows.insert((one, two)), "{what}");
                    }
                    2 if one != two => {
                        let was = feeds.unfollow(&name, &other, &options()).await.unwrap();
                        assert_eq!(was, model.follows.remove(&(one, two)), "{what}");
                    }
                    3 => {
                        // Marks everything, or everything up to the middle entry.
                        let len = model.seen.get(&one).map_or(0, Vec::len);
                        let upto = if random.bool() { len } else { len / 2 };
                        let page = feeds.page(&name, None, 1000, &options()).await.unwrap();
                        let position = (upto < len).then(|| page.entries.get(len - upto)).flatten();
                        if upto == len || position.is_some() {
                            let position = position.map(|entry| entry.position);
                            feeds.mark_read(&name, position, &options()).await.unwrap();
                            let read = model.read.entry(one).or_default();
                            *read = upto.max(*read);
                        }
                    }
                    _ => {
                        post(&feeds, &name, &format!("e{step}")).await;
                        model.post(one, &format!("e{step}"));
                    }
                }
                let found = walk(&feeds, &name, || 7, async || ()).await;
                let ids: Vec<String> = found.iter().map(id_of).collect();
                assert_eq!(ids, model.newest_first(one), "{what}: feed of {name}");
                let unread = feeds.unread(&name, &options()).await.unwrap();
                assert_eq!((unread.count, unread.more), (model.unread(one), false), "{what}: {name}");
                let page = feeds.page(&name, None, 7, &options()).await.unwrap();
                assert_eq!(feeds.head(&name, 7, &options()).await.unwrap(), (page, unread), "{what}: {name}");
            }
        });
    }
}

fn unread_entries_are_counted_to_a_thousand(place: &Place) {
    run(async {
        for fan_out_limit in [0, 10] {
            let place = place.another();
            let feeds = open(&place, fan_out_limit, CACHE_BYTES);
            feeds.follow("reader", "a", &options()).await.unwrap();
            let mut positions = Vec::new();
            for n in 0..1500 {
                positions.push(post(&feeds, "a", &format!("{n}")).await);
            }
            let unread = async || {
                let unread = feeds.unread("reader", &options()).await.unwrap();
                (unread.count, unread.more, unread.read)
            };
            assert_eq!(unread().await, (1000, true, None));
            for (at, count, more) in
                [(0, 1000, true), (498, 1000, true), (499, 1000, false), (1496, 3, false)]
            {
                let upto = Some(positions[at]);
                feeds.mark_read("reader", upto, &options()).await.unwrap();
                assert_eq!(unread().await, (count, more, upto), "{at}");
            }
            post(&feeds, "a", "last").await;
            assert_eq!(unread().await, (4, false, Some(positions[1496])));
        }
    });
}
