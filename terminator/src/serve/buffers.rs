//! Memory that the connections of one worker share, so that an idle connection holds none.
//!
//! Owns the buffers for reading, for heads and for responses, the boxes of requests that wait for
//! an answer, and the cached `Date`. Leaves the buffers of encoded heads to `worker`. Invariant: no
//! connection keeps a buffer from one poll of its task to the next, except for a response that the
//! client has not read yet and a request that waits for its answer.

use std::cell::RefCell;
use std::mem;
use std::time::SystemTime;

use bytes::BytesMut;
use http1::Head;

use crate::forward::Asked;
use crate::worker::Worker;

/// Most bytes of one read. A body of at most this length is copied out of the read buffer, which
/// costs less than keeping the buffer allocated for it.
pub(super) const READ_LEN_MAX: usize = 8 << 10;

/// A response buffer that grew above this is freed.
const WRITTEN_LEN_MAX: usize = 16 << 10;

/// Boxes kept for reuse: more requests are seldom in flight at once.
const BOXES_MAX: usize = 1024;

/// A request that waits for its answer, on the heap, because most connections have none most of the
/// time and their tasks should be small. `None` only while the box waits for reuse.
pub(super) type AskedBox = Box<Option<Asked>>;

/// The memory that the connections of one worker share.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    /// Where bytes are read into; its content is only valid within one poll.
    pub(super) read: RefCell<BytesMut>,
    /// Where `http1` notes the parts of a head.
    pub(super) head: RefCell<Head>,
    written: RefCell<Vec<u8>>,
    boxes: RefCell<Vec<AskedBox>>,
    date: RefCell<Date>,
}

impl Buffers {
    /// Takes an empty buffer for a response.
    #[inline]
    pub(super) fn take_written(&self) -> Vec<u8> {
        self.written.take()
    }

    /// Takes back the buffer of a response that has been written.
    #[inline]
    pub(super) fn give_back_written(&self, mut written: Vec<u8>) {
        if written.capacity() <= WRITTEN_LEN_MAX {
            written.clear();
            self.written.replace(written);
        }
    }

    /// Boxes a request.
    #[inline]
    pub(super) fn box_asked(&self, asked: Asked) -> AskedBox {
        let mut boxed = self.boxes.borrow_mut().pop().unwrap_or_default();
        *boxed = Some(asked);
        boxed
    }

    /// Takes back the box of a request that has been answered.
    #[inline]
    pub(super) fn give_back_box(&self, mut boxed: AskedBox) {
        *boxed = None;
        let mut boxes = self.boxes.borrow_mut();
        if boxes.len() < BOXES_MAX {
            boxes.push(boxed);
        }
    }

    /// The value of `Date` for a response, formatted once per tick of the worker's coarse clock.
    #[inline]
    pub(super) fn date(&self, worker: &Worker) -> std::cell::Ref<'_, str> {
        let now_ms = worker.connections.now_ms();
        if self.date.borrow().at_ms != Some(now_ms) {
            let text = httpdate::fmt_http_date(SystemTime::now());
            drop(mem::replace(&mut *self.date.borrow_mut(), Date { text, at_ms: Some(now_ms) }));
        }
        std::cell::Ref::map(self.date.borrow(), |date| date.text.as_str())
    }
}

#[derive(Debug, Default)]
struct Date {
    text: String,
    at_ms: Option<u64>,
}
