//! Allocations per request: the terminator, the bus in both directions and a service that answers
//! at once.

use std::alloc::System;
use std::collections::BTreeMap;

use ratchet::allowed;
use ratchet::hop::Hop;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Enough that one-time allocations of a buffer or a timer disappear in the mean.
const REQUESTS: u32 = 2000;

#[test]
fn a_request_allocates_no_more_than_it_is_allowed() {
    let mut hop = Hop::new();
    hop.requests(REQUESTS);
    let region = Region::new(ALLOCATOR);
    hop.requests(REQUESTS);
    let change = region.change();
    let per_request = |count: usize| f64::from(u32::try_from(count).unwrap()) / f64::from(REQUESTS);
    let measured = BTreeMap::from([
        ("one-hop-allocations".to_owned(), per_request(change.allocations + change.reallocations)),
        ("one-hop-bytes".to_owned(), per_request(change.bytes_allocated)),
    ]);
    match allowed::check("allocations", &measured) {
        Ok(notes) => println!("{}", notes.join("\n")),
        Err(worse) => panic!("{worse}"),
    }
}
