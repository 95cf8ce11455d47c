//! The pages as HTML.
//!
//! Owns: markup. Everything that comes from outside goes through maud's escaping. No script, no external asset.

use maud::{DOCTYPE, Markup, PreEscaped, html};
use serde_json::Value;

use crate::gather::{Answer, Answers};

const STYLE: &str = "\
:root{color-scheme:light dark}\
body{font:16px/1.5 system-ui,sans-serif;max-width:46rem;margin:2rem auto;padding:0 1rem}\
h1,h2{line-height:1.2}h2{font-size:1.1rem;margin-top:2rem}\
dl{display:grid;grid-template-columns:minmax(6rem,max-content) 1fr;gap:.2rem 1rem;margin:0}\
dt{font-weight:600}dd{margin:0;overflow-wrap:anywhere}ul{padding-left:1.2rem}\
.note{opacity:.75}nav{margin-bottom:1rem}code{font-size:.95em}";

/// A member in a list.
pub(crate) struct Entry {
    pub(crate) id: String,
    /// Where the member's page is.
    pub(crate) href: String,
    /// What it is called, when its profile says.
    pub(crate) name: Option<String>,
}

pub(crate) fn start(version: &str) -> Markup {
    frame(
        "Members",
        &html! {
            h1 { "Members" }
            p { "Every page here is HTML for browsers and JSON for programs: the same address, another " code { "Accept" } "." }
            ul {
                li { a href="/members" { "All members" } }
                li { a href="/members/1" { "Member 1" } " — " code { "curl 127.0.0.1:8080/members/1" } }
            }
            p.note { "web " (version) }
        },
    )
}

pub(crate) fn list(entries: &[Entry], next: Option<&str>) -> Markup {
    frame(
        "Members",
        &html! {
            nav { a href="/" { "Start" } }
            h1 { "Members" }
            @if entries.is_empty() { p { "There are none here." } }
            ul {
                @for entry in entries {
                    li { a href=(entry.href) { (entry.id) } @if let Some(name) = &entry.name { " — " (name) } }
                }
            }
            @if let Some(next) = next { p { a href=(next) rel="next" { "More" } } }
        },
    )
}

pub(crate) fn member(id: &str, answers: &Answers) -> Markup {
    let parts: Vec<(&str, Value)> = answers
        .iter()
        .filter_map(|(part, answer)| match answer {
            Answer::Given(text) => Some((part.name, serde_json::from_slice(text).unwrap_or(Value::Null))),
            Answer::Absent => Some((part.name, Value::Null)),
            Answer::Failed(_) => None,
        })
        .collect();
    let title = parts.iter().find_map(|(_, part)| name(part)).unwrap_or(id);
    frame(
        title,
        &html! {
            nav { a href="/members" { "Members" } }
            h1 { (title) }
            @for (part, content) in &parts {
                section {
                    h2 { (part) }
                    @if content.is_null() { p.note { "Nothing yet." } } @else { (value(content)) }
                }
            }
            @for (part, answer) in answers {
                @if let Answer::Failed(failure) = answer {
                    p.note { "Left out: " (part.name) " (" (failure.reason()) ")." }
                }
            }
        },
    )
}

pub(crate) fn problem(title: &str, detail: &str) -> Markup {
    frame(
        title,
        &html! {
            nav { a href="/" { "Start" } }
            h1 { (title) }
            p { (detail) }
        },
    )
}

/// What a profile calls its member.
pub(crate) fn name(profile: &Value) -> Option<&str> {
    profile.get("name").and_then(Value::as_str)
}

fn frame(title: &str, content: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body { (content) }
        }
    }
}

/// Any JSON; serde_json has bounded how deep it is nested.
fn value(content: &Value) -> Markup {
    html! {
        @match content {
            Value::Null => "—",
            Value::Bool(true) => "yes",
            Value::Bool(false) => "no",
            Value::Number(number) => (number),
            Value::String(text) => (text),
            Value::Array(items) => ul { @for item in items { li { (value(item)) } } },
            Value::Object(members) => dl {
                @for (name, content) in members { dt { (name) } dd { (value(content)) } }
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::failure::Failure;
    use crate::parts::PARTS;

    #[test]
    fn nothing_from_outside_becomes_markup() {
        let evil = r#"{"name":"<script>alert(1)</script>","<b>":["\"><img src=x onerror=y>"]}"#;
        let answers = Answers::from_iter([
            (&PARTS[0], Answer::Given(Bytes::from_static(evil.as_bytes()))),
            (&PARTS[1], Answer::Failed(Failure::NotJson)),
        ]);
        let page = member("<i>", &answers).into_string();
        for markup in ["<script", "<img", "<b>", "<i>"] {
            assert!(!page.contains(markup), "{markup} in {page}");
        }
        assert!(page.contains("&lt;script&gt;alert(1)"));
        assert!(page.contains("Left out: feed (not-json)"));
        let entry =
            Entry { id: "\"<x>".to_owned(), href: "/members/%22".to_owned(), name: Some("<y>".to_owned()) };
        let page = list(&[entry], Some("/members?after=\"><z>")).into_string();
        assert!(!page.contains("<x>") && !page.contains("<y>") && !page.contains("<z>"), "{page}");
    }
}
