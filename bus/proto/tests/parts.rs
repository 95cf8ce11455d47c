//! Replies in parts: both directions, the time limit for each part, and the bound on buffered
//! parts.

#[path = "fixtures/peer.rs"]
mod peer;

use std::task::Poll;
use std::time::Instant;

use bus_proto::limits::{PART_COST, PARTS_BYTES_MAX};
use bus_proto::node::{Ask, NodeConfig, To};
use bus_proto::pending::{Outcome, PartsEnd, TICK};
use bus_proto::{Correlation, Flags, Framing, Header, Kind, Limits, Node, Origin, PipeId, RequestId};
use bytes::Bytes;
use peer::{Flag, config, epoch, hello, hello_message, ms, plain, reply, written};

/// A node with one outstanding request whose time to live is 10 ms.
fn asked() -> (Node, PipeId, RequestId, Instant) {
    let now = epoch();
    let mut node = Node::new(config(1), now);
    let pipe = node.open_pipe(now, Framing::Tcp);
    node.handle_message(now, pipe, hello_message(&hello("s", &["GET /"], &[])));
    let route = node.directory.find("GET", "/").expect("claimed");
    let ask = Ask { route, flags: Flags::NONE, deadline: now + ms(10), to: To::Any };
    let id = node.request(now, ask, |_| {}, &[]).expect("an idle instance").id;
    written(&mut node, pipe);
    (node, pipe, id, now)
}

fn first(node: &mut Node, id: RequestId) -> Bytes {
    match node.poll_reply(id, &Flag::raised().waker()) {
        Poll::Ready(Outcome::Reply(envelope)) => envelope.body(),
        other => panic!("no reply: {other:?}"),
    }
}

#[test]
fn every_part_renews_the_deadline_and_a_missing_part_ends_the_reply() {
    let (mut node, pipe, id, mut now) = asked();
    let flag = Flag::raised();
    for nth in 0..5 {
        now += ms(8);
        node.handle_timeout(now);
        node.handle_message(now, pipe, reply(1, id, true, b"part"));
        if nth == 0 {
            assert_eq!(first(&mut node, id), "part");
        } else {
            let part = node.poll_part(id, &flag.waker());
            assert_eq!(part, Poll::Ready(Some(Ok(Bytes::from_static(b"part")))), "part {nth}");
        }
    }
    flag.lower();
    assert!(node.poll_part(id, &flag.waker()).is_pending());
    node.handle_timeout(now + ms(10));
    assert!(!flag.lower(), "never early");
    node.handle_timeout(now + ms(10) + TICK);
    assert!(flag.lower());
    assert_eq!(node.poll_part(id, &flag.waker()), Poll::Ready(Some(Err(PartsEnd::Deadline))));
    let mut sent = written(&mut node, pipe);
    sent.retain(|message| message.header().kind != Kind::Ping);
    assert_eq!(sent.len(), 1, "the peer is told, once");
    assert_eq!(*sent[0].message(), plain(Kind::Cancel, 1, id));
    node.handle_message(now, pipe, reply(1, id, false, b"late"));
    assert_eq!(node.counters.reply_late, 1);
    node.close_request(id);
    assert!(node.pending.is_empty() && written(&mut node, pipe).is_empty());
}

#[test]
fn buffered_parts_are_bounded_however_small_they_are() {
    for len in [1, 100, 1 << 19] {
        let (mut node, pipe, id, now) = asked();
        let body = vec![b'x'; len];
        let part = reply(1, id, true, &body);
        node.handle_message(now, pipe, part.clone());
        let fit = PARTS_BYTES_MAX / (len + PART_COST);
        for _ in 0..fit {
            node.handle_message(now, pipe, part.clone());
        }
        assert!(written(&mut node, pipe).is_empty(), "{fit} parts of {len} bytes fit");
        node.handle_message(now, pipe, part.clone());
        let sent = written(&mut node, pipe);
        assert_eq!(sent.iter().map(|message| message.header().kind).collect::<Vec<_>>(), [Kind::Cancel]);
        node.handle_message(now, pipe, part);
        assert_eq!(node.counters.reply_late, 1, "nothing is taken after the end");
        assert_eq!(first(&mut node, id), body);
        let mut parts = 0;
        let end = loop {
            match node.poll_part(id, &Flag::raised().waker()) {
                Poll::Ready(Some(Ok(_))) => parts += 1,
                other => break other,
            }
        };
        assert_eq!((parts, end), (fit + 1, Poll::Ready(Some(Err(PartsEnd::Overflow)))));
    }
}

#[test]
fn a_pipe_that_closes_amid_the_parts_breaks_the_reply() {
    let (mut node, pipe, id, now) = asked();
    node.handle_message(now, pipe, reply(1, id, true, b"a"));
    node.handle_message(now, pipe, reply(1, id, true, b"b"));
    node.close_pipe(now, pipe);
    assert_eq!(first(&mut node, id), "a");
    let mut part = || node.poll_part(id, &Flag::raised().waker());
    assert_eq!(part(), Poll::Ready(Some(Ok(Bytes::from_static(b"b")))));
    assert_eq!(part(), Poll::Ready(Some(Err(PartsEnd::Lost))));
}

/// Lengths around the limit of one message and of two. The head of twelve bytes is in the first
/// message.
#[test]
fn a_body_too_long_for_one_message_is_split_and_arrives_whole() {
    let limits = Limits { message_len_max: 100, ..Limits::default() };
    for len in [0, 55, 56, 57, 123, 124, 125, 1000] {
        let now = epoch();
        let mut node = Node::new(NodeConfig { limits, ..config(2) }, now);
        let pipe = node.open_pipe(now, Framing::Tcp);
        let correlation = Correlation { origin: Origin(1), request: RequestId(3) };
        let request = Header { correlation, flags: Flags::SAMPLED, ..Header::new(Kind::Request) };
        let body: Bytes = (0u8..250).cycle().take(len).collect();
        assert!(node.reply(pipe, &request, 201, |head| head.field("name", "word"), body.clone()));
        let sent = written(&mut node, pipe);
        assert_eq!(sent.len(), if len <= 56 { 1 } else { 1 + (len - 56).div_ceil(68) });
        let got: Vec<u8> = sent.iter().flat_map(|part| part.body_bytes().to_vec()).collect();
        assert_eq!(got, body, "{len} bytes");
        for (nth, part) in sent.iter().enumerate() {
            let more = nth + 1 < sent.len();
            assert_eq!(part.header().flags.contains(Flags::MORE), more);
            assert_eq!((part.header().status, part.header().correlation), (201, correlation));
            assert_eq!(part.field("name").is_some(), nth == 0);
            assert!(part.message().len() <= 100 && part.header().flags.contains(Flags::SAMPLED));
        }
        assert_eq!((node.counters.replies_sent, node.counters.replies_dropped), (1, 0));
    }
}

#[test]
fn a_head_too_long_for_any_message_becomes_a_500() {
    let limits = Limits { message_len_max: 200, ..Limits::default() };
    let now = epoch();
    let mut node = Node::new(NodeConfig { limits, ..config(2) }, now);
    let pipe = node.open_pipe(now, Framing::Tcp);
    let request = Header::new(Kind::Request);
    for len in [164, 165, 1 << 16] {
        let sent = node.reply(pipe, &request, 200, |head| head.field("", vec![b'x'; len]), Bytes::new());
        assert!(sent);
        let status = written(&mut node, pipe)[0].header().status;
        assert_eq!(status, if len == 164 { 200 } else { 500 }, "a value of {len} bytes");
    }
}

/// A short part shares its read buffer with other messages.
#[test]
fn buffered_parts_do_not_keep_the_read_buffer() {
    for (len, keeps) in [(1, false), (30_000, false), (40_000, true)] {
        let (mut node, pipe, id, now) = asked();
        node.handle_message(now, pipe, reply(1, id, true, b"first"));
        first(&mut node, id);
        let body = vec![7; len];
        let sent = reply(1, id, true, &body);
        let read = Bytes::from([&sent[..], &[0; 1000]].concat());
        node.handle_message(now, pipe, read.slice(..sent.len()));
        assert_eq!(read.is_unique(), !keeps, "a body of {len} bytes");
        let part = node.poll_part(id, &Flag::raised().waker());
        assert_eq!(part, Poll::Ready(Some(Ok(Bytes::from(body)))));
    }
}
