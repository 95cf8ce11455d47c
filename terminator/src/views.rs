//! How the terminator describes one of its workers to `role`: its metrics, and its part of
//! `/ready`.
//!
//! Owns: nothing; reads a worker. Invariant: every counter of [`crate::stats`] is in the picture.

use std::rc::Rc;

use role::metrics::{Group, Latencies, Picture, add_bus};
use role::observer::Views;
use role::readiness::{Health, Unready};

use crate::worker::Worker;

/// The terminator's views.
pub const VIEWS: Views<Rc<Worker>> = Views {
    groups: &[Group::All, Group::Terminator],
    picture,
    health,
    // Without a service it still answers its clients, with 404 and 503.
    needs_peer: false,
};

fn picture(worker: &Rc<Worker>, latencies: Latencies) -> Picture {
    let mut picture = Picture {
        worker: worker.id,
        routes: worker.routes.pictures(latencies),
        claims: worker.bus.routes(),
        ..Picture::default()
    };
    worker.stats.add_to(&mut picture);
    picture.gauges.push(("in_flight", worker.permits.in_flight() as u64));
    add_bus(&mut picture, &worker.bus, None);
    picture
}

fn health(worker: &Rc<Worker>) -> Health {
    let mut health = Health::of(&worker.bus, None);
    let missing = worker.missing();
    if !missing.is_empty() {
        health.unready.push(Unready {
            reason: "expected",
            detail: format!("expected services have not joined: {missing} (--expect)"),
            remedy: "start what is missing, or let it reach this terminator's bus",
        });
    } else if worker.settling() {
        health.unready.push(Unready {
            reason: "settling",
            detail: "started a moment ago: services are still dialling".to_owned(),
            remedy: "ask again in a second (--settle)",
        });
    }
    health
}
