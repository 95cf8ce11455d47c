//! Every bound of the service.
//!
//! Owns the constants. Leaves enforcing them to the modules that name them. Bounds of values follow
//! from the store's: a record, which holds id, type, tags and data as JSON, fits into one value.

use std::time::Duration;

/// Events in one append, which is one transaction.
pub const EVENTS_MAX: usize = 1_000;

/// Bytes of a row that several events share; a longer event has a row of its own. Reading one event
/// of the log reads its row.
pub(crate) const ROW_BYTES_MAX: usize = 4_096;

/// Rows of a list that are read first; as many events may be in one row or in as many rows. When
/// they do not suffice, the next portions are larger.
pub(crate) const PORTION_ROWS: usize = 24;

/// Bytes of rows in a transaction that several appends share. Longer transactions delay others, and
/// FoundationDB recommends less than 1 MB.
pub(crate) const GROUP_BYTES_MAX: usize = 512 * 1024;

/// Transactions of a worker's appends at the same time. With one, an append would wait for up to
/// two commits; with many, each would be of few appends.
pub(crate) const GROUPS_AT_ONCE: usize = 2;

/// Appends of a worker below which each may have a transaction of its own, because the store has
/// room for as many and none has to wait for another then.
pub(crate) const FEW_APPENDS: usize = 16;

/// Ids of one append that differ in their last two characters only, above which they share a row.
pub(crate) const RUN_IDS_MIN: usize = 16;

/// Longest row of ids that share a prefix. Each lookup of one of them reads it.
pub(crate) const BUCKET_BYTES_MAX: usize = 2_048;

/// Longest id, in bytes: a UUID has 36.
pub const ID_BYTES_MAX: usize = 128;

/// Longest type, in bytes.
pub const TYPE_BYTES_MAX: usize = 128;

/// Tags of one event. Each costs a row of an index.
pub const TAGS_MAX: usize = 16;

/// Longest tag, in bytes. Tags are part of keys.
pub const TAG_BYTES_MAX: usize = 128;

/// Longest data, in bytes of JSON text.
pub const DATA_BYTES_MAX: usize = 65_536;

/// Longest record, in bytes, that is copied into the lists of its tags, so that the events of an
/// entity are one range read. Longer records are stored once, and found by position.
pub const COPIED_BYTES_MAX: usize = 1_024;

/// Events of a tag in one commit above which they may be hashes instead of copies, and the longest
/// distance between them in the log, on average. A reader reads them in the log then, with few
/// others, and the events of a large append are not stored twice.
pub(crate) const DENSE_MIN: usize = 4;
/// See [`DENSE_MIN`].
pub(crate) const DENSE_SPAN: usize = 4;

/// Types in one query. Each is a list that is merged with the others.
pub const QUERY_TYPES_MAX: usize = 32;

/// Tags in one query: no event has more.
pub const QUERY_TAGS_MAX: usize = TAGS_MAX;

/// Events in an answer when the request has no `limit`.
pub const PAGE_DEFAULT: u64 = 100;

/// Most events in an answer. Bounds the time that one request occupies its worker.
pub const PAGE_MAX: u64 = 1_000;

/// Bytes of events after which an answer ends even when more were requested: with the last event it
/// still fits into one bus message (1 MiB).
pub const PAGE_BYTES_MAX: usize = 512 * 1024;

/// Events of an index that one read examines; then it answers with what it found and the position
/// it reached.
pub const READ_ROWS_MAX: usize = 10_000;

/// Events of an index that one condition examines. A condition cannot stop half-way, so an append
/// that needs more is refused.
pub const CONDITION_ROWS_MAX: usize = 50_000;

/// Index rows that are read of each label of a query, to continue with the label that has fewest.
pub const PROBE_ROWS: usize = 16;

/// Events between two others of a commit that are read with them rather than reading twice.
pub(crate) const NEAR_MAX: u16 = 32;

/// Concurrent reads of one transaction.
pub const READS_AT_ONCE: usize = 64;

/// Events that the task behind the long polls (`tail`) reads from the log at a time.
pub const TAIL_ROWS_MAX: usize = 256;

/// Keys that long polls watch. An append writes one of them, in turn, so that not all appends
/// conflict on one key.
pub const HEADS: u8 = 8;

/// Longest wait of a long poll, in seconds, and the wait when the request has none.
pub const WAIT_MAX_S: u64 = 30;

/// Time reserved to send an answer when the client's deadline is earlier than the end of its wait.
pub const ANSWER_MARGIN: Duration = Duration::from_millis(250);

/// Longest time until that task reads the log again: a lost watch delays readers but does not block
/// them.
pub const TAIL_PATIENCE: Duration = Duration::from_secs(10);

/// Shortest time between two bus events of one worker; a newer event replaces earlier ones.
pub const ANNOUNCE_EVERY: Duration = Duration::from_millis(1);

/// Longest name of a projection, in bytes.
pub const PROJECTION_NAME_BYTES_MAX: usize = 200;

/// Longest state of a projection, in bytes of JSON text.
pub const STATE_BYTES_MAX: usize = 65_536;

// Quotes and backslashes in names double in JSON; control characters, which would take six bytes,
// are refused.
const RECORD_BYTES_MAX: usize =
    100 + 2 * (ID_BYTES_MAX + TYPE_BYTES_MAX) + TAGS_MAX * (2 * TAG_BYTES_MAX + 3) + DATA_BYTES_MAX;
const _: () = assert!(RECORD_BYTES_MAX + 6 <= store::limits::VALUE_BYTES_MAX, "a row may hold one record");
const _: () =
    assert!(EVENTS_MAX <= u16::MAX as usize, "an event's place in its commit is 16 bits of its position");
