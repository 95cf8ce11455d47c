//! The times of a task.
//!
//! Owns their texts and which time comes next. Invariant: `due(now) <= now < next(now)`.

use std::time::Duration;

use chrono::{DateTime, Utc};
use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};

use super::error::TaskError;

/// The shortest period: each time costs every instance a transaction.
const PERIOD_MIN: Duration = Duration::from_millis(100);

/// The longest period. Longer ones are patterns of days and months.
const PERIOD_MAX: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// How long a dead instance's run holds up the next one: the task's period, within these bounds.
/// Shorter than a second, a busy machine would lose leases; longer than some seconds, a dead
/// instance is missed.
const LEASE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(15));

/// Times of a pattern that are counted as missed at most: more are counted as this many.
const MISSED_MAX: u64 = 1_000;

/// When a task runs. Times are milliseconds since 1970.
pub(crate) enum When {
    /// At the multiples of so many milliseconds.
    Every(u64),
    /// At the times of a pattern, in UTC.
    Cron(Box<Cron>),
}

impl When {
    /// A period such as `30s` or `1h 30m`.
    pub(crate) fn every(text: &str) -> Result<Self, TaskError> {
        let wrong = |reason: String| TaskError::Period { text: text.to_owned(), reason };
        let period = humantime::parse_duration(text)
            .map_err(|error| wrong(format!("{error}; write numbers and units, such as 30s or 1h 30m")))?;
        let shown = |time| humantime::format_duration(time);
        if period < PERIOD_MIN || period > PERIOD_MAX {
            let (least, most) = (shown(PERIOD_MIN), shown(PERIOD_MAX));
            return Err(wrong(format!("give {least} to {most}, or a cron pattern")));
        }
        if period.subsec_nanos() % 1_000_000 != 0 {
            return Err(wrong("give whole milliseconds".to_owned()));
        }
        Ok(Self::Every(u64::try_from(period.as_millis()).expect("PERIOD_MAX is below 2^64 ms")))
    }

    /// A pattern such as `0 3 * * *`: minute, hour, day of the month, month, day of the week.
    pub(crate) fn cron(text: &str) -> Result<Self, TaskError> {
        let wrong = |reason: String| TaskError::Cron { text: text.to_owned(), reason };
        let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        let advice = "write minute, hour, day of the month, month and day of the week, such as 0 3 * * *";
        let cron = parser.parse(text).map_err(|error| wrong(format!("{error}; {advice}")))?;
        let when = Self::Cron(Box::new(cron));
        match when.next(0) {
            u64::MAX => Err(wrong(format!("it has no times; {advice}"))),
            _ => Ok(when),
        }
    }

    /// The newest time that is not after `now_ms`; 0 when there is none.
    pub(crate) fn due(&self, now_ms: u64) -> u64 {
        match self {
            Self::Every(period) => now_ms / period * period,
            Self::Cron(cron) => {
                at(now_ms).and_then(|now| cron.find_previous_occurrence(&now, true).ok()).map_or(0, ms)
            }
        }
    }

    /// The first time after `now_ms`; [`u64::MAX`] when there is none.
    pub(crate) fn next(&self, now_ms: u64) -> u64 {
        match self {
            Self::Every(period) => (now_ms / period + 1) * period,
            Self::Cron(cron) => {
                at(now_ms).and_then(|now| cron.find_next_occurrence(&now, false).ok()).map_or(u64::MAX, ms)
            }
        }
    }

    /// How many times lie between `previous_ms` and `slot_ms`, both excluded.
    pub(crate) fn missed(&self, previous_ms: u64, slot_ms: u64) -> u64 {
        if let Self::Every(period) = self {
            return (slot_ms.saturating_sub(previous_ms) / period).saturating_sub(1);
        }
        let (mut count, mut time) = (0, self.next(previous_ms));
        while time < slot_ms && count < MISSED_MAX {
            (count, time) = (count + 1, self.next(time));
        }
        count
    }

    /// How long a run has before it must be renewed.
    pub(crate) fn lease(&self) -> Duration {
        match self {
            Self::Every(period) => Duration::from_millis(*period).clamp(LEASE.0, LEASE.1),
            Self::Cron(_) => LEASE.1,
        }
    }
}

fn at(time_ms: u64) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp_millis(i64::try_from(time_ms).ok()?)
}

/// Times before 1970 count as 0.
fn ms(time: DateTime<Utc>) -> u64 {
    u64::try_from(time.timestamp_millis()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 24 * 60 * 60 * 1000;

    #[test]
    fn a_period_begins_with_1970() {
        let when = When::every("1m").unwrap();
        assert_eq!((when.due(119_999), when.next(119_999)), (60_000, 120_000));
        assert_eq!((when.due(120_000), when.next(120_000)), (120_000, 180_000));
        assert_eq!((when.missed(60_000, 120_000), when.missed(60_000, 300_000)), (0, 3));
        assert_eq!((when.missed(60_000, 60_000), when.missed(60_000, 0)), (0, 0));
        let lease = |text: &str| When::every(text).unwrap().lease().as_millis();
        assert_eq!((lease("100ms"), lease("4s"), lease("1h")), (1_000, 4_000, 15_000));
    }

    #[test]
    fn a_pattern_has_its_times_in_utc() {
        let when = When::cron("0 3 * * *").unwrap();
        let three = 3 * 60 * 60 * 1000;
        assert_eq!((when.due(DAY), when.next(DAY)), (three, DAY + three));
        assert_eq!((when.due(DAY + three), when.next(DAY + three)), (DAY + three, 2 * DAY + three));
        assert_eq!(when.missed(three, 5 * DAY + three), 4);
        let minutes = When::cron("* * * * *").unwrap();
        assert_eq!(minutes.missed(0, DAY), MISSED_MAX);
        // 1970-01-01 was a Thursday.
        assert_eq!(When::cron("0 0 * * MON").unwrap().next(0), 4 * DAY);
    }

    #[test]
    fn wrong_texts_are_errors_with_a_remedy() {
        let every = |text: &str| When::every(text).err().map(|error| error.to_string()).unwrap_or_default();
        for (text, says) in [
            ("", "30s or 1h 30m"),
            ("5", "30s or 1h 30m"),
            ("0s", "give 100ms to 1year"),
            ("99ms", "give 100ms to"),
            ("400d", "or a cron pattern"),
            ("100500us", "whole milliseconds"),
        ] {
            let error = every(text);
            assert!(error.contains(says) && error.contains(&format!("every {text:?}")), "{error:?}");
        }
        for text in ["", "0 3 * *", "0 0 3 * * *", "61 * * * *", "0 0 30 2 *", "x"] {
            let error = When::cron(text).err().map(|error| error.to_string()).unwrap_or_default();
            assert!(
                error.contains("such as 0 3 * * *") && error.contains(&format!("{text:?}")),
                "{text}: {error}"
            );
        }
    }
}
