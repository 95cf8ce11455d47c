//! The envelope, version 1 (PROTOCOL.md section 2): a 32-byte header, a head of fields, a body.
//!
//! Encoding writes in place; decoding borrows. No input from a peer may cause a panic.
//! [`Envelope::decode`] checks a message completely, so iterating over the fields of an
//! [`Envelope`] cannot fail.

mod encode;

use bytes::Bytes;

use crate::limits::SHARED_LEN_MAX;

pub use encode::{EncodeError, HeadWriter};

/// The first byte of every envelope of version 1.
pub const VERSION: u8 = 0xB1;
/// Length of the fixed header in bytes.
pub const HEADER_LEN: usize = 32;
/// The reason why reading an [`Envelope`] cannot fail.
const CHECKED: &str = "an envelope was checked when it was decoded";

/// The kind of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// A peer announces its service, its routes and the topics it wants.
    Hello = 0,
    /// A request; its asker waits for a reply.
    Request = 1,
    /// The reply to a request, or one part of it.
    Reply = 2,
    /// A published message. It has no reply.
    Event = 3,
    /// The asker no longer waits for the reply.
    Cancel = 4,
    /// The sender asks for no new requests, and finishes those it has.
    Drain = 5,
    /// The receiver must answer with a pong.
    Ping = 6,
    /// The answer to a ping.
    Pong = 7,
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            0 => Self::Hello,
            1 => Self::Request,
            2 => Self::Reply,
            3 => Self::Event,
            4 => Self::Cancel,
            5 => Self::Drain,
            6 => Self::Ping,
            7 => Self::Pong,
            _ => return None,
        })
    }
}

/// The flag bits of a header. Unknown bits are ignored when a header is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(pub u16);

impl Flags {
    /// No flag.
    pub const NONE: Self = Self(0);
    /// The request may be sent again.
    pub const IDEMPOTENT: Self = Self(1);
    /// The reply is only compared with another one, and never sent to a client.
    pub const SHADOW: Self = Self(1 << 1);
    /// Further parts of this reply follow.
    pub const MORE: Self = Self(1 << 2);
    /// The request is traced.
    pub const SAMPLED: Self = Self(1 << 3);
    /// Of a cancel: the asker still waits, and asks for an answer now, with what there is.
    pub const FINISH: Self = Self(1 << 4);

    /// True when every bit of `other` is set.
    #[inline]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The bits of both sets.
    #[inline]
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// Identifies an asking process. Chosen at random when the process starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Origin(pub u64);

/// Identifies a request of one origin. Its bits have a meaning only to that origin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct RequestId(pub u64);

/// Ties a reply to its request: bytes 8..24 of the header. A replier copies them unchanged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Correlation {
    /// The asking process.
    pub origin: Origin,
    /// The request of that process.
    pub request: RequestId,
}

/// The fixed header, without the version and reserved bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The kind of the message.
    pub kind: Kind,
    /// Flag bits.
    pub flags: Flags,
    /// Microseconds left until the asker gives up; 0 means no deadline.
    pub ttl_us: u32,
    /// The correlation id.
    pub correlation: Correlation,
    /// The HTTP status of a reply, otherwise 0.
    pub status: u16,
}

impl Header {
    /// A header of this kind whose other fields are zero.
    #[must_use]
    pub const fn new(kind: Kind) -> Self {
        Self {
            kind,
            flags: Flags::NONE,
            ttl_us: 0,
            correlation: Correlation { origin: Origin(0), request: RequestId(0) },
            status: 0,
        }
    }

    /// The header of a reply to this request: kind 2, the same correlation id, and the request's
    /// shadow and sampled bits.
    #[must_use]
    pub const fn reply(&self, status: u16) -> Self {
        let kept = Flags::SHADOW.0 | Flags::SAMPLED.0;
        Self {
            kind: Kind::Reply,
            flags: Flags(self.flags.0 & kept),
            ttl_us: 0,
            correlation: self.correlation,
            status,
        }
    }

    /// The 32 bytes on the wire.
    #[inline]
    #[must_use]
    pub fn to_bytes(&self, head_len: u32) -> [u8; HEADER_LEN] {
        let mut out = [0; HEADER_LEN];
        out[0] = VERSION;
        out[1] = self.kind as u8;
        out[2..4].copy_from_slice(&self.flags.0.to_be_bytes());
        out[4..8].copy_from_slice(&self.ttl_us.to_be_bytes());
        out[8..16].copy_from_slice(&self.correlation.origin.0.to_be_bytes());
        out[16..24].copy_from_slice(&self.correlation.request.0.to_be_bytes());
        out[24..26].copy_from_slice(&self.status.to_be_bytes());
        out[28..32].copy_from_slice(&head_len.to_be_bytes());
        out
    }

    /// Reads the fixed header. The second value is the head's length in bytes as the header states
    /// it; it is not yet compared with the length of the message.
    ///
    /// # Errors
    /// [`DecodeError::Short`], [`DecodeError::Version`], [`DecodeError::Kind`].
    #[inline]
    pub fn from_bytes(message: &[u8]) -> Result<(Self, u32), DecodeError> {
        let Some(bytes) = message.first_chunk::<HEADER_LEN>() else {
            // A first byte that differs means a foreign protocol on the port rather than a
            // truncated envelope.
            return Err(match message.first() {
                Some(&version) if version != VERSION => DecodeError::Version(version),
                _ => DecodeError::Short(message.len()),
            });
        };
        if bytes[0] != VERSION {
            return Err(DecodeError::Version(bytes[0]));
        }
        let kind = Kind::from_byte(bytes[1]).ok_or(DecodeError::Kind(bytes[1]))?;
        Ok((Self::of_kind(kind, bytes), head_len(bytes)))
    }

    #[inline]
    fn of_kind(kind: Kind, bytes: &[u8; HEADER_LEN]) -> Self {
        Self {
            kind,
            flags: Flags(u16::from_be_bytes([bytes[2], bytes[3]])),
            ttl_us: u32_at(bytes, 4),
            correlation: Correlation {
                origin: Origin(u64_at(bytes, 8)),
                request: RequestId(u64_at(bytes, 16)),
            },
            status: u16::from_be_bytes([bytes[24], bytes[25]]),
        }
    }
}

#[inline]
fn head_len(bytes: &[u8; HEADER_LEN]) -> u32 {
    u32_at(bytes, 28)
}

#[inline]
fn u32_at(bytes: &[u8; HEADER_LEN], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

#[inline]
fn u64_at(bytes: &[u8; HEADER_LEN], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) << 32 | u64::from(u32_at(bytes, at + 4))
}

/// Why a message is not an envelope. The peer is at fault; the message is dropped and counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The message is shorter than a header.
    #[error("{0} bytes are fewer than the {HEADER_LEN} of a header")]
    Short(usize),
    /// The first byte is not [`VERSION`].
    #[error("version {0:#04x} is not {VERSION:#04x}")]
    Version(u8),
    /// The kind is not one of version 1.
    #[error("kind {0} is unknown")]
    Kind(u8),
    /// The head length points past the end of the message.
    #[error("head length {head_len} is past the end: {available} bytes follow the header")]
    HeadLength {
        /// The length the header claims.
        head_len: u32,
        /// Bytes after the header in the message.
        available: usize,
    },
    /// A field runs past the head.
    #[error("a field at byte {0} of the head runs past its end")]
    Field(usize),
}

/// A checked message: a header, and a head whose fields all lie inside it. It is moved often, so it
/// holds only the message's [`Bytes`] and reads the header from there on each call.
#[derive(Clone, Debug)]
pub struct Envelope {
    message: Bytes,
}

impl Envelope {
    /// Checks `message`, one SP message without its length prefix, and takes ownership of it
    /// without a copy.
    ///
    /// # Errors
    /// Any [`DecodeError`].
    pub fn decode(message: Bytes) -> Result<Self, DecodeError> {
        let (_, head_len) = Header::from_bytes(&message)?;
        let available = message.len() - HEADER_LEN;
        let body_at = match usize::try_from(head_len) {
            Ok(len) if len <= available => HEADER_LEN + len,
            _ => return Err(DecodeError::HeadLength { head_len, available }),
        };
        check_fields(&message[HEADER_LEN..body_at])?;
        Ok(Self { message })
    }

    /// The fixed header. It is decoded on each call, so call this once when several fields are
    /// needed.
    #[inline]
    #[must_use]
    pub fn header(&self) -> Header {
        let bytes = self.header_bytes();
        Header::of_kind(Kind::from_byte(bytes[1]).expect(CHECKED), bytes)
    }

    #[inline]
    fn header_bytes(&self) -> &[u8; HEADER_LEN] {
        self.message.first_chunk().expect(CHECKED)
    }

    /// Offset of the body in the message.
    #[inline]
    fn body_at(&self) -> usize {
        HEADER_LEN + head_len(self.header_bytes()) as usize
    }

    /// The head's fields in order.
    #[inline]
    #[must_use]
    pub fn fields(&self) -> Fields<'_> {
        Fields { head: &self.message[HEADER_LEN..self.body_at()] }
    }

    /// The head as it was encoded.
    #[must_use]
    pub fn head_bytes(&self) -> &[u8] {
        &self.message[HEADER_LEN..self.body_at()]
    }

    /// The first field called `name` (lower case).
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&[u8]> {
        self.fields().find(|(found, _)| *found == name.as_bytes()).map(|(_, value)| value)
    }

    /// The body, a slice of the message: no copy.
    #[inline]
    #[must_use]
    pub fn body(&self) -> Bytes {
        self.message.slice(self.body_at()..)
    }

    /// The body for a caller that keeps it for long. A body up to [`SHARED_LEN_MAX`] bytes is
    /// copied, because a slice would keep the read buffer with all the other messages in it.
    #[must_use]
    pub fn body_to_keep(&self) -> Bytes {
        let body = self.body_bytes();
        if body.len() > SHARED_LEN_MAX { self.body() } else { Bytes::copy_from_slice(body) }
    }

    /// The body, borrowed.
    #[inline]
    #[must_use]
    pub fn body_bytes(&self) -> &[u8] {
        &self.message[self.body_at()..]
    }

    /// A field's value as owned bytes that share this message's buffer. `value` is a slice that
    /// [`Envelope::fields`] returned.
    ///
    /// # Panics
    /// When `value` does not lie inside this message.
    #[inline]
    #[must_use]
    pub fn share(&self, value: &[u8]) -> Bytes {
        self.message.slice_ref(value)
    }

    /// The whole message: header, head and body.
    #[inline]
    #[must_use]
    pub const fn message(&self) -> &Bytes {
        &self.message
    }
}

fn check_fields(head: &[u8]) -> Result<(), DecodeError> {
    let mut at = 0;
    while at < head.len() {
        let Some(lengths) = head[at..].first_chunk::<4>() else { return Err(DecodeError::Field(at)) };
        let (name_len, value_len) = field_lengths(*lengths);
        let end = at + 4 + name_len + value_len;
        if end > head.len() {
            return Err(DecodeError::Field(at));
        }
        at = end;
    }
    Ok(())
}

#[inline]
fn field_lengths(bytes: [u8; 4]) -> (usize, usize) {
    (
        usize::from(u16::from_be_bytes([bytes[0], bytes[1]])),
        usize::from(u16::from_be_bytes([bytes[2], bytes[3]])),
    )
}

/// The fields of a checked head, as (name, value) pairs borrowed from it.
#[derive(Clone, Debug)]
pub struct Fields<'a> {
    head: &'a [u8],
}

impl<'a> Fields<'a> {
    /// The fields of a head that [`crate::HeadWriter`] encoded.
    #[must_use]
    pub fn of(head: &'a [u8]) -> Self {
        Self { head }
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = (&'a [u8], &'a [u8]);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let (lengths, rest) = self.head.split_first_chunk::<4>()?;
        let (name_len, value_len) = field_lengths(*lengths);
        let (name, rest) = rest.split_at_checked(name_len)?;
        let (value, rest) = rest.split_at_checked(value_len)?;
        self.head = rest;
        Some((name, value))
    }
}
