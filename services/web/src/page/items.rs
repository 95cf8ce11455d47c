//! Feeds and conversations as HTML: lists of what members wrote, and the forms to write more.
//!
//! Owns markup. Everything that comes from outside is escaped by maud. Pages work with forms and
//! links alone; the script (`assets/live.js`) uses the ids and `data-` attributes.

use std::time::{Duration, UNIX_EPOCH};

use maud::{Markup, html};
use serde::Deserialize;
use serde_json::Value;

use crate::frame::frame;

/// Longest text that the services accept, in characters. Browsers count UTF-16 units, so a form may
/// stop earlier.
const TEXT_CHARS_MAX: u32 = 2_000;

/// Longest id that the services accept, in bytes.
const ID_BYTES_MAX: u32 = 200;

/// An entry of a feed, or a message of a conversation.
#[derive(Debug, Deserialize)]
pub(crate) struct Item {
    author: String,
    text: String,
    at_ms: u64,
    position: String,
}

/// The answer of `GET /feeds/{owner}`.
#[derive(Deserialize)]
pub(crate) struct Feed {
    pub(crate) entries: Vec<Item>,
    pub(crate) next: Option<String>,
}

/// The contents of a feed's page.
pub(crate) struct FeedView<'a> {
    pub(crate) id: &'a str,
    /// The address of the member's page.
    pub(crate) href: &'a str,
    pub(crate) entries: &'a [Item],
    pub(crate) next: Option<&'a str>,
    /// True for the first page, which has the forms and is kept up to date.
    pub(crate) is_newest: bool,
    pub(crate) unread: Option<&'a str>,
    pub(crate) new_id: &'a str,
}

/// The contents of a conversation's page.
pub(crate) struct ConversationView<'a> {
    pub(crate) id: &'a str,
    /// The id as a path segment.
    pub(crate) segment: &'a str,
    /// The page's own address.
    pub(crate) href: &'a str,
    /// The member who looks at the page; empty when unknown.
    pub(crate) member: &'a str,
    /// The newest message first.
    pub(crate) messages: &'a [Item],
    pub(crate) next: Option<&'a str>,
    /// The cursor from which polls continue.
    pub(crate) after: &'a str,
    pub(crate) is_newest: bool,
    pub(crate) new_id: &'a str,
}

/// The entries of a feed on a member's page; `None` when the JSON has another shape.
pub(crate) fn entries(feed: &Value) -> Option<Vec<Item>> {
    Feed::deserialize(feed).ok().map(|feed| feed.entries)
}

pub(crate) fn feed(view: &FeedView<'_>) -> Markup {
    let page = format!("{}/feed", view.href);
    let live = view.is_newest.then_some(page.as_str());
    frame(
        &format!("Feed of {}", view.id),
        &html! {
            nav { a href="/members" { "Members" } a href=(view.href) { (view.id) } a href=(page) { "Refresh" } }
            main id="feed" data-live=[live] {
                h1 { "Feed of " (view.id) }
                @if view.is_newest { (feed_forms(view, &page)) }
                ol.items id="entries" {
                    @if view.entries.is_empty() { li.note { "Nothing yet." } }
                    @for entry in view.entries { (item(entry)) }
                }
                @if let Some(next) = view.next {
                    p { a href={ (page) "?before=" (next) } rel="next" { "Earlier" } }
                }
            }
        },
    )
}

fn feed_forms(view: &FeedView<'_>, page: &str) -> Markup {
    html! {
        form method="post" action=(page) {
            input type="hidden" name="id" value=(view.new_id);
            textarea name="text" required maxlength=(TEXT_CHARS_MAX) aria-label="New entry" {}
            button { "Post" }
        }
        form.row method="post" action={ (view.href) "/follows" } {
            input name="other" required maxlength=(ID_BYTES_MAX) placeholder="Member" aria-label="Member";
            button name="action" value="follow" { "Follow" }
            button name="action" value="unfollow" { "Unfollow" }
        }
        form.row id="unread" method="post" action={ (page) "/read" } {
            @if let Some(unread) = view.unread {
                span { (unread) " unread" }
                @if let Some(newest) = view.entries.first() {
                    input type="hidden" name="upto" value=(newest.position);
                }
                @if unread != "0" { button { "Mark as read" } }
            }
        }
    }
}

pub(crate) fn conversation(view: &ConversationView<'_>) -> Markup {
    let path = format!("/chats/{}", view.segment);
    let updates = view.is_newest.then(|| format!("{path}/updates"));
    let joint = if view.member.is_empty() { "?" } else { "&" };
    frame(
        &format!("Conversation {}", view.id),
        &html! {
            nav { a href="/" { "Start" } a href=(view.href) { "Refresh" } }
            h1 { "Conversation " (view.id) }
            @if let Some(next) = view.next {
                p { a href={ (view.href) (joint) "before=" (next) } rel="next" { "Earlier" } }
            }
            ol.items id="messages" data-updates=[updates] data-after=(view.after) data-member=(view.member) {
                @for message in view.messages.iter().rev() { (item(message)) }
            }
            @if view.is_newest { (say_form(view, &path)) }
        },
    )
}

fn say_form(view: &ConversationView<'_>, path: &str) -> Markup {
    html! {
        p.note id="typing" aria-live="polite" {}
        form id="say" method="post" action={ "/conversations/" (view.segment) }
            data-messages={ (path) "/messages" } data-typing={ (path) "/typing" } {
            input type="hidden" name="id" value=(view.new_id);
            input name="author" required maxlength=(ID_BYTES_MAX) value=(view.member) placeholder="Your name"
                aria-label="Your name";
            textarea name="text" required maxlength=(TEXT_CHARS_MAX) aria-label="Message" {}
            button { "Say" }
        }
        p.note id="problem" role="alert" {}
        p.note id="present" {}
    }
}

pub(crate) fn item(item: &Item) -> Markup {
    let at = UNIX_EPOCH.checked_add(Duration::from_millis(item.at_ms)).unwrap_or(UNIX_EPOCH);
    // Years above 9999 cannot be formatted; a page with such a time is still shown.
    let at = if item.at_ms < 253_402_300_800_000 { at } else { UNIX_EPOCH };
    let at = humantime::format_rfc3339_seconds(at).to_string();
    html! {
        li { header { b { (item.author) } time datetime=(at) { (at) } } p { (item.text) } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evil() -> Item {
        let evil = "\"><script>x</script>".to_owned();
        Item { author: evil.clone(), text: evil.clone(), at_ms: u64::MAX, position: evil }
    }

    #[test]
    fn nothing_from_outside_becomes_markup() {
        let (evil, text) = ([evil()], "\"><script>y</script>");
        let feed = feed(&FeedView {
            id: text,
            href: text,
            entries: &evil,
            next: Some(text),
            is_newest: true,
            unread: Some(text),
            new_id: text,
        });
        let conversation = conversation(&ConversationView {
            id: text,
            segment: text,
            href: text,
            member: text,
            messages: &evil,
            next: Some(text),
            after: text,
            is_newest: true,
            new_id: text,
        });
        for page in [feed.into_string(), conversation.into_string()] {
            assert!(page.contains("&lt;script&gt;x") && page.contains("&lt;script&gt;y"), "{page}");
            // The only script is the frame's own, which is loaded by address.
            let scripts: Vec<_> = page.match_indices("<script").collect();
            assert!(scripts.len() == 1 && page.contains("<script src=\"/static/live.js?v="), "{page}");
        }
    }

    #[test]
    fn only_the_newest_page_is_kept_up_to_date_and_has_forms() {
        let view = |is_newest| FeedView {
            id: "1",
            href: "/members/1",
            entries: &[],
            next: None,
            is_newest,
            unread: Some("3"),
            new_id: "n",
        };
        let newest = feed(&view(true)).into_string();
        assert!(newest.contains("data-live=\"/members/1/feed\"") && newest.contains("3 unread"), "{newest}");
        let earlier = feed(&view(false)).into_string();
        assert!(!earlier.contains("data-live") && !earlier.contains("<form"), "{earlier}");
    }
}
