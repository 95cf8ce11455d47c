//! Counters by reason: every drop, refusal and expiry is counted. Each worker has its own set.

macro_rules! counters {
    ($($field:ident $name:literal $doc:literal)*) => {
        /// The counters of one worker's bus.
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct Counters { $(#[doc = $doc] pub $field: u64,)* }

        impl Counters {
            /// Name and meaning of every counter, in the order of [`Counters::list`].
            pub const DESCRIBED: &'static [(&'static str, &'static str)] = &[$(($name, $doc),)*];

            /// Every counter with its name, always in the same order.
            #[must_use]
            pub fn list(&self) -> Vec<(&'static str, u64)> { vec![$(($name, self.$field),)*] }
        }
    };
}

counters! {
    pipes_opened "bus.pipes.opened" "Pipes whose peer sent a valid opening."
    pipes_closed "bus.pipes.closed" "Pipes that ended."
    pipes_refused "bus.pipes.refused" "Connections closed at once, because the limit of pipes was reached."
    pipes_evicted "bus.pipes.evicted" "Connections closed to make room, because their peers had sent no message."
    dials_failed "bus.dials.failed" "Dials that failed before a pipe was open."
    rejected_opening "bus.rejected.opening" "Peers whose opening is not an SP opening."
    rejected_protocol "bus.rejected.protocol" "SP peers that use another protocol than BUS."
    rejected_opening_timeout "bus.rejected.opening_timeout" "Peers that sent no opening in time."
    rejected_message_type "bus.rejected.message_type" "IPC messages whose type is not 1."
    rejected_too_long "bus.rejected.too_long" "Message lengths above the limit."
    rejected_truncated "bus.rejected.truncated" "Streams that ended inside the opening or a message."
    rejected_short "bus.rejected.short" "Messages shorter than a header."
    rejected_version "bus.rejected.version" "Messages of an unknown version."
    rejected_kind "bus.rejected.kind" "Messages of an unknown kind."
    rejected_head_length "bus.rejected.head_length" "Head lengths past the end of the message."
    rejected_field "bus.rejected.field" "Fields past the end of the head."
    rejected_hello "bus.rejected.hello" "Hellos with a missing or wrong field."
    rejected_unserved "bus.rejected.unserved" "Requests received without a handler to serve them."
    rejected_topic "bus.rejected.topic" "Events whose topic is missing or not UTF-8."
    route_conflicts "bus.routes.conflicts" "Claimed routes that another service holds."
    claims_forbidden "bus.claims.forbidden" "Routes in hellos that the listener does not allow."
    reply_foreign "bus.reply.foreign" "Replies to another process's request: stock peers send a reply to all their pipes."
    reply_late "bus.reply.late" "Replies to a request that has ended, duplicates included."
    reply_wrong_pipe "bus.reply.wrong_pipe" "Replies on another pipe than the one that got the request."
    requests_sent "bus.requests.sent" "Requests put into an out-queue, retries included."
    requests_held "bus.requests.held" "Requests that waited for an instance of their service."
    requests_retried "bus.requests.retried" "Requests sent again to another pipe."
    requests_expired "bus.requests.expired" "Requests whose deadline passed without a reply."
    requests_lost "bus.requests.lost" "Requests whose pipe closed while they were outstanding."
    requests_cancelled "bus.requests.cancelled" "Requests that the asker cancelled."
    requests_refused "bus.requests.refused" "Requests not sent: no instance, all instances busy, or the table full."
    pins_missed "bus.pins.missed" "Requests sent to another version than their pin names: no instance of that version could take them."
    shadows_sent "bus.shadows.sent" "Of the requests sent: copies, whose replies are only compared."
    shadows_dropped "bus.shadows.dropped" "Copies not sent: no instance of the version, or it has no place to spare."
    replies_received "bus.replies.received" "Replies matched to their request."
    served "bus.served" "Requests handed to the handler."
    served_expired "bus.served.expired" "Requests dropped before the handler, because their deadline had passed."
    served_cancelled "bus.served.cancelled" "Requests cancelled by their asker while they were served."
    replies_sent "bus.replies.sent" "Replies put into an out-queue."
    replies_dropped "bus.replies.dropped" "Replies not sent: the pipe was closed, or its out-queue full."
    cancels_received "bus.cancels.received" "Cancels received."
    events_received "bus.events.received" "Events received."
    events_published "bus.events.published" "Events queued, counted once per pipe."
    events_dropped "bus.events.dropped" "Events dropped because a queue was full."
    events_duplicate "bus.events.duplicate" "Events received before on another pipe."
    pings_received "bus.pings.received" "Pings answered."
    pongs_received "bus.pongs.received" "Pongs received."
    control_dropped "bus.control.dropped" "Pings, pongs, cancels and drains not sent, because the out-queue was full."
    hellos_slowed "bus.hellos.slowed" "Pauses in reading a pipe whose peer sends hellos too often."
    guests_paced "bus.guests.paced" "Pauses in sending to a peer that announces no limit."
    peers_silent "bus.peers.silent" "Peers that stopped answering pings."
    busy_polls "bus.polls.busy" "Polls of the sockets instead of a sleep, while a few requests were outstanding."
    crossed "bus.workers.crossed" "Messages passed to another worker of this process."
    crossed_dropped "bus.workers.dropped" "Messages between workers dropped: an inbox or out-queue was full, or the pipe closed."
}
