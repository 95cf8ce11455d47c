//! Input from a hostile peer: nothing panics, nothing grows beyond its limit, and no other peer's
//! request is affected.

#[path = "fixtures/peer.rs"]
mod peer;

use std::task::Poll;
use std::time::Instant;

use bus_proto::node::{Ask, NodeConfig, To};
use bus_proto::pending::Outcome;
use bus_proto::sp::{Decoder, OPENING};
use bus_proto::{
    Correlation, Counters, Envelope, Flags, Framing, Header, Hello, Input, Kind, Limits, Node, Origin,
    PipeId, RequestId,
};
use bytes::{Bytes, BytesMut};
use peer::{Flag, config, epoch, hello, hello_message, message, ms, reply, seed_or, written};

const ORIGIN: u64 = 0xA11CE;
const MESSAGE_LEN_MAX: usize = 4096;

/// A valid message of any kind, with what a peer can know: the asker's origin, and guessed ids.
fn sound(rng: &mut fastrand::Rng, ids: &[RequestId]) -> Bytes {
    let kinds = [
        Kind::Hello,
        Kind::Request,
        Kind::Reply,
        Kind::Event,
        Kind::Cancel,
        Kind::Drain,
        Kind::Ping,
        Kind::Pong,
    ];
    let kind = rng.choice(kinds).expect("not empty");
    if kind == Kind::Hello {
        let routes = ["GET /a", "* /{*all}", "GET /b/{id}", "PUT /b/{id}/{*rest}"];
        let mut said = hello(rng.choice(["mine", "other"]).expect("two"), &routes, &["t", "u"]);
        (said.weight, said.limit) = (rng.u32(0..200), rng.u32(0..3));
        return hello_message(&said);
    }
    let request = if rng.bool() { *rng.choice(ids).expect("some") } else { RequestId(rng.u64(..)) };
    let origin = Origin(if rng.bool() { ORIGIN } else { rng.u64(..) });
    let header = Header {
        kind,
        flags: Flags(rng.u16(..)),
        ttl_us: rng.u32(..),
        correlation: Correlation { origin, request },
        status: rng.u16(..),
    };
    let body = vec![0; rng.usize(..200)];
    let fields = |head: &mut bus_proto::HeadWriter<'_>| {
        head.field(if kind == Kind::Event { ":topic" } else { ":path" }, "t");
        head.field("name", "value");
    };
    message(&header, fields, &body)
}

/// Flips, removes, repeats or inserts some bytes.
fn mutate(rng: &mut fastrand::Rng, bytes: &mut Vec<u8>) {
    for _ in 0..rng.usize(0..4) {
        if bytes.is_empty() {
            return;
        }
        let at = rng.usize(..bytes.len());
        match rng.u8(..6) {
            0 => bytes.truncate(at),
            1 => bytes[at] ^= 1 << rng.u8(..8),
            2 => bytes[at] = rng.choice([0, 1, 0x7F, 0x80, 0xFF]).expect("five"),
            3 => drop(bytes.remove(at)),
            4 => bytes.extend_from_within(at..),
            _ => bytes.splice(at..at, std::iter::repeat_with(|| rng.u8(..)).take(3)).for_each(drop),
        }
    }
}

fn rejected(counters: &Counters) -> u64 {
    let undecodable = [
        counters.rejected_short,
        counters.rejected_version,
        counters.rejected_kind,
        counters.rejected_head_length,
        counters.rejected_field,
    ];
    undecodable.iter().sum()
}

struct Victim {
    node: Node,
    honest: PipeId,
    ids: Vec<RequestId>,
    now: Instant,
}

impl Victim {
    /// A relaying node with outstanding requests to an honest peer.
    fn new() -> Self {
        let now = epoch();
        let limits = Limits {
            queue_messages_max: 64,
            queue_bytes_max: 1 << 16,
            message_len_max: MESSAGE_LEN_MAX,
            pending_max: 99,
        };
        let mut node = Node::new(NodeConfig { limits, relay_events: true, ..config(ORIGIN) }, now);
        let honest = node.open_pipe(now, Framing::Tcp);
        let mut said: Hello = hello("honest", &["GET /honest"], &["t"]);
        said.limit = 50;
        node.handle_message(now, honest, hello_message(&said));
        let route = node.directory.find("GET", "/honest").expect("claimed");
        let ask = Ask { route, flags: Flags::NONE, deadline: now + ms(60_000), to: To::Any };
        let ids = (0..50).map(|_| node.request(now, ask, |_| {}, &[]).expect("room").id).collect();
        Self { node, honest, ids, now }
    }

    /// Checks that every request is unaffected and gets its answer.
    fn finish_unharmed(mut self) {
        assert_eq!(self.node.pending.len(), self.ids.len());
        let flag = Flag::raised();
        for (id, nth) in self.ids.iter().zip(0u8..) {
            assert!(self.node.poll_reply(*id, &flag.waker()).is_pending());
            self.node.handle_message(self.now, self.honest, reply(ORIGIN, *id, false, &[nth]));
            let Poll::Ready(Outcome::Reply(envelope)) = self.node.poll_reply(*id, &flag.waker()) else {
                panic!("no answer to {id:?}");
            };
            assert_eq!(envelope.body_bytes(), [nth]);
        }
        assert_eq!(self.node.counters.replies_received, 50);
        let honest = self.node.socket.pipe(self.honest).expect("open");
        assert_eq!((honest.load.in_flight, honest.load.failures), (0, 0));
        assert!(self.node.directory.find("GET", "/honest").is_some());
        assert!(self.node.pending.is_empty());
    }
}

#[test]
fn mutated_messages_are_counted_and_affect_no_request() {
    let seed = seed_or(fastrand::u64(..));
    println!("BUS_SEED={seed}");
    let mut rng = fastrand::Rng::with_seed(seed);
    for _ in 0..30 {
        let mut victim = Victim::new();
        let mut hostile = victim.node.open_pipe(victim.now, Framing::Ipc);
        let mut undecodable = 0;
        for nth in 0..1000 {
            let mut bytes = sound(&mut rng, &victim.ids).to_vec();
            mutate(&mut rng, &mut bytes);
            let bytes = Bytes::from(bytes);
            undecodable += u64::from(Envelope::decode(bytes.clone()).is_err());
            let input = victim.node.handle_message(victim.now, hostile, bytes);
            if let Input::Serve { envelope, .. } = input {
                victim.node.reply(hostile, &envelope.header(), 200, |_| {}, envelope.body());
            }
            assert_eq!(rejected(&victim.node.counters), undecodable);
            for (_, pipe) in victim.node.socket.pipes() {
                assert!(pipe.out.messages() <= 64 && pipe.out.bytes() <= (1 << 16) + 64 * 9);
            }
            victim.now += ms(rng.u64(0..20));
            victim.node.handle_timeout(victim.now);
            if nth % 100 == 99 {
                victim.node.close_pipe(victim.now, hostile);
                victim.node.handle_message(victim.now, hostile, sound(&mut rng, &victim.ids));
                hostile = victim.node.open_pipe(victim.now, Framing::Ipc);
                written(&mut victim.node, victim.honest);
            }
        }
        assert!(undecodable > 100, "the mutations do something: {undecodable}");
        victim.finish_unharmed();
    }
}

#[test]
fn random_bytes_are_no_message() {
    let seed = seed_or(fastrand::u64(..));
    println!("BUS_SEED={seed}");
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut victim = Victim::new();
    let hostile = victim.node.open_pipe(victim.now, Framing::Tcp);
    for _ in 0..20_000 {
        let mut bytes: Vec<u8> = (0..rng.usize(..80)).map(|_| rng.u8(..)).collect();
        if rng.bool() && bytes.len() >= 32 {
            // With a valid version and kind and a plausible head length, only the fields are
            // random.
            (bytes[0], bytes[1]) = (0xB1, rng.u8(..8));
            bytes[28..31].fill(0);
            bytes[31] %= 64;
        }
        victim.node.handle_message(victim.now, hostile, Bytes::from(bytes));
    }
    let counters = &victim.node.counters;
    assert!(counters.rejected_short > 0 && counters.rejected_version > 0);
    assert!(counters.rejected_head_length > 0 && counters.rejected_field > 0);
    victim.finish_unharmed();
}

#[test]
fn a_guessed_id_on_the_wrong_pipe_ends_no_request() {
    let mut victim = Victim::new();
    let hostile = victim.node.open_pipe(victim.now, Framing::Tcp);
    for id in victim.ids.clone() {
        for more in [true, false] {
            victim.node.handle_message(victim.now, hostile, reply(ORIGIN, id, more, b"forged"));
        }
    }
    assert_eq!(victim.node.counters.reply_wrong_pipe, 100);
    victim.finish_unharmed();
}

/// Valid and broken streams in pieces of any size: the decoder returns messages within the limit,
/// returns an error, or waits.
#[test]
fn a_decoder_survives_any_stream_and_reserves_no_more_than_a_message() {
    let seed = seed_or(fastrand::u64(..));
    println!("BUS_SEED={seed}");
    let mut rng = fastrand::Rng::with_seed(seed);
    let (mut errors, mut messages) = (0, 0);
    for _ in 0..3000 {
        let framing = if rng.bool() { Framing::Tcp } else { Framing::Ipc };
        let mut stream = OPENING.to_vec();
        for _ in 0..rng.usize(..4) {
            let len = rng.usize(..100);
            stream.extend_from_slice(&framing.prefix(len)[9 - framing.prefix_len()..]);
            stream.extend((0..len).map(|_| rng.u8(..)));
        }
        mutate(&mut rng, &mut stream);
        let mut decoder = Decoder::new(framing, MESSAGE_LEN_MAX);
        let mut buffer = BytesMut::new();
        let mut rest = &stream[..];
        'stream: while !rest.is_empty() {
            let (piece, more) = rest.split_at(rng.usize(1..=rest.len()));
            buffer.extend_from_slice(piece);
            rest = more;
            loop {
                match decoder.decode(&mut buffer) {
                    Ok(Some(message)) => {
                        assert!(message.len() <= MESSAGE_LEN_MAX);
                        messages += 1;
                    }
                    Ok(None) => break,
                    Err(_) => {
                        errors += 1;
                        break 'stream;
                    }
                }
            }
            assert!(decoder.missing(&buffer) <= MESSAGE_LEN_MAX + framing.prefix_len());
        }
    }
    assert!(errors > 100 && messages > 100, "{errors} {messages}");
}

/// Hellos of maximal size under many names: the table stays within its bounds, and other services
/// keep their routes.
#[test]
fn a_flood_of_hellos_is_bounded() {
    let mut victim = Victim::new();
    let hostile = victim.node.open_pipe(victim.now, Framing::Tcp);
    for n in 0..40 {
        let mut said = Hello::new(format!("service-{n}"), "", "");
        said.routes = (0..1024).map(|m| format!("GET /{n}/{m}").parse().unwrap()).collect();
        assert!(matches!(
            victim.node.handle_message(victim.now, hostile, hello_message(&said)),
            Input::Hello { conflicts, .. } if conflicts.is_empty()
        ));
    }
    assert!(victim.node.directory.entries().count() <= bus_proto::limits::ROUTES_MAX);
    let mut too_many = Hello::new("s", "", "");
    too_many.routes = vec!["GET /".parse().unwrap(); 1025];
    let too_long = Hello::new("s".repeat(1025), "", "");
    let mut too_many_toggles = Hello::new("s", "", "");
    too_many_toggles.toggles = vec!["a".to_owned(); 257];
    let mut too_long_toggle = Hello::new("s", "", "");
    too_long_toggle.toggles = vec!["a".repeat(1025)];
    for said in [too_many, too_long, too_many_toggles, too_long_toggle, Hello::new("", "", "")] {
        let input = victim.node.handle_message(victim.now, hostile, hello_message(&said));
        assert!(matches!(input, Input::HelloRefused(_)));
    }
    assert_eq!(victim.node.counters.rejected_hello, 5);
    let hello = victim.node.socket.pipe(hostile).unwrap().hello.as_ref().unwrap();
    assert_eq!(hello.service, "service-39", "a refused hello changes nothing");
    assert!(victim.node.directory.find("GET", "/39/7").is_some());
    victim.finish_unharmed();
}
