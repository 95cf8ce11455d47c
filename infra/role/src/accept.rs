//! `Accept` (RFC 9110 section 12.5.1), as far as the choice between JSON and HTML needs it.
//!
//! Owns the choice; the crate `mediatype` reads the ranges. JSON wins a tie, because browsers state
//! that they prefer HTML and programs state nothing.

use mediatype::{MediaType, MediaTypeList, Name, ReadParams, names};

/// Ranges of one field that are read: browsers send some ten, and a refusal must not cost more than
/// an answer.
const RANGES_MAX: usize = 32;

/// A media type that an answer or an error is available as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Media {
    /// `application/json` or `application/problem+json`.
    Json,
    /// `text/html`.
    Html,
}

impl Media {
    /// The media type that a client prefers by the values of its `Accept` fields; `None` when it
    /// accepts neither. Ranges that cannot be read are ignored.
    #[must_use]
    pub fn preferred<'a>(values: impl Iterator<Item = &'a [u8]>) -> Option<Self> {
        let (mut json, mut html) = (Quality::default(), Quality::default());
        let mut is_stated = false;
        for text in values.filter_map(|value| std::str::from_utf8(value).ok()) {
            for range in MediaTypeList::new(text).take(RANGES_MAX).flatten() {
                is_stated = true;
                json.consider(&range, names::APPLICATION, is_json);
                html.consider(&range, names::TEXT, |range| range.subty == names::HTML);
            }
        }
        match (json.thousandths, html.thousandths) {
            _ if !is_stated => Some(Self::Json),
            (0, 0) => None,
            (json, html) if html > json => Some(Self::Html),
            _ => Some(Self::Json),
        }
    }
}

/// The quality of one media type, from the most specific range that covers it.
#[derive(Default)]
struct Quality {
    specificity: u8,
    thousandths: u16,
}

impl Quality {
    fn consider(&mut self, range: &MediaType<'_>, family: Name<'_>, is_exact: fn(&MediaType<'_>) -> bool) {
        let is_any = |name: Name<'_>| name == names::_STAR;
        let specificity = match range.ty {
            ty if ty == family && is_exact(range) => 3,
            ty if ty == family && is_any(range.subty) => 2,
            ty if is_any(ty) && is_any(range.subty) => 1,
            _ => return,
        };
        let thousandths = thousandths(range);
        // The better of two ranges that are equally specific: JSON has two names.
        if (specificity, thousandths) > (self.specificity, self.thousandths) {
            *self = Self { specificity, thousandths };
        }
    }
}

fn is_json(range: &MediaType<'_>) -> bool {
    match range.suffix {
        None => range.subty == names::JSON,
        Some(suffix) => range.subty == names::PROBLEM && suffix == names::JSON,
    }
}

/// `q=0.25` as 250. An invalid quality counts as 1, like a missing one.
fn thousandths(range: &MediaType<'_>) -> u16 {
    let quality = range.get_param(names::Q).and_then(|quality| quality.as_str().parse::<f32>().ok());
    let quality = quality.filter(|quality| (0.0..=1.0).contains(quality)).unwrap_or(1.0);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is from 0 to 1000")]
    let thousandths = (quality * 1000.0).round() as u16;
    thousandths
}

#[cfg(test)]
mod tests {
    use super::*;

    fn preferred(accept: &str) -> Option<Media> {
        Media::preferred([accept.as_bytes()].into_iter())
    }

    #[test]
    fn browsers_get_html_and_programs_json() {
        for accept in [
            "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
            "text/html",
            "text/*",
            "TEXT/HTML, */*;q=0.1",
            "text/html;q=nan",
        ] {
            assert_eq!(preferred(accept), Some(Media::Html), "{accept}");
        }
        for accept in [
            "",
            "*/*",
            "*",
            "application/json",
            "application/problem+json",
            "application/*;q=0.5, text/plain",
            "text/html, application/json",
            "text/html, application/problem+json",
        ] {
            assert_eq!(preferred(accept), Some(Media::Json), "{accept}");
        }
        assert_eq!(Media::preferred(std::iter::empty()), Some(Media::Json));
        assert_eq!(Media::preferred([&b"\xff"[..], b"text/html"].into_iter()), Some(Media::Html));
    }

    #[test]
    fn the_most_specific_range_and_the_higher_quality_win() {
        for (accept, expected) in [
            ("text/*;q=0.9, application/json;q=0.8, */*", Media::Html),
            ("TEXT/HTML;level=1;q=0.301, application/json;q=0.3", Media::Html),
            ("text/html;q=0.5, application/json;q=0.4", Media::Html),
            ("application/json;q=0, */*;q=0.1", Media::Html),
            ("text/html;q=0.5, application/json", Media::Json),
            ("text/html;q=0, */*;q=0.1", Media::Json),
        ] {
            assert_eq!(preferred(accept), Some(expected), "{accept}");
        }
    }

    #[test]
    fn a_client_may_accept_neither() {
        for accept in ["image/png", "text/html;q=0, application/json;q=0.000", "*/*;q=0"] {
            assert_eq!(preferred(accept), None, "{accept}");
        }
    }
}
