//! How an outcome travels: the value of a head field `toggle`.
//!
//! Owns the grammar of the value, its encoder and its decoder. Leaves the field itself to
//! `bus-proto` (PROTOCOL.md). Invariant: decoding an encoded value gives what was encoded.
//!
//! | value | meaning |
//! | --- | --- |
//! | `NAME` | the toggle is on and has no variant |
//! | `NAME=VARIANT` | the toggle is on, and this is its variant |
//! | no field | the toggle is off |
//!
//! The first `=` separates, so a variant may contain `=`, and a variant called `on` differs from a
//! toggle that is on. [`is_name`] is false for a name with `=`.

/// Longest name of a toggle and of a variant, in bytes. Unleash accepts 100 characters.
pub const NAME_LEN_MAX: usize = 255;

/// True for a name that a toggle may have: 1 to [`NAME_LEN_MAX`] bytes without `=` and without
/// control characters.
#[must_use]
pub fn is_name(name: &str) -> bool {
    (1..=NAME_LEN_MAX).contains(&name.len()) && !name.contains(|c: char| c == '=' || c.is_control())
}

/// The value of the field for a toggle that is on. `name` is one for which [`is_name`] is true.
#[must_use]
pub fn encode(name: &str, variant: Option<&str>) -> String {
    match variant {
        Some(variant) => format!("{name}={variant}"),
        None => name.to_owned(),
    }
}

/// Name and variant of a toggle that is on; `None` if `value` is not one that [`encode`] makes.
#[must_use]
pub fn decode(value: &str) -> Option<(&str, Option<&str>)> {
    let (name, variant) = match value.split_once('=') {
        Some((name, variant)) => (name, Some(variant)),
        None => (value, None),
    };
    is_name(name).then_some((name, variant))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn variant_called_on_differs_from_a_toggle_that_is_on() {
        assert_eq!(encode("checkout", None), "checkout");
        assert_eq!(encode("checkout", Some("on")), "checkout=on");
        assert_eq!(decode("checkout"), Some(("checkout", None)));
        assert_eq!(decode("checkout=on"), Some(("checkout", Some("on"))));
        assert_eq!(decode("checkout="), Some(("checkout", Some(""))));
    }

    #[test]
    fn value_without_a_name_is_not_decoded() {
        for value in ["", "=", "=on", "a\nb", "a\0=on", &"n".repeat(NAME_LEN_MAX + 1)] {
            assert_eq!(decode(value), None, "{value:?}");
        }
        assert!(decode(&"n".repeat(NAME_LEN_MAX)).is_some());
    }

    proptest! {
        #[test]
        fn encoded_outcome_is_decoded(name in "[^=\\pC]{1,40}", variant in proptest::option::of(".{0,40}")) {
            let value = encode(&name, variant.as_deref());
            prop_assert_eq!(decode(&value), Some((&*name, variant.as_deref())));
        }

        #[test]
        fn whatever_is_decoded_encodes_to_the_same_value(value in ".{0,60}") {
            if let Some((name, variant)) = decode(&value) {
                prop_assert_eq!(encode(name, variant), value);
            }
        }
    }
}
