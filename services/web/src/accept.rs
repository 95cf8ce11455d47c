//! `Accept` (RFC 9110, section 12.5.1), as far as two media types need it.
//!
//! Owns the choice between JSON and HTML. JSON wins a tie, because browsers state that they prefer
//! HTML and programs state nothing.

use service_host::{Problem, Request};

/// The media types of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Media {
    Json,
    Html,
}

/// The media type that the client prefers.
///
/// # Errors
/// 406 when the client accepts neither.
pub(crate) fn preferred(request: &Request) -> Result<Media, Problem> {
    choose(request.headers("accept")).ok_or_else(|| {
        Problem::new(406, "This resource is available as application/json and as text/html.").field("accept")
    })
}

fn choose<'a>(values: impl Iterator<Item = &'a [u8]>) -> Option<Media> {
    let (mut json, mut html) = (Quality::default(), Quality::default());
    let mut said = false;
    for value in values {
        for range in value.split(|&byte| byte == b',') {
            let mut pieces = range.split(|&byte| byte == b';').map(<[u8]>::trim_ascii);
            let name = pieces.next().unwrap_or_default();
            if name.is_empty() {
                continue;
            }
            said = true;
            let quality = pieces.find_map(quality_of).unwrap_or(1000);
            json.consider(name, b"application/json", b"application/*", quality);
            html.consider(name, b"text/html", b"text/*", quality);
        }
    }
    match (json.value, html.value) {
        _ if !said => Some(Media::Json),
        (0, 0) => None,
        (json, html) if html > json => Some(Media::Html),
        _ => Some(Media::Json),
    }
}

/// The quality of one media type, from the most specific range that covers it.
#[derive(Default)]
struct Quality {
    specificity: u8,
    /// In thousandths.
    value: u16,
}

impl Quality {
    fn consider(&mut self, name: &[u8], exact: &[u8], family: &[u8], quality: u16) {
        let specificity = match name {
            _ if name.eq_ignore_ascii_case(exact) => 3,
            _ if name.eq_ignore_ascii_case(family) => 2,
            b"*/*" => 1,
            _ => return,
        };
        if specificity > self.specificity {
            *self = Self { specificity, value: quality };
        }
    }
}

/// `q=0.25` as 250. An invalid quality counts as 1, like a missing one.
fn quality_of(parameter: &[u8]) -> Option<u16> {
    let text = parameter.strip_prefix(b"q=").or_else(|| parameter.strip_prefix(b"Q="))?;
    let (whole, rest) = text.split_first()?;
    let digits = rest.strip_prefix(b".").unwrap_or(rest);
    if *whole != b'0' || digits.len() > 3 || !digits.iter().all(u8::is_ascii_digit) {
        return Some(1000);
    }
    let value = digits.iter().fold(0, |value, digit| value * 10 + u16::from(digit - b'0'));
    Some(value * [1000, 100, 10, 1][digits.len()])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(accept: &str) -> Option<Media> {
        choose([accept.as_bytes()].into_iter())
    }

    #[test]
    fn browsers_get_html_and_programs_json() {
        let firefox = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
        assert_eq!(chosen(firefox), Some(Media::Html));
        for accept in
            ["", "*/*", "application/json", "application/*;q=0.5, text/plain", "text/html, application/json"]
        {
            assert_eq!(chosen(accept), Some(Media::Json), "{accept}");
        }
        assert_eq!(choose(std::iter::empty()), Some(Media::Json));
    }

    #[test]
    fn the_most_specific_range_and_the_higher_quality_win() {
        assert_eq!(chosen("text/*;q=0.9, application/json;q=0.8, */*"), Some(Media::Html));
        assert_eq!(chosen("TEXT/HTML;level=1;q=0.301, application/json;q=0.3"), Some(Media::Html));
        assert_eq!(chosen("text/html;q=0, */*;q=0.1"), Some(Media::Json));
        assert_eq!(chosen("application/json;q=0, */*;q=0.1"), Some(Media::Html));
    }

    #[test]
    fn neither_is_not_acceptable() {
        assert_eq!(chosen("image/png"), None);
        assert_eq!(chosen("text/html;q=0, application/json;q=0.000"), None);
        assert_eq!(chosen("*/*;q=0"), None);
    }
}
