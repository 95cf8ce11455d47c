//! Memory that was freed goes back to the system, although nothing more is allocated.

#![allow(clippy::unwrap_used, reason = "tests fail by panic")]

use std::fs;
use std::time::Duration;

#[global_allocator]
static ALLOCATOR: role::memory::Allocator = role::memory::Allocator;

const BURST: usize = 100 << 20;
const PATIENCE: Duration = Duration::from_secs(20);

fn resident() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() << 10
}

/// Blocks of many sizes, so that they come of many pages.
fn burst() -> Vec<Vec<u8>> {
    let sizes = [100, 900, 5_000, 40_000, 300_000];
    let mut len = 0;
    let blocks = sizes.iter().cycle().map(|&size| vec![1; size]);
    blocks
        .take_while(|block| {
            len += block.len();
            len < BURST
        })
        .collect()
}

#[tokio::test(flavor = "current_thread")]
async fn a_thread_that_idles_gives_back_what_a_burst_took() {
    let before = resident();
    let blocks = burst();
    let with = resident();
    assert!(with - before > BURST / 2, "{before} to {with}");
    // One in a thousand stays: what lies beside it goes all the same.
    let kept: Vec<Vec<u8>> = blocks.into_iter().step_by(1000).collect();
    tokio::time::timeout(PATIENCE, async {
        tokio::select! {
            () = role::memory::give_back() => {}
            () = async {
                let mut looks = tokio::time::interval(Duration::from_millis(100));
                while resident() > before + BURST / 10 {
                    looks.tick().await;
                }
            } => {}
        }
    })
    .await
    .unwrap_or_else(|_| panic!("{before} before, {with} with the burst, {} after it", resident()));
    drop(kept);
}
