//! A request with places for members, conversations, ids and words.
//!
//! Owns parsing `/feeds/{member}` and writing a request from it. Invariant: `content-length` is
//! that of the body, whatever was drawn; an unknown place is refused before anything is sent.

use std::io::Write;

use anyhow::{Result, bail};

/// A placeholder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Member,
    Conversation,
    Id,
    Words,
}

const PLACES: [(&str, Place); 4] = [
    ("{member}", Place::Member),
    ("{conversation}", Place::Conversation),
    ("{id}", Place::Id),
    ("{words}", Place::Words),
];

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Place(Place),
}

/// The values drawn for one request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Drawn<'a, I> {
    pub(super) member: (&'a str, u64),
    pub(super) conversation: (&'a str, u64),
    pub(super) id: I,
    pub(super) words: &'a str,
}

/// A request with placeholders.
#[derive(Clone, Debug)]
pub(super) struct Template {
    method: &'static str,
    path: Vec<Piece>,
    body: Vec<Piece>,
    host: String,
}

impl Template {
    /// Without a body when `body` is empty; otherwise the body is JSON.
    pub(super) fn new(method: &'static str, path: &str, body: &str, host: &str) -> Result<Self> {
        if !path.starts_with('/') {
            bail!("path {path:?}: must begin with /");
        }
        let (path, body) = (pieces(path), pieces(body));
        // A path has no braces except placeholders; JSON has braces of its own.
        for piece in &path {
            if let Piece::Text(text) = piece
                && text.contains(['{', '}', ' '])
            {
                let known: Vec<_> = PLACES.iter().map(|(name, _)| *name).collect();
                bail!("path: {text:?} is not a known place; known are {}", known.join(", "));
            }
        }
        Ok(Self { method, path, body, host: host.to_owned() })
    }

    /// True when the request writes to the conversation in its path.
    pub(super) fn writes_to_conversation(&self) -> bool {
        self.method == "POST" && self.path.contains(&Piece::Place(Place::Conversation))
    }

    /// Replaces the contents of `room` by the request.
    pub(super) fn write<I: std::fmt::Display>(&self, drawn: &Drawn<'_, I>, room: &mut Vec<u8>) {
        room.clear();
        put(&self.body, drawn, room);
        let body_len = room.len();
        let mut put_text = |text: &str| room.extend_from_slice(text.as_bytes());
        put_text(self.method);
        put_text(" ");
        put(&self.path, drawn, room);
        let _ = write!(room, " HTTP/1.1\r\nHost: {}\r\n", self.host);
        if !self.body.is_empty() {
            let _ = write!(room, "Content-Type: application/json\r\nContent-Length: {body_len}\r\n");
        }
        room.extend_from_slice(b"\r\n");
        // The body is written first, for its length, and then moved behind the head.
        room.rotate_left(body_len);
    }
}

fn pieces(template: &str) -> Vec<Piece> {
    let (mut pieces, mut rest) = (Vec::new(), template);
    let first = |text: &str| {
        let found = PLACES.iter().filter_map(|(name, place)| Some((text.find(name)?, *name, *place)));
        found.min_by_key(|(at, ..)| *at)
    };
    while let Some((at, name, place)) = first(rest) {
        if at > 0 {
            pieces.push(Piece::Text(rest[..at].to_owned()));
        }
        pieces.push(Piece::Place(place));
        rest = &rest[at + name.len()..];
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest.to_owned()));
    }
    pieces
}

/// Writing into memory does not fail.
fn put<I: std::fmt::Display>(pieces: &[Piece], drawn: &Drawn<'_, I>, room: &mut Vec<u8>) {
    for piece in pieces {
        let _ = match piece {
            Piece::Text(text) => room.write_all(text.as_bytes()),
            Piece::Place(Place::Member) => write!(room, "{}{}", drawn.member.0, drawn.member.1),
            Piece::Place(Place::Conversation) => {
                write!(room, "{}{}", drawn.conversation.0, drawn.conversation.1)
            }
            Piece::Place(Place::Id) => write!(room, "{}", drawn.id),
            Piece::Place(Place::Words) => room.write_all(drawn.words.as_bytes()),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_filled_and_the_length_is_the_bodys() {
        let body = r#"{"id":"{id}","author":"{member}","text":"{words}"}"#;
        let template = Template::new("POST", "/chats/{conversation}/messages", body, "h:1").unwrap();
        assert!(template.writes_to_conversation());
        let drawn = Drawn { member: ("m", 12), conversation: ("c", 3), id: "x-1", words: "so it is" };
        let mut room = b"what was there before".to_vec();
        template.write(&drawn, &mut room);
        let body = r#"{"id":"x-1","author":"m12","text":"so it is"}"#;
        let expected = format!(
            "POST /chats/c3/messages HTTP/1.1\r\nHost: h:1\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        assert_eq!(String::from_utf8(room).unwrap(), expected);
    }

    #[test]
    fn a_read_has_no_body_and_writes_nowhere() {
        let template = Template::new("GET", "/feeds/{member}?limit=20", "", "h").unwrap();
        let drawn = Drawn { member: ("m", 1), conversation: ("c", 1), id: "", words: "" };
        let mut room = Vec::new();
        template.write(&drawn, &mut room);
        assert_eq!(room, b"GET /feeds/m1?limit=20 HTTP/1.1\r\nHost: h\r\n\r\n");
        assert!(!template.writes_to_conversation());
    }

    #[test]
    fn a_place_that_nobody_knows_is_refused() {
        for path in ["/feeds/{owner}", "feeds", "/a b"] {
            Template::new("GET", path, "", "h").expect_err(path);
        }
    }
}
