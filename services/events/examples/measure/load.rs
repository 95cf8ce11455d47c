//! The work that both sides do.
//!
//! Owns: names, numbers and counting. An event has a type of ten, an entity of ten thousand and its writer as tags, and
//! 200 bytes of data. A conditional append forbids events of the entity behind the last position that its writer knows.

use std::{
    cell::RefCell,
    future::Future,
    rc::Rc,
    time::{Duration, Instant},
};

/// Writers, and readers, at once.
pub(crate) const TASKS: u64 = 250;
/// Events in the store when measuring begins.
pub(crate) const BEFOREHAND: u64 = 100_000;
/// Events of one append while filling.
pub(crate) const FILL: u64 = 500;
/// Most events that a read gives.
pub(crate) const LIMIT: usize = 20;

const ENTITIES: u64 = 10_000;
const TYPES: u64 = 10;

/// How many a second.
#[derive(Clone, Copy, Default)]
pub(crate) struct Figures {
    pub(crate) appends: f64,
    pub(crate) conditional: f64,
    pub(crate) reads: f64,
}

impl Figures {
    /// The better of both in each row.
    pub(crate) fn best(&self, other: &Self) -> Self {
        Self {
            appends: self.appends.max(other.appends),
            conditional: self.conditional.max(other.conditional),
            reads: self.reads.max(other.reads),
        }
    }
}

/// An event's parts.
pub(crate) struct Made {
    pub(crate) id: String,
    pub(crate) event_type: String,
    pub(crate) tags: Vec<String>,
    pub(crate) data: String,
}

/// Makes the events of one writer.
pub(crate) struct Maker {
    rng: fastrand::Rng,
    run: u64,
    writer: u64,
    made: u64,
}

impl Maker {
    /// `run` tells the measurements apart: no id is there twice.
    pub(crate) fn new(run: u64, writer: u64) -> Self {
        Self { rng: fastrand::Rng::with_seed(run << 32 | writer), run, writer, made: 0 }
    }

    pub(crate) fn event(&mut self) -> Made {
        self.made += 1;
        Made {
            id: format!("{:04}-{:04}-{:016}", self.run, self.writer, self.made),
            event_type: format!("Type{}", self.rng.u64(..TYPES)),
            tags: vec![self.entity(), format!("writer:{}", self.writer)],
            data: format!("{{\"text\":\"{}\"}}", "x".repeat(189)),
        }
    }

    pub(crate) fn entity(&mut self) -> String {
        format!("entity:{}", self.rng.u64(..ENTITIES))
    }
}

/// Runs `TASKS` tasks for some time; a task's turn says whether it counts. Gives the rate.
pub(crate) async fn rate<F, T>(what: &str, time: Duration, task: impl Fn(u64) -> F) -> Result<f64, String>
where
    F: FnMut() -> T + 'static,
    T: Future<Output = Result<bool, String>>,
{
    let spent = Rc::new(RefCell::new(Vec::new()));
    let started = Instant::now();
    let tasks = (0..TASKS).map(|number| {
        let (mut turn, spent) = (task(number), Rc::clone(&spent));
        tokio::task::spawn_local(async move {
            let mut refused = 0u64;
            while started.elapsed() < time {
                let begun = Instant::now();
                match turn().await? {
                    true => spent.borrow_mut().push(begun.elapsed()),
                    false => refused += 1,
                }
                // Reads that are answered at once would never let another task run.
                tokio::task::yield_now().await;
            }
            Ok::<_, String>(refused)
        })
    });
    let mut refused = 0;
    for task in tasks.collect::<Vec<_>>() {
        refused += task.await.map_err(|error| error.to_string())??;
    }
    let elapsed = started.elapsed().as_secs_f64();
    let mut spent = spent.take();
    spent.sort_unstable();
    let rate = spent.len() as f64 / elapsed;
    let at = |percent: usize| spent.get(spent.len() * percent / 100).copied().unwrap_or_default();
    println!("  {what:<20} {rate:>9.0}/s, p50 {:.1?}, p99 {:.1?}, refused {refused}", at(50), at(99));
    Ok(rate)
}
