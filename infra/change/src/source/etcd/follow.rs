//! Lists and watches: keeps the board equal to what is under the prefix.
//!
//! Owns the loop: list everything at revision R, watch from R + 1, and list again after any
//! failure, after a compaction, and when etcd has lost data. Leaves requests to `client`.
//! Invariant: an event is applied once and in order; a stream that is silent is asked for anew, so
//! that a dead peer, or a connection that a middlebox forgot, is noticed.
//!
//! etcd's clients detect a dead peer by HTTP/2 pings, which the gateway does not have. Progress
//! notifications are not asked for: servers send them each 10 minutes, and Debian 12's 3.4.23 is
//! older than the fixes of what they break (etcd#15220, etcd#20221). Here a watch that was silent
//! for `Times::progress` is replaced by a new one from the next revision: etcd must answer it
//! within `Times::request`.
//!
//! etcd has lost data when its cluster id is another, its raft term or its revision lower, or a key
//! has a lower revision than before. A wiped etcd of the same cluster id that was written to until
//! its revision passed the last known one, without being seen meanwhile, is taken for the old one.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::json;
use tokio::time::Instant;

use super::client::{CallError, Lines};
use super::message::{Header, KeyValue, Watch, base64, range_end};
use super::store::Store;
use crate::document::{Origin, Plan, Revision};
use crate::source::backoff::Backoff;
use crate::source::board::{Board, Event};

/// What is known of the store that the board was read from.
#[derive(Default)]
struct Position {
    cluster_id: u64,
    raft_term: u64,
    revision: u64,
}

/// Why a stream of changes ended.
enum End {
    /// The changes are no longer there.
    Compacted,
    /// etcd answers with a lower revision than before.
    Behind,
    Failed(CallError),
}

impl From<CallError> for End {
    fn from(error: CallError) -> Self {
        if error.is_compacted() { Self::Compacted } else { Self::Failed(error) }
    }
}

/// Keeps the board equal to etcd, of which revision `known` is in the board already. Never
/// completes.
pub(in crate::source) async fn follow(store: Store, board: Arc<Board>, known: Revision) {
    let mut position = Position { revision: known.0, ..Position::default() };
    let mut backoff = Backoff::new();
    loop {
        let listed = relist(&store, &board, &mut position).await;
        let end = match listed {
            Ok(()) => {
                let began = Instant::now();
                let end = watch(&store, &board, &mut position).await;
                if began.elapsed() > store.client.times.progress {
                    backoff = Backoff::new();
                }
                end
            }
            Err(error) => {
                // Every endpoint was asked.
                board.disconnected(&error.to_string());
                End::from(error)
            }
        };
        match end {
            End::Compacted => {
                tracing::info!("etcd has compacted revision {}: lists everything", position.revision + 1);
                board.note(|state| state.compactions += 1);
            }
            End::Behind => tracing::warn!("etcd answers with a revision below {}", position.revision),
            End::Failed(error) => {
                if error.is_unauthenticated() {
                    store.client.forget_token();
                }
                tracing::debug!("lists everything after: {error}");
                store.client.rotate();
            }
        }
        backoff.wait().await;
    }
}

async fn relist(store: &Store, board: &Board, position: &mut Position) -> Result<(), CallError> {
    let (found, header) = store.list().await?;
    let lost = position.lost(&header) || is_older(store, board, &found);
    if lost {
        board.note(|state| state.wipes += 1);
        tracing::error!(
            "etcd has lost data: revision {} after {}; documents that it no longer has stay in force until \
             they are written again",
            header.revision,
            position.revision
        );
    }
    let (entries, removals): (Vec<_>, Vec<_>) =
        found.into_iter().filter_map(|found| store.event(found)).partition(Event::is_put);
    board.replace(entries.into_iter().filter_map(Event::into_entry).collect(), lost);
    board.apply(removals);
    *position =
        Position { cluster_id: header.cluster_id, raft_term: header.raft_term, revision: header.revision };
    board.connected(Revision(header.revision));
    Ok(())
}

impl Position {
    fn lost(&self, header: &Header) -> bool {
        let other = self.cluster_id != 0 && self.cluster_id != header.cluster_id;
        other || header.revision < self.revision || header.raft_term < self.raft_term
    }
}

/// True when a key has a lower revision than the board has: revisions of a key only grow.
fn is_older(store: &Store, board: &Board, found: &[KeyValue]) -> bool {
    let revisions: HashMap<String, u64> =
        found.iter().filter_map(|found| Some((store.plain(&found.key.0)?, found.mod_revision))).collect();
    let older = |plan: &Plan| {
        plan.documents().any(|(key, document)| {
            let lost = document.origin == Origin::Lost;
            !lost && revisions.get(&key.to_string()).is_some_and(|found| *found < document.revision.0)
        })
    };
    older(&board.plan().borrow()) || older(&board.records().borrow())
}

/// Applies changes until there is a reason to list again.
async fn watch(store: &Store, board: &Board, position: &mut Position) -> End {
    loop {
        let mut lines = match open(store, position).await {
            Ok(lines) => lines,
            Err(end) => return end,
        };
        let mut pending = Vec::new();
        loop {
            let line = lines.next::<Watch>();
            // A silent stream is asked for anew.
            let Ok(line) = tokio::time::timeout(store.client.times.progress, line).await else { break };
            let watch = match line.map_err(End::from).and_then(check) {
                Ok(watch) => watch,
                Err(end) => return end,
            };
            if let Some(last) = watch.events.last() {
                let revision = last.kv.mod_revision;
                let fresh =
                    watch.events.into_iter().filter(|event| event.kv.mod_revision > position.revision);
                pending.extend(fresh.filter_map(|event| {
                    if event.kind == "DELETE" {
                        store.plain(&event.kv.key.0).map(Event::Remove)
                    } else {
                        store.event(event.kv)
                    }
                }));
                if watch.fragment {
                    continue;
                }
                board.apply(std::mem::take(&mut pending));
                position.revision = revision.max(position.revision);
                board.connected(Revision(position.revision));
            }
        }
    }
}

/// Opens a stream of the changes after the position; etcd confirms it with the first line.
async fn open(store: &Store, position: &Position) -> Result<Lines, End> {
    let request = json!({"create_request": {
        "key": base64(store.prefix.as_str()),
        "range_end": base64(range_end(store.prefix.as_str())),
        "start_revision": (position.revision + 1).to_string(),
        "fragment": true,
    }});
    let mut lines = store.client.stream("/v3/watch", &request).await?;
    let created = tokio::time::timeout(store.client.times.request, lines.next::<Watch>()).await;
    let late = || CallError::NotAnswered("a watch is not confirmed".to_owned());
    let created = check(created.unwrap_or_else(|_| Err(late()))?)?;
    if !created.created {
        return Err(CallError::NotAnswered("a watch that begins without its confirmation".to_owned()).into());
    }
    // A watch from a revision that does not exist yet would wait for it, and miss what is before.
    if created.header.revision < position.revision {
        return Err(End::Behind);
    }
    Ok(lines)
}

fn check(watch: Watch) -> Result<Watch, End> {
    if watch.compact_revision > 0 {
        return Err(End::Compacted);
    }
    if watch.canceled {
        let code = if watch.cancel_reason.contains("auth") { 16 } else { 0 };
        return Err(End::Failed(CallError::Refused {
            code,
            message: format!("watch: {}", watch.cancel_reason),
        }));
    }
    Ok(watch)
}
