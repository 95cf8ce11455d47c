//! Encoding, both limits, and when a message counts as written.

use super::*;
use crate::envelope::{Envelope, Kind};
use crate::sp::Decoder;

fn drain(queue: &mut OutQueue, step: usize) -> Vec<u8> {
    let mut out = Vec::new();
    while !queue.is_empty() {
        let mut slices = [IoSlice::new(&[]); 4];
        let filled = queue.fill(&mut slices);
        let before = out.len();
        out.extend(slices[..filled].iter().flat_map(|slice| slice.iter().copied()).take(step));
        let written = out.len() - before;
        queue.advance(written);
    }
    out
}

fn push(queue: &mut OutQueue, body: usize) -> Result<u64, PushError> {
    queue.push(
        &Header::new(Kind::Request),
        |head| head.field(":path", "/x"),
        &[Bytes::from(vec![b'b'; body])],
    )
}

#[test]
fn what_is_queued_is_what_a_decoder_reads_however_it_is_written() {
    for framing in [Framing::Tcp, Framing::Ipc] {
        for step in [1, 7, 100, 5000, 1 << 20] {
            let mut queue = OutQueue::new(framing, Limits::default());
            let sizes = [0, 10, COPY_LEN_MAX, COPY_LEN_MAX + 1, 70_000, 3];
            for size in sizes {
                push(&mut queue, size).unwrap();
            }
            assert_eq!(queue.messages(), sizes.len());
            let mut buffer = BytesMut::from(&drain(&mut queue, step)[..]);
            assert_eq!(queue.messages(), 0);
            let mut decoder = Decoder::new(framing, 1 << 20);
            for size in sizes {
                let message = decoder.decode(&mut buffer).unwrap().unwrap();
                assert_eq!(Envelope::decode(message).unwrap().body().len(), size);
            }
            assert!(buffer.is_empty());
        }
    }
}

#[test]
fn both_limits_hold_and_a_refused_message_leaves_no_trace() {
    let limits = Limits { queue_messages_max: 3, queue_bytes_max: 4000, ..Limits::default() };
    let mut queue = OutQueue::without_opening(Framing::Tcp, limits);
    push(&mut queue, 3500).unwrap();
    let before = queue.bytes();
    assert!(matches!(push(&mut queue, 500), Err(PushError::Full { messages: 1, .. })));
    assert_eq!(queue.bytes(), before);
    push(&mut queue, 1).unwrap();
    push(&mut queue, 1).unwrap();
    assert!(matches!(push(&mut queue, 1), Err(PushError::Full { messages: 3, .. })));
    assert!(!queue.has_room());
}

#[test]
fn room_is_room_for_the_longest_message() {
    let limits = Limits { message_len_max: 1000, queue_bytes_max: 1500, ..Limits::default() };
    let mut queue = OutQueue::without_opening(Framing::Tcp, limits);
    let long = |queue: &mut OutQueue| push(queue, 900);
    assert!(queue.has_room());
    long(&mut queue).unwrap();
    assert!(!queue.has_room() && long(&mut queue).is_err());
    // A short message may still fit.
    push(&mut queue, 1).unwrap();
}

#[test]
fn a_byte_limit_near_the_longest_message_leaves_room_behind_short_ones() {
    for queue_bytes_max in [100, 1000, 1900] {
        let limits = Limits { message_len_max: 1000, queue_bytes_max, ..Limits::default() };
        let mut queue = OutQueue::without_opening(Framing::Tcp, limits);
        push(&mut queue, 1).unwrap();
        assert!(queue.bytes() > queue_bytes_max / 2 || queue.has_room(), "{queue_bytes_max}");
        while queue.has_room() {
            push(&mut queue, 900).expect("room is room for the longest message");
        }
        assert!(queue.bytes() <= queue_bytes_max / 2 + 1000 + 8, "{} bytes", queue.bytes());
    }
}

#[test]
fn a_message_over_its_limit_is_the_callers_error() {
    let limits = Limits { message_len_max: 100, ..Limits::default() };
    let mut queue = OutQueue::new(Framing::Ipc, limits);
    let error = push(&mut queue, 90).unwrap_err();
    assert!(matches!(error, PushError::Encode(EncodeError::TooLarge { limit: 100, .. })));
    let error = queue.push(&Header::new(Kind::Request), |head| head.field("x", vec![0; 1 << 16]), &[]);
    assert!(matches!(error, Err(PushError::Encode(EncodeError::Field { .. }))));
    assert_eq!(queue.bytes(), OPENING.len());
}

#[test]
fn a_queue_that_has_grown_gives_its_memory_back() {
    let mut queue = OutQueue::new(Framing::Tcp, Limits::default());
    for _ in 0..1000 {
        push(&mut queue, COPY_LEN_MAX).unwrap();
    }
    assert!(queue.tail.capacity() > TAIL_KEPT_MAX);
    queue.advance(queue.bytes());
    assert!(queue.tail.capacity() <= TAIL_KEPT_MAX);
    push(&mut queue, COPY_LEN_MAX).unwrap();
    let kept = queue.tail.capacity();
    queue.advance(queue.bytes());
    push(&mut queue, 1).unwrap();
    assert!(queue.tail.capacity() <= kept, "an ordinary batch's is used again");
}

#[test]
fn the_end_offset_tells_whether_a_message_was_written() {
    let mut queue = OutQueue::new(Framing::Tcp, Limits::default());
    let first = push(&mut queue, 10).unwrap();
    let second = push(&mut queue, 2000).unwrap();
    queue.advance(usize::try_from(first).unwrap() + 5);
    assert!(first <= queue.written() && second > queue.written());
    assert_eq!(queue.messages(), 1);
}

#[test]
fn what_is_held_back_is_not_written_and_not_lost() {
    let mut queue = OutQueue::new(Framing::Tcp, Limits::default());
    for size in [10, 5000, 20, 30] {
        push(&mut queue, size).unwrap();
    }
    queue.hold_behind(2);
    let held = queue.writable();
    let mut stream = Vec::new();
    while queue.writable() > 0 {
        let mut slices = [IoSlice::new(&[]); 4];
        let filled = queue.fill(&mut slices);
        let before = stream.len();
        stream.extend(slices[..filled].iter().flat_map(|slice| slice.iter().copied()));
        queue.advance(stream.len() - before);
    }
    assert_eq!((stream.len(), queue.messages(), queue.is_empty()), (held, 2, false));
    queue.release();
    stream.extend(drain(&mut queue, 1 << 20));
    let (mut buffer, mut decoder) = (BytesMut::from(&stream[..]), Decoder::new(Framing::Tcp, 1 << 20));
    for size in [10, 5000, 20, 30] {
        let message = decoder.decode(&mut buffer).unwrap().unwrap();
        assert_eq!(Envelope::decode(message).unwrap().body().len(), size);
    }
}

#[test]
fn messages_are_taken_some_at_a_time_and_a_batch_stays_whole() {
    let mut from = OutQueue::without_opening(Framing::Tcp, Limits::default());
    for size in [10, 5000, 20, 2000, 30] {
        push(&mut from, size).unwrap();
    }
    let mut to = OutQueue::new(Framing::Tcp, Limits::default());
    let mut batches = Vec::new();
    while !from.is_empty() {
        let (chunks, messages) = from.take_some(2);
        to.push_encoded(&chunks, messages).unwrap();
        batches.push((messages, chunks.iter().map(Bytes::len).sum::<usize>()));
    }
    assert_eq!(batches.iter().map(|batch| batch.0).collect::<Vec<_>>(), [2, 2, 1]);
    to.hold_behind(3);
    assert_eq!(to.writable(), OPENING.len() + batches[0].1, "half of the second would not fit");
    to.hold_behind(1);
    assert_eq!(to.writable(), OPENING.len() + batches[0].1, "the first goes whatever it is");
    let (mut buffer, mut decoder) = (BytesMut::new(), Decoder::new(Framing::Tcp, 1 << 20));
    to.release();
    buffer.extend_from_slice(&drain(&mut to, 1 << 20));
    for size in [10, 5000, 20, 2000, 30] {
        let message = decoder.decode(&mut buffer).unwrap().unwrap();
        assert_eq!(Envelope::decode(message).unwrap().body().len(), size);
    }
}
