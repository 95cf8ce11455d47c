//! The cache file: the last known documents, for a process that starts while etcd is away.
//!
//! Owns its format and when it is written. Leaves choosing between it and etcd to the driver.
//! Invariant: the file is whole or absent; a cache that cannot be read or written is reported and
//! otherwise ignored.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::board::Board;
use super::file;
use super::request::now_ms;
use crate::document::{Entry, Kind, Origin, Plan, Revision};

/// Time between two writes of the file, at least: changes come in bursts.
const WRITE_INTERVAL: Duration = Duration::from_secs(1);

/// The format that this version writes, and the only one that it reads.
const FORMAT: u32 = 1;

/// Where the cache file is.
pub(crate) struct Cache {
    path: PathBuf,
}

#[derive(Serialize, Deserialize)]
struct Content {
    format: u32,
    saved_ms: u64,
    /// Where the documents came from.
    source: String,
    /// The store's revision.
    revision: Revision,
    documents: Vec<Cached>,
}

#[derive(Serialize, Deserialize)]
struct Cached {
    key: String,
    revision: Revision,
    /// True when etcd had lost it already.
    lost: bool,
    document: Box<RawValue>,
}

impl Cache {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// That of Unleash's toggles, beside the file of the rest.
    pub(crate) fn of_unleash(path: PathBuf) -> Self {
        let mut path = path.into_os_string();
        path.push(".unleash");
        Self { path: path.into() }
    }

    /// Puts the file's documents into force. Returns the revision at which the file was written.
    pub(crate) async fn load(&self, board: &Board) -> Revision {
        let path = self.path.clone();
        let read = tokio::task::spawn_blocking(move || std::fs::read(path)).await;
        let content = match read.expect("reading a file does not panic") {
            Ok(content) => content,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Revision::default(),
            Err(error) => return self.unreadable(board, &error.to_string()),
        };
        let content: Content = match serde_json::from_slice(&content) {
            Ok(content) => content,
            Err(error) => return self.unreadable(board, &error.to_string()),
        };
        if content.format != FORMAT {
            let reason = format!("its format is {}, expected {FORMAT}", content.format);
            return self.unreadable(board, &reason);
        }
        let entry = |cached: Cached| Entry {
            name: cached.key,
            document: Ok(Bytes::copy_from_slice(cached.document.get().as_bytes())),
            revision: cached.revision,
            created: Revision::default(),
            lease: 0,
            origin: if cached.lost { Origin::Lost } else { Origin::Cache },
        };
        let age_s = now_ms().saturating_sub(content.saved_ms) / 1000;
        let count = content.documents.len();
        board.replace(content.documents.into_iter().map(entry).collect(), false);
        board.note(|state| state.from_cache = true);
        tracing::warn!(
            cache = %self.path.display(),
            "starts with {count} documents of the cache, {age_s} s old, from {}, until it answers",
            content.source
        );
        content.revision
    }

    /// Writes the file after each change that came from the source. Never completes.
    pub(crate) async fn follow(&self, board: &Board) {
        let (mut plan, mut records) = (board.plan(), board.records());
        loop {
            // Neither sender is dropped before the board.
            tokio::select! {
                _ = plan.changed() => {}
                _ = records.changed() => {}
            }
            if board.state().connected || board.state().connects > 0 {
                self.save(board).await;
            }
            tokio::time::sleep(WRITE_INTERVAL).await;
        }
    }

    /// Writes the file, unless nothing came from the source yet.
    pub(crate) async fn save(&self, board: &Board) {
        let state = board.state();
        if state.connects == 0 {
            return;
        }
        let (plan, records) = (Arc::clone(&board.plan().borrow()), Arc::clone(&board.records().borrow()));
        let (path, part) = (self.path.clone(), board.part());
        let write = move || {
            let documents =
                cached(&plan).chain(cached(&records)).filter(|cached| part.has(&cached.key)).collect();
            let (saved_ms, source) = (now_ms(), state.source);
            let content = Content { format: FORMAT, saved_ms, source, revision: state.revision, documents };
            file::replace(&path, &serde_json::to_vec(&content).expect("is plain data"))
        };
        if let Err(error) = tokio::task::spawn_blocking(write).await.expect("writing a file does not panic") {
            board.note(|state| state.cache_errors += 1);
            tracing::warn!(cache = %self.path.display(), "the plan's cache cannot be written: {error}");
        }
    }

    fn unreadable(&self, board: &Board, reason: &str) -> Revision {
        board.note(|state| state.cache_errors += 1);
        tracing::warn!(cache = %self.path.display(), "the plan's cache cannot be used: {reason}");
        Revision::default()
    }
}

/// What a start without etcd needs: no counts and no candidates, which are of the moment.
fn cached(plan: &Plan) -> impl Iterator<Item = Cached> {
    let needed = |kind| !matches!(kind, Kind::Counts | Kind::Candidate);
    plan.documents().filter(move |(key, _)| needed(key.kind())).map(|(key, document)| Cached {
        key: key.to_string(),
        revision: document.revision,
        lost: document.origin == Origin::Lost,
        document: RawValue::from_string((*document.text).to_owned()).expect("was checked"),
    })
}
