//! What happened, by reason: every drop, refusal and expiry has a counter. One set per worker, never shared.

macro_rules! counters {
    ($($field:ident $name:literal $doc:literal)*) => {
        /// The counters of one worker's bus.
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct Counters { $(#[doc = $doc] pub $field: u64,)* }

        impl Counters {
            /// Name and meaning of every counter, in the order of [`Counters::list`].
            pub const DESCRIBED: &'static [(&'static str, &'static str)] = &[$(($name, $doc),)*];

            /// Every counter by its name, always in the same order.
            #[must_use]
            pub fn list(&self) -> Vec<(&'static str, u64)> { vec![$(($name, self.$field),)*] }
        }
    };
}

counters! {
    pipes_opened "bus.pipes.opened" "Pipes whose opening was right."
    pipes_closed "bus.pipes.closed" "Pipes that ended."
    pipes_refused "bus.pipes.refused" "Connections closed at once: the limit of pipes was reached."
    pipes_evicted "bus.pipes.evicted" "Connections that never said anything, closed to make room for others."
    dials_failed "bus.dials.failed" "Dials that found nobody."
    rejected_opening "bus.rejected.opening" "Peers whose opening is not SP's."
    rejected_protocol "bus.rejected.protocol" "SP peers of another protocol than BUS."
    rejected_opening_timeout "bus.rejected.opening_timeout" "Peers that said nothing for the opening's time-out."
    rejected_message_type "bus.rejected.message_type" "IPC messages of another type than 1."
    rejected_too_long "bus.rejected.too_long" "Message lengths above the limit."
    rejected_truncated "bus.rejected.truncated" "Streams that ended inside the opening or a message."
    rejected_short "bus.rejected.short" "Messages shorter than a header."
    rejected_version "bus.rejected.version" "Messages of another version."
    rejected_kind "bus.rejected.kind" "Messages of an unknown kind."
    rejected_head_length "bus.rejected.head_length" "Head lengths past the end of the message."
    rejected_field "bus.rejected.field" "Fields past the end of the head."
    rejected_hello "bus.rejected.hello" "Hellos with a missing or wrong field."
    rejected_unserved "bus.rejected.unserved" "Requests sent to a side that serves none."
    rejected_topic "bus.rejected.topic" "Events without a topic, or whose topic is not UTF-8."
    route_conflicts "bus.routes.conflicts" "Routes that another service holds."
    claims_forbidden "bus.claims.forbidden" "Routes in hellos that the listener does not allow."
    reply_foreign "bus.reply.foreign" "Replies to somebody else's request: a stock replier broadcasts."
    reply_late "bus.reply.late" "Replies to a request that nobody waits for any more, duplicates included."
    reply_wrong_pipe "bus.reply.wrong_pipe" "Replies by another pipe than the one that was asked."
    requests_sent "bus.requests.sent" "Requests put into an out-queue, retries included."
    requests_held "bus.requests.held" "Requests that waited for an instance of their service."
    requests_retried "bus.requests.retried" "Requests sent again to another pipe."
    requests_expired "bus.requests.expired" "Requests whose deadline passed without a reply."
    requests_lost "bus.requests.lost" "Requests whose pipe closed while they were outstanding."
    requests_cancelled "bus.requests.cancelled" "Requests that the asker gave up."
    requests_refused "bus.requests.refused" "Requests not sent: no instance, all busy, or the table full."
    replies_received "bus.replies.received" "Replies that found their request."
    served "bus.served" "Requests handed to the handler."
    served_expired "bus.served.expired" "Requests dropped before the handler: their time was over."
    served_cancelled "bus.served.cancelled" "Requests whose asker cancelled while they were served."
    replies_sent "bus.replies.sent" "Replies put into an out-queue."
    replies_dropped "bus.replies.dropped" "Replies not sent: the pipe was gone, or its out-queue full."
    cancels_received "bus.cancels.received" "Cancels that came in."
    events_received "bus.events.received" "Events that came in."
    events_published "bus.events.published" "Events queued, once for every pipe."
    events_dropped "bus.events.dropped" "Events not sent or not taken: a queue was full."
    events_duplicate "bus.events.duplicate" "Events that had come by another way already."
    pings_received "bus.pings.received" "Pings answered."
    pongs_received "bus.pongs.received" "Pongs that came in."
    control_dropped "bus.control.dropped" "Pings, pongs, cancels and drains not sent: the out-queue was full."
    hellos_slowed "bus.hellos.slowed" "Times a pipe was read no further for a while: its peer says hello too often."
    guests_paced "bus.guests.paced" "Times that messages to a peer which announces no limit had to wait for it."
    peers_silent "bus.peers.silent" "Times a peer that answers pings fell silent."
    busy_polls "bus.polls.busy" "Looks at the sockets instead of a sleep, while a few requests were outstanding."
    crossed "bus.workers.crossed" "Messages passed to another worker of this process."
    crossed_dropped "bus.workers.dropped" "Messages another worker had no room for."
}
