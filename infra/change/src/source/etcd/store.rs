//! Reads and writes of single keys in etcd.
//!
//! Owns the transactions: compare-and-swap on `mod_revision`, and the history that goes with an
//! operator's change in the same transaction. Invariant: a document and its history are written
//! together or not at all.
//!
//! `PREFIX/history/KEY` holds the last [`Change`] of a key. Earlier ones are etcd's earlier
//! revisions of it, which last until etcd compacts them.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Value, json};

use super::client::{CallError, Client};
use super::message::{Done, KeyValue, Lease, Range, Txn, base64, range_end};
use crate::document::{Entry, Key, Origin, Revision};
use crate::source::board::Event;
use crate::source::error::SourceError;
use crate::source::request::{Change, Expected, Write, now_ms};
use crate::source::settings::{PlanSettings, Prefix};

/// Keys of one answer of a list.
const PAGE: u64 = 100;

/// Most entries of a history.
const HISTORY_MAX: usize = 100;

/// Folder of the history, which is no part of the plan.
pub(super) const HISTORY: &str = "history/";

/// Access to the keys under one prefix.
#[derive(Clone)]
pub(in crate::source) struct Store {
    pub(super) client: Arc<Client>,
    pub(super) prefix: Prefix,
}

impl Store {
    /// Reads the files of TLS, and connects to nothing yet.
    pub(in crate::source) fn new(settings: &PlanSettings) -> Result<Self, SourceError> {
        Ok(Self { client: Arc::new(Client::new(settings)?), prefix: settings.prefix.clone() })
    }

    /// A document as it is in etcd now, with its revision.
    pub(in crate::source) async fn get(&self, key: &Key) -> Result<Option<(Bytes, Revision)>, SourceError> {
        let range = self.range(&json!({"key": self.name(&key.to_string())})).await?;
        let found = range.kvs.into_iter().next();
        Ok(found.map(|found| (found.value.0.into(), Revision(found.mod_revision))))
    }

    /// Makes one change. Returns the new revision.
    pub(in crate::source) async fn write(&self, write: &Write) -> Result<Revision, SourceError> {
        write.check()?;
        let mut expected = write.expected;
        if write.who.is_some() && expected == Expected::Any {
            // The history tells what was there before.
            let known = self.get(&write.key).await?;
            expected = Expected::At(known.map_or(Revision(0), |(_, revision)| revision));
            return Box::pin(self.write(&Write { expected, ..write.clone() })).await;
        }
        let key = self.name(&write.key.to_string());
        let mut success = vec![match &write.document {
            Some(document) => json!({"request_put": {"key": key, "value": base64(document)}}),
            None => json!({"request_delete_range": {"key": key}}),
        }];
        let mut compare = Vec::new();
        let before = match expected {
            Expected::Any => Revision(0),
            Expected::At(revision) => {
                let revision = revision.to_string();
                compare
                    .push(json!({"key": key, "target": "MOD", "result": "EQUAL", "mod_revision": revision}));
                Revision(revision.parse().expect("was just printed"))
            }
        };
        // The revision after is that of the history's key.
        if let Some(change) = write.change(before, Revision(0), now_ms()) {
            let key = self.name(&format!("{HISTORY}{}", write.key));
            let value = base64(serde_json::to_vec(&change).expect("is plain data"));
            success.push(json!({"request_put": {"key": key, "value": value}}));
        }
        let failure = [json!({"request_range": {"key": key}})];
        let txn = json!({"compare": compare, "success": success, "failure": failure});
        let answer = self.client.call("/v3/kv/txn", &txn, compare.is_empty()).await;
        let answer: Txn = answer.map_err(CallError::of_write)?;
        if answer.succeeded {
            let written = write.document.as_ref().map(|_| Revision(answer.header.revision));
            return Ok(written.unwrap_or_default());
        }
        let found = answer.responses.into_iter().find_map(|part| part.response_range);
        let found = found.and_then(|range| range.kvs.into_iter().next());
        let found = Revision(found.map_or(0, |found| found.mod_revision));
        Err(SourceError::Conflict { key: write.key.clone(), expected: before, found })
    }

    /// The changes of a document, the newest first, back to etcd's last compaction.
    pub(in crate::source) async fn history(&self, key: &Key) -> Result<Vec<Change>, SourceError> {
        let name = self.name(&format!("{HISTORY}{key}"));
        let mut changes = Vec::new();
        let mut revision = 0;
        while changes.len() < HISTORY_MAX {
            let range = match self.range(&json!({"key": name, "revision": revision.to_string()})).await {
                Err(error) if error.is_compacted() => break,
                range => range?,
            };
            let Some(found) = range.kvs.into_iter().next() else { break };
            if let Ok(mut change) = serde_json::from_slice::<Change>(&found.value.0) {
                change.after = Revision(change.document.as_ref().map_or(0, |_| found.mod_revision));
                changes.push(change);
            }
            if found.create_revision == found.mod_revision {
                break;
            }
            revision = found.mod_revision - 1;
        }
        Ok(changes)
    }

    /// Everything under the prefix at one revision.
    pub(super) async fn list(&self) -> Result<(Vec<KeyValue>, super::message::Header), CallError> {
        let mut found = Vec::new();
        let mut from = self.name("");
        let end = base64(range_end(self.prefix.as_str()));
        let mut revision = 0;
        loop {
            let request = json!({"key": from, "range_end": end, "limit": PAGE.to_string(),
                "revision": revision.to_string()});
            let page = self.range(&request).await?;
            if revision == 0 {
                revision = page.header.revision;
            }
            found.extend(page.kvs);
            let Some(last) = found.last().filter(|_| page.more) else {
                return Ok((found, super::message::Header { revision, ..page.header }));
            };
            from = base64([&last.key.0[..], &[0]].concat());
        }
    }

    /// Writes a record under a lease, whatever is there. Returns its revision.
    pub(super) async fn put_leased(
        &self,
        name: &str,
        document: &str,
        lease: i64,
    ) -> Result<Revision, CallError> {
        let put = json!({"key": self.name(name), "value": base64(document), "lease": lease.to_string()});
        let answer: Txn = self.client.call("/v3/kv/put", &put, true).await?;
        Ok(Revision(answer.header.revision))
    }

    /// Removes a record.
    pub(super) async fn remove(&self, name: &str) -> Result<(), CallError> {
        let Done {} = self.client.call("/v3/kv/deleterange", &json!({"key": self.name(name)}), true).await?;
        Ok(())
    }

    /// A new lease of `ttl_s` seconds.
    pub(super) async fn grant(&self, ttl_s: u64) -> Result<Lease, CallError> {
        // A lease that is granted twice ends by itself.
        self.client.call("/v3/lease/grant", &json!({"TTL": ttl_s.to_string()}), true).await
    }

    /// Renews a lease. Its `ttl` is 0 when it has ended.
    pub(super) async fn keep_alive(&self, lease: i64) -> Result<Lease, CallError> {
        self.client.call_streamed("/v3/lease/keepalive", &json!({"ID": lease.to_string()})).await
    }

    /// Ends a lease, and removes what is under it.
    pub(super) async fn revoke(&self, lease: i64) -> Result<(), CallError> {
        let Done {} = self.client.call("/v3/lease/revoke", &json!({"ID": lease.to_string()}), true).await?;
        Ok(())
    }

    /// What a key of etcd says of the plan. The history says something only when it tells of a
    /// removal: of a document that etcd had lost before, there is no other trace.
    pub(super) fn event(&self, found: KeyValue) -> Option<Event> {
        let Some(name) = self.plain(&found.key.0) else {
            let change: Change = serde_json::from_slice(&found.value.0).ok()?;
            return change.document.is_none().then_some(Event::Remove(change.key));
        };
        Some(Event::Put(Entry {
            name,
            document: Ok(found.value.0.into()),
            revision: Revision(found.mod_revision),
            created: Revision(found.create_revision),
            lease: found.lease,
            origin: Origin::Etcd,
        }))
    }

    /// A key without the prefix; `None` for the history.
    pub(super) fn plain(&self, key: &[u8]) -> Option<String> {
        let text = String::from_utf8_lossy(key);
        text.strip_prefix(self.prefix.as_str()).filter(|name| !name.starts_with(HISTORY)).map(str::to_owned)
    }

    fn name(&self, name: &str) -> String {
        base64(format!("{}{name}", self.prefix))
    }

    async fn range(&self, request: &Value) -> Result<Range, CallError> {
        self.client.call("/v3/kv/range", request, true).await
    }
}
