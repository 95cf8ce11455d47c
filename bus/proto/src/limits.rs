//! All bounds of the protocol core, each with its reason.

use std::time::Duration;

/// Longest SP message accepted, in bytes. nanomsg and mangos close the pipe above 1 MiB, so a
/// longer one would not interoperate.
pub const MESSAGE_LEN_MAX: usize = 1 << 20;

/// Messages that may wait in one pipe's out-queue. It is nng's upper limit; 256 busy clients need
/// some hundreds.
pub const QUEUE_MESSAGES_MAX: usize = 8192;

/// Bytes that may wait in one pipe's out-queue. It bounds the memory that a peer costs that does
/// not read. The longest replies to some dozens of clients, all caused by one read, must fit.
pub const QUEUE_BYTES_MAX: usize = 64 << 20;

/// Outstanding requests of one worker. It bounds the pending table; further requests are refused at
/// once.
pub const PENDING_MAX: usize = 1 << 17;

/// Routes one peer may claim in its hello.
pub const HELLO_ROUTES_MAX: usize = 1024;

/// Topics one peer may name in its hello.
pub const HELLO_TOPICS_MAX: usize = 1024;

/// Toggles one peer may name in its hello. Each that is on adds a field to the peer's requests.
pub const HELLO_TOGGLES_MAX: usize = 256;

/// Services one worker remembers, including those without instances. It bounds the memory that
/// peers can use up with invented names.
pub const SERVICES_MAX: usize = 4096;

/// Patterns one worker remembers, including those without instances: enough for 16 peers with as
/// many routes as a hello may claim.
pub const ROUTES_MAX: usize = 16 * HELLO_ROUTES_MAX;

/// Combinations of method and depth of `{*rest}` among the patterns. A request searches all that
/// have its method.
pub const ROUTERS_MAX: usize = 128;

/// Longest value of a field of a hello, in bytes. With [`ROUTES_MAX`] it bounds the route table to
/// some tens of megabytes.
pub const HELLO_VALUE_LEN_MAX: usize = 1024;

/// How long a request waits for an instance. A restarted service is back sooner, and a client
/// hardly notices the wait.
pub const HOLD: Duration = Duration::from_millis(500);

/// Requests of one worker that may wait for an instance; further ones are refused at once. More
/// than this arrive in half a second only at rates at which a service that has just returned could
/// not answer them all at once.
pub const HELD_MAX: usize = 1024;

/// Bytes of the bodies of one worker's requests that wait for an instance.
pub const HELD_BYTES_MAX: usize = 16 << 20;

/// Copies (flag `shadow`) of one worker whose replies are expected or not yet taken. Further copies
/// are dropped: they only serve statistics.
pub const SHADOWS_MAX: usize = 1024;

/// Bytes of reply parts (flag `more`) buffered for a client that reads slowly. The bus has no flow
/// control per reply.
pub const PARTS_BYTES_MAX: usize = 4 << 20;

/// What each buffered part counts for in addition to its body: its place in the queue, and the cost
/// of a separate allocation.
pub const PART_COST: usize = 64;

/// Messages up to this many bytes share one read buffer with the messages of other pipes. A slice
/// of such a message keeps the whole buffer alive
/// ([`Envelope::body_to_keep`](crate::Envelope::body_to_keep)). A longer message keeps at most
/// twice its length.
pub const SHARED_LEN_MAX: usize = 32 << 10;

/// Bodies up to this many bytes are copied next to their head in the out-queue, longer ones are
/// queued as a separate slice. Below this length a copy is cheaper than another `iovec` and another
/// reference count.
pub const COPY_LEN_MAX: usize = 1024;

/// Messages after which a batch is written without waiting for the end of the turn. More messages
/// share a system call; fewer let the peer begin sooner. With 256 requests in one batch, each
/// process would idle while the other one works.
pub const BATCH_MESSAGES: usize = 128;

/// A peer that has not sent its SP opening by then is disconnected (PROTOCOL.md section 1).
pub const OPENING_TIMEOUT: Duration = Duration::from_secs(10);

/// The time that a hello costs its pipe, because it changes tables that all requests of a worker
/// use. A pipe whose hellos cost more than the time that has passed is read more slowly.
pub const HELLO_COST: Duration = Duration::from_millis(5);
/// The time that each byte of a hello costs in addition.
pub const HELLO_BYTE_COST: Duration = Duration::from_micros(1);
/// The time that a pipe may owe for hellos before reading pauses.
pub const HELLO_DEBT_MAX: Duration = Duration::from_millis(100);

/// Messages that a stock peer queues for its application, and so the longest burst to a peer that
/// announces no `limit`. libnng 1.5 queues 16, whatever its options say.
pub const GUEST_QUEUE: usize = 16;
/// Average time between two messages of a longer burst to such a peer: 8000 messages a second.
pub const GUEST_INTERVAL: Duration = Duration::from_micros(125);

/// The bounds that are settings. The constants above are their defaults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest message accepted or sent, in bytes, without the SP length prefix.
    pub message_len_max: usize,
    /// Messages that may wait in one pipe's out-queue.
    pub queue_messages_max: usize,
    /// Bytes that may wait in one pipe's out-queue. When this is below twice `message_len_max`,
    /// half of it plus one message may wait.
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
