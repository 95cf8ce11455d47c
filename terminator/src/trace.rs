//! The two identifiers of a request: `x-request-id` and `traceparent` (W3C Trace Context).
//!
//! Owns validating those that a client sent and generating the missing ones, in buffers of fixed
//! size. Leaves writing the headers to `request` and `response`. Invariant: a generated request id
//! equals the generated trace id when both come from the same random bits, so that log lines and
//! traces can be joined.

use crate::limits::REQUEST_ID_BYTES;

/// The header that carries the request id, in requests to services and in responses.
pub const REQUEST_ID: &str = "x-request-id";

const HEX: &[u8; 16] = b"0123456789abcdef";

/// The id of a request.
#[derive(Debug)]
pub enum RequestId<'a> {
    /// Sent by the client.
    Kept(&'a [u8]),
    /// Generated: 32 hexadecimal digits.
    Made([u8; 32]),
}

impl<'a> RequestId<'a> {
    /// The id that a client sent; `None` when it is empty, longer than [`REQUEST_ID_BYTES`], or has
    /// bytes that need escaping in logs, URLs or JSON.
    pub(crate) fn kept(value: &'a [u8]) -> Option<Self> {
        let sane = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.~+/=:@".contains(byte);
        let kept = (1..=REQUEST_ID_BYTES).contains(&value.len()) && value.iter().all(sane);
        kept.then_some(Self::Kept(value))
    }

    /// An id from 128 random bits.
    #[must_use]
    pub fn made(random: [u64; 2]) -> Self {
        let mut text = [0; 32];
        write_hex(&mut text[..16], random[0]);
        write_hex(&mut text[16..], random[1]);
        Self::Made(text)
    }

    /// The id; ASCII.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Kept(text) => text,
            Self::Made(text) => text,
        }
    }
}

/// Bytes of a traceparent of version 00 (W3C Trace Context section 3.2.2).
const TRACEPARENT_BYTES: usize = 55;

/// A traceparent of version 00.
#[derive(Debug)]
pub(crate) struct Traceparent {
    text: [u8; TRACEPARENT_BYTES],
    kept: bool,
}

impl Traceparent {
    /// The traceparent that a client sent; `None` unless it is `00-TRACE-PARENT-FLAGS` in lower
    /// case with two ids that are not zero. A later version is read as version 00, as the standard
    /// asks, and may have further members behind a dash.
    pub(crate) fn kept(value: &[u8]) -> Option<Self> {
        let (first, rest) = value.split_first_chunk::<TRACEPARENT_BYTES>()?;
        let hex = |bytes: &[u8]| bytes.iter().all(|byte| HEX.contains(byte));
        let (version, trace, parent) = (&first[..2], &first[3..35], &first[36..52]);
        let dashes = first[2] == b'-' && first[35] == b'-' && first[52] == b'-';
        let digits = hex(version) && hex(trace) && hex(parent) && hex(&first[53..]);
        let ids = trace.iter().any(|byte| *byte != b'0') && parent.iter().any(|byte| *byte != b'0');
        let ends = match version {
            b"ff" => false,
            b"00" => rest.is_empty(),
            _ => rest.first().is_none_or(|byte| *byte == b'-'),
        };
        if !(dashes && digits && ids && ends) {
            return None;
        }
        let mut text = *first;
        text[..2].copy_from_slice(b"00");
        Some(Self { text, kept: true })
    }

    /// A new trace from random bits, not sampled: the decision to sample belongs to a tracing proxy
    /// in front of the terminator.
    pub(crate) fn made(trace: [u64; 2], parent: u64) -> Self {
        let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
        // An id of zero would make the header invalid.
        write_hex(&mut text[3..19], trace[0].max(1));
        write_hex(&mut text[19..35], trace[1]);
        write_hex(&mut text[36..52], parent.max(1));
        Self { text, kept: false }
    }

    /// The header's value: hexadecimal digits and dashes.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.text
    }

    /// True when the client sent it.
    pub(crate) fn is_kept(&self) -> bool {
        self.kept
    }

    /// True when the flag `sampled` is set: bit 0 of the last digit.
    pub(crate) fn sampled(&self) -> bool {
        matches!(self.text[TRACEPARENT_BYTES - 1], b'1' | b'3' | b'5' | b'7' | b'9' | b'b' | b'd' | b'f')
    }
}

/// Writes 16 hexadecimal digits, eight at a time, because a request without an id and a trace needs
/// 80.
#[inline]
fn write_hex(out: &mut [u8], number: u64) {
    let (high, low) = out.split_at_mut(8);
    high.copy_from_slice(&eight_digits(number >> 32));
    low.copy_from_slice(&eight_digits(number & u64::from(u32::MAX)));
}

/// The eight hexadecimal digits of the lower 32 bits.
#[inline]
fn eight_digits(number: u64) -> [u8; 8] {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let spread = (number << 16 | number) & 0x0000_ffff_0000_ffff;
    let spread = (spread << 8 | spread) & 0x00ff_00ff_00ff_00ff;
    let nibbles = (spread << 4 | spread) & (0x0f * ONES);
    // Adding 6 to a nibble above 9 carries into the upper half of its byte.
    let letters = ((nibbles + 6 * ONES) >> 4) & ONES;
    (nibbles + u64::from(b'0') * ONES + letters * u64::from(b'a' - b'9' - 1)).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALID: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_valid_traceparent_is_kept_with_its_flag() {
        let kept = Traceparent::kept(VALID.as_bytes()).unwrap();
        assert_eq!(kept.as_bytes(), VALID.as_bytes());
        assert!(kept.sampled() && kept.is_kept());
    }

    #[test]
    fn an_invalid_traceparent_is_not_kept() {
        for text in [
            "",
            "00",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00_4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01more",
        ] {
            assert!(Traceparent::kept(text.as_bytes()).is_none(), "{text}");
        }
        let later = "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more";
        assert_eq!(Traceparent::kept(later.as_bytes()).unwrap().as_bytes(), VALID.as_bytes());
    }

    #[test]
    fn a_made_traceparent_would_be_kept_by_the_next() {
        for random in [0, 1, u64::MAX] {
            let made = Traceparent::made([random, random], random);
            let kept = Traceparent::kept(made.as_bytes()).unwrap();
            assert!(!kept.sampled());
            assert_eq!(kept.as_bytes(), made.as_bytes());
        }
    }

    #[test]
    fn ids_that_could_harm_a_log_are_not_kept() {
        let long = "a".repeat(REQUEST_ID_BYTES + 1);
        for text in ["", "a b", "a\"b", "<script>", &long] {
            assert!(RequestId::kept(text.as_bytes()).is_none(), "{text}");
        }
        assert_eq!(RequestId::kept(b"Ab-1_/=").unwrap().as_bytes(), b"Ab-1_/=");
        assert_eq!(RequestId::made([1, 0xab]).as_bytes(), b"000000000000000100000000000000ab");
    }
}
