//! The body of an error response: a problem as JSON, or as a page for browsers.
//!
//! Owns the page. `role` owns the members and their JSON; `rescue` chooses their values.

use bytes::Bytes;
use maud::html;
use role::problem::{MEDIA_TYPE, Problem};

/// The media type of the page.
const HTML: &str = "text/html; charset=utf-8";

/// The media type and the body: a page when `as_html`.
#[must_use]
pub fn body(problem: &Problem, as_html: bool) -> (&'static str, Bytes) {
    if as_html { (HTML, page(problem)) } else { (MEDIA_TYPE, problem.to_json()) }
}

fn page(problem: &Problem) -> Bytes {
    let (status, title) = (problem.status, &*problem.title);
    let page = html! {
        (maud::DOCTYPE)
        html lang="en" {
            head {
                meta name="viewport" content="width=device-width";
                title { (status) " " (title) }
                style { "body{font:16px system-ui,sans-serif;margin:10vh auto;max-width:40em;padding:0 1em}dt{color:#777}dd{margin:0 0 1em}" }
            }
            body {
                h1 { (status) " " (title) }
                dl {
                    dt { "What happened" } dd { (problem.detail) }
                    @if let Some(remedy) = &problem.remedy { dt { "What helps" } dd { (remedy) "." } }
                    @if let Some(path) = &problem.instance { dt { "Path" } dd { (path) } }
                    @if let Some(id) = &problem.request_id { dt { "Request" } dd { code { (id) } } }
                }
            }
        }
    };
    page.into_string().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rescue::Refusal;

    #[test]
    fn a_page_escapes_what_its_client_sent() {
        let problem = Refusal::NoRoute.problem().instance("/<script>&\"");
        let (media, body) = body(&problem, true);
        let page = std::str::from_utf8(&body).unwrap();
        assert_eq!(media, HTML);
        assert!(page.contains("/&lt;script&gt;&amp;") && !page.contains("<script"), "{page}");
        assert!(page.contains("404") && page.contains(problem.remedy.as_deref().unwrap()), "{page}");
    }
}
