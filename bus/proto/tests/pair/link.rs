//! A connection in virtual time: bytes leave an out-queue in pieces and arrive later and in order,
//! or not at all.
//!
//! Bytes of a stream are never reordered or duplicated, as with a real transport. A stream may be
//! split anywhere.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::time::{Duration, Instant};

use bus_proto::limits::MESSAGE_LEN_MAX;
use bus_proto::outqueue::OutQueue;
use bus_proto::sp::Decoder;
use bus_proto::{Framing, PipeId};
use bytes::{Bytes, BytesMut};

/// The faults of connections and services.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Weather {
    /// True when writes stop after any number of bytes.
    pub(crate) splits: bool,
    /// The longest delay of a piece.
    pub(crate) delay_max: Duration,
    /// Upper bound of occasional pauses in which nothing arrives; zero for none.
    pub(crate) pause_max: Duration,
    /// True when connections break and lose what is in transit.
    pub(crate) breaks: bool,
    /// True when services send replies twice and out of order.
    pub(crate) duplicates: bool,
    /// True when a hostile peer sends messages of other peers on its own pipe.
    pub(crate) hostile: bool,
    /// True when services drain and are restarted.
    pub(crate) restarts: bool,
}

/// One direction of a connection.
#[derive(Debug)]
struct Way {
    writable_at: Instant,
    pieces: VecDeque<(Instant, Vec<u8>)>,
    decoder: Decoder,
    buffer: BytesMut,
}

impl Way {
    fn new(now: Instant, framing: Framing) -> Self {
        let decoder = Decoder::new(framing, MESSAGE_LEN_MAX);
        Self { writable_at: now, pieces: VecDeque::new(), decoder, buffer: BytesMut::new() }
    }

    fn write(&mut self, now: Instant, out: &mut OutQueue, weather: &Weather, rng: &mut fastrand::Rng) {
        if out.is_empty() || now < self.writable_at {
            return;
        }
        let len = if weather.splits { rng.usize(1..=out.bytes().min(3000)) } else { usize::MAX };
        let mut slices = [IoSlice::new(&[]); 8];
        let filled = out.fill(&mut slices);
        let mut piece = Vec::new();
        for slice in &slices[..filled] {
            piece.extend_from_slice(&slice[..slice.len().min(len - piece.len())]);
        }
        out.advance(piece.len());
        let delay = weather.delay_max.mul_f64(rng.f64()) + Duration::from_micros(10);
        let after = self.pieces.back().map_or(now, |(at, _)| *at);
        self.pieces.push_back((after.max(now + delay), piece));
        self.writable_at = now + Duration::from_micros(rng.u64(1..200));
    }

    fn read(&mut self, now: Instant) -> Vec<Bytes> {
        while let Some((_, piece)) = self.pieces.pop_front_if(|(at, _)| *at <= now) {
            self.buffer.extend_from_slice(&piece);
        }
        std::iter::from_fn(|| self.decoder.decode(&mut self.buffer).expect("our own stream is sound"))
            .collect()
    }

    fn arrives(&self) -> Option<Instant> {
        self.pieces.front().map(|(at, _)| *at)
    }

    fn writes(&self, out: &OutQueue) -> Option<Instant> {
        (!out.is_empty()).then_some(self.writable_at)
    }
}

/// A connection between the asker and one service.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) asker: PipeId,
    pub(crate) service: PipeId,
    paused_until: Instant,
    there: Way,
    back: Way,
}

impl Link {
    pub(crate) fn new(now: Instant, framing: Framing, asker: PipeId, service: PipeId) -> Self {
        let way = || Way::new(now, framing);
        Self { asker, service, paused_until: now, there: way(), back: way() }
    }

    pub(crate) fn pause(&mut self, until: Instant) {
        self.paused_until = self.paused_until.max(until);
    }

    pub(crate) fn write(
        &mut self,
        now: Instant,
        [asker, service]: [&mut OutQueue; 2],
        weather: &Weather,
        rng: &mut fastrand::Rng,
    ) {
        self.there.write(now, asker, weather, rng);
        self.back.write(now, service, weather, rng);
    }

    /// The bytes that have arrived at the service and at the asker.
    pub(crate) fn read(&mut self, now: Instant) -> (Vec<Bytes>, Vec<Bytes>) {
        if now < self.paused_until {
            return (Vec::new(), Vec::new());
        }
        (self.there.read(now), self.back.read(now))
    }

    /// True when nothing is in transit.
    pub(crate) fn is_quiet(&self) -> bool {
        self.there.pieces.is_empty() && self.back.pieces.is_empty()
    }

    /// When the next piece arrives or the next write is possible.
    pub(crate) fn next(&self, [asker, service]: [&OutQueue; 2]) -> Option<Instant> {
        let (there, back) = (&self.there, &self.back);
        let writes = there.writes(asker).into_iter().chain(back.writes(service)).min();
        let arrives = there.arrives().into_iter().chain(back.arrives()).min();
        writes.into_iter().chain(arrives.map(|at| at.max(self.paused_until))).min()
    }
}
