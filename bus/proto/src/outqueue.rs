//! One pipe's out-queue: messages encoded in place, bounded in number and bytes, written in batches.
//!
//! Prefix, header and head go straight into one growing buffer; a large body is queued as the slice it came
//! as, a small one is copied next to its head (docs/adr/0002). Positions are offsets in the pipe's byte stream,
//! so that "was this message ever written" is one comparison.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes, BytesMut};

use crate::envelope::{EncodeError, HEADER_LEN, HeadWriter, Header};
use crate::limits::{COPY_LEN_MAX, Limits};
use crate::sp::{Framing, OPENING};

/// The memory that an empty queue keeps: enough for the batches of a busy pipe, not what a stalled peer made it grow to.
const TAIL_KEPT_MAX: usize = 256 << 10;

/// Why a message was not queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PushError {
    /// The peer reads too slowly: the queue is at its limit of messages or bytes.
    #[error("the out-queue is full: {messages} messages, {bytes} bytes wait")]
    Full {
        /// Messages waiting.
        messages: usize,
        /// Bytes waiting.
        bytes: usize,
    },
    /// The message cannot be encoded.
    #[error(transparent)]
    Encode(#[from] EncodeError),
}

/// The bytes a pipe still has to write, and where its messages end.
#[derive(Debug)]
pub struct OutQueue {
    framing: Framing,
    limits: Limits,
    /// In front of `tail`, in order.
    segments: VecDeque<Bytes>,
    segments_len: usize,
    /// What is being encoded into.
    tail: BytesMut,
    /// Stream offset behind each waiting message.
    ends: VecDeque<u64>,
    /// Stream offset behind everything written.
    written: u64,
}

impl OutQueue {
    /// A queue that starts with SP's opening.
    #[must_use]
    pub fn new(framing: Framing, limits: Limits) -> Self {
        let mut queue = Self::without_opening(framing, limits);
        queue.tail.extend_from_slice(&OPENING);
        queue
    }

    /// A queue whose bytes go on to another queue of the same framing.
    #[must_use]
    pub fn without_opening(framing: Framing, limits: Limits) -> Self {
        Self {
            framing,
            limits,
            segments: VecDeque::new(),
            segments_len: 0,
            tail: BytesMut::new(),
            ends: VecDeque::new(),
            written: 0,
        }
    }

    /// Queues one message; the stream offset behind it.
    ///
    /// # Errors
    /// [`PushError`]; the queue is then as it was.
    pub fn push(
        &mut self,
        header: &Header,
        head: impl FnOnce(&mut HeadWriter<'_>),
        body: &[Bytes],
    ) -> Result<u64, PushError> {
        if self.ends.len() >= self.limits.queue_messages_max {
            return Err(self.full());
        }
        let start = self.tail.len();
        let prefix_len = self.framing.prefix_len();
        let head_at = start + prefix_len + HEADER_LEN;
        self.tail.resize(head_at, 0);
        let mut writer = HeadWriter::new(&mut self.tail);
        head(&mut writer);
        let checked = writer.finish().map_err(PushError::from).and_then(|head_len| {
            let len = HEADER_LEN + head_len + body.iter().map(Bytes::len).sum::<usize>();
            self.check_len(len, self.bytes() - (self.tail.len() - start)).map(|()| (head_len, len))
        });
        let (head_len, len) = match checked {
            Ok(lengths) => lengths,
            Err(error) => {
                self.tail.truncate(start);
                return Err(error);
            }
        };
        let head_len =
            u32::try_from(head_len).expect("a message is not longer than its limit, which fits u32");
        self.tail[start..start + prefix_len].copy_from_slice(&self.framing.prefix(len)[9 - prefix_len..]);
        self.tail[start + prefix_len..head_at].copy_from_slice(&header.to_bytes(head_len));
        for chunk in body {
            self.push_chunk(chunk);
        }
        let end = self.end();
        self.ends.push_back(end);
        Ok(end)
    }

    /// Queues bytes that another queue of the same framing encoded: `messages` whole messages in `chunks`.
    ///
    /// # Errors
    /// [`PushError::Full`]; the queue is then as it was.
    pub fn push_encoded(&mut self, chunks: &[Bytes], messages: usize) -> Result<(), PushError> {
        let len = chunks.iter().map(Bytes::len).sum::<usize>();
        let over = self.bytes() + len > self.limits.queue_bytes_max && self.bytes() > 0;
        if over || self.ends.len() + messages > self.limits.queue_messages_max {
            return Err(self.full());
        }
        for chunk in chunks {
            self.push_chunk(chunk);
        }
        // Where each of them ends is not known here: all count as waiting until the last is written.
        let end = self.end();
        self.ends.extend(std::iter::repeat_n(end, messages));
        Ok(())
    }

    /// Everything that waits, as chunks, with the number of messages; the queue is then empty.
    pub fn take(&mut self) -> (Vec<Bytes>, usize) {
        let bytes = self.bytes();
        let mut chunks = Vec::from(std::mem::take(&mut self.segments));
        self.segments_len = 0;
        if !self.tail.is_empty() {
            chunks.push(self.tail.split().freeze());
        }
        self.written += bytes as u64;
        (chunks, std::mem::take(&mut self.ends).len())
    }

    /// Fills `slices` from the front; how many were filled.
    pub fn fill<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let chunks = self.segments.iter().map(|chunk| &chunk[..]).chain([&self.tail[..]]);
        let mut filled = 0;
        for (slice, chunk) in slices.iter_mut().zip(chunks.filter(|chunk| !chunk.is_empty())) {
            *slice = IoSlice::new(chunk);
            filled += 1;
        }
        filled
    }

    /// `len` bytes from the front are written.
    ///
    /// # Panics
    /// When more is written than was queued.
    pub fn advance(&mut self, mut len: usize) {
        assert!(len <= self.bytes(), "no more can be written than was queued");
        self.written += len as u64;
        while let Some(front) = self.segments.front_mut() {
            if len < front.len() {
                front.advance(len);
                self.segments_len -= len;
                len = 0;
                break;
            }
            len -= front.len();
            self.segments_len -= front.len();
            self.segments.pop_front();
        }
        if len == self.tail.len() && self.tail.capacity() <= TAIL_KEPT_MAX {
            self.tail.clear(); // Keeps the memory for the next batch.
        } else if len == self.tail.len() {
            self.tail = BytesMut::new();
        } else {
            self.tail.advance(len);
        }
        while self.ends.front().is_some_and(|&end| end <= self.written) {
            self.ends.pop_front();
        }
    }

    /// Bytes that wait.
    #[inline]
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.segments_len + self.tail.len()
    }

    /// Messages that wait, a partly written one included.
    #[inline]
    #[must_use]
    pub fn messages(&self) -> usize {
        self.ends.len()
    }

    /// Whether nothing waits.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes() == 0
    }

    /// Whether another message would be taken, the longest too.
    #[inline]
    #[must_use]
    pub fn has_room(&self) -> bool {
        let Limits { queue_messages_max, queue_bytes_max, message_len_max, .. } = self.limits;
        let bytes = self.bytes();
        self.ends.len() < queue_messages_max && (bytes == 0 || bytes + message_len_max <= queue_bytes_max)
    }

    /// Stream offset behind everything written.
    #[inline]
    #[must_use]
    pub const fn written(&self) -> u64 {
        self.written
    }

    /// How messages are delimited.
    #[must_use]
    pub const fn framing(&self) -> Framing {
        self.framing
    }

    fn end(&self) -> u64 {
        self.written + self.bytes() as u64
    }

    fn push_chunk(&mut self, chunk: &Bytes) {
        if chunk.len() <= COPY_LEN_MAX {
            self.tail.extend_from_slice(chunk);
            return;
        }
        let tail = self.tail.split().freeze();
        self.segments_len += tail.len() + chunk.len();
        self.segments.push_back(tail);
        self.segments.push_back(chunk.clone());
    }

    /// `waiting` is what was queued before this message.
    fn check_len(&self, len: usize, waiting: usize) -> Result<(), PushError> {
        if len > self.limits.message_len_max {
            return Err(EncodeError::TooLarge { len, limit: self.limits.message_len_max }.into());
        }
        // One message always fits an idle pipe, however the two limits were set.
        if waiting > 0 && waiting + len > self.limits.queue_bytes_max {
            return Err(PushError::Full { messages: self.ends.len(), bytes: waiting });
        }
        Ok(())
    }

    fn full(&self) -> PushError {
        PushError::Full { messages: self.ends.len(), bytes: self.bytes() }
    }
}

#[cfg(test)]
mod tests {
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
        // A short one may find some still.
        push(&mut queue, 1).unwrap();
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
}
