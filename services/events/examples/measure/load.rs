//! The work that both sides do.
//!
//! Owns names, numbers and counting. An event has one of ten types, one of ten thousand entities
//! and its writer as tags, and 200 bytes of data. A conditional append forbids events of the entity
//! after the last position that its writer knows.

use std::{
    cell::RefCell,
    fs::File,
    future::Future,
    io::Write,
    path::PathBuf,
    rc::Rc,
    sync::Barrier,
    time::{Duration, Instant},
};

use tokio::runtime::{Builder, LocalOptions};

/// Concurrent writers, and readers.
pub(crate) const TASKS: u64 = 250;
/// Events in the store when the measurement begins.
pub(crate) const BEFOREHAND: u64 = 200_000;
/// Events per append while the store is filled.
pub(crate) const FILL: u64 = 500;
/// Most events per read.
pub(crate) const LIMIT: usize = 20;

const ENTITIES: u64 = 10_000;
const TYPES: u64 = 10;

/// The result of one kind of work.
#[derive(Clone, Copy)]
pub(crate) struct Figure {
    /// Operations per second.
    pub(crate) rate: f64,
    /// CPU time of one operation, in microseconds.
    pub(crate) each: f64,
}

/// The results of one side.
#[derive(Clone, Copy)]
pub(crate) struct Figures {
    pub(crate) appends: Figure,
    pub(crate) conditional: Figure,
    pub(crate) reads: Figure,
}

impl Figure {
    /// The better of both in rate and in CPU time.
    pub(crate) fn best(&self, other: &Self) -> Self {
        Self { rate: self.rate.max(other.rate), each: self.each.min(other.each) }
    }
}

impl Figures {
    /// The better of both for each kind of work.
    pub(crate) fn best(&self, other: &Self) -> Self {
        Self {
            appends: self.appends.best(&other.appends),
            conditional: self.conditional.best(&other.conditional),
            reads: self.reads.best(&other.reads),
        }
    }
}

/// The parts of an event.
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
    /// `run` distinguishes the measurements, so that no id occurs twice.
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

/// Microseconds of CPU that this process and all processes named `comm` have used, from the first
/// number of each thread's `schedstat` (nanoseconds). `stat` counts hundredths of a second, which
/// is too coarse for 250 processes.
fn cpu_us(comm: &str) -> f64 {
    let own = std::process::id().to_string();
    let read = |path: PathBuf| std::fs::read_to_string(path).ok();
    let within =
        |dir: PathBuf| std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    let counts = |process: &PathBuf| {
        process.ends_with(&own) || read(process.join("comm")).is_some_and(|name| name.trim_end() == comm)
    };
    let threads = within("/proc".into()).filter(counts).flat_map(|process| within(process.join("task")));
    let spent = threads.filter_map(|thread| {
        let text = read(thread.join("schedstat"))?;
        text.split_whitespace().next()?.parse::<f64>().ok()
    });
    spent.sum::<f64>() / 1_000.0
}

/// One thread of this process per core, like a service's workers.
pub(crate) fn threads() -> u64 {
    std::thread::available_parallelism().map_or(1, |cores| cores.get() as u64)
}

/// Flushes what other programs have left to write, then prints how long the disk of `dir` takes to
/// store 4 KiB. Both sides depend on this time, and it changes with other load on the machine.
pub(crate) fn disk(dir: &str) -> Result<(), Box<dyn std::error::Error>> {
    std::process::Command::new("sync").status()?;
    std::fs::create_dir_all(dir)?;
    let path = format!("{dir}/disk-{}", std::process::id());
    let mut file = File::create(&path)?;
    let mut spent = Vec::new();
    for _ in 0..200 {
        let begun = Instant::now();
        file.write_all(&[1; 4096])?;
        file.sync_data()?;
        spent.push(begun.elapsed());
    }
    std::fs::remove_file(path)?;
    spent.sort_unstable();
    println!("disk: 4 KiB and fdatasync, p50 {:.1?}, p99 {:.1?}", spent[100], spent[198]);
    Ok(())
}

/// Runs `TASKS` tasks for some time, divided among `threads` threads. `open` opens each thread's
/// connections and returns the function that runs one turn of a task; a turn returns true when it
/// counts. Returns the rate and the CPU time per turn, of this process and the database's together,
/// because the machine may be busy with other work.
pub(crate) fn rate<O, M, F, T>(what: &str, time: Duration, threads: u64, open: O) -> Result<Figure, String>
where
    O: AsyncFn(u64) -> Result<M, String> + Sync,
    M: Fn(u64) -> F,
    F: FnMut() -> T + 'static,
    T: Future<Output = Result<bool, String>>,
{
    let ready = Barrier::new(usize::try_from(threads).map_err(|error| error.to_string())? + 1);
    let run = |thread: u64| {
        let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
        let tasks = (0..TASKS).filter(|task| task % threads == thread);
        runtime.map_err(|error| error.to_string())?.block_on(async {
            let task = open(thread).await;
            ready.wait();
            ready.wait();
            let done = match &task {
                Ok(task) => turns(time, tasks, task).await,
                Err(error) => Err(error.clone()),
            };
            // A database process that has ended has no CPU time to read, so connections stay open
            // until it was read.
            ready.wait();
            ready.wait();
            done
        })
    };
    let (mut spent, refused, elapsed, cpu) = std::thread::scope(|scope| {
        let run = &run;
        let running: Vec<_> = (0..threads).map(|thread| scope.spawn(move || run(thread))).collect();
        ready.wait();
        let cpu = cpu_us("postgres");
        ready.wait();
        let started = Instant::now();
        ready.wait();
        let elapsed = started.elapsed().as_secs_f64();
        let cpu = cpu_us("postgres") - cpu;
        ready.wait();
        let (mut spent, mut refused) = (Vec::new(), 0);
        for thread in running {
            let done = thread.join().map_err(|_| "a thread has panicked".to_owned())??;
            spent.extend(done.spent);
            refused += done.refused;
        }
        Ok::<_, String>((spent, refused, elapsed, cpu))
    })?;
    spent.sort_unstable();
    let rate = spent.len() as f64 / elapsed;
    let at = |percent: usize| spent.get(spent.len() * percent / 100).copied().unwrap_or_default();
    let each = cpu / spent.len().max(1) as f64;
    println!(
        "  {what:<40} {rate:>9.0}/s, {each:>6.1} us CPU, p50 {:.1?}, p99 {:.1?}, refused {refused}",
        at(50),
        at(99)
    );
    Ok(Figure { rate, each })
}

/// The results of one thread's tasks.
struct Done {
    spent: Vec<Duration>,
    refused: u64,
}

async fn turns<F, T>(
    time: Duration,
    tasks: impl Iterator<Item = u64>,
    task: impl Fn(u64) -> F,
) -> Result<Done, String>
where
    F: FnMut() -> T + 'static,
    T: Future<Output = Result<bool, String>>,
{
    let started = Instant::now();
    let done = Rc::new(RefCell::new(Done { spent: Vec::new(), refused: 0 }));
    let running = tasks.map(|number| {
        let (mut turn, done) = (task(number), Rc::clone(&done));
        tokio::task::spawn_local(async move {
            while started.elapsed() < time {
                let begun = Instant::now();
                match turn().await? {
                    true => done.borrow_mut().spent.push(begun.elapsed()),
                    false => done.borrow_mut().refused += 1,
                }
                // Reads that are answered at once would never let another task run.
                tokio::task::yield_now().await;
            }
            Ok::<_, String>(())
        })
    });
    for task in running.collect::<Vec<_>>() {
        task.await.map_err(|error| error.to_string())??;
    }
    Ok(done.replace(Done { spent: Vec::new(), refused: 0 }))
}
