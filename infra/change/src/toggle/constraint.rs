//! Constraints: a test of one field of the context.
//!
//! Owns Unleash's operators. Leaves which fields there are to [`super::context`], and what several
//! constraints decide to [`super::strategy`]. Invariant: a constraint whose operator or operand is
//! not valid never holds, inverted or not.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use foldhash::fast::FixedState;
use ipnet::IpNet;
use regex::{Regex, RegexBuilder};
use semver::Version;

use super::context::{Field, Input};
use super::feature::Constraint;
use super::warning::Warnings;

/// Largest compiled regular expression, in bytes. A larger one is a mistake such as `.{9999}`.
const REGEX_SIZE_MAX: usize = 1 << 20;

/// A compiled constraint.
pub(super) enum Compiled {
    Always,
    Never,
    Check(Check),
}

/// A constraint that depends on the request.
pub(super) struct Check {
    pub(super) field: Field,
    inverted: bool,
    test: Test,
}

/// A set of values. The values come from the plan, so a fixed hash cannot be attacked by a client.
pub(super) type Values = HashSet<Box<str>, FixedState>;

enum Test {
    In(Values),
    Part { place: Place, ignore_case: bool, parts: Box<[Box<str>]> },
    Number(Relation, f64),
    Date(Relation, SystemTime),
    Version(Relation, Box<Version>),
    Matches(Regex),
    Address(Box<[IpNet]>),
}

#[derive(Clone, Copy)]
enum Place {
    Start,
    End,
    Anywhere,
}

#[derive(Clone, Copy)]
enum Relation {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// Compiles the constraint at `path` of a toggle's document.
pub(super) fn compile(constraint: &Constraint, path: &str, warnings: &mut Warnings<'_>) -> Compiled {
    let (test, negated) = match test(constraint, path, warnings) {
        Ok(test) => test,
        Err(problem) => {
            warnings.add(path, format!("{problem}; the constraint never holds"));
            return Compiled::Never;
        }
    };
    let inverted = constraint.inverted != negated;
    if test.never_matches() {
        return if inverted { Compiled::Always } else { Compiled::Never };
    }
    Compiled::Check(Check { field: Field::named(&constraint.context_name), inverted, test })
}

/// A field that has one of `values`.
pub(super) fn is_in(field: Field, values: Values) -> Compiled {
    if values.is_empty() {
        return Compiled::Never;
    }
    Compiled::Check(Check { field, inverted: false, test: Test::In(values) })
}

/// A remote address within one of `ranges`; those that do not parse are left out.
pub(super) fn is_within<'a>(
    ranges: impl Iterator<Item = &'a str>,
    path: &str,
    warnings: &mut Warnings<'_>,
) -> Compiled {
    let test = addresses(ranges, path, warnings);
    if test.never_matches() {
        return Compiled::Never;
    }
    Compiled::Check(Check { field: Field::RemoteAddress, inverted: false, test })
}

impl Check {
    /// True when the request meets the constraint. An unknown field meets no operator, so it meets
    /// every inverted one, and `NOT_IN`.
    pub(super) fn holds(&self, input: &Input<'_>) -> bool {
        let met = match self.field.of(&input.context) {
            Some(value) => self.test.matches(value),
            None if self.field == Field::CurrentTime => self.test.matches_time(input.now),
            None => false,
        };
        met != self.inverted
    }
}

impl Test {
    fn never_matches(&self) -> bool {
        match self {
            Self::In(values) => values.is_empty(),
            Self::Part { parts, .. } => parts.is_empty(),
            Self::Address(ranges) => ranges.is_empty(),
            Self::Number(..) | Self::Date(..) | Self::Version(..) | Self::Matches(_) => false,
        }
    }

    fn matches(&self, value: &str) -> bool {
        match self {
            Self::In(values) => values.contains(value),
            Self::Part { place, ignore_case: false, parts } => {
                parts.iter().any(|part| place.has(value, part))
            }
            // ASCII needs no copy in lower case; the parts are in lower case already.
            Self::Part { place, parts, .. } if value.is_ascii() => {
                parts.iter().any(|part| place.has_ascii(value.as_bytes(), part.as_bytes()))
            }
            Self::Part { place, parts, .. } => {
                let value = value.to_lowercase();
                parts.iter().any(|part| place.has(&value, part))
            }
            Self::Number(relation, operand) => value
                .trim()
                .parse::<f64>()
                .is_ok_and(|value| value.partial_cmp(operand).is_some_and(|order| relation.holds(order))),
            Self::Date(relation, operand) => {
                date(value).is_some_and(|value| relation.holds(value.cmp(operand)))
            }
            Self::Version(relation, operand) => {
                Version::parse(value).is_ok_and(|value| relation.holds(value.cmp_precedence(operand)))
            }
            Self::Matches(regex) => regex.is_match(value),
            Self::Address(ranges) => value
                .parse::<IpAddr>()
                .is_ok_and(|address| ranges.iter().any(|range| range.contains(&address))),
        }
    }

    /// The clock is compared as it is by dates, and as text by every other operator.
    fn matches_time(&self, now: SystemTime) -> bool {
        match self {
            Self::Date(relation, operand) => relation.holds(now.cmp(operand)),
            other => other.matches(&humantime::format_rfc3339_seconds(now).to_string()),
        }
    }
}

impl Place {
    fn has(self, value: &str, part: &str) -> bool {
        match self {
            Self::Start => value.starts_with(part),
            Self::End => value.ends_with(part),
            Self::Anywhere => value.contains(part),
        }
    }

    fn has_ascii(self, value: &[u8], part: &[u8]) -> bool {
        let Some(last) = value.len().checked_sub(part.len()) else { return false };
        let at = |start: usize| value[start..start + part.len()].eq_ignore_ascii_case(part);
        match self {
            Self::Start => at(0),
            Self::End => at(last),
            Self::Anywhere => (0..=last).any(at),
        }
    }
}

impl Relation {
    fn holds(self, order: Ordering) -> bool {
        match self {
            Self::Equal => order.is_eq(),
            Self::Less => order.is_lt(),
            Self::LessOrEqual => order.is_le(),
            Self::Greater => order.is_gt(),
            Self::GreaterOrEqual => order.is_ge(),
        }
    }
}

/// The test of a constraint, and true when the operator itself is a negation.
fn test(constraint: &Constraint, path: &str, warnings: &mut Warnings<'_>) -> Result<(Test, bool), String> {
    use Relation::{Equal, Greater, GreaterOrEqual, Less, LessOrEqual};
    let test = match constraint.operator.as_str() {
        "IN" => Test::In(values(constraint)),
        "NOT_IN" => return Ok((Test::In(values(constraint)), true)),
        "STR_STARTS_WITH" => part(constraint, Place::Start),
        "STR_ENDS_WITH" => part(constraint, Place::End),
        "STR_CONTAINS" => part(constraint, Place::Anywhere),
        "NUM_EQ" => Test::Number(Equal, number(constraint)?),
        "NUM_LT" => Test::Number(Less, number(constraint)?),
        "NUM_LTE" => Test::Number(LessOrEqual, number(constraint)?),
        "NUM_GT" => Test::Number(Greater, number(constraint)?),
        "NUM_GTE" => Test::Number(GreaterOrEqual, number(constraint)?),
        "DATE_BEFORE" => Test::Date(Less, instant(constraint)?),
        "DATE_AFTER" => Test::Date(Greater, instant(constraint)?),
        "SEMVER_EQ" => Test::Version(Equal, version(constraint)?),
        "SEMVER_LT" => Test::Version(Less, version(constraint)?),
        "SEMVER_LTE" => Test::Version(LessOrEqual, version(constraint)?),
        "SEMVER_GT" => Test::Version(Greater, version(constraint)?),
        "SEMVER_GTE" => Test::Version(GreaterOrEqual, version(constraint)?),
        "REGEX" => Test::Matches(regex(constraint)?),
        "IN_CIDR" => {
            addresses(constraint.values.iter().map(String::as_str), &format!("{path}.values"), warnings)
        }
        unknown => {
            return Err(format!(
                "unknown operator {unknown:?}: known are IN, NOT_IN, STR_STARTS_WITH, STR_ENDS_WITH, \
                 STR_CONTAINS, REGEX, IN_CIDR, NUM_ and SEMVER_ with EQ, LT, LTE, GT, GTE, and DATE_ with \
                 BEFORE, AFTER"
            ));
        }
    };
    Ok((test, false))
}

fn values(constraint: &Constraint) -> Values {
    constraint.values.iter().map(|value| value.as_str().into()).collect()
}

fn part(constraint: &Constraint, place: Place) -> Test {
    let ignore_case = constraint.case_insensitive;
    let part = |value: &String| if ignore_case { value.to_lowercase() } else { value.clone() };
    let parts = constraint.values.iter().map(|value| part(value).into()).collect();
    Test::Part { place, ignore_case, parts }
}

fn operand(constraint: &Constraint) -> Result<&str, String> {
    let value = constraint.value.as_ref().map(|value| value.0.as_str());
    value.ok_or_else(|| format!("the operator {} needs a field `value`", constraint.operator))
}

fn number(constraint: &Constraint) -> Result<f64, String> {
    let value = operand(constraint)?;
    let number = value.trim().parse().ok().filter(|number: &f64| !number.is_nan());
    number.ok_or_else(|| format!("{value:?} is not a number"))
}

fn instant(constraint: &Constraint) -> Result<SystemTime, String> {
    let value = operand(constraint)?;
    date(value).ok_or_else(|| format!("{value:?} is not a date such as 2026-01-31T13:00:00Z or ...+02:00"))
}

fn version(constraint: &Constraint) -> Result<Box<Version>, String> {
    let value = operand(constraint)?;
    let version = Version::parse(value).map(Box::new);
    version.map_err(|error| format!("{value:?} is not a version such as 1.2.3-beta.1: {error}"))
}

fn regex(constraint: &Constraint) -> Result<Regex, String> {
    let value = operand(constraint)?;
    let mut builder = RegexBuilder::new(value);
    builder.case_insensitive(constraint.case_insensitive).size_limit(REGEX_SIZE_MAX);
    builder.build().map_err(|error| format!("{value:?} is not a regular expression (RE2's syntax): {error}"))
}

fn addresses<'a>(ranges: impl Iterator<Item = &'a str>, path: &str, warnings: &mut Warnings<'_>) -> Test {
    let mut known = Vec::new();
    for range in ranges {
        match range.parse::<IpNet>().ok().or_else(|| range.parse::<IpAddr>().ok().map(IpNet::from)) {
            Some(range) => known.push(range),
            None => warnings.add(
                path,
                format!("{range:?} is not an address such as 10.0.0.1 or a range such as 10.0.0.0/8; it is left out"),
            ),
        }
    }
    Test::Address(known.into())
}

/// RFC 3339: `2026-01-31T13:00:00.000Z`, or with an offset such as `+02:00`.
fn date(text: &str) -> Option<SystemTime> {
    if let Ok(utc) = humantime::parse_rfc3339(text) {
        return Some(utc);
    }
    let (local, offset) = text.split_at_checked(text.len().checked_sub(6)?)?;
    let (hours, minutes) = offset.get(1..)?.split_once(':')?;
    let is_digits = |part: &str| part.len() == 2 && part.bytes().all(|digit| digit.is_ascii_digit());
    if !is_digits(hours) || !is_digits(minutes) {
        return None;
    }
    let offset_s = hours.parse::<u64>().ok()? * 3600 + minutes.parse::<u64>().ok()? * 60;
    let local = humantime::parse_rfc3339(&format!("{local}Z")).ok()?;
    match offset.as_bytes()[0] {
        b'+' => local.checked_sub(Duration::from_secs(offset_s)),
        b'-' => local.checked_add(Duration::from_secs(offset_s)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn date_with_an_offset_is_the_same_instant_in_utc() {
        let utc = |text| humantime::parse_rfc3339(text).ok();
        assert_eq!(date("2022-01-22T13:00:00.000+02:00"), utc("2022-01-22T11:00:00Z"));
        assert_eq!(date("2022-01-22T23:30:00-01:45"), utc("2022-01-23T01:15:00Z"));
        for text in
            ["", "+02:00", "2022-01-22", "2022-01-22T13:00:00", "2022-01-22T13:00:00+2:000", "é+02:00"]
        {
            assert_eq!(date(text), None, "{text:?}");
        }
    }

    #[test]
    fn case_is_ignored_in_ascii_and_beyond() {
        let contains = |part: &str, value: &str| {
            let parts = [part.to_lowercase().into()].into();
            Test::Part { place: Place::Anywhere, ignore_case: true, parts }.matches(value)
        };
        assert!(contains("EMAIL", "some@Email.com"));
        assert!(contains("é", "CAFÉ"));
        assert!(contains("cafe", "CAFE"));
        assert!(!contains("é", "cafe"));
        assert!(!contains("longer than the value", "value"));
        let ends = Test::Part { place: Place::End, ignore_case: true, parts: [".com".into()].into() };
        assert!(ends.matches("A.COM") && !ends.matches("a.com.au"));
    }
}
