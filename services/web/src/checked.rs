//! Answers of services that were checked to be JSON: most are seen again before they change.
//!
//! Owns the cache of checked texts. Invariant: a cached result equals that of a new check; a text
//! is identified by its length, its source and a 128-bit hash whose seed is secret.

use std::cell::Cell;

use bytes::Bytes;
use smallvec::SmallVec;
use xxhash_rust::xxh3::xxh3_128_with_seed;

use crate::parts::{PARTS, Places, Source};

/// Texts that one worker remembers.
const SLOTS: usize = 4096;

/// Results for recent texts.
pub(crate) struct Checked {
    slots: Box<[Cell<(u128, usize, Places)>]>,
    seed: u64,
}

impl Default for Checked {
    fn default() -> Self {
        Self { slots: (0..SLOTS).map(|_| Cell::default()).collect(), seed: fastrand::u64(..) }
    }
}

impl Checked {
    /// The JSON of each part in an answer of `source`, as slices of the answer.
    pub(crate) fn contents(
        &self,
        source: &'static Source,
        answer: &Bytes,
    ) -> SmallVec<[Option<Bytes>; PARTS]> {
        let places = self.places(source, answer);
        let content =
            |place: Option<(u32, u32)>| place.map(|(from, to)| answer.slice(from as usize..to as usize));
        places.into_iter().take(source.parts.len()).map(content).collect()
    }

    fn places(&self, source: &'static Source, answer: &[u8]) -> Places {
        // The sources are statics, so their addresses differ.
        let hash = xxh3_128_with_seed(answer, self.seed) ^ (std::ptr::from_ref(source).addr() as u128);
        let slot = &self.slots[usize::try_from(hash % SLOTS as u128).expect("less than the slots")];
        match slot.get() {
            (known, len, places) if known == hash && len == answer.len() => places,
            _ => {
                let places = source.places(answer);
                slot.set((hash, answer.len(), places));
                places
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parts::SOURCES;

    #[test]
    fn a_text_is_found_to_be_the_same_again_and_for_its_source_only() {
        let checked = Checked::default();
        let contents = |source: usize, answer: &'static str| {
            let contents = checked.contents(&SOURCES[source], &Bytes::from_static(answer.as_bytes()));
            contents.into_iter().map(|content| content.map(|text| text.to_vec())).collect::<Vec<_>>()
        };
        let text = |text: &str| Some(text.as_bytes().to_vec());
        for _ in 0..3 {
            assert_eq!(contents(0, "{\"unread\": 3}"), [text("{\"unread\": 3}")]);
            assert_eq!(contents(1, "{\"unread\": 3}"), [None, text("3")]);
            assert_eq!(contents(0, "{\"unread\": 3"), [None]);
            assert_eq!(contents(0, ""), [None]);
        }
    }

    #[test]
    fn more_texts_than_there_are_slots_are_told_apart() {
        let checked = Checked::default();
        for round in 0..2 {
            for n in 0..2 * SLOTS {
                let answer = if n % 3 == 0 { format!("[{n}") } else { format!("[{n}]") };
                let contents = checked.contents(&SOURCES[0], &Bytes::from(answer));
                assert_eq!(contents[0].is_some(), n % 3 != 0, "{n} in round {round}");
            }
        }
    }
}
