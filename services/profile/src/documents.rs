//! Profiles in the store: one key per id, with the JSON text as it was received.
//!
//! Owns the keys, the rules for documents, and pages. HTTP is in `routes`. Invariant: every
//! stored value is a JSON object in UTF-8 of at most `DOCUMENT_BYTES_MAX` bytes, nested no deeper
//! than serde_json reads, so it can be served and merged without another check.

use bytes::Bytes;
use serde_json::{Map, Value};
use store::{Error, Range, RunOptions, Store, Subspace};

/// Longest document, in bytes: the store's longest value.
pub(crate) const DOCUMENT_BYTES_MAX: usize = store::limits::VALUE_BYTES_MAX;

/// Bytes of documents and ids, written as JSON at their longest, after which a page ends even when
/// more profiles were requested. With the last profile the page still fits into one bus message (1
/// MiB).
const PAGE_BYTES_MAX: usize = 512 * 1024;

/// Most bytes that one byte of an id takes in JSON: `\u0001`.
const JSON_ESCAPE_LEN: usize = 6;

/// The profiles of a store. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Documents {
    store: Store,
    profiles: Subspace,
}

/// A text that is not a profile. The sender is at fault.
#[derive(Debug, thiserror::Error)]
pub enum BadDocument {
    /// The text is longer than a profile may be; holds its length in bytes.
    #[error("a profile has at most {DOCUMENT_BYTES_MAX} bytes, this one has {0}")]
    TooLong(usize),
    /// Not JSON, not an object, nested too deeply, or not UTF-8.
    #[error("a profile is a JSON object")]
    NotObject(#[source] serde_json::Error),
}

/// Profiles in the order of their ids' bytes.
#[derive(Debug, Default)]
pub struct Page {
    /// Ids and documents.
    pub profiles: Vec<(String, Bytes)>,
    /// True when more profiles follow the last one.
    pub more: bool,
}

/// Checks a document and returns it without surrounding white space.
///
/// # Errors
/// [`BadDocument`].
pub fn check_document(text: &[u8]) -> Result<(&[u8], Map<String, Value>), BadDocument> {
    let text = text.trim_ascii();
    if text.len() > DOCUMENT_BYTES_MAX {
        return Err(BadDocument::TooLong(text.len()));
    }
    let members = serde_json::from_slice(text).map_err(BadDocument::NotObject)?;
    Ok((text, members))
}

impl Documents {
    /// The profiles in `store`.
    #[must_use]
    pub fn new(store: Store) -> Self {
        Self { store, profiles: Subspace::from("profile") }
    }

    /// The key of a profile.
    #[must_use]
    pub fn key(&self, id: &str) -> Vec<u8> {
        self.profiles.pack(&(id,))
    }

    /// Reads one profile, as it was stored.
    ///
    /// # Errors
    /// Errors of the store.
    pub async fn read(&self, id: &str) -> Result<Option<Bytes>, Error> {
        self.store.get(&self.key(id)).await
    }

    /// Changes one profile. `change` receives the stored document and returns the new one and a
    /// result; `None` means that there is no document. `change` may be called several times.
    ///
    /// # Errors
    /// Errors of `change` and of the store.
    ///
    /// # Cancel safety
    /// The change is made completely or not at all.
    pub async fn write<T, E: From<Error>>(
        &self,
        id: &str,
        options: &RunOptions,
        change: impl Fn(Option<&Bytes>) -> Result<(Option<Bytes>, T), E>,
    ) -> Result<T, E> {
        let key = self.key(id);
        let work = async |transaction: &store::Transaction| {
            let stored = transaction.get(&key).await?;
            let (new, result) = change(stored.as_ref())?;
            match (new, stored) {
                (Some(new), _) => transaction.set(&key, &new)?,
                (None, Some(_)) => transaction.clear(&key)?,
                (None, None) => (),
            }
            Ok::<_, E>(result)
        };
        self.store.run(options, work).await
    }

    /// At most `limit` profiles with ids after `after`; fewer when they are long.
    ///
    /// # Errors
    /// Errors of the store.
    pub async fn page(&self, after: Option<&str>, limit: usize, options: &RunOptions) -> Result<Page, Error> {
        let mut range = Range::subspace(&self.profiles);
        if let Some(id) = after {
            range = range.after(self.key(id));
        }
        // One more row shows whether more profiles follow.
        let range = range.limit(limit + 1);
        let work = async |snapshot: store::Snapshot<'_>| {
            let mut page = Page::default();
            let mut bytes = 0;
            let mut rows = snapshot.rows(range.clone());
            while let Some(row) = rows.next().await? {
                if page.profiles.len() == limit || bytes >= PAGE_BYTES_MAX {
                    page.more = true;
                    break;
                }
                let id = self.id(&row.key);
                bytes += row.value.len() + id.len() * JSON_ESCAPE_LEN;
                page.profiles.push((id, row.value));
            }
            Ok::<_, Error>(page)
        };
        self.store.read(options, work).await
    }

    fn id(&self, key: &[u8]) -> String {
        let (id,): (String,) = self.profiles.unpack(key).expect("a key of this subspace was packed by `key`");
        id
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_an_object_in_utf8_and_keeps_its_text() {
        let (text, members) = check_document(b" {\"a\" : 1e2 }\n").unwrap();
        assert_eq!(text, b"{\"a\" : 1e2 }");
        assert_eq!(members.len(), 1);
        let deep = [b"{\"a\":".repeat(200), b"1".to_vec(), b"}".repeat(200)].concat();
        for bad in [&b""[..], b"1", b"[]", b"{", b"{\"a\":\"\xff\"}", b"{}{}", &deep] {
            assert!(matches!(check_document(bad), Err(BadDocument::NotObject(_))), "{bad:?}");
        }
        let long = format!("{{\"a\":\"{}\"}}", "x".repeat(DOCUMENT_BYTES_MAX));
        assert!(matches!(check_document(long.as_bytes()), Err(BadDocument::TooLong(100_008))));
    }
}
