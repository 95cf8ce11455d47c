//! Choosing between a JSON problem and an HTML page by `Accept` (RFC 9110 section 12.5.1).
//!
//! Owns reading the header as far as that choice needs it. Leaves rendering both to `problem`.
//! Invariant: without a preference the choice is JSON.

/// Members of `Accept` that are read: browsers send about ten, and an error response must not cost
/// more than a reply.
const MEMBERS_MAX: usize = 32;

/// True when this value of `Accept` ranks HTML above JSON, as browsers' do.
#[must_use]
pub fn prefers_html(value: &[u8]) -> bool {
    let best = |families: &[&[u8]]| {
        let mut best = (0, 0);
        for range in value.split(|byte| *byte == b',').take(MEMBERS_MAX) {
            let mut pieces = range.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
            let name = pieces.next().unwrap_or_default();
            // The most specific range that covers the type decides.
            let Some(place) = families.iter().position(|family| family.eq_ignore_ascii_case(name)) else {
                continue;
            };
            let quality = pieces.find_map(quality).unwrap_or(1000);
            let specificity = families.len() - place;
            if specificity > best.0 {
                best = (specificity, quality);
            }
        }
        best.1
    };
    let json = best(&[b"application/problem+json", b"application/json", b"application/*", b"*/*"]);
    best(&[b"text/html", b"text/*", b"*/*"]) > json
}

/// The value of a parameter such as `q=0.25`, in thousandths; `None` for other parameters.
fn quality(parameter: &[u8]) -> Option<u16> {
    let text = parameter.strip_prefix(b"q=").or_else(|| parameter.strip_prefix(b"Q="))?;
    let quality: f32 = std::str::from_utf8(text).ok()?.parse().ok()?;
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is from 0 to 1000")]
    (0.0..=1.0).contains(&quality).then_some((quality * 1000.0) as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn browsers_get_a_page_and_programs_json() {
        for (accept, html) in [
            ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", true),
            ("text/html", true),
            ("TEXT/HTML, */*;q=0.1", true),
            ("text/*", true),
            ("text/html;q=0.5, application/json;q=0.4", true),
            ("text/html;q=0.5, application/json", false),
            ("text/html, application/problem+json", false),
            ("*/*", false),
            ("application/json", false),
            ("text/html;q=0, */*", false),
            ("text/html;q=nan", true),
            ("", false),
        ] {
            assert_eq!(prefers_html(accept.as_bytes()), html, "{accept}");
        }
    }
}
