//! One range of a view with an attempt's own writes applied, in either direction.
//!
//! Pure: rows come from an iterator. Invariant: rows are in order, each key at most once.

use std::cmp::Ordering;

use super::write_buffer::{WriteBuffer, Written};
use crate::{error::Error, range::KeyValue};

/// Bounds of one scan.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// Most rows.
    pub(crate) rows_max: usize,
    /// Bytes of keys and values after which the scan ends; the row that exceeds the bound is
    /// included.
    pub(crate) bytes_max: usize,
}

/// The rows of a scan.
pub(crate) struct Scanned {
    pub(crate) rows: Vec<KeyValue>,
    /// True when a bound ended the scan, so there may be more rows.
    pub(crate) bounded: bool,
}

/// Applies `written`, the writes to single keys inside the range, and the cleared ranges of
/// `writes` to `base`. `base` and `written` must be in the direction of the scan.
pub(crate) fn scan<'w>(
    base: impl Iterator<Item = Result<KeyValue, Error>>,
    written: impl Iterator<Item = (&'w bytes::Bytes, &'w Written)>,
    writes: &WriteBuffer,
    reverse: bool,
    bounds: Bounds,
) -> Result<Scanned, Error> {
    let mut base = base.peekable();
    let mut written = written.peekable();
    let mut scanned = Scanned { rows: Vec::new(), bounded: false };
    let mut bytes = 0;
    while scanned.rows.len() < bounds.rows_max && bytes < bounds.bytes_max {
        let order = match (base.peek(), written.peek()) {
            (None, None) => return Ok(scanned),
            (Some(_), None) | (Some(Err(_)), _) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(Ok(row)), Some((key, _))) if reverse => key[..].cmp(&row.key),
            (Some(Ok(row)), Some((key, _))) => row.key[..].cmp(key),
        };
        let row = match order {
            Ordering::Less => {
                let row = base.next().expect("peeked")?;
                (!writes.is_cleared(&row.key)).then_some(row)
            }
            Ordering::Equal | Ordering::Greater => {
                let (key, written) = written.next().expect("peeked");
                let row = if order.is_eq() { base.next().transpose()? } else { None };
                let value = written.over(row.map(|row| row.value));
                value.map(|value| KeyValue { key: key.clone(), value })
            }
        };
        if let Some(row) = row {
            bytes += row.key.len() + row.value.len();
            scanned.rows.push(row);
        }
    }
    scanned.bounded = true;
    Ok(scanned)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::embedded::mutation::Mutation;

    fn bytes(text: &'static str) -> Bytes {
        Bytes::from_static(text.as_bytes())
    }

    fn merged(reverse: bool, rows_max: usize) -> (String, bool) {
        let mut writes = WriteBuffer::default();
        for mutation in [
            Mutation::ClearRange { begin: bytes("c"), end: bytes("f") },
            Mutation::Set { key: bytes("b"), value: bytes("2") },
            Mutation::Set { key: bytes("d"), value: bytes("3") },
            Mutation::Clear { key: bytes("g") },
            Mutation::Add { key: bytes("h"), operand: bytes("\x01") },
            Mutation::Set { key: bytes("z"), value: bytes("9") },
        ] {
            writes.push(mutation, None).unwrap();
        }
        let base = ["a", "c", "d", "e", "f", "g", "h"]
            .map(|key| Ok(KeyValue { key: bytes(key), value: bytes("1") }));
        let bounds = Bounds { rows_max, bytes_max: usize::MAX };
        let written = writes.keys(b"a", b"zz");
        let scanned = if reverse {
            scan(base.into_iter().rev(), written.rev(), &writes, true, bounds)
        } else {
            scan(base.into_iter(), written, &writes, false, bounds)
        };
        let scanned = scanned.unwrap();
        let text = |row: &KeyValue| [&row.key[..], &row.value].concat().escape_ascii().to_string();
        (scanned.rows.iter().map(text).collect::<Vec<_>>().join(" "), scanned.bounded)
    }

    #[test]
    fn own_writes_lie_over_the_view_in_both_directions() {
        assert_eq!(merged(false, 99), ("a1 b2 d3 f1 h2 z9".to_owned(), false));
        assert_eq!(merged(true, 99), ("z9 h2 f1 d3 b2 a1".to_owned(), false));
        assert_eq!(merged(false, 2), ("a1 b2".to_owned(), true));
        assert_eq!(merged(true, 2), ("z9 h2".to_owned(), true));
    }
}
