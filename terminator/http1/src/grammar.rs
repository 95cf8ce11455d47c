//! The basic rules of the grammar: tokens, field values and lists (RFC 9110 sections 5.5 and 5.6),
//! escapes in URIs (RFC 3986).
//!
//! Owns byte tables and functions on slices. Leaves all rules of messages to the other modules.

/// Letters and digits.
pub(crate) const ALPHANUMERIC: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// True for each byte of a token.
const TOKEN: [bool; 256] = bytes_of(&[ALPHANUMERIC, b"!#$%&'*+-.^_`|~"]);

/// Each byte of a token in lower case; 0 for any other byte.
pub(crate) const TOKEN_LOWER: [u8; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        #[allow(clippy::cast_possible_truncation, reason = "it is below 256")]
        if TOKEN[byte] {
            table[byte] = (byte as u8).to_ascii_lowercase();
        }
        byte += 1;
    }
    table
};

/// A table that is true for the bytes of all sets.
pub(crate) const fn bytes_of(sets: &[&[u8]]) -> [bool; 256] {
    let mut table = [false; 256];
    let mut set = 0;
    while set < sets.len() {
        let mut at = 0;
        while at < sets[set].len() {
            table[sets[set][at] as usize] = true;
            at += 1;
        }
        set += 1;
    }
    table
}

/// True when `bytes` is a token: a method, a field name, a connection option.
#[must_use]
pub fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().fold(true, |valid, byte| valid & TOKEN[usize::from(*byte)])
}

/// True when `bytes` may be a field's value: no control character except the tab. White space
/// around the value is allowed.
#[inline]
#[must_use]
pub fn is_field_value(bytes: &[u8]) -> bool {
    control(bytes).is_none()
}

/// Position of the first control character other than a tab.
#[inline]
pub(crate) fn control(bytes: &[u8]) -> Option<usize> {
    let is_control = |byte: &u8| (*byte < b' ' && *byte != b'\t') || *byte == 0x7f;
    let (words, rest) = bytes.as_chunks::<8>();
    for (at, word) in words.iter().enumerate() {
        if controls(u64::from_ne_bytes(*word)) != 0
            && let Some(found) = word.iter().position(is_control)
        {
            return Some(at * 8 + found);
        }
    }
    rest.iter().position(is_control).map(|found| words.len() * 8 + found)
}

/// Not zero when one of the eight bytes is below a space or is DEL. Also not zero for a tab, so the
/// caller must look at the bytes one by one.
#[inline]
const fn controls(word: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x80 * ONES;
    let delete = word ^ (0x7f * ONES);
    ((word.wrapping_sub(0x20 * ONES) & !word) | (delete.wrapping_sub(ONES) & !delete)) & HIGH
}

/// Position of the first `byte`. `memchr` is only faster for many bytes.
#[inline]
pub(crate) fn find(byte: u8, bytes: &[u8]) -> Option<usize> {
    if bytes.len() < 64 { bytes.iter().position(|found| *found == byte) } else { memchr::memchr(byte, bytes) }
}

/// True when two hexadecimal digits follow each `%` (RFC 3986 section 2.1).
#[inline]
pub(crate) fn has_whole_escapes(bytes: &[u8]) -> bool {
    // Checks every three neighbours and not only the escapes, so that the compiler vectorizes it.
    let is_whole =
        |three: &[u8; 3]| (three[0] != b'%') | (three[1].is_ascii_hexdigit() & three[2].is_ascii_hexdigit());
    let ends_well = !matches!(bytes, [.., b'%'] | [.., b'%', _]);
    find(b'%', bytes).is_none()
        || ends_well && bytes.array_windows().fold(true, |whole, three| whole & is_whole(three))
}

/// `bytes` without the spaces and tabs around them (`OWS`, RFC 9110 section 5.6.3).
#[inline]
pub(crate) fn trimmed(bytes: &[u8]) -> &[u8] {
    let is_content = |byte: &u8| !matches!(byte, b' ' | b'\t');
    let Some(start) = bytes.iter().position(is_content) else { return &bytes[..0] };
    let last = bytes.iter().rposition(is_content).unwrap_or(start);
    &bytes[start..=last]
}

/// The members of a comma-separated list, without empty ones (RFC 9110 section 5.6.1.2).
pub(crate) fn members(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(trimmed).filter(|member| !member.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_the_bytes_of_rfc_9110() {
        let tchar = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        for byte in 0..=u8::MAX {
            assert_eq!(is_token(&[byte]), tchar(byte), "{byte}");
            assert_eq!(is_field_value(&[byte]), byte == b'\t' || (byte >= 0x20 && byte != 0x7f), "{byte}");
        }
        assert!(!is_token(b""));
    }

    #[test]
    fn a_control_character_is_found_wherever_it_stands() {
        for len in 0..40 {
            for text in [vec![b'a'; len], vec![0xff; len], vec![b'\t'; len]] {
                assert!(is_field_value(&text), "{len}");
                for at in 0..len {
                    for byte in [0, b'\r', b'\n', 0x1f, 0x7f] {
                        let mut text = text.clone();
                        text[at] = byte;
                        assert!(!is_field_value(&text), "{byte} at {at} of {len}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_list_has_the_members_that_are_not_empty() {
        let list = |value: &'static [u8]| members(value).collect::<Vec<_>>();
        assert_eq!(list(b"a, b\t,,c d ,"), [&b"a"[..], b"b", b"c d"]);
        assert!(list(b" , ,").is_empty());
    }
}
