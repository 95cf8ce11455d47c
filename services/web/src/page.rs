//! The pages of members as HTML.
//!
//! Owns their markup; `items` has that of feeds and conversations. Everything that comes from
//! outside is escaped by maud.

pub(crate) mod items;

use maud::{Markup, html};
use serde_json::Value;
use service_host::Problem;

use crate::frame::frame;
use crate::gather::{Answer, Answers};

/// A member in a list.
pub(crate) struct ListedMember {
    pub(crate) id: String,
    /// The address of the member's page.
    pub(crate) href: String,
    /// The member's name, when the profile has one.
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
            form.row action="/conversations" {
                input name="id" required placeholder="Conversation" aria-label="Conversation";
                input name="as" placeholder="Your name" aria-label="Your name";
                button { "Open" }
            }
            p.note { "web " (version) }
        },
    )
}

pub(crate) fn list(members: &[ListedMember], next: Option<&str>) -> Markup {
    frame(
        "Members",
        &html! {
            nav { a href="/" { "Start" } }
            h1 { "Members" }
            @if members.is_empty() { p { "There are none here." } }
            ul {
                @for member in members {
                    li { a href=(member.href) { (member.id) } @if let Some(name) = &member.name { " — " (name) } }
                }
            }
            @if let Some(next) = next { p { a href=(next) rel="next" { "More" } } }
        },
    )
}

/// What a member's page shows besides the answers; by default what it shows without a plan.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct MemberPage {
    /// A link to the member's conversation.
    pub(crate) conversation: bool,
    /// The feed before the profile.
    pub(crate) feed_first: bool,
}

/// `segment` is the id, percent-encoded.
pub(crate) fn member(id: &str, segment: &str, answers: &Answers, shown: MemberPage) -> Markup {
    let mut parts: Vec<(&str, Value)> = answers
        .iter()
        .filter_map(|(part, answer)| match answer {
            Answer::Given(text) => Some((part.name, serde_json::from_slice(text).unwrap_or(Value::Null))),
            Answer::Absent(_) => Some((part.name, Value::Null)),
            Answer::Failed(_) => None,
        })
        .collect();
    if shown.feed_first {
        parts.sort_by_key(|(part, _)| *part != "feed");
    }
    let title = parts.iter().find_map(|(_, part)| name(part)).unwrap_or(id);
    let has_feed = answers.iter().any(|(part, _)| part.name == "feed");
    frame(
        title,
        &html! {
            nav {
                a href="/members" { "Members" }
                @if has_feed { a href={ "/members/" (segment) "/feed" } { "Feed" } }
                @if shown.conversation { a href={ "/conversations/" (segment) } { "Conversation" } }
            }
            h1 { (title) }
            @for (part, content) in &parts {
                section {
                    h2 { (part) }
                    @if content.is_null() {
                        p.note { "Nothing yet." }
                    } @else if *part == "feed" {
                        (feed(content))
                    } @else {
                        (value(content))
                    }
                }
            }
            @for (part, answer) in answers {
                @if let Answer::Failed(error) = answer {
                    p.note { "Left out: " (part.name) " (" (error.reason()) ")." }
                }
            }
        },
    )
}

pub(crate) fn problem(problem: &Problem) -> Markup {
    frame(
        &problem.title,
        &html! {
            nav { a href="/" { "Start" } }
            h1 { (problem.title) }
            p { (problem.detail) }
            @if let Some(remedy) = &problem.remedy { p { "What helps: " (remedy) "." } }
            @if let Some(id) = &problem.request_id { p.note { "Request " (id) } }
        },
    )
}

/// The name of a member according to the profile.
pub(crate) fn name(profile: &Value) -> Option<&str> {
    profile.get("name").and_then(Value::as_str)
}

/// A feed's entries; JSON of another shape is shown like any value.
fn feed(content: &Value) -> Markup {
    let entries = items::entries(content);
    html! {
        @match entries {
            None => (value(content)),
            Some(entries) if entries.is_empty() => p.note { "Nothing yet." },
            Some(entries) => ol.items { @for entry in &entries { (items::item(entry)) } },
        }
    }
}

/// Any JSON value; serde_json bounds its depth.
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
    use crate::ask_error::AskError;
    use crate::parts::SOURCES;

    #[test]
    fn nothing_from_outside_becomes_markup() {
        let evil = r#"{"name":"<script>alert(1)</script>","<b>":["\"><img src=x onerror=y>"]}"#;
        let answers = Answers::from_iter([
            (&SOURCES[0].parts[0], Answer::Given(Bytes::from_static(evil.as_bytes()))),
            (&SOURCES[1].parts[0], Answer::Failed(AskError::NotJson)),
        ]);
        let page =
            member("<i>", "<i>", &answers, MemberPage { conversation: true, feed_first: true }).into_string();
        for markup in ["<script>", "<img", "<b>", "<i>"] {
            assert!(!page.contains(markup), "{markup} in {page}");
        }
        assert!(page.contains("&lt;script&gt;alert(1)"));
        assert!(page.contains("Left out: feed (reply_not_json)"));
        let entry = ListedMember {
            id: "\"<x>".to_owned(),
            href: "/members/%22".to_owned(),
            name: Some("<y>".to_owned()),
        };
        let page = list(&[entry], Some("/members?after=\"><z>")).into_string();
        assert!(!page.contains("<x>") && !page.contains("<y>") && !page.contains("<z>"), "{page}");
    }
}
