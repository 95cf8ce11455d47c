//! The access log: one JSON line per response.
//!
//! Owns the queue of records, the writer's thread and the format of a line. Leaves filling in the
//! records to `forward` and `connection`. Invariant: a worker never formats a line, blocks or wakes
//! a thread for it; it pushes a [`Record`] into a bounded queue that the writer's thread polls.
//! Records that do not fit are dropped and counted.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use crossbeam_queue::ArrayQueue;
use http::{Method, StatusCode};
use serde::Serialize;

use crate::config::AccessLogTarget;
use crate::limits::ACCESS_LOG_LINES;

/// How often the writer polls the queue.
const WRITE_INTERVAL: Duration = Duration::from_millis(50);

/// The sending side of the queue; every worker has a clone.
#[derive(Clone, Debug)]
pub struct AccessLog {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    records: ArrayQueue<Record>,
    dropped: AtomicU64,
    reopen: AtomicBool,
    stop: AtomicBool,
}

/// The writer's thread. [`Writer::stop`] ends it after everything queued is written.
#[derive(Debug)]
pub struct Writer {
    shared: Arc<Shared>,
    thread: JoinHandle<()>,
}

/// One response and its request, not formatted yet.
#[derive(Debug)]
pub struct Record {
    /// When the response was begun.
    pub at: SystemTime,
    /// The worker's number.
    pub worker: usize,
    /// The client's address; `None` on a Unix socket.
    pub client: Option<IpAddr>,
    /// `None` when no request could be read.
    pub method: Option<Method>,
    /// Path and query.
    pub target: Box<str>,
    /// The response's status.
    pub status: u16,
    /// Length of the response's body, where it is known when the response begins.
    pub body_bytes: Option<u64>,
    /// From the request's head to the response.
    pub elapsed: Duration,
    /// The pattern of the route.
    pub route: Option<Arc<str>>,
    /// The request id.
    pub id: Box<str>,
}

impl Record {
    /// A response to input that could not be read as a request, or to a connection that is refused.
    #[must_use]
    pub fn without_request(client: Option<IpAddr>, status: StatusCode, id: &str, worker: usize) -> Self {
        Self {
            at: SystemTime::now(),
            worker,
            client,
            method: None,
            target: "".into(),
            status: status.as_u16(),
            body_bytes: None,
            elapsed: Duration::ZERO,
            route: None,
            id: id.into(),
        }
    }
}

/// Starts the writer's thread; `None` when the log is off.
///
/// # Errors
/// When the file cannot be opened or the thread cannot be started.
pub fn start(target: &AccessLogTarget) -> io::Result<Option<(AccessLog, Writer)>> {
    let (path, sink): (Option<PathBuf>, Box<dyn Write + Send>) = match target {
        AccessLogTarget::Off => return Ok(None),
        AccessLogTarget::Stderr => (None, Box::new(io::stderr())),
        AccessLogTarget::File(path) => (Some(path.clone()), Box::new(open(path)?)),
    };
    let shared = Arc::new(Shared {
        records: ArrayQueue::new(ACCESS_LOG_LINES),
        dropped: AtomicU64::new(0),
        reopen: AtomicBool::new(false),
        stop: AtomicBool::new(false),
    });
    let writing = Arc::clone(&shared);
    let thread = std::thread::Builder::new()
        .name("access-log".to_owned())
        .spawn(move || write_all(&writing, path.as_deref(), sink))?;
    Ok(Some((AccessLog { shared: Arc::clone(&shared) }, Writer { shared, thread })))
}

impl AccessLog {
    /// Queues a record; false when the queue is full and the record was dropped. Never blocks.
    #[inline]
    #[must_use]
    pub fn write(&self, record: Record) -> bool {
        let queued = self.shared.records.push(record).is_ok();
        if !queued {
            self.shared.dropped.fetch_add(1, Ordering::Relaxed);
        }
        queued
    }
}

impl Writer {
    /// Makes the writer reopen its file before the next line, as is needed after a log rotation.
    pub fn reopen(&self) {
        self.shared.reopen.store(true, Ordering::Relaxed);
        self.thread.thread().unpark();
    }

    /// Writes what is queued and ends the thread. Returns the number of lines that were dropped or
    /// could not be written since the start.
    pub fn stop(self) -> u64 {
        self.shared.stop.store(true, Ordering::Release);
        self.thread.thread().unpark();
        if self.thread.join().is_err() {
            tracing::error!("the access log's writer panicked");
        }
        self.shared.dropped.load(Ordering::Relaxed)
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

fn write_all(shared: &Shared, path: Option<&Path>, sink: Box<dyn Write + Send>) {
    let mut out = BufWriter::new(sink);
    loop {
        // Read before the queue is emptied, so that a record pushed before the stop is written.
        let stop = shared.stop.load(Ordering::Acquire);
        if shared.reopen.swap(false, Ordering::Relaxed)
            && let Some(path) = path
        {
            match open(path) {
                Ok(file) => out = BufWriter::new(Box::new(file)),
                Err(error) => {
                    tracing::error!(path = %path.display(), %error, "access log: cannot be reopened; writing to the previous file")
                }
            }
        }
        let written = write_queued(shared, &mut out).and_then(|()| out.flush());
        if let Err(error) = written {
            shared.dropped.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(%error, "access log: a line could not be written");
        }
        if stop {
            return;
        }
        std::thread::park_timeout(WRITE_INTERVAL);
    }
}

fn write_queued(shared: &Shared, out: &mut impl Write) -> io::Result<()> {
    while let Some(record) = shared.records.pop() {
        serde_json::to_writer(&mut *out, &JsonLine::of(&record))?;
        out.write_all(b"\n")?;
    }
    Ok(())
}

/// The members of one line.
#[derive(Serialize)]
struct JsonLine<'a> {
    time: String,
    worker: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<IpAddr>,
    method: &'a str,
    path: &'a str,
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    body_bytes: Option<u64>,
    duration_us: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    route: Option<&'a str>,
    request_id: &'a str,
}

impl<'a> JsonLine<'a> {
    fn of(record: &'a Record) -> Self {
        Self {
            time: humantime::format_rfc3339_micros(record.at).to_string(),
            worker: record.worker,
            client: record.client,
            method: record.method.as_ref().map_or("-", Method::as_str),
            path: &record.target,
            status: record.status,
            body_bytes: record.body_bytes,
            duration_us: u64::try_from(record.elapsed.as_micros()).unwrap_or(u64::MAX),
            route: record.route.as_deref(),
            request_id: &record.id,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(path: &str) -> Record {
        Record {
            at: SystemTime::UNIX_EPOCH,
            worker: 1,
            client: Some([127, 0, 0, 1].into()),
            method: Some(Method::GET),
            target: path.into(),
            status: 200,
            body_bytes: Some(3),
            elapsed: Duration::from_micros(250),
            route: Some("GET /a/{id}".into()),
            id: "1".into(),
        }
    }

    #[test]
    fn a_line_is_one_json_object_and_all_are_written_before_the_writer_ends() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("access.log");
        let (log, writer) = start(&AccessLogTarget::File(path.clone())).unwrap().unwrap();
        for at in 0..100 {
            assert!(log.write(record(&format!("/a/{at}?q"))));
        }
        writer.stop();
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 100);
        assert_eq!(lines[7]["path"], "/a/7?q");
        assert_eq!(lines[7]["duration_us"], 250);
        assert_eq!(lines[7]["time"], "1970-01-01T00:00:00.000000Z");
        assert_eq!(lines[7]["route"], "GET /a/{id}");
    }

    #[test]
    fn lines_that_do_not_fit_are_counted() {
        let shared = Arc::new(Shared {
            records: ArrayQueue::new(1),
            dropped: AtomicU64::new(0),
            reopen: AtomicBool::new(false),
            stop: AtomicBool::new(false),
        });
        let log = AccessLog { shared: Arc::clone(&shared) };
        assert_eq!(["/1", "/2"].map(|path| log.write(record(path))), [true, false]);
        assert_eq!(shared.dropped.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn a_rotated_file_is_opened_anew() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("access.log");
        let (log, writer) = start(&AccessLogTarget::File(path.clone())).unwrap().unwrap();
        std::fs::rename(&path, dir.path().join("access.log.1")).unwrap();
        writer.reopen();
        while writer.shared.reopen.load(Ordering::Relaxed) {
            std::thread::yield_now();
        }
        assert!(log.write(record("/after")));
        assert_eq!(writer.stop(), 0);
        assert!(std::fs::read_to_string(&path).unwrap().contains("/after"));
    }

    #[test]
    fn off_starts_nothing() {
        assert!(start(&AccessLogTarget::Off).unwrap().is_none());
    }
}
