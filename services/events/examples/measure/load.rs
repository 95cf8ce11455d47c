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

/// What one kind of work came to.
#[derive(Clone, Copy)]
pub(crate) struct Figure {
    /// How many a second.
    pub(crate) rate: f64,
    /// CPU time of one, in microseconds.
    pub(crate) each: f64,
}

/// What one side came to.
#[derive(Clone, Copy)]
pub(crate) struct Figures {
    pub(crate) appends: Figure,
    pub(crate) conditional: Figure,
    pub(crate) reads: Figure,
}

impl Figures {
    /// The better of both in each row and column.
    pub(crate) fn best(&self, other: &Self) -> Self {
        let best = |a: Figure, b: Figure| Figure { rate: a.rate.max(b.rate), each: a.each.min(b.each) };
        Self {
            appends: best(self.appends, other.appends),
            conditional: best(self.conditional, other.conditional),
            reads: best(self.reads, other.reads),
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

/// Clock ticks of CPU that all processes called `comm` and this one have used (proc(5): 100 a second).
fn cpu_ticks(comm: &str) -> u64 {
    let own = std::process::id().to_string();
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let ticks = processes.filter_map(|process| {
        let stat = std::fs::read_to_string(process.path().join("stat")).ok()?;
        let (before, after) = stat.rsplit_once(')')?;
        let counts = before.ends_with(&format!("({comm}")) || process.file_name().to_str() == Some(&*own);
        let fields: Vec<&str> = after.split_whitespace().collect();
        let field = |at: usize| fields.get(at).and_then(|field| field.parse::<u64>().ok());
        counts.then_some(field(11)? + field(12)?)
    });
    ticks.sum()
}

/// Runs `TASKS` tasks for some time; a task's turn says whether it counts. Gives the rate, and says what each cost in CPU
/// time, this process and the database's together: the machine may be busy with something else.
pub(crate) async fn rate<F, T>(what: &str, time: Duration, task: impl Fn(u64) -> F) -> Result<Figure, String>
where
    F: FnMut() -> T + 'static,
    T: Future<Output = Result<bool, String>>,
{
    let spent = Rc::new(RefCell::new(Vec::new()));
    let cpu = cpu_ticks("postgres");
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
    let cpu_us = cpu_ticks("postgres").saturating_sub(cpu) as f64 * 10_000.0;
    let mut spent = spent.take();
    spent.sort_unstable();
    let rate = spent.len() as f64 / elapsed;
    let at = |percent: usize| spent.get(spent.len() * percent / 100).copied().unwrap_or_default();
    let each = cpu_us / spent.len().max(1) as f64;
    println!(
        "  {what:<20} {rate:>9.0}/s, {each:>6.1} us CPU, p50 {:.1?}, p99 {:.1?}, refused {refused}",
        at(50),
        at(99)
    );
    Ok(Figure { rate, each })
}
