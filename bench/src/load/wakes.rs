//! The outcome of the long polls.
//!
//! Owns parsing and counting their answers. Invariant: a poll's latency counts from the time when
//! the message that woke it was sent or, when that was before the poll, from the start of the poll;
//! both are read from one clock.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::outcome::Latency;
use super::stamp::Stamps;
use super::tally::{histogram, micros};

/// The polls of a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Wakes {
    /// Polls held open.
    pub(crate) polls: usize,
    /// Answers with a message.
    pub(crate) woken: u64,
    /// Answers without a message: the wait was over.
    pub(crate) empty: u64,
    /// Broken connections, and statuses other than 200.
    pub(crate) failed: u64,
    /// Why the first poll failed.
    #[serde(default)]
    pub(crate) first_failure: Option<String>,
    /// Polls that were not told of a message several seconds after the server acknowledged it.
    pub(crate) unanswered: u64,
    /// Messages told, summed over the polls.
    pub(crate) told: u64,
    /// From the write that woke a poll to the end of the poll's answer.
    pub(crate) wake: Latency,
    /// From every write to the end of the answer that contains it, including messages that arrived
    /// between two polls.
    pub(crate) telling: Latency,
}

/// The counts so far.
#[derive(Debug)]
pub(super) struct WakeTally {
    woken: u64,
    empty: u64,
    failed: u64,
    first_failure: Option<String>,
    told: u64,
    wake: Histogram<u64>,
    telling: Histogram<u64>,
}

/// The parts of an answer that matter here.
#[derive(Debug, Deserialize)]
struct Answer {
    messages: Vec<Message>,
    next: String,
}

#[derive(Debug, Deserialize)]
struct Message {
    id: String,
}

/// A parsed answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct News {
    /// When this run's messages in the answer were sent, in the order of the conversation.
    pub(super) sent: Vec<Instant>,
    /// The cursor of the next poll.
    pub(super) next: String,
}

impl News {
    /// `None` when the body is not an answer of a conversation.
    pub(super) fn read(body: &[u8], stamps: &Stamps) -> Option<Self> {
        let Answer { messages, next } = serde_json::from_slice(body).ok()?;
        let sent = messages.iter().filter_map(|message| stamps.sent(&message.id)).collect();
        Some(Self { sent, next })
    }
}

impl WakeTally {
    pub(super) fn new() -> Self {
        Self {
            woken: 0,
            empty: 0,
            failed: 0,
            first_failure: None,
            told: 0,
            wake: histogram(),
            telling: histogram(),
        }
    }

    /// Counts the answer at `now` to a poll sent at `polled`.
    pub(super) fn answered(&mut self, polled: Instant, now: Instant, news: &News) {
        let Some(first) = news.sent.first() else {
            self.empty += 1;
            return;
        };
        let since = |then: Instant| -> Duration { now.saturating_duration_since(then) };
        self.woken += 1;
        self.told += news.sent.len() as u64;
        self.wake.saturating_record(micros(since(polled.max(*first))));
        for sent in &news.sent {
            self.telling.saturating_record(micros(since(*sent)));
        }
    }

    pub(super) fn failed(&mut self, why: impl std::fmt::Display) {
        self.failed += 1;
        self.first_failure.get_or_insert_with(|| why.to_string());
    }

    pub(super) fn end(&self, polls: usize, unanswered: u64) -> Wakes {
        Wakes {
            polls,
            woken: self.woken,
            empty: self.empty,
            failed: self.failed,
            first_failure: self.first_failure.clone(),
            unanswered,
            told: self.told,
            wake: Latency::of(&self.wake),
            telling: Latency::of(&self.telling),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(ids: &[String]) -> Vec<u8> {
        let messages: Vec<_> =
            ids.iter().map(|id| serde_json::json!({"position": "00", "id": id, "text": "x"})).collect();
        serde_json::to_vec(&serde_json::json!({"messages": messages, "typing": [], "next": "0a"})).unwrap()
    }

    #[test]
    fn a_poll_is_charged_from_the_write_that_woke_it() {
        let (stamps, ms) = (Stamps::new(), Duration::from_millis);
        let start = Instant::now();
        let id = |after| stamps.at(start + ms(after), (0, after)).to_string();
        let news = News::read(&body(&[id(100), id(130), "another's".into()]), &stamps).unwrap();
        assert_eq!((news.sent.len(), news.next.as_str()), (2, "0a"));
        let mut tally = WakeTally::new();
        // The poll was waiting when the first message was sent: 50 ms from there.
        tally.answered(start, start + ms(150), &news);
        // The poll was sent after the first message: its own 10 ms.
        tally.answered(start + ms(140), start + ms(150), &news);
        let wakes = tally.end(2, 0);
        assert_eq!((wakes.woken, wakes.told, wakes.empty), (2, 4, 0));
        assert!((50_000..50_100).contains(&wakes.wake.max_us), "{wakes:?}");
        assert!((10_000..10_020).contains(&wakes.wake.min_us), "{wakes:?}");
        assert_eq!(wakes.telling.max_us, wakes.wake.max_us);
    }

    #[test]
    fn an_answer_without_messages_is_a_poll_whose_time_was_over() {
        let stamps = Stamps::new();
        let now = Instant::now();
        let mut tally = WakeTally::new();
        tally.answered(now, now, &News::read(&body(&[]), &stamps).unwrap());
        let wakes = tally.end(1, 0);
        assert_eq!((wakes.woken, wakes.empty, wakes.wake.max_us), (0, 1, 0));
        tally.failed("503");
        tally.failed("closed");
        let wakes = tally.end(1, 0);
        assert_eq!((wakes.failed, wakes.first_failure.as_deref()), (2, Some("503")));
        assert_eq!(News::read(b"{\"reason\":\"no_instance\"}", &stamps), None);
    }
}
