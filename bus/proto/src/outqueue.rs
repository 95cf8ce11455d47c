//! The out-queue of one pipe: messages encoded in place, bounded in number and bytes, written in
//! batches.
//!
//! Prefix, header and head are encoded into one growing buffer. A large body is queued as the slice
//! it came as; a small one is copied next to its head (docs/adr/0002). Positions are offsets in the
//! pipe's byte stream, so one comparison tells whether a message was written.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes, BytesMut};

use crate::envelope::{EncodeError, HEADER_LEN, HeadWriter, Header};
use crate::limits::{COPY_LEN_MAX, Limits};
use crate::sp::{Framing, OPENING};

/// Capacity that an empty queue keeps: enough for the batches of a busy pipe. A larger buffer,
/// which a stalled peer caused, is freed.
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

/// The bytes that a pipe still has to write, and the offsets at which its messages end.
///
/// Holds at most `queue_bytes_max` bytes. If that is less than twice `message_len_max`, it holds at
/// most half of it plus one message.
#[derive(Debug)]
pub struct OutQueue {
    framing: Framing,
    limits: Limits,
    /// While at most this many bytes wait, every message is accepted. It is at least half of
    /// `queue_bytes_max`; otherwise a limit near the length of one message would make every
    /// non-empty queue full.
    roomy_max: usize,
    /// Chunks in front of `tail`, in order.
    segments: VecDeque<Bytes>,
    segments_len: usize,
    /// The buffer that messages are encoded into.
    tail: BytesMut,
    /// Stream offset of the end of each waiting message.
    ends: VecDeque<u64>,
    /// Stream offset of the end of everything written.
    written: u64,
    /// Stream offset at which writing stops for now; `u64::MAX` for no stop.
    held_at: u64,
}

impl OutQueue {
    /// A queue that starts with the SP opening.
    #[must_use]
    pub fn new(framing: Framing, limits: Limits) -> Self {
        let mut queue = Self::without_opening(framing, limits);
        queue.tail.extend_from_slice(&OPENING);
        queue
    }

    /// A queue whose bytes are moved to another queue of the same framing. It has no opening.
    #[must_use]
    pub fn without_opening(framing: Framing, limits: Limits) -> Self {
        Self {
            framing,
            limits,
            roomy_max: limits.queue_bytes_max - limits.message_len_max.min(limits.queue_bytes_max / 2),
            segments: VecDeque::new(),
            segments_len: 0,
            tail: BytesMut::new(),
            ends: VecDeque::new(),
            written: 0,
            held_at: u64::MAX,
        }
    }

    /// Queues one message. Returns the stream offset of its end.
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

    /// Queues bytes that another queue of the same framing encoded: `messages` whole messages in
    /// `chunks`.
    ///
    /// # Errors
    /// [`PushError::Full`]; the queue is then as it was.
    pub fn push_encoded(&mut self, chunks: &[Bytes], messages: usize) -> Result<(), PushError> {
        let len = chunks.iter().map(Bytes::len).sum::<usize>();
        let fits = self.fits(len, self.bytes());
        if !fits || self.ends.len() + messages > self.limits.queue_messages_max {
            return Err(self.full());
        }
        for chunk in chunks {
            self.push_chunk(chunk);
        }
        // The end of each message is not known here: all of them count as waiting until the last
        // one is written.
        let end = self.end();
        self.ends.extend(std::iter::repeat_n(end, messages));
        Ok(())
    }

    /// Lets only the first `messages` messages be written. A batch of [`OutQueue::push_encoded`] is
    /// not divided: a batch that does not fit waits, unless it is the first.
    pub fn hold_behind(&mut self, messages: usize) {
        let is_end = |at: usize| self.ends.get(at + 1).is_none_or(|next| *next != self.ends[at]);
        let fitting = (0..messages.min(self.ends.len())).rev().find(|at| is_end(*at));
        let held_at = fitting.or(self.ends.len().checked_sub(1).map(|_| 0)).map(|at| self.ends[at]);
        self.held_at = held_at.unwrap_or(u64::MAX);
    }

    /// Lets everything be written again.
    pub const fn release(&mut self) {
        self.held_at = u64::MAX;
    }

    /// Bytes that may be written now.
    #[inline]
    #[must_use]
    pub fn writable(&self) -> usize {
        let held = self.held_at.saturating_sub(self.written);
        self.bytes().min(usize::try_from(held).unwrap_or(usize::MAX))
    }

    /// Removes up to `messages` waiting messages. Returns their bytes and their number.
    pub fn take_some(&mut self, messages: usize) -> (Vec<Bytes>, usize) {
        self.hold_behind(messages);
        let mut len = self.writable();
        self.release();
        let (mut chunks, before) = (Vec::new(), self.messages());
        for chunk in self.segments.iter().chain(&[self.tail.clone().freeze()]) {
            let taken = len.min(chunk.len());
            len -= taken;
            if taken > 0 {
                chunks.push(chunk.slice(..taken));
            }
        }
        self.advance(chunks.iter().map(Bytes::len).sum());
        (chunks, before - self.messages())
    }

    /// Removes everything that waits. Returns its bytes as chunks and the number of messages.
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

    /// Fills `slices` from the front of the queue, as far as writing is allowed. Returns how many
    /// were filled.
    pub fn fill<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        if self.held_at != u64::MAX {
            return self.fill_unheld(slices);
        }
        let chunks = self.segments.iter().map(|chunk| &chunk[..]).chain([&self.tail[..]]);
        let mut filled = 0;
        for (slice, chunk) in slices.iter_mut().zip(chunks.filter(|chunk| !chunk.is_empty())) {
            *slice = IoSlice::new(chunk);
            filled += 1;
        }
        filled
    }

    /// Separate from [`OutQueue::fill`], which is on the hot path.
    #[cold]
    fn fill_unheld<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let chunks = self.segments.iter().map(|chunk| &chunk[..]).chain([&self.tail[..]]);
        let (mut filled, mut left) = (0, self.writable());
        for (slice, chunk) in slices.iter_mut().zip(chunks.filter(|chunk| !chunk.is_empty())) {
            if left == 0 {
                break;
            }
            let chunk = &chunk[..chunk.len().min(left)];
            left -= chunk.len();
            *slice = IoSlice::new(chunk);
            filled += 1;
        }
        filled
    }

    /// Removes `len` bytes from the front, which were written.
    ///
    /// # Panics
    /// When `len` is larger than [`OutQueue::bytes`].
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

    /// Waiting bytes.
    #[inline]
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.segments_len + self.tail.len()
    }

    /// Waiting messages, including a partly written one.
    #[inline]
    #[must_use]
    pub fn messages(&self) -> usize {
        self.ends.len()
    }

    /// True when nothing waits.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes() == 0
    }

    /// True when a message of any length up to the limit would be accepted.
    #[inline]
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.ends.len() < self.limits.queue_messages_max && self.bytes() <= self.roomy_max
    }

    /// True when less waits than half of what the limits allow.
    #[must_use]
    pub fn is_below_half(&self) -> bool {
        self.ends.len() < self.limits.queue_messages_max / 2 && self.bytes() < self.limits.queue_bytes_max / 2
    }

    /// Stream offset of the end of everything written.
    #[inline]
    #[must_use]
    pub const fn written(&self) -> u64 {
        self.written
    }

    /// Stream offset of the end of everything queued.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.written + self.bytes() as u64
    }

    /// How messages are delimited.
    #[must_use]
    pub const fn framing(&self) -> Framing {
        self.framing
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

    /// Checks both limits for a message of `len` bytes. `waiting` is the number of bytes queued
    /// before it.
    fn check_len(&self, len: usize, waiting: usize) -> Result<(), PushError> {
        if len > self.limits.message_len_max {
            return Err(EncodeError::TooLarge { len, limit: self.limits.message_len_max }.into());
        }
        if !self.fits(len, waiting) {
            return Err(PushError::Full { messages: self.ends.len(), bytes: waiting });
        }
        Ok(())
    }

    /// True when `len` bytes may be queued behind `waiting` bytes. A message always fits while
    /// [`OutQueue::has_room`] is true, and anything fits into an empty queue.
    fn fits(&self, len: usize, waiting: usize) -> bool {
        let is_roomy = waiting <= self.roomy_max && len <= self.limits.message_len_max;
        waiting + len <= self.limits.queue_bytes_max || is_roomy || waiting == 0
    }

    fn full(&self) -> PushError {
        PushError::Full { messages: self.ends.len(), bytes: self.bytes() }
    }
}

#[cfg(test)]
mod tests;
