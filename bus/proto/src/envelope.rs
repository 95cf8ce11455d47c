//! The envelope, version 1 (PROTOCOL.md section 2): a 32-byte header, a head of fields, a body.
//!
//! Encoding writes in place; decoding borrows. Nothing a peer sends may panic here, and a decoded
//! [`Envelope`] has been checked whole: iterating its fields cannot fail.

mod encode;

use bytes::Bytes;

use crate::limits::SHARED_LEN_MAX;

pub use encode::{EncodeError, HeadWriter};

/// The first byte of every envelope of version 1.
pub const VERSION: u8 = 0xB1;
/// Bytes of the fixed header.
pub const HEADER_LEN: usize = 32;
/// Why reading an [`Envelope`] cannot fail.
const CHECKED: &str = "an envelope was checked when it was decoded";

/// What a message is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// A service says who it is and what it serves.
    Hello = 0,
    /// An asker wants an answer.
    Request = 1,
    /// The answer, or one part of it.
    Reply = 2,
    /// A published message nobody answers.
    Event = 3,
    /// The asker no longer waits.
    Cancel = 4,
    /// Send me no new requests; I finish those I have.
    Drain = 5,
    /// Are you there?
    Ping = 6,
    /// I am.
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

/// The flag bits of a header; unknown bits are ignored when read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(pub u16);

impl Flags {
    /// No flag.
    pub const NONE: Self = Self(0);
    /// The request may be sent again.
    pub const IDEMPOTENT: Self = Self(1);
    /// The reply is compared, never sent on.
    pub const SHADOW: Self = Self(1 << 1);
    /// Further parts of this reply follow.
    pub const MORE: Self = Self(1 << 2);
    /// The request is traced.
    pub const SAMPLED: Self = Self(1 << 3);
    /// Of a cancel: the asker still waits, and asks for an answer now, with what there is.
    pub const FINISH: Self = Self(1 << 4);

    /// Whether every bit of `other` is set.
    #[inline]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both sets together.
    #[inline]
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// Random, chosen once per asking process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Origin(pub u64);

/// Opaque to everyone but the origin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct RequestId(pub u64);

/// What ties a reply to its request: bytes 8..24 of the header, copied unchanged by a replier.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Correlation {
    /// Who asked.
    pub origin: Origin,
    /// Which of its requests.
    pub request: RequestId,
}

/// The fixed header, without the version and reserved bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What the message is for.
    pub kind: Kind,
    /// Flag bits.
    pub flags: Flags,
    /// Microseconds left until the asker gives up; 0 means no deadline.
    pub ttl_us: u32,
    /// The correlation id.
    pub correlation: Correlation,
    /// Reply: the HTTP status; else 0.
    pub status: u16,
}

impl Header {
    /// A header of `kind` with everything else zero.
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

    /// The reply header to this request: kind 2, the same correlation id, and the request's shadow and sampled bits.
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

    /// Reads the fixed header; the second value is the head's length in bytes, not yet checked against the message.
    ///
    /// # Errors
    /// [`DecodeError::Short`], [`DecodeError::Version`], [`DecodeError::Kind`].
    #[inline]
    pub fn from_bytes(message: &[u8]) -> Result<(Self, u32), DecodeError> {
        let Some(bytes) = message.first_chunk::<HEADER_LEN>() else {
            // A foreign protocol on the port is the likelier story than a truncated envelope of ours.
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

/// Why a message is not an envelope. All of these are the peer's fault; the message is dropped and counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Fewer bytes than a header has.
    #[error("{0} bytes are fewer than the {HEADER_LEN} of a header")]
    Short(usize),
    /// The first byte is not [`VERSION`].
    #[error("version {0:#04x} is not {VERSION:#04x}")]
    Version(u8),
    /// A kind that version 1 does not have.
    #[error("kind {0} is unknown")]
    Kind(u8),
    /// The head length points past the end of the message.
    #[error("head length {head_len} is past the end: {available} bytes follow the header")]
    HeadLength {
        /// The length the header claims.
        head_len: u32,
        /// What the message has after the header.
        available: usize,
    },
    /// A field runs past the head.
    #[error("a field at byte {0} of the head runs past its end")]
    Field(usize),
}

/// A message that has been checked whole: the header, and a head whose fields all lie inside it. It is moved from hand to hand, so
/// it is no larger than the message's [`Bytes`]: what is asked of the header is read where it lies.
#[derive(Clone, Debug)]
pub struct Envelope {
    message: Bytes,
}

impl Envelope {
    /// Checks `message` (one SP message, length prefix removed) and takes it over without a copy.
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

    /// The fixed header, read at each call: ask once where more than one of its fields is wanted.
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

    /// Where the body begins.
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

    /// The body for somebody who may keep it for long: one that lies among other messages is copied, and keeps itself only.
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

    /// A field's value (a slice that [`Envelope::fields`] gave) as owned bytes that share this message's buffer.
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
    /// The fields of an encoded head, as [`crate::HeadWriter`] wrote it.
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
