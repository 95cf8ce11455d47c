//! The hot functions, each by itself, without sockets.
//!
//! Owns the scenarios. Invariant: the state of a scenario is created before it counts, and two runs
//! differ only in their number of repetitions, so their difference is the cost.

use std::hint::black_box;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use bus::proto::node::{Ask, NodeConfig};
use bus::proto::outqueue::OutQueue;
use bus::proto::sp::Decoder;
use bus::proto::{
    Correlation, Envelope, Flags, Framing, HeadWriter, Header, Hello, Input, Kind, Limits, Node, Origin,
    PipeId, RequestId, To,
};
use bytes::{Bytes, BytesMut};

const BODY: [u8; 200] = [b'x'; 200];

/// A scenario's name, and a function that repeats it.
pub type Scenario = (&'static str, fn(u32));

/// Every scenario.
pub const ALL: [Scenario; 6] = [
    ("envelope-encode", encode),
    ("envelope-decode", decode),
    ("outqueue-push-write", push),
    ("node-request-reply", exchange),
    ("one-hop", one_hop),
    ("one-hop-plan", one_hop_plan),
];

/// The head of a browser's request, as the terminator writes it.
fn head(head: &mut HeadWriter<'_>) {
    head.field(":method", "GET");
    head.field(":path", "/profiles/42");
    head.field(":authority", "127.0.0.1:8080");
    head.field(":scheme", "http");
    head.field("accept", "*/*");
    head.field("user-agent", "curl/8.5.0");
    head.field("x-forwarded-for", "192.0.2.7");
    head.field("x-forwarded-proto", "http");
    head.field("x-request-id", "0123456789abcdef0123456789abcdef");
    head.field("traceparent", "00-0123456789abcdef0123456789abcdef-0123456789abcdef-00");
}

fn header() -> Header {
    Header {
        flags: Flags::IDEMPOTENT,
        ttl_us: 25_000,
        correlation: Correlation { origin: Origin(1), request: RequestId(2) },
        ..Header::new(Kind::Request)
    }
}

fn encode(count: u32) {
    let mut out = BytesMut::with_capacity(4096);
    for _ in 0..count {
        out.clear();
        let mut writer = HeadWriter::new(&mut out);
        head(&mut writer);
        let len = writer.finish().expect("every field fits");
        black_box(header().to_bytes(u32::try_from(len).expect("a head is short")));
        black_box(&out);
    }
}

fn decode(count: u32) {
    let mut out = BytesMut::zeroed(bus::proto::envelope::HEADER_LEN);
    let mut writer = HeadWriter::new(&mut out);
    head(&mut writer);
    let len = writer.finish().expect("every field fits");
    let fixed = header().to_bytes(u32::try_from(len).expect("a head is short"));
    out[..fixed.len()].copy_from_slice(&fixed);
    out.extend_from_slice(&BODY);
    let message = out.freeze();
    for _ in 0..count {
        let envelope = Envelope::decode(black_box(message.clone())).expect("is an envelope");
        black_box(envelope.field(":path"));
        black_box(envelope.body());
    }
}

fn push(count: u32) {
    let mut queue = OutQueue::new(Framing::Ipc, Limits::default());
    let body = [Bytes::from_static(&BODY)];
    for _ in 0..count {
        queue.push(black_box(&header()), head, &body).expect("there is room");
        let mut slices = [std::io::IoSlice::new(&[]); 4];
        black_box(queue.fill(&mut slices));
        queue.advance(queue.bytes());
    }
}

/// A request and its reply through the state machines of both ends.
fn exchange(count: u32) {
    let now = Instant::now();
    let mut pair = Pair::new(now);
    for _ in 0..count {
        pair.exchange(now);
    }
}

/// HTTP to envelope to service and back: the real terminator, a real socket pair, one thread.
fn one_hop(count: u32) {
    crate::hop::Hop::new().requests(count);
}

/// The same with twenty toggles that the service reads, and a rollout of it.
fn one_hop_plan(count: u32) {
    crate::hop::Hop::new().with_plan().requests(count);
}

struct Pair {
    asker: (Node, PipeId, Decoder),
    service: (Node, PipeId, Decoder),
    buffer: BytesMut,
}

impl Pair {
    fn new(now: Instant) -> Self {
        let mut hello = Hello::new("profile", "1", "1");
        hello.routes = vec!["GET /profiles/{id}".parse().expect("is a pattern")];
        let side = |hello: Option<Hello>, origin: u64| {
            let config = NodeConfig {
                limits: Limits::default(),
                worker: 0,
                workers: 1,
                origin: Origin(origin),
                seed: 1,
                hello,
                relay_events: false,
            };
            let mut node = Node::new(config, now);
            let pipe = node.open_pipe(now, Framing::Ipc);
            (node, pipe, Decoder::new(Framing::Ipc, 1 << 20))
        };
        let mut pair = Self { asker: side(None, 1), service: side(Some(hello), 2), buffer: BytesMut::new() };
        pair.carry_to_asker(now);
        pair.carry_to_service(now);
        pair
    }

    fn exchange(&mut self, now: Instant) {
        let (asker, ..) = &mut self.asker;
        let route = asker.directory.find("GET", "/profiles/42").expect("the hello claimed it");
        let ask =
            Ask { route, flags: Flags::IDEMPOTENT, deadline: now + Duration::from_secs(1), to: To::Any };
        let id = asker.request(now, ask, head, &[]).expect("there is room").id;
        assert!(asker.poll_reply(id, Waker::noop()).is_pending());
        self.carry_to_service(now);
        self.carry_to_asker(now);
        let reply = self.asker.0.poll_reply(id, Waker::noop());
        assert!(matches!(black_box(reply), Poll::Ready(_)));
    }

    fn carry_to_service(&mut self, now: Instant) {
        let (node, pipe, decoder) = &mut self.service;
        carry(&mut self.asker.0, self.asker.1, &mut self.buffer);
        while let Some(message) = decoder.decode(&mut self.buffer).expect("is SP") {
            if let Input::Serve { envelope, .. } = node.handle_message(now, *pipe, message) {
                let reply = |head: &mut HeadWriter<'_>| head.field("content-type", "application/json");
                node.reply(*pipe, &envelope.header(), 200, reply, Bytes::from_static(&BODY));
            }
        }
    }

    fn carry_to_asker(&mut self, now: Instant) {
        let (node, pipe, decoder) = &mut self.asker;
        carry(&mut self.service.0, self.service.1, &mut self.buffer);
        while let Some(message) = decoder.decode(&mut self.buffer).expect("is SP") {
            node.handle_message(now, *pipe, message);
        }
    }
}

/// Writes everything queued into `buffer`, as a socket would.
fn carry(node: &mut Node, pipe: PipeId, buffer: &mut BytesMut) {
    let out = &mut node.socket.pipe_mut(pipe).expect("never closed").out;
    let mut slices = [std::io::IoSlice::new(&[]); 4];
    let filled = out.fill(&mut slices);
    for slice in &slices[..filled] {
        buffer.extend_from_slice(slice);
    }
    out.advance(out.bytes());
}
