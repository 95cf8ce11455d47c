//! Every bound of the terminator in one place, each with its reason. Those with a flag are its
//! default.

use std::ops::Range;
use std::time::Duration;

/// Bytes of a request's head, start line included. What nginx (4 x 8 KiB) and most clients stay
/// under; it is held in memory once a connection.
pub const HEADER_BYTES: usize = 32 << 10;

/// Smallest allowed `--header-limit`: browsers with some cookies send as much.
pub const HEADER_BYTES_MIN: usize = 8 << 10;

/// Largest allowed `--header-limit`: an envelope's field says its length in 16 bits.
pub const HEADER_BYTES_MAX: usize = 65_535;

/// Headers of a request: hyper's and Apache httpd's own default.
pub const HEADER_COUNT: usize = 100;

/// Connections of one worker, at most 1 KiB each when idle and 2.4 KiB with a request that waits.
/// Above it a connection is answered 503 and closed.
pub const CONNECTIONS: usize = 10_000;

/// Requests in flight of one worker. Above it a request is answered 503 at once: at 100 000
/// requests a second it is what a worker gets through in 160 ms, so that what waits longer would be
/// late anyway.
pub const IN_FLIGHT: usize = 16_384;

/// From accept (or the first byte of a further request) to the end of the head. Slow enough for a
/// bad mobile network.
pub const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// A connection without a request. Above the 60 s that load balancers keep theirs, so that they
/// close first and never send into a closing connection.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(75);

/// An answer that took so long may be behind the system's acknowledgement of its request, which
/// waits 40 ms at least (`TCP_ATO_MIN`): before it was read the request waited in its socket,
/// nobody knows how long. One that took much longer is behind it, and so will the next be: a slow
/// service's, or a long poll's.
pub const LATE: Range<Duration> = Duration::from_millis(10)..Duration::from_millis(100);

/// From the end of the head to the end of the body.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// A client that takes no byte of its response.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// Bytes of a reply's head as the envelope has it: four times what nginx takes of an upstream
/// (`proxy_buffer_size`, 8 KiB).
pub const REPLY_HEAD_BYTES: usize = 32 << 10;

/// Bytes of a path that a problem repeats as its `instance`; a longer one is left out.
pub const INSTANCE_BYTES: usize = 1024;

/// Of the body of a request that is refused so much is read and thrown away before it is answered:
/// the connection goes on behind it, as nginx's does. Behind more it closes, and says so.
pub const DISCARD_BYTES: u64 = 256 << 10;
/// How long to wait for such a body.
pub const DISCARD_TIME: Duration = Duration::from_millis(100);

/// After an error that leaves request bytes unread: how long they are read and thrown away, so that
/// the client sees the response and not a reset.
pub const LINGER_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a request waits for an instance unless `--hold` says otherwise.
pub const HOLD: Duration = bus::proto::limits::HOLD;

/// The longest time that a setting may name.
pub const TIME_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// How long a route may take unless it says otherwise. The target is 25 ms and is counted; this is
/// the limit.
pub const DEADLINE: Duration = Duration::from_secs(1);

/// How long requests in flight may go on after SIGTERM; under the 30 s after which orchestrators
/// kill.
pub const DRAIN_DEADLINE: Duration = Duration::from_secs(10);

/// How often one task per worker looks at every connection's time-outs; they are as coarse as this.
pub const SWEEP_INTERVAL: Duration = Duration::from_millis(100);

/// What the longest encoded head adds to a request's own: pseudo-fields, `x-forwarded-*`, ids and
/// the lengths of [`HEADER_COUNT`] fields.
pub const HEAD_EXTRA_BYTES: usize = 4096;

/// Chunks of a body up to this many bytes are joined: a client that sends single bytes costs a
/// copy, not a slot each.
pub const CHUNK_JOIN_BYTES: usize = 1024;

/// Bytes of a body that are read into one piece of memory.
pub const BODY_PIECE_BYTES: usize = 64 << 10;

/// Parts of a reply up to so many bytes are copied into one write.
pub const JOIN_BYTES: usize = 2048;

/// Connections in the accept queue of one listener; above, the kernel lets clients try again.
pub const BACKLOG: i32 = 4096;

/// Pause after an accept that failed for want of descriptors or memory: trying at once would fail
/// again and spin.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Routes one worker keeps numbers for; further ones share a line named `(other)`.
pub const ROUTES: usize = 4096;

/// Bytes of an `x-request-id` that is kept.
pub const REQUEST_ID_BYTES: usize = 128;

/// Lines that wait for the access log's writer, all workers together; above, lines are dropped and
/// counted.
pub const ACCESS_LOG_LINES: usize = 16_384;

/// Workers: the bus names one in 8 bits of a request's id.
pub const WORKERS: usize = 256;

/// The most that a worker may look at its sockets before it sleeps (docs/adr/0017): a service that
/// takes longer is worth a sleep.
pub const BUSY_POLL_MAX: Duration = Duration::from_millis(10);

/// What a client is told to wait after a 503.
pub const RETRY_AFTER_SECONDS: u32 = 1;

/// The response time that is counted (`under_25ms`).
pub const TARGET: Duration = Duration::from_millis(25);

/// Connections of the admin listener: an operator, a probe, a dashboard.
pub const ADMIN_CONNECTIONS: usize = 64;

/// What one admin connection may take in all, head to last byte: nobody holds one of the few for
/// ever.
pub const ADMIN_TIMEOUT: Duration = Duration::from_secs(10);

/// How long `/ready` waits for the workers: one that cannot say yes in this time cannot serve in
/// time either.
pub const READY_TIMEOUT: Duration = Duration::from_secs(1);
