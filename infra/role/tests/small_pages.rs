//! Memory comes in small pages: those that are not used can be given back.

#![allow(clippy::unwrap_used, reason = "tests fail by panic")]

use std::fs;

#[global_allocator]
static ALLOCATOR: role::memory::Allocator = role::memory::Allocator;

#[test]
fn huge_pages_are_not_asked_for() {
    let block = vec![1_u8; 64 << 20];
    let maps = fs::read_to_string("/proc/self/smaps_rollup").unwrap();
    let huge = maps.lines().find(|line| line.starts_with("AnonHugePages:")).unwrap();
    assert_eq!(huge.split_whitespace().nth(1), Some("0"), "{huge}");
    drop(block);
}
