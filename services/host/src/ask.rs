//! Asking another service on behalf of a request.
//!
//! Owns which fields of a request are passed to the services that it needs. `bus` sends and
//! retries. Invariant: what a request causes has its trace, its toggles and its priority, meets the
//! versions that it is pinned to, and is a copy when it is one.

use std::time::Instant;

use bus::proto::retry::is_idempotent;
use bus::{Body, Bus, Call, Flags, Head, HeadWriter, Options, Route, To, VersionId};

use crate::request::Request;

/// Fields that tie what a request causes to the request, as the terminator set them.
const FOLLOWED: [&[u8]; 6] =
    [b":toggle", b":pin", b":priority", b"traceparent", b"tracestate", b"x-request-id"];

/// A request that another request causes, with the trace context, the id and the decisions of the
/// edge of its cause.
#[derive(Clone, Debug)]
pub struct Ask<'a> {
    cause: &'a Request,
    method: &'static str,
    path: String,
    idempotent: bool,
}

impl Request {
    /// A request for `path` (percent-encoded, with its query) that this request causes.
    #[must_use]
    pub fn ask(&self, method: &'static str, path: String) -> Ask<'_> {
        Ask { cause: self, method, path, idempotent: is_idempotent(method) }
    }
}

impl<'a> Ask<'a> {
    /// Allows that the request is sent to another instance when the first is lost, although its
    /// method does not: doing it twice has the effect of doing it once.
    #[must_use]
    pub fn idempotent(mut self) -> Self {
        self.idempotent = true;
        self
    }

    /// Sends it on `bus`, by `route`, which [`Bus::route`] has found; `asked` is now. The first
    /// poll of the call sends it.
    pub fn send(
        self,
        bus: &Bus,
        route: Route,
        body: Body,
        asked: Instant,
        deadline: Instant,
    ) -> Call<Ask<'a>> {
        let kept = Flags(self.cause.flags().0 & (Flags::SAMPLED.0 | Flags::SHADOW.0));
        let flags = if self.idempotent { kept.union(Flags::IDEMPOTENT) } else { kept };
        let to = if self.cause.has_pins() { self.pinned(bus, route) } else { To::Any };
        let hold = bus::proto::limits::HOLD;
        bus.request(route, self, body, Options { asked, deadline, hold, flags, to })
    }

    fn pinned(&self, bus: &Bus, route: Route) -> To {
        let pin = bus.with_service(route, |service| self.cause.pin(service));
        pin.map_or(To::Any, |version| To::Prefer(VersionId::of(version)))
    }
}

impl Head for Ask<'_> {
    fn encode(&self, head: &mut HeadWriter<'_>) {
        head.field(":method", self.method);
        head.field(":path", &self.path);
        for (name, value) in self.cause.envelope().fields() {
            if matches!(name.first(), Some(b':' | b't' | b'x')) && FOLLOWED.contains(&name) {
                head.field(name, value);
            }
        }
    }
}

#[cfg(test)]
mod tests;
