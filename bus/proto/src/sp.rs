//! The SP layer (PROTOCOL.md section 1): the opening and the framing of a byte stream, for TCP and
//! IPC.
//!
//! It is incremental: any split of the stream is accepted, including an opening and messages in one
//! segment. A length above the limit is an error before memory is reserved. This module does no
//! I/O. Sources: nanomsg's `rfc/sp-tcp-mapping-01.txt`, `rfc/sp-ipc-mapping-01.txt`,
//! `rfc/sp-protocol-ids-01.txt`.

use bytes::{Buf, Bytes, BytesMut};

/// SP's protocol id of BUS version 0.
pub const PROTOCOL_BUS: u16 = 0x0070;

/// The opening that both sides send first: `\0SP\0`, the protocol id, two reserved zero bytes.
pub const OPENING: [u8; 8] = {
    let id = PROTOCOL_BUS.to_be_bytes();
    [0, b'S', b'P', 0, id[0], id[1], 0, 0]
};

/// How messages are delimited on a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// A length as big-endian u64.
    Tcp,
    /// `01`, then a length as big-endian u64.
    Ipc,
}

/// The message type byte of IPC, the only one that SP defines.
const IPC_MESSAGE: u8 = 1;

impl Framing {
    /// Length in bytes of the prefix of a message.
    #[inline]
    #[must_use]
    pub const fn prefix_len(self) -> usize {
        match self {
            Self::Tcp => 8,
            Self::Ipc => 9,
        }
    }

    /// The prefix of a payload of `len` bytes. It is right-aligned in nine bytes: use `prefix[9 -
    /// prefix_len..]`.
    #[inline]
    #[must_use]
    pub fn prefix(self, len: usize) -> [u8; 9] {
        let mut prefix = [0; 9];
        prefix[0] = IPC_MESSAGE;
        prefix[1..].copy_from_slice(&(len as u64).to_be_bytes());
        prefix
    }
}

/// Why a stream is not valid SP for BUS. The peer is at fault; the pipe is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpError {
    /// The opening is not an SP opening.
    #[error("the peer's opening is not an SP opening")]
    Opening,
    /// The opening names another SP protocol.
    #[error("the peer speaks SP protocol {0:#06x}, not BUS ({PROTOCOL_BUS:#06x})")]
    Protocol(u16),
    /// IPC only: the byte in front of the length is not 1.
    #[error("IPC message type {0} is not {IPC_MESSAGE}")]
    MessageType(u8),
    /// A message longer than the limit.
    #[error("a message of {len} bytes is over the limit of {limit}")]
    TooLong {
        /// The length in the prefix.
        len: u64,
        /// The limit in force.
        limit: usize,
    },
}

/// Removes the opening, then messages, from the front of a buffer that the driver fills.
#[derive(Debug)]
pub struct Decoder {
    framing: Framing,
    message_len_max: usize,
    opened: bool,
}

impl Decoder {
    /// A decoder for a stream of which nothing has been read.
    #[must_use]
    pub const fn new(framing: Framing, message_len_max: usize) -> Self {
        Self { framing, message_len_max, opened: false }
    }

    /// True when the peer's opening has been read.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        self.opened
    }

    /// The next complete message, without a copy; `None` when more bytes are needed.
    ///
    /// # Errors
    /// [`SpError`]: the stream cannot be continued, and the pipe must be closed.
    #[inline]
    pub fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Bytes>, SpError> {
        if !self.opened && !self.decode_opening(buffer)? {
            return Ok(None);
        }
        let Some(len) = self.message_len(buffer)? else { return Ok(None) };
        let prefix_len = self.framing.prefix_len();
        if buffer.len() < prefix_len + len {
            return Ok(None);
        }
        buffer.advance(prefix_len);
        Ok(Some(buffer.split_to(len).freeze()))
    }

    /// Bytes missing from the message at the front of `buffer`; 0 when its length is not known yet.
    /// Call this after [`Decoder::decode`] returned `None`: the length has then been checked
    /// against the limit.
    #[must_use]
    pub fn missing(&self, buffer: &BytesMut) -> usize {
        match self.message_len(buffer) {
            Ok(Some(len)) if self.opened => (self.framing.prefix_len() + len).saturating_sub(buffer.len()),
            _ => 0,
        }
    }

    fn decode_opening(&mut self, buffer: &mut BytesMut) -> Result<bool, SpError> {
        let seen = buffer.len().min(OPENING.len());
        if buffer[..seen] != OPENING[..seen] {
            let magic = seen.min(4);
            let protocol = buffer.get(4..6).map(|id| u16::from_be_bytes([id[0], id[1]]));
            return Err(match protocol {
                Some(id) if buffer[..magic] == OPENING[..magic] && id != PROTOCOL_BUS => {
                    SpError::Protocol(id)
                }
                _ => SpError::Opening,
            });
        }
        if seen < OPENING.len() {
            return Ok(false);
        }
        buffer.advance(OPENING.len());
        self.opened = true;
        Ok(true)
    }

    #[inline]
    fn message_len(&self, buffer: &BytesMut) -> Result<Option<usize>, SpError> {
        let length = match self.framing {
            Framing::Tcp => &buffer[..],
            Framing::Ipc => match buffer.split_first() {
                None => return Ok(None),
                Some((&IPC_MESSAGE, rest)) => rest,
                Some((&other, _)) => return Err(SpError::MessageType(other)),
            },
        };
        let Some(&bytes) = length.first_chunk::<8>() else { return Ok(None) };
        let len = u64::from_be_bytes(bytes);
        match usize::try_from(len) {
            Ok(len) if len <= self.message_len_max => Ok(Some(len)),
            _ => Err(SpError::TooLong { len, limit: self.message_len_max }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(framing: Framing, messages: &[&[u8]]) -> Vec<u8> {
        let mut out = OPENING.to_vec();
        for message in messages {
            out.extend_from_slice(&framing.prefix(message.len())[9 - framing.prefix_len()..]);
            out.extend_from_slice(message);
        }
        out
    }

    fn decode_in_steps(framing: Framing, bytes: &[u8], step: usize) -> Vec<Bytes> {
        let mut decoder = Decoder::new(framing, 64);
        let mut buffer = BytesMut::new();
        let mut messages = Vec::new();
        for chunk in bytes.chunks(step) {
            buffer.extend_from_slice(chunk);
            while let Some(message) = decoder.decode(&mut buffer).unwrap() {
                messages.push(message);
            }
        }
        assert!(buffer.is_empty());
        messages
    }

    #[test]
    fn every_split_of_the_stream_gives_the_same_messages() {
        for framing in [Framing::Tcp, Framing::Ipc] {
            let bytes = stream(framing, &[b"hello", b"", &[7; 64], b"x"]);
            for step in 1..=bytes.len() {
                let messages = decode_in_steps(framing, &bytes, step);
                assert_eq!(messages, [&b"hello"[..], b"", &[7; 64], b"x"], "step {step}");
            }
        }
    }

    #[test]
    fn golden_openings_and_prefixes() {
        assert_eq!(OPENING, [0x00, 0x53, 0x50, 0x00, 0x00, 0x70, 0x00, 0x00]);
        assert_eq!(Framing::Ipc.prefix(5), [1, 0, 0, 0, 0, 0, 0, 0, 5]);
        assert_eq!(Framing::Tcp.prefix(5)[1..], [0, 0, 0, 0, 0, 0, 0, 5]);
    }

    #[test]
    fn an_opening_that_differs_in_any_byte_is_refused_at_that_byte() {
        for at in 0..OPENING.len() {
            let mut bytes = OPENING;
            bytes[at] ^= 0x10;
            let mut decoder = Decoder::new(Framing::Tcp, 64);
            let mut buffer = BytesMut::from(&bytes[..=at]);
            assert!(decoder.decode(&mut buffer).is_err(), "byte {at}");
        }
        let mut pair = BytesMut::from(&[0, b'S', b'P', 0, 0, 0x10, 0, 0][..]);
        assert_eq!(Decoder::new(Framing::Tcp, 64).decode(&mut pair), Err(SpError::Protocol(0x10)));
        let mut reserved = BytesMut::from(&[0, b'S', b'P', 0, 0, 0x70, 0, 1][..]);
        assert_eq!(
            Decoder::new(Framing::Tcp, 64).decode(&mut reserved),
            Err(SpError::Opening),
            "BUS, but not SP"
        );
    }

    #[test]
    fn a_length_over_the_limit_is_refused_before_the_payload_comes() {
        for len in [65, u64::from(u32::MAX) + 1, u64::MAX] {
            let mut buffer = BytesMut::from(&OPENING[..]);
            buffer.extend_from_slice(&len.to_be_bytes());
            let error = Decoder::new(Framing::Tcp, 64).decode(&mut buffer).unwrap_err();
            assert_eq!(error, SpError::TooLong { len, limit: 64 });
        }
    }

    #[test]
    fn ipc_refuses_another_message_type() {
        let mut buffer = BytesMut::from(&OPENING[..]);
        buffer.extend_from_slice(&[2]);
        assert_eq!(Decoder::new(Framing::Ipc, 64).decode(&mut buffer), Err(SpError::MessageType(2)));
    }
}
