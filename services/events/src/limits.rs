//! Every bound of the service, with its reason. Those of one value follow from the store's: a record, which holds id,
//! type, tags and data as JSON, fits into one value.

use std::time::Duration;

/// Events in one append: all are written in one transaction, some 20 rows each with the most tags.
pub const EVENTS_MAX: usize = 1_000;

/// Longest id, in bytes: a UUID has 36.
pub const ID_BYTES_MAX: usize = 128;

/// Longest type, in bytes.
pub const TYPE_BYTES_MAX: usize = 128;

/// Tags of one event: each costs a row of an index.
pub const TAGS_MAX: usize = 16;

/// Longest tag, in bytes: tags are keys of an index.
pub const TAG_BYTES_MAX: usize = 128;

/// Longest data, in bytes of JSON text.
pub const DATA_BYTES_MAX: usize = 65_536;

/// Longest record, in bytes, that each of its tags' lists holds a copy of: reading an entity's events is then one range
/// read, not one read for each event. Longer ones are written once, and found by position.
pub const COPIED_BYTES_MAX: usize = 1_024;

/// Types in one query: each is a list that is merged with the others.
pub const QUERY_TYPES_MAX: usize = 32;

/// Tags in one query: no event has more.
pub const QUERY_TAGS_MAX: usize = TAGS_MAX;

/// Events in an answer when `limit` does not say.
pub const PAGE_DEFAULT: u64 = 100;

/// Most events in an answer: bounds the time that one request holds its worker.
pub const PAGE_MAX: u64 = 1_000;

/// An answer ends when its events pass this many bytes, however many were asked for: with the last event it still
/// fits into one message of the bus (1 MiB).
pub const PAGE_BYTES_MAX: usize = 512 * 1024;

/// Rows of an index that one read looks at; then it answers with what it has found and the position it got to.
pub const READ_ROWS_MAX: usize = 10_000;

/// Rows of an index that one condition looks at; a condition cannot stop half-way, so more are refused.
pub const CONDITION_ROWS_MAX: usize = 50_000;

/// Rows of each list that are looked at to find the shortest.
pub const PROBE_ROWS: usize = 16;

/// Reads of one transaction that are under way at once.
pub const READS_AT_ONCE: usize = 64;

/// Rows that a worker's tail takes from the log in one look.
pub const TAIL_ROWS_MAX: usize = 256;

/// Keys that appends write for watches to see, one each by turns: no key is written by all appends.
pub const HEADS: u8 = 8;

/// Longest wait of a long poll, and the one when `wait` does not say, in seconds.
pub const WAIT_MAX_S: u64 = 30;

/// Time left to send an answer when the asker's deadline comes before the end of its wait.
pub const ANSWER_MARGIN: Duration = Duration::from_millis(250);

/// A tail looks without a sign after this long: a watch that was lost costs a delay and not a reader.
pub const TAIL_PATIENCE: Duration = Duration::from_secs(10);

/// Shortest time between two events on the bus of one worker: the newest says all that those before would have said.
pub const ANNOUNCE_EVERY: Duration = Duration::from_millis(1);

/// Longest name of a projection, in bytes.
pub const PROJECTION_NAME_BYTES_MAX: usize = 200;

/// Longest state of a projection, in bytes of JSON text.
pub const STATE_BYTES_MAX: usize = 65_536;

// Quotes and backslashes in names double in JSON; control characters, which would become six bytes, are refused.
const RECORD_BYTES_MAX: usize =
    100 + 2 * (ID_BYTES_MAX + TYPE_BYTES_MAX) + TAGS_MAX * (2 * TAG_BYTES_MAX + 3) + DATA_BYTES_MAX;
const _: () = assert!(RECORD_BYTES_MAX <= store::limits::VALUE_BYTES_MAX);
const _: () =
    assert!(EVENTS_MAX <= u16::MAX as usize, "an event's place in its append is 16 bits of its position");
