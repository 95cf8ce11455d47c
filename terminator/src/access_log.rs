//! The access log: one JSON line a request.
//!
//! Owns: the queue, the writer's thread, the line's form. Does not: anything when it is off.
//! Invariant: a worker never formats a line, never waits and never wakes anybody: it pushes what it
//! has into a bounded queue, and a thread of its own writes. Lines that do not fit are dropped and
//! counted.

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

use crate::config;
use crate::limits::ACCESS_LOG_LINES;
use crate::request::RequestHead;

/// How often the writer looks whether there is something to write.
const WRITE_INTERVAL: Duration = Duration::from_millis(50);

/// What a worker holds: the queue's entrance.
#[derive(Clone, Debug)]
pub struct AccessLog {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    entries: ArrayQueue<Entry>,
    dropped: AtomicU64,
    reopen: AtomicBool,
    stop: AtomicBool,
}

/// The writer; ends, with everything written, when it is stopped.
#[derive(Debug)]
pub struct Writer {
    shared: Arc<Shared>,
    thread: JoinHandle<()>,
}

/// One request, as values that only need formatting.
#[derive(Debug)]
pub struct Entry {
    at: SystemTime,
    worker: usize,
    client: Option<IpAddr>,
    /// `None` when no request could be read.
    method: Option<Method>,
    target: Box<str>,
    status: u16,
    body_bytes: Option<u64>,
    elapsed: Duration,
    route: Option<Arc<str>>,
    id: Box<str>,
}

impl Entry {
    /// What is known when the response is written; `body_len` only of a body that is there.
    #[must_use]
    pub fn new(
        request: &RequestHead,
        status: StatusCode,
        body_len: Option<u64>,
        route: Option<&Arc<str>>,
        elapsed: Duration,
        worker: usize,
    ) -> Self {
        Self {
            at: SystemTime::now(),
            worker,
            client: request.client(),
            method: Some(request.method().clone()),
            target: request.target().into(),
            status: status.as_u16(),
            body_bytes: body_len,
            elapsed,
            route: route.cloned(),
            id: request.id().into(),
        }
    }

    /// A response to what could not be read as a request.
    #[must_use]
    pub fn bare(client: Option<IpAddr>, status: StatusCode, id: &str, worker: usize) -> Self {
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

/// Starts the writer; `None` when the log is off.
///
/// # Errors
/// The file that cannot be opened, or no thread.
pub fn start(target: &config::AccessLog) -> io::Result<Option<(AccessLog, Writer)>> {
    let (path, sink): (Option<PathBuf>, Box<dyn Write + Send>) = match target {
        config::AccessLog::Off => return Ok(None),
        config::AccessLog::Stderr => (None, Box::new(io::stderr())),
        config::AccessLog::File(path) => (Some(path.clone()), Box::new(open(path)?)),
    };
    let shared = Arc::new(Shared {
        entries: ArrayQueue::new(ACCESS_LOG_LINES),
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
    /// Queues a line; false when it was dropped. Never blocks.
    #[inline]
    #[must_use]
    pub fn write(&self, entry: Entry) -> bool {
        let queued = self.shared.entries.push(entry).is_ok();
        if !queued {
            self.shared.dropped.fetch_add(1, Ordering::Relaxed);
        }
        queued
    }
}

impl Writer {
    /// Opens the file anew before the next line: after a rotation.
    pub fn reopen(&self) {
        self.shared.reopen.store(true, Ordering::Relaxed);
        self.thread.thread().unpark();
    }

    /// Writes what is queued and ends; how many lines were dropped, or could not be written, since
    /// the start.
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
        // Read before the queue is emptied: what was pushed before the stop is written.
        let stop = shared.stop.load(Ordering::Acquire);
        if shared.reopen.swap(false, Ordering::Relaxed)
            && let Some(path) = path
        {
            match open(path) {
                Ok(file) => out = BufWriter::new(Box::new(file)),
                Err(error) => tracing::error!(path = %path.display(), %error, "access log: not opened anew"),
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
    while let Some(entry) = shared.entries.pop() {
        serde_json::to_writer(&mut *out, &Line::of(&entry))?;
        out.write_all(b"\n")?;
    }
    Ok(())
}

/// The line's members.
#[derive(Serialize)]
struct Line<'a> {
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

impl<'a> Line<'a> {
    fn of(entry: &'a Entry) -> Self {
        Self {
            time: humantime::format_rfc3339_micros(entry.at).to_string(),
            worker: entry.worker,
            client: entry.client,
            method: entry.method.as_ref().map_or("-", Method::as_str),
            path: &entry.target,
            status: entry.status,
            body_bytes: entry.body_bytes,
            duration_us: u64::try_from(entry.elapsed.as_micros()).unwrap_or(u64::MAX),
            route: entry.route.as_deref(),
            request_id: &entry.id,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(path: &str) -> Entry {
        Entry {
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
        let (log, writer) = start(&config::AccessLog::File(path.clone())).unwrap().unwrap();
        for at in 0..100 {
            assert!(log.write(entry(&format!("/a/{at}?q"))));
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
            entries: ArrayQueue::new(1),
            dropped: AtomicU64::new(0),
            reopen: AtomicBool::new(false),
            stop: AtomicBool::new(false),
        });
        let log = AccessLog { shared: Arc::clone(&shared) };
        assert_eq!(["/1", "/2"].map(|path| log.write(entry(path))), [true, false]);
        assert_eq!(shared.dropped.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn a_rotated_file_is_opened_anew() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("access.log");
        let (log, writer) = start(&config::AccessLog::File(path.clone())).unwrap().unwrap();
        std::fs::rename(&path, dir.path().join("access.log.1")).unwrap();
        writer.reopen();
        while writer.shared.reopen.load(Ordering::Relaxed) {
            std::thread::yield_now();
        }
        assert!(log.write(entry("/after")));
        assert_eq!(writer.stop(), 0);
        assert!(std::fs::read_to_string(&path).unwrap().contains("/after"));
    }

    #[test]
    fn off_starts_nothing() {
        assert!(start(&config::AccessLog::Off).unwrap().is_none());
    }
}
