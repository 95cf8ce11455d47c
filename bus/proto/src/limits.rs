//! Every bound of the protocol core in one place, each with its reason.

use std::time::Duration;

/// Longest SP message accepted, in bytes. nanomsg and mangos close the pipe above 1 MiB, so more would not interoperate.
pub const MESSAGE_LEN_MAX: usize = 1 << 20;

/// Messages that may wait in one pipe's out-queue. nng's own ceiling; 256 busy clients need some hundreds.
pub const QUEUE_MESSAGES_MAX: usize = 8192;

/// Bytes that may wait in one pipe's out-queue: a peer that stops reading costs at most this much memory. The
/// longest replies to some dozens of clients, all served with one read, must fit.
pub const QUEUE_BYTES_MAX: usize = 64 << 20;

/// Outstanding requests of one worker. Bounds the pending table; above it a request is refused at once.
pub const PENDING_MAX: usize = 1 << 17;

/// Routes one peer may claim in its hello.
pub const HELLO_ROUTES_MAX: usize = 1024;

/// Topics one peer may ask for in its hello.
pub const HELLO_TOPICS_MAX: usize = 1024;

/// Distinct services one worker remembers, those without instances included: a peer cannot grow the table for ever.
pub const SERVICES_MAX: usize = 4096;

/// Patterns one worker remembers, those of services without instances included: 16 peers with all that a hello may claim.
pub const ROUTES_MAX: usize = 16 * HELLO_ROUTES_MAX;

/// Different methods, and depths of `{*rest}` for each, that patterns may have: a request looks at all with its method.
pub const ROUTERS_MAX: usize = 128;

/// Longest value of a hello's field, in bytes. With [`ROUTES_MAX`] it bounds the route table to some tens of megabytes.
pub const HELLO_VALUE_LEN_MAX: usize = 1024;

/// How long a request waits for an instance: a service that restarts is back sooner, and a client hardly notices.
pub const HOLD: Duration = Duration::from_millis(500);

/// Requests that wait for an instance, of one worker. Above it a request is refused at once: what comes in half a
/// second is more than a service that is back can answer at once.
pub const HELD_MAX: usize = 1024;

/// Bytes of the bodies of requests that wait for an instance, of one worker.
pub const HELD_BYTES_MAX: usize = 16 << 20;

/// Bytes of reply parts (`more`) buffered for a client that reads slowly. The bus has no flow control per reply.
pub const PARTS_BYTES_MAX: usize = 4 << 20;

/// What a buffered part counts for beside its body: its place in the queue, and what memory of its own costs.
pub const PART_COST: usize = 64;

/// Messages up to this many bytes are read into one buffer with others, whoever sent them; a slice of one that is kept for long
/// keeps all of that buffer ([`Envelope::body_to_keep`](crate::Envelope::body_to_keep)). A longer one keeps twice its length at most.
pub const SHARED_LEN_MAX: usize = 32 << 10;

/// Bodies up to this many bytes are copied next to their head in the out-queue rather than queued as a
/// slice of their own: below it the copy is cheaper than one more `iovec` and one more reference count.
pub const COPY_LEN_MAX: usize = 1024;

/// Messages that make a batch worth a write of its own. More share a system call, fewer let the other end begin sooner:
/// at 256 requests at once, one batch of them all leaves each process idle while the other works.
pub const BATCH_MESSAGES: usize = 128;

/// A peer that has not sent its SP opening by then is closed (PROTOCOL.md section 1).
pub const OPENING_TIMEOUT: Duration = Duration::from_secs(10);

/// What a hello costs its pipe: it changes tables that all requests of a worker use. A peer that says hello more often than
/// it pays for is read more slowly.
pub const HELLO_COST: Duration = Duration::from_millis(5);
/// What every byte of a hello adds to that.
pub const HELLO_BYTE_COST: Duration = Duration::from_micros(1);
/// What a pipe may owe for hellos before it has to wait.
pub const HELLO_DEBT_MAX: Duration = Duration::from_millis(100);

/// Messages that a stock peer holds for its application, and so the longest burst to a peer that announces
/// no `limit`. libnng 1.5 has 16, whatever its options say.
pub const GUEST_QUEUE: usize = 16;
/// Between two messages of a longer burst to such a peer, on average: 8000 messages a second.
pub const GUEST_INTERVAL: Duration = Duration::from_micros(125);

/// The settings among the bounds; the constants above are their defaults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest message accepted or sent, in bytes, SP length prefix not counted.
    pub message_len_max: usize,
    /// Messages that may wait in one pipe's out-queue.
    pub queue_messages_max: usize,
    /// Bytes that may wait in one pipe's out-queue. Below twice `message_len_max`, half of it and one
    /// message may wait.
    pub queue_bytes_max: usize,
    /// Outstanding requests of one worker.
    pub pending_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            message_len_max: MESSAGE_LEN_MAX,
            queue_messages_max: QUEUE_MESSAGES_MAX,
            queue_bytes_max: QUEUE_BYTES_MAX,
            pending_max: PENDING_MAX,
        }
    }
}
