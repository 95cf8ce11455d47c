//! The checks of keys, values and selectors that are the same for every backend.
//!
//! Pure. Invariant: what passes is something that FoundationDB accepts.

use crate::{
    error::{CallerError, Error},
    limits,
    range::KeySelector,
};

/// The offset of the stamp, and the length without the 4 bytes of the offset.
pub(crate) fn stamp_offset(packed: &[u8]) -> Result<(usize, usize), Error> {
    let Some((stamped, offset)) = packed.split_last_chunk::<4>() else {
        return Err(CallerError::StampOffset { offset: 0, len: packed.len() }.into());
    };
    let offset = u32::from_le_bytes(*offset) as usize;
    if offset.saturating_add(limits::STAMP_BYTES) > stamped.len() {
        return Err(CallerError::StampOffset { offset, len: stamped.len() }.into());
    }
    Ok((offset, stamped.len()))
}

pub(crate) fn check_key(key: &[u8]) -> Result<(), Error> {
    match key.first() {
        None => Err(CallerError::KeyEmpty.into()),
        Some(&limits::SYSTEM_KEY_PREFIX) => Err(CallerError::KeyOutsideLegalRange.into()),
        Some(_) => check_key_len(key),
    }
}

/// The end of a range may be the first key after the users' keys, and its beginning may be empty.
pub(crate) fn check_bound(key: &[u8]) -> Result<(), Error> {
    if key > &[limits::SYSTEM_KEY_PREFIX][..] {
        return Err(CallerError::KeyOutsideLegalRange.into());
    }
    check_key_len(key)
}

pub(crate) fn check_selector(selector: &KeySelector) -> Result<(), Error> {
    if selector.offset.unsigned_abs() > limits::SELECTOR_OFFSET_MAX.unsigned_abs() {
        return Err(CallerError::SelectorOffset { offset: selector.offset }.into());
    }
    check_bound(&selector.key)
}

pub(crate) fn check_key_len(key: &[u8]) -> Result<(), Error> {
    if key.len() > limits::KEY_BYTES_MAX {
        return Err(CallerError::KeyTooLarge { len: key.len() }.into());
    }
    Ok(())
}

pub(crate) fn check_value(value: &[u8]) -> Result<(), Error> {
    if value.len() > limits::VALUE_BYTES_MAX {
        return Err(CallerError::ValueTooLarge { len: value.len() }.into());
    }
    Ok(())
}
