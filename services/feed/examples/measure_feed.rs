//! Costs of posting and reading by number of followers and of large owners: the figures of
//! docs/adr/0007-feed-fan-out.md.
//!
//! `cargo run --release -p feed --example measure_feed -- DIR`

#![allow(clippy::print_stdout, reason = "prints a table")]

use std::time::{Duration, Instant};

use feed::{Feeds, NewEntry};
use store::{RunOptions, Store};

/// Posts or pages per measurement.
const ROUNDS: u32 = 200;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = std::env::args().nth(1).ok_or("give a directory for the store")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        println!("one post, buffered, one after the other");
        for followers in [0, 10, 50, 100, 200, 500] {
            println!("{followers:>5} copies {:>10.1?}", post(&dir, followers).await?);
        }
        println!("a page of 20 entries");
        for large in [0, 1, 10, 50, 200, 1000] {
            println!("{large:>5} merged {:>10.1?}", page(&dir, large).await?);
        }
        Ok(())
    })
}

fn feeds(dir: &str, name: &str, fan_out_limit: u32) -> Result<Feeds, Box<dyn std::error::Error>> {
    let address = format!("embedded:{dir}/{name}?durability=buffered").parse()?;
    // Without a cache, because the store's work is measured.
    Ok(Feeds::new(Store::open(&address)?, fan_out_limit, 0))
}

fn entry(n: u32) -> NewEntry {
    NewEntry { id: n.to_string(), author: "author".to_owned(), text: "x".repeat(200) }
}

async fn post(dir: &str, followers: u32) -> Result<Duration, Box<dyn std::error::Error>> {
    let (feeds, options) = (feeds(dir, &format!("post{followers}"), 500)?, RunOptions::default());
    for n in 0..followers {
        feeds.follow(&format!("member{n}"), "author", &options).await?;
    }
    let started = Instant::now();
    for n in 0..ROUNDS {
        feeds.post("author", &entry(n), 0, &options).await?;
    }
    Ok(started.elapsed() / ROUNDS)
}

async fn page(dir: &str, large: u32) -> Result<Duration, Box<dyn std::error::Error>> {
    let (feeds, options) = (feeds(dir, &format!("page{large}"), 0)?, RunOptions::default());
    for n in 0..large {
        feeds.follow("reader", &format!("large{n}"), &options).await?;
    }
    for n in 0..20 {
        feeds.post("reader", &entry(n), 0, &options).await?;
        for other in 0..large {
            feeds.post(&format!("large{other}"), &entry(n), 0, &options).await?;
        }
    }
    let started = Instant::now();
    for _ in 0..ROUNDS {
        feeds.page("reader", None, 20, &options).await?;
    }
    Ok(started.elapsed() / ROUNDS)
}
