//! Memory that the connections of a worker share.
//!
//! Invariant: no connection holds any of it from one turn of the loop to the next, but for a
//! response that its client does not take and for a request that is asked.

use std::cell::RefCell;
use std::mem;
use std::time::SystemTime;

use bytes::BytesMut;
use http1::Head;

use crate::forward::Asked;
use crate::worker::Worker;

/// What one read takes at most. A body of fewer bytes is copied, which costs less than the memory
/// that it would hold.
pub(super) const READ_LEN_MAX: usize = 8 << 10;

/// A response's memory that grew above this is not kept.
const WRITTEN_LEN_MAX: usize = 16 << 10;

/// Places of requests that are kept for further ones: as many as are usually under way at once.
const PLACES_MAX: usize = 1024;

/// A request that is asked lies here, and not in the task of its connection: most connections have
/// none most of the time.
pub(super) type Place = Box<Option<Asked>>;

/// The memory that one worker's connections share.
#[derive(Debug, Default)]
pub struct Buffers {
    /// What is read into; empty between two reads.
    pub(super) read: RefCell<BytesMut>,
    /// Where the parts of a head are noted.
    pub(super) head: RefCell<Head>,
    written: RefCell<Vec<u8>>,
    places: RefCell<Vec<Place>>,
    date: RefCell<Date>,
}

impl Buffers {
    /// An empty buffer for a response.
    #[inline]
    pub(super) fn take_written(&self) -> Vec<u8> {
        self.written.take()
    }

    /// Takes back the buffer of a response that is written.
    #[inline]
    pub(super) fn give_back_written(&self, mut written: Vec<u8>) {
        if written.capacity() <= WRITTEN_LEN_MAX {
            written.clear();
            self.written.replace(written);
        }
    }

    /// A place with this request.
    #[inline]
    pub(super) fn place(&self, asked: Asked) -> Place {
        let mut place = self.places.borrow_mut().pop().unwrap_or_default();
        *place = Some(asked);
        place
    }

    /// Takes back the place of a request that is answered.
    #[inline]
    pub(super) fn give_back_place(&self, mut place: Place) {
        *place = None;
        let mut places = self.places.borrow_mut();
        if places.len() < PLACES_MAX {
            places.push(place);
        }
    }

    /// The `Date` of a response, as exact as the worker's coarse clock.
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
