//! The frame of every page.
//!
//! Owns the head of the HTML document. Style and script are separate files (`assets`), so a page
//! needs nothing inline.

use maud::{DOCTYPE, Markup, html};

use crate::assets::{SCRIPT, STYLE};

/// A page with this title and content.
pub(crate) fn frame(title: &str, content: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) }
                link rel="stylesheet" href=(STYLE.href());
                script src=(SCRIPT.href()) defer {}
            }
            body { (content) }
        }
    }
}
