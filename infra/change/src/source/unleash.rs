//! An Unleash server as the source of toggles and segments: a team that has Unleash keeps its
//! console.
//!
//! Owns the loop: stream changes where the server offers that, else poll. Leaves requests to
//! `client`, the time between them to `pace`, and applying changes to
//! [`State`](crate::toggle::state::State). Invariant: losing Unleash changes nothing that is in
//! force; nothing is ever written to it but the registration of this process.
//!
//! The protocol is the client API of Unleash (docs.getunleash.io/api-overview): `GET
//! /client/features` with an `etag`, `GET /client/streaming` as server-sent events, `POST
//! /client/register`. Metrics of evaluations are not sent. A stream that breaks is asked for anew
//! without `last-event-id`, so that it begins with everything.

mod client;
mod pace;

use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_64;

use client::{CallError, Stream};
use pace::{Pace, Polled};

pub(super) use client::Store;

use super::backoff::Backoff;
use super::board::Board;
use super::error::SourceError;
use super::request::{Change, Write};
use crate::document::{Entry, Key, Kind, Origin, Revision};
use crate::toggle::state::State;

/// True for what Unleash has: toggles and their segments.
pub(super) fn owns(kind: Kind) -> bool {
    matches!(kind, Kind::Toggle | Kind::Segments)
}

/// Keeps the board equal to Unleash. Never completes.
pub(super) async fn follow(store: &Store, board: &Board) {
    let mut pace = Pace::new(store.interval);
    let (mut streams, mut registered) = (true, false);
    let mut etag = None;
    let mut reconnect = Backoff::new();
    loop {
        if streams {
            match store.stream().await {
                Ok(stream) => {
                    reconnect = Backoff::new();
                    let registration = async {
                        if !registered {
                            store.register().await;
                        }
                    };
                    let (end, ()) = tokio::join!(update(stream, board), registration);
                    registered = true;
                    streams = !matches!(end, CallError::WantsPolling);
                    tracing::debug!("the stream of {} ends: {end}", store.url);
                    // The stream may have brought another state than the one of this tag.
                    etag = None;
                }
                Err(CallError::NoStreaming(status)) => {
                    tracing::info!("{} answers {status} to a stream: polls", store.url);
                    streams = false;
                }
                Err(error) => tracing::debug!("{}: no stream: {error}", store.url),
            }
        }
        let polled = poll(store, board, &mut etag).await;
        let is_good = matches!(polled, Polled::Answered);
        if is_good && !registered {
            store.register().await;
            registered = true;
        }
        let pause = pace.after(polled, &mut fastrand::Rng::new());
        if streams && is_good {
            reconnect.wait().await;
        } else {
            tokio::time::sleep(pause).await;
        }
    }
}

/// Asks once for everything.
async fn poll(store: &Store, board: &Board, etag: &mut Option<String>) -> Polled {
    match store.features(etag.as_deref()).await {
        Ok(answer) => {
            if let Some((state, tag)) = answer {
                *etag = tag;
                board.replace(entries(&state), false);
            }
            board.connected(Revision::default());
            Polled::Answered
        }
        Err(error) => {
            board.disconnected(&error.to_string());
            error.into()
        }
    }
}

/// Applies what is streamed until there is a reason to connect again.
async fn update(mut stream: Stream, board: &Board) -> CallError {
    // Before its first event a stream says nothing of what there is.
    let mut state = None::<State>;
    loop {
        let delta = match stream.next().await {
            Ok(delta) => delta,
            Err(end) => {
                if !matches!(end, CallError::WantsPolling) {
                    board.disconnected(&end.to_string());
                }
                return end;
            }
        };
        let state = state.get_or_insert_default();
        for event in delta.events {
            if let Err(error) = state.apply(event) {
                // A change that is not understood would be lost: the next stream brings everything.
                return CallError::Unreadable(error.to_string());
            }
        }
        board.replace(entries(state), false);
        board.connected(Revision::default());
    }
}

/// The documents of what the server has.
fn entries(state: &State) -> Vec<Entry> {
    let toggles = state.features().map(|(name, text)| entry(format!("toggles/{name}"), text.get()));
    let segments: Vec<_> = state.segments().collect();
    let segments = serde_json::to_string(&segments).expect("JSON texts serialise");
    toggles.chain([entry(Key::segments().to_string(), &segments)]).collect()
}

/// A document, whose revision is that of its text, since Unleash has none for single features.
fn entry(name: String, text: &str) -> Entry {
    Entry {
        name,
        document: Ok(Bytes::copy_from_slice(text.as_bytes())),
        revision: Revision(xxh3_64(text.as_bytes()).max(1)),
        created: Revision::default(),
        lease: 0,
        origin: Origin::Unleash,
    }
}

impl Store {
    /// A toggle or the segments as Unleash has them now.
    pub(super) async fn get(&self, key: &Key) -> Result<Option<(Bytes, Revision)>, SourceError> {
        let (state, _) = self.features(None).await?.expect("without a tag everything is answered");
        let name = key.to_string();
        let found = entries(&state).into_iter().find(|entry| entry.name == name);
        Ok(found.and_then(|found| Some((found.document.ok()?, found.revision))))
    }

    /// Refuses a change.
    pub(super) fn write(&self, write: &Write) -> Result<Revision, SourceError> {
        Err(SourceError::ReadOnly { key: write.key.clone(), url: self.url.to_string() })
    }

    /// Refuses to tell of changes, of which Unleash's client API does not tell.
    pub(super) fn history(&self, key: &Key) -> Result<Vec<Change>, SourceError> {
        Err(SourceError::ReadOnly { key: key.clone(), url: self.url.to_string() })
    }
}
