//! The answering side, and events: a reply is sent on the pipe its request came by, an event to the
//! peers that want its topic.

use bytes::Bytes;

use super::{Input, Node};
use crate::envelope::{Correlation, EncodeError, Envelope, Flags, HEADER_LEN, HeadWriter, Header, Kind};
use crate::hello::Hello;
use crate::limits::COPY_LEN_MAX;
use crate::outqueue::PushError;
use crate::pending::Pending;
use crate::socket::{Pipe, PipeId, Remote};

impl Node {
    /// Sends the answer to `request`, which came by `pipe`. A body too long for one message is sent
    /// in parts. False when the pipe is closed or its out-queue is full; such replies are counted.
    pub fn reply(
        &mut self,
        pipe: PipeId,
        request: &Header,
        status: u16,
        head: impl Fn(&mut HeadWriter<'_>),
        body: Bytes,
    ) -> bool {
        let header = request.reply(status);
        let body_len = body.len();
        let sent = match self.socket.send_to(pipe, &header, &head, std::slice::from_ref(&body)) {
            Some(Err(PushError::Encode(EncodeError::TooLarge { len, limit }))) if len - body_len < limit => {
                self.reply_in_parts(pipe, &header, head, body, limit - (len - body_len))
            }
            Some(Err(PushError::Encode(error))) => self.reply_unsendable(pipe, request, error),
            Some(Err(PushError::Full { .. })) | None => false,
            Some(Ok(_)) => true,
        };
        let counter = if sent { &mut self.counters.replies_sent } else { &mut self.counters.replies_dropped };
        *counter += 1;
        sent
    }

    fn reply_in_parts(
        &mut self,
        pipe: PipeId,
        header: &Header,
        head: impl Fn(&mut HeadWriter<'_>),
        mut body: Bytes,
        first_len: usize,
    ) -> bool {
        let more = Header { flags: header.flags.union(Flags::MORE), ..*header };
        let first = body.split_to(first_len);
        let mut sent = matches!(self.socket.send_to(pipe, &more, head, &[first]), Some(Ok(_)));
        let part_len = self.config.limits.message_len_max.saturating_sub(HEADER_LEN).max(1);
        while sent && !body.is_empty() {
            let part = body.split_to(part_len.min(body.len()));
            let header = if body.is_empty() { header } else { &more };
            sent = matches!(self.socket.send_to(pipe, header, |_| {}, &[part]), Some(Ok(_)));
        }
        sent
    }

    /// The handler's head does not fit into a message. The asker gets an error rather than no
    /// reply.
    fn reply_unsendable(&mut self, pipe: PipeId, request: &Header, error: EncodeError) -> bool {
        let text = Bytes::from(format!("the reply cannot be sent: {error}"));
        let head = |head: &mut HeadWriter<'_>| head.field("content-type", "text/plain");
        matches!(self.socket.send_to(pipe, &request.reply(500), head, &[text]), Some(Ok(_)))
    }

    /// Publishes an event to the peers that want its topic, and to peers without a hello, which may
    /// relay it. Returns the number of pipes it was queued on.
    pub fn publish(&mut self, topic: &str, fields: &[(&str, &str)], body: &Bytes) -> usize {
        let header = Header { correlation: self.next_correlation(), ..Header::new(Kind::Event) };
        let head = |head: &mut HeadWriter<'_>| {
            head.field(":topic", topic);
            for (name, value) in fields {
                head.field(name, value);
            }
        };
        let is_hub = self.config.relay_events;
        let wants = |_: PipeId, pipe: &Pipe| match &pipe.hello {
            Some(hello) => wants_topic(hello, topic),
            None => !is_hub && pipe.remote.is_none(),
        };
        let (taken, dropped) = self.socket.send_all(wants, true, &header, head, std::slice::from_ref(body));
        self.counters.events_published += taken as u64;
        self.counters.events_dropped += dropped as u64;
        taken
    }

    pub(super) fn handle_event(&mut self, from: PipeId, envelope: Envelope) -> Input {
        self.counters.events_received += 1;
        let topic = envelope.field(":topic").and_then(|topic| std::str::from_utf8(topic).ok());
        let Some(topic) = topic else {
            self.counters.rejected_topic += 1;
            return Input::Done;
        };
        let header = envelope.header();
        let id = header.correlation;
        if !self.is_news(id, Remote { worker: self.config.worker, pipe: from }) {
            return Input::Done;
        }
        if self.config.relay_events {
            // An id of zeroes means that the event has none. The first relay gives it an id, so
            // that later copies of it are recognised.
            let id = if id == Correlation::default() { self.next_correlation() } else { id };
            let header = Header { correlation: id, ..header };
            let wants = |to: PipeId, pipe: &Pipe| {
                to != from && pipe.hello.as_ref().is_some_and(|hello| wants_topic(hello, topic))
            };
            let head = |head: &mut HeadWriter<'_>| head.encoded(envelope.head_bytes());
            // Queues of slow subscribers keep a long body. A short one is copied by each queue.
            let is_short = envelope.body_bytes().len() <= COPY_LEN_MAX;
            let body = if is_short { envelope.body() } else { envelope.body_to_keep() };
            let (taken, dropped) = self.socket.send_all(wants, false, &header, head, &[body]);
            self.counters.events_published += taken as u64;
            self.counters.events_dropped += dropped as u64;
        }
        Input::Event(envelope)
    }

    /// True when the event was not received before. `way` is the pipe that it came by, of this
    /// worker or of the worker that passed it on. Duplicates are counted.
    pub fn is_news(&mut self, id: Correlation, way: Remote) -> bool {
        let is_news = !self.is_own(id) && self.recent.is_new(id, way);
        self.counters.events_duplicate += u64::from(!is_news);
        is_news
    }

    /// True when this worker published the event. If it counted as new on its way back, two peers
    /// that relay to each other would circulate it endlessly.
    fn is_own(&self, id: Correlation) -> bool {
        id.origin == self.config.origin && Pending::worker_of(id.request) == self.config.worker
    }

    /// Sends `hello` on every open pipe, and on every later one.
    pub fn set_hello(&mut self, hello: Hello) {
        self.config.hello = Some(hello);
        let open: Vec<PipeId> = self.own_pipes();
        for pipe in open {
            self.introduce(pipe);
        }
    }

    /// Sends the hello, unless this node drains: a peer that gets a hello before the drain message
    /// would send requests.
    pub(super) fn introduce(&mut self, pipe: PipeId) {
        let Some(hello) = self.config.hello.as_ref().filter(|_| !self.draining) else { return };
        let _ = self.socket.send_to(pipe, &Header::new(Kind::Hello), |head| hello.encode(head), &[]);
    }

    pub(super) fn own_pipes(&self) -> Vec<PipeId> {
        self.socket.pipes().filter(|(_, pipe)| pipe.remote.is_none()).map(|(id, _)| id).collect()
    }

    /// The pipes that stand for pipes of other workers.
    pub(super) fn stand_ins(&self) -> Vec<PipeId> {
        self.socket.pipes().filter(|(_, pipe)| pipe.remote.is_some()).map(|(id, _)| id).collect()
    }
}

fn wants_topic(hello: &Hello, topic: &str) -> bool {
    hello.topics.iter().any(|wanted| wanted == topic)
}
