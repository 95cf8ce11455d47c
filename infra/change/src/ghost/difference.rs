//! The paths in which two replies differ.
//!
//! Owns what is compared and how paths are written. Leaves counting to [`super::comparison`].
//! Invariant: the cost is linear in the size of the bodies, which is bounded; a body above a limit
//! is compared byte by byte.

use std::cell::OnceCell;
use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// A larger body is compared as bytes.
const JSON_BYTES_MAX: usize = 256 * 1024;
/// Fields below this depth are compared as a whole.
const DEPTH_MAX: usize = 32;
/// Differing paths of one pair of replies: what comes after them is not looked at.
const PATHS_MAX: usize = 100;
/// Longest path in bytes. A longer one ends with `...`.
const PATH_BYTES_MAX: usize = 200;
/// Longest sample of a value in bytes. A longer one ends with `...`.
const SAMPLE_BYTES_MAX: usize = 100;

/// Headers that say nothing about the answer: of the connection, of the moment, or of the length
/// of a body that is compared itself.
const SKIPPED: &[&str] = &[
    "connection",
    "content-length",
    "date",
    "keep-alive",
    "proxy-authenticate",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// A complete reply.
#[derive(Clone, Copy, Debug)]
pub struct Reply<'a> {
    /// HTTP status.
    pub status: u16,
    /// Names and values. Names are compared without case.
    pub headers: &'a [(&'a str, &'a [u8])],
    /// The whole body, decoded from its content encoding if it had one.
    pub body: &'a [u8],
}

/// The values on both sides of a difference, shortened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Values {
    /// What the first reply has.
    pub first: String,
    /// What the second reply has.
    pub second: String,
}

/// A reply that is compared with several others: its headers and its body are read once.
#[derive(Debug)]
pub struct Answer<'a> {
    status: u16,
    /// Values of the compared headers by their names in lower case. Several values are joined.
    headers: BTreeMap<String, Vec<u8>>,
    body: &'a [u8],
    /// The body as JSON, when its header says so, its size allows it, and it is JSON.
    json: OnceCell<Option<Value>>,
}

impl<'a> Answer<'a> {
    /// Reads the headers of a reply. The body is read when another one differs from it.
    pub fn new(reply: &Reply<'a>) -> Self {
        let headers = headers(reply.headers);
        Self { status: reply.status, headers, body: reply.body, json: OnceCell::new() }
    }

    /// Finds the paths in which `other` differs, except for the ignored ones and what is below
    /// them. This answer has the first of the values.
    pub fn differences(&self, other: &Self, ignore: &[String]) -> BTreeMap<String, Values> {
        let mut found = Found { ignore, paths: BTreeMap::new() };
        if self.status != other.status {
            found.add("status", || (self.status.to_string(), other.status.to_string()));
        }
        let (ours, theirs) = (&self.headers, &other.headers);
        for name in ours.keys().chain(theirs.keys().filter(|name| !ours.contains_key(*name))) {
            let (one, two) = (ours.get(name), theirs.get(name));
            if one != two {
                let text = |value: Option<&Vec<u8>>| value.map_or_else(absent, |value| lossy(value));
                found.add(&format!("header.{name}"), || (text(one), text(two)));
            }
        }
        if self.body != other.body {
            match (self.json(), other.json()) {
                (Some(one), Some(two)) => found.values(&mut "body".to_owned(), one, two, 0),
                _ => found.add("body", || bytes(self.body, other.body)),
            }
        }
        found.paths
    }

    fn json(&self) -> Option<&Value> {
        let read = || {
            let media_type =
                self.headers.get("content-type")?.split(|byte| *byte == b';').next()?.trim_ascii();
            let is_json = media_type.eq_ignore_ascii_case(b"application/json")
                || media_type.to_ascii_lowercase().ends_with(b"+json");
            if !is_json || self.body.len() > JSON_BYTES_MAX {
                return None;
            }
            serde_json::from_slice(self.body).ok()
        };
        self.json.get_or_init(read).as_ref()
    }
}

/// Differences as they are found.
struct Found<'a> {
    ignore: &'a [String],
    paths: BTreeMap<String, Values>,
}

impl Found<'_> {
    /// Notes a difference. The first one of a path is kept as its sample.
    fn add(&mut self, path: &str, values: impl FnOnce() -> (String, String)) {
        if self.is_full() || self.is_ignored(path) {
            return;
        }
        self.paths.entry(shortened(path, PATH_BYTES_MAX)).or_insert_with(|| {
            let (first, second) = values();
            Values {
                first: shortened(&first, SAMPLE_BYTES_MAX),
                second: shortened(&second, SAMPLE_BYTES_MAX),
            }
        });
    }

    fn is_full(&self) -> bool {
        self.paths.len() >= PATHS_MAX
    }

    /// True for an ignored path and for a path below one.
    fn is_ignored(&self, path: &str) -> bool {
        self.ignore.iter().any(|ignored| {
            path.strip_prefix(ignored.as_str())
                .is_some_and(|below| below.is_empty() || below.starts_with(['.', '[']))
        })
    }

    /// Compares two values whose path is `path`. The path is restored on return.
    fn values(&mut self, path: &mut String, first: &Value, second: &Value, depth: usize) {
        if self.is_full() {
            return;
        }
        match (first, second) {
            (Value::Object(ours), Value::Object(theirs)) if depth < DEPTH_MAX => {
                self.objects(path, ours, theirs, depth);
            }
            (Value::Array(ours), Value::Array(theirs)) if depth < DEPTH_MAX => {
                let length = path.len();
                path.push_str("[]");
                if ours.len() != theirs.len() {
                    self.add(path, || (format!("{} items", ours.len()), format!("{} items", theirs.len())));
                }
                for (one, other) in ours.iter().zip(theirs) {
                    self.values(path, one, other, depth + 1);
                }
                path.truncate(length);
            }
            (one, other) if one != other => self.add(path, || (one.to_string(), other.to_string())),
            _ => {}
        }
    }

    fn objects(
        &mut self,
        path: &mut String,
        ours: &Map<String, Value>,
        theirs: &Map<String, Value>,
        depth: usize,
    ) {
        let length = path.len();
        let new = theirs.keys().filter(|name| !ours.contains_key(*name));
        for name in ours.keys().chain(new) {
            path.push('.');
            path.push_str(name);
            match (ours.get(name), theirs.get(name)) {
                (Some(one), Some(other)) => self.values(path, one, other, depth + 1),
                (one, other) => {
                    let text = |value: Option<&Value>| value.map_or_else(absent, Value::to_string);
                    self.add(path, || (text(one), text(other)));
                }
            }
            path.truncate(length);
        }
    }
}

/// The compared headers: see [`Answer`].
fn headers(headers: &[(&str, &[u8])]) -> BTreeMap<String, Vec<u8>> {
    let mut compared: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    for (name, value) in headers {
        let name = name.to_ascii_lowercase();
        if SKIPPED.contains(&name.as_str()) {
            continue;
        }
        let joined = compared.entry(name).or_default();
        if !joined.is_empty() {
            joined.extend_from_slice(b", ");
        }
        joined.extend_from_slice(value);
    }
    compared
}

/// Where two bodies differ, in words.
fn bytes(first: &[u8], second: &[u8]) -> (String, String) {
    let same = first.iter().zip(second).take_while(|(one, other)| one == other).count();
    let text = |body: &[u8]| format!("{} bytes, from byte {same}: {}", body.len(), lossy(&body[same..]));
    (text(first), text(second))
}

fn absent() -> String {
    "absent".to_owned()
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(SAMPLE_BYTES_MAX)]).into_owned()
}

/// At most `max` bytes of a text, and `...` when it was longer.
fn shortened(text: &str, max: usize) -> String {
    if text.len() <= max {
        return text.to_owned();
    }
    format!("{}...", &text[..text.floor_char_boundary(max)])
}
