//! A service inside the test: it answers with the `x-forwarded-for` it got, or keeps the first
//! request for ever.

use std::sync::mpsc::SyncSender;

use crate::files::Site;
use crate::http::get;
use crate::until::until;
use crate::wire::{HELLO, Message, Pipe, REQUEST};

/// Joins terminator `number` and answers every request.
pub(crate) fn start(site: &Site, number: usize) -> Pipe {
    join(site, number, || true)
}

/// Joins terminator `number` and sends that number to `delivered` for every request. The first
/// request of the site, on whichever terminator, is never answered; later ones are.
pub(crate) fn hold_first(site: &Site, number: usize, delivered: SyncSender<usize>) -> Pipe {
    let mark = site.dir.path().join("held");
    join(site, number, move || {
        // Created by the first request alone.
        let is_first = std::fs::File::create_new(&mark).is_ok();
        delivered.send(number).unwrap();
        !is_first
    })
}

/// Says hello and answers the requests for which `answers` is true.
fn join(site: &Site, number: usize, answers: impl Fn() -> bool + Send + 'static) -> Pipe {
    let mut pipe = Pipe::open(&site.bus(number)).unwrap();
    let name = format!("echo-{number}");
    let fields = [("service", "echo"), ("version", "1"), ("instance", name.as_str()), ("weight", "100")];
    let routes = [("limit", "100"), ("route", "GET /who/{id}"), ("route", "POST /who/{id}")];
    pipe.send(&Message::new(HELLO, &[&fields[..], &routes].concat()).pack()).unwrap();
    let mut serving = pipe.try_clone().unwrap();
    std::thread::spawn(move || {
        while let Ok(request) = serving.receive_kind(REQUEST) {
            if answers() {
                let seen = request.field("x-forwarded-for").unwrap_or("none").to_owned();
                serving.send(&request.reply(200, seen.as_bytes()).pack()).unwrap();
            }
        }
    });
    let admin = site.terminators[number - 1][1];
    until("the echo's routes are known", || {
        let routes = get(admin, "/routes").json().to_string();
        if routes.contains("/who/{id}") { Ok(()) } else { Err(routes) }
    });
    pipe
}
