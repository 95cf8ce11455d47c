//! Every bound of the terminator, each with its reason.
//!
//! Owns the constants; those with a flag are its default. Leaves checking the flags to `config`,
//! and the bounds of the bus to crate `bus`.

use std::ops::Range;
use std::time::Duration;

/// Bytes of a request's head, start line included: the default of nginx (4 x 8 KiB), which most
/// clients stay under. A connection may keep as much in memory while it reads a head.
pub const HEADER_BYTES: usize = 32 << 10;

/// Smallest allowed `--header-limit`: browsers send that much with a few cookies.
pub const HEADER_BYTES_MIN: usize = 8 << 10;

/// Largest allowed `--header-limit`: an envelope has 16 bits for the length of a field.
pub const HEADER_BYTES_MAX: usize = 65_535;

/// Headers of a request: the default of hyper and of Apache httpd.
pub const HEADER_COUNT: usize = 100;

/// Connections of one worker. Each takes at most 1 KiB when idle and 2.4 KiB while its request
/// waits for an answer. Further connections are answered 503 and closed.
pub const CONNECTIONS: usize = 10_000;

/// Requests in flight of one worker. Further requests are answered 503 at once: at 100 000 requests
/// a second a worker serves this many in 160 ms, so a longer queue would only hold late requests.
pub const IN_FLIGHT: usize = 16_384;

/// Time from the accept, or from the first byte of a further request, to the end of the head. Long
/// enough for a bad mobile network.
pub const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// Time that a connection may be without a request. Above the 60 s of load balancers, so that they
/// close first and never send a request into a closing connection.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(75);

/// Time from a request's head to its answer after which the kernel is told to delay the
/// acknowledgement of the next request (ADR 0021). An earlier answer carries the acknowledgement
/// without that: the kernel waits at least 40 ms (`TCP_ATO_MIN`), some of which pass before the
/// request is read. A later answer, as of a long poll, comes after the acknowledgement in any case.
pub const LATE: Range<Duration> = Duration::from_millis(10)..Duration::from_millis(100);

/// Time from the end of the head to the end of the body: enough for 1 MiB at 300 kbit/s.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// Time that a client may read no byte of its response: longer than a short loss of its network.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// Bytes of a reply's head in its envelope: four times what nginx accepts of an upstream
/// (`proxy_buffer_size`, 8 KiB).
pub const REPLY_HEAD_BYTES: usize = 32 << 10;

/// Bytes of a path that a problem repeats as its `instance`; a longer path is left out, so that an
/// error response stays small.
pub const INSTANCE_BYTES: usize = 1024;

/// Bytes of a refused request's body that are read and discarded so that the connection can be
/// reused, as in nginx. A connection with a longer body closes after the response.
pub const DISCARD_BYTES: u64 = 256 << 10;

/// Time to wait for a body that is discarded, so that a refusal is never long in coming.
pub const DISCARD_TIME: Duration = Duration::from_millis(100);

/// Time that a closing connection reads and discards what its client still sends, so that the
/// client sees the response and not a reset.
pub const LINGER_TIMEOUT: Duration = Duration::from_secs(2);

/// Time that a request waits for an instance, unless `--hold` is set.
pub const HOLD: Duration = bus::proto::limits::HOLD;

/// The longest time that a setting may have; sums of such times do not overflow.
pub const TIME_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// Deadline of a route that has no own one. The target of 25 ms is only counted; this is the limit.
pub const DEADLINE: Duration = Duration::from_secs(1);

/// Time that requests in flight have to finish after SIGTERM: less than the 30 s after which
/// orchestrators kill the process.
pub const DRAIN_DEADLINE: Duration = Duration::from_secs(10);

/// How often a worker checks the time-outs of its connections, which are only as exact as this.
pub const SWEEP_INTERVAL: Duration = Duration::from_millis(100);

/// Bytes that the encoded head may have more than the request's own: pseudo-fields,
/// `x-forwarded-*`, ids, and the lengths of [`HEADER_COUNT`] fields.
pub const HEAD_EXTRA_BYTES: usize = 4096;

/// Chunks of a body below this many bytes are joined, so that a client that sends single bytes
/// costs a copy and not an allocation for each.
pub const CHUNK_JOIN_BYTES: usize = 1024;

/// Bytes of a body that are read into one buffer: a large body takes few system calls, a stalled
/// one holds little memory.
pub const BODY_PIECE_BYTES: usize = 64 << 10;

/// Bytes of head and body up to which they are copied into one buffer, which is cheaper than a
/// vectored write.
pub const JOIN_BYTES: usize = 2048;

/// Connections in the accept queue of one listener: a burst of clients. The kernel makes further
/// clients retry.
pub const BACKLOG: i32 = 4096;

/// Pause after an accept that failed for lack of descriptors or memory, because an immediate retry
/// would fail again and spin.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Routes whose latency one worker keeps; further routes share a line named `(other)`.
pub const ROUTES: usize = 4096;

/// Requests of one worker whose copies are sent or expected (ghost traffic): 256 copied requests in
/// flight are 10 000 a second at 25 ms each. Further requests are not copied.
pub const COPIES: usize = 256;

/// Bytes of a request's body and its answer's, together, and of each reply to a copy. A longer one
/// is not compared: comparing it would take milliseconds of a worker that serves clients.
pub const COPY_BYTES: usize = 256 << 10;

/// Longest `x-request-id` of a client that is kept, in bytes: it is repeated in every log line.
pub const REQUEST_ID_BYTES: usize = 128;

/// Records that wait for the access log's writer, all workers together: 160 ms at 100 000 requests
/// a second. Further records are dropped and counted.
pub const ACCESS_LOG_LINES: usize = 16_384;

/// Workers: a request's id has 8 bits for the worker.
pub const WORKERS: usize = 256;

/// Longest time that a worker may poll its sockets before it sleeps (docs/adr/0017): for a service
/// that takes longer, sleeping is cheaper.
pub const BUSY_POLL_MAX: Duration = Duration::from_millis(10);

/// Value of `Retry-After` in a 503: most causes pass within a second.
pub const RETRY_AFTER_SECONDS: u32 = 1;

/// Mode of the file of an `--http unix:PATH`, as nginx has it: a proxy runs as another user. The
/// directory decides who can connect.
pub const SOCKET_MODE: u32 = 0o666;
