//! Asking another service on behalf of a request.
//!
//! Owns which fields of a request are passed to the services that it needs. `bus` sends and
//! retries.

use std::time::Instant;

use bus::proto::retry::is_idempotent;
use bus::{Flags, Head, HeadWriter, Options, To};

use crate::request::Request;

/// Fields that tie what a request causes to the request, as the terminator set them.
const FOLLOWED: [&[u8]; 3] = [b"traceparent", b"tracestate", b"x-request-id"];

/// The head of a request that another request causes, with the trace context and the id of its
/// cause.
#[derive(Clone, Debug)]
pub struct Ask<'a> {
    cause: &'a Request,
    method: &'static str,
    path: String,
}

impl Request {
    /// The head of a request for `path` (percent-encoded, with its query) that this request causes.
    #[must_use]
    pub fn ask(&self, method: &'static str, path: String) -> Ask<'_> {
        Ask { cause: self, method, path }
    }
}

impl Ask<'_> {
    /// How it is sent; `asked` is now. Idempotent methods may be retried; the sampled and shadow
    /// bits are passed on.
    #[must_use]
    pub fn options(&self, asked: Instant, deadline: Instant) -> Options {
        let kept = Flags(self.cause.flags().0 & (Flags::SAMPLED.0 | Flags::SHADOW.0));
        let idempotent = is_idempotent(self.method);
        Options {
            asked,
            deadline,
            hold: bus::proto::limits::HOLD,
            flags: if idempotent { kept.union(Flags::IDEMPOTENT) } else { kept },
            to: To::Any,
        }
    }
}

impl Head for Ask<'_> {
    fn encode(&self, head: &mut HeadWriter<'_>) {
        head.field(":method", self.method);
        head.field(":path", &self.path);
        for (name, value) in self.cause.envelope().fields() {
            if FOLLOWED.contains(&name) {
                head.field(name, value);
            }
        }
    }
}
