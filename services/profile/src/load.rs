//! `profile load`: loads profiles from a file in batches, and can be resumed.
//!
//! Owns the batches and their progress messages. `documents` defines what a profile is,
//! `checkpoint` how far a file was loaded. Invariant: the profiles and the checkpoint of a batch
//! are committed together, so after a kill at any moment the next run continues with the first line
//! that is not in the store.

mod checkpoint;
mod lines;

use std::cell::Cell;
use std::fs::File;
use std::io::{BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::Path;
use std::rc::Rc;

use anyhow::{Context, bail};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Map, Value};
use service_host::check_id;
use store::{Error, RunOptions, Store};

use crate::args::Load;
use crate::documents::{DOCUMENT_BYTES_MAX, Documents, check_document};
use checkpoint::Checkpoint;
use lines::{Line, Lines};

/// Most profiles in one transaction: enough to share the disk's flush, few enough that a kill loses
/// little work.
const BATCH_LEN_MAX: u64 = 1000;

/// Most bytes in one transaction; the store's limit is ten times as much.
const BATCH_BYTES_MAX: usize = 1_000_000;

/// Most bytes in a line: a document with some white space around it.
const LINE_BYTES_MAX: usize = DOCUMENT_BYTES_MAX + 1024;

/// Runs `profile load`.
///
/// # Errors
/// A file that cannot be read, the first bad line unless bad lines are skipped, errors of the
/// store, or a signal.
pub fn run(store: &Store, what: &Load) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        if what.file.as_os_str() == "-" {
            // A stream cannot be resumed and may block in a read, so a signal ends the process at
            // once.
            let stop = Cell::new(false);
            let mut load =
                Loading::new(store, what, Source::Stream, Checkpoint::default(), ProgressBar::no_length());
            return load.all(std::io::stdin().lock(), &stop).await;
        }
        load_file(store, what, &stop_flag()).await
    })
}

async fn load_file(store: &Store, what: &Load, stop: &Cell<bool>) -> anyhow::Result<()> {
    let path = &what.file;
    let unreadable = || format!("{} cannot be read", path.display());
    let mut file = File::open(path).with_context(unreadable)?;
    let len = file.metadata().with_context(unreadable)?.len();
    let key = checkpoint::key(&path.canonicalize().with_context(unreadable)?);
    let begin =
        if what.from_start { Checkpoint::default() } else { resume(store, &key, &file, path).await? };
    file.seek(SeekFrom::Start(begin.offset)).with_context(unreadable)?;
    let bar = ProgressBar::new(len).with_position(begin.offset);
    let source = Source::File { file: file.try_clone().with_context(unreadable)?, key };
    let mut load = Loading::new(store, what, source, begin, bar);
    load.all(BufReader::with_capacity(256 * 1024, file), stop).await
}

/// Where the last run stopped.
async fn resume(store: &Store, key: &[u8], file: &File, path: &Path) -> anyhow::Result<Checkpoint> {
    let Some(value) = store.get(key).await? else { return Ok(Checkpoint::default()) };
    let checkpoint: Checkpoint = serde_json::from_slice(&value).context("the checkpoint is not readable")?;
    if checkpoint.is_of(file)? {
        tracing::info!(
            line = checkpoint.lines + 1,
            offset = checkpoint.offset,
            "going on where the last run ended"
        );
        return Ok(checkpoint);
    }
    tracing::warn!("{} is not the file that was loaded before: it is loaded from the start", path.display());
    Ok(Checkpoint::default())
}

enum Source {
    Stream,
    File { file: File, key: Vec<u8> },
}

/// A load in progress.
struct Loading<'a> {
    store: &'a Store,
    documents: Documents,
    what: &'a Load,
    source: Source,
    /// The checkpoint at the start of this run.
    begin: Checkpoint,
    /// What is in the store now.
    done: Checkpoint,
    batch: Batch,
    bar: ProgressBar,
}

/// Profiles that are not in the store yet, and the offset behind them.
#[derive(Default)]
struct Batch {
    rows: Vec<(Vec<u8>, Vec<u8>)>,
    bytes: usize,
    bad: u64,
}

impl<'a> Loading<'a> {
    fn new(store: &'a Store, what: &'a Load, source: Source, begin: Checkpoint, bar: ProgressBar) -> Self {
        let style = "{bar:40} {bytes}/{total_bytes} {bytes_per_sec}, {eta} left, {msg}";
        if let Ok(style) = ProgressStyle::with_template(style) {
            bar.set_style(style);
        }
        let documents = Documents::new(store.clone());
        Self { store, documents, what, source, done: begin.clone(), begin, batch: Batch::default(), bar }
    }

    async fn all(&mut self, reader: impl BufRead, stop: &Cell<bool>) -> anyhow::Result<()> {
        let mut lines = Lines::new(reader, LINE_BYTES_MAX, self.begin.offset, self.begin.lines);
        loop {
            let (offset, number) = (lines.offset, lines.number);
            let Some(line) = lines.next().with_context(|| self.name())? else { break };
            if let Err(reason) = self.take(&line) {
                if !self.what.skip_bad {
                    // Lines before the bad one are committed; the next run begins with the bad
                    // line.
                    self.commit(offset, number).await?;
                    bail!(
                        "{}:{}: {reason:#}; --skip-bad counts such lines and goes on",
                        self.name(),
                        number + 1
                    );
                }
                tracing::debug!(line = number + 1, "{reason:#}");
                self.batch.bad += 1;
            }
            // Counts lines, not profiles, because many bad lines are work too.
            let len = lines.number - self.done.lines;
            if len >= BATCH_LEN_MAX || self.batch.bytes >= BATCH_BYTES_MAX {
                self.commit(lines.offset, lines.number).await?;
                // Lets the signal handler run, which sets `stop`.
                tokio::task::yield_now().await;
                if stop.get() {
                    bail!("stopped after line {}; run the command again to continue there", lines.number);
                }
            }
        }
        self.commit(lines.offset, lines.number).await?;
        self.bar.finish_and_clear();
        self.report()
    }

    /// Adds one line to the batch.
    fn take(&mut self, line: &Line) -> anyhow::Result<()> {
        let Line::Text(text) = line else { bail!("the line has more than {LINE_BYTES_MAX} bytes") };
        if text.trim_ascii().is_empty() {
            return Ok(());
        }
        let (text, members) = check_document(text)?;
        let id = id(&members, &self.what.id_field)?;
        check_id("id", &id)?;
        let row = (self.documents.key(&id), text.to_vec());
        self.batch.bytes += row.0.len() + row.1.len();
        self.batch.rows.push(row);
        Ok(())
    }

    /// Writes the batch together with a checkpoint at `offset`.
    async fn commit(&mut self, offset: u64, lines: u64) -> anyhow::Result<()> {
        if lines == self.done.lines {
            return Ok(());
        }
        let batch = std::mem::take(&mut self.batch);
        let mut done = self.done.clone();
        (done.offset, done.lines) = (offset, lines);
        done.loaded += batch.rows.len() as u64;
        done.bad += batch.bad;
        let checkpoint = match &self.source {
            Source::Stream => None,
            Source::File { file, key } => {
                done = done.sealed(file)?;
                Some((key, serde_json::to_vec(&done)?))
            }
        };
        // Writing the same values twice is the same as writing them once.
        let options = RunOptions::default().idempotent();
        let work = async |transaction: &store::Transaction| {
            for (key, document) in &batch.rows {
                transaction.set(key, document)?;
            }
            if let Some((key, value)) = &checkpoint {
                transaction.set(key, value)?;
            }
            Ok::<_, Error>(())
        };
        self.store
            .run(&options, work)
            .await
            .with_context(|| format!("the batch before line {}", lines + 1))?;
        tracing::debug!(line = lines, offset, "committed");
        self.done = done;
        self.bar.set_position(offset);
        self.bar.set_message(format!("{} profiles, {} bad lines", self.done.loaded, self.done.bad));
        Ok(())
    }

    fn report(&self) -> anyhow::Result<()> {
        let Checkpoint { lines, loaded, bad, .. } = &self.done;
        let before = self.begin.loaded;
        let name = self.name();
        writeln!(
            std::io::stdout(),
            "{name}: {lines} lines, {loaded} profiles loaded ({before} of them before this run), {bad} bad lines"
        )?;
        Ok(())
    }

    fn name(&self) -> String {
        match self.source {
            Source::Stream => "standard input".to_owned(),
            Source::File { .. } => self.what.file.display().to_string(),
        }
    }
}

fn id(members: &Map<String, Value>, field: &str) -> anyhow::Result<String> {
    match members.get(field) {
        Some(Value::String(id)) => Ok(id.clone()),
        Some(Value::Number(id)) if id.is_i64() || id.is_u64() => Ok(id.to_string()),
        Some(other) => bail!("`{field}` is {other}, not a string or a whole number"),
        None => bail!("the object has no member `{field}`; --id-field names another"),
    }
}

/// A flag that the first SIGINT or SIGTERM sets. It is read between batches; the second signal ends
/// the process.
fn stop_flag() -> Rc<Cell<bool>> {
    let flag = Rc::new(Cell::new(false));
    let set = Rc::clone(&flag);
    tokio::task::spawn_local(async move {
        if asked_to_stop().await.is_ok() {
            set.set(true);
            if asked_to_stop().await.is_ok() {
                std::process::exit(1);
            }
        }
    });
    flag
}

async fn asked_to_stop() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    tokio::select! {
        _ = interrupt.recv() => (),
        _ = terminate.recv() => (),
    }
    Ok(())
}
