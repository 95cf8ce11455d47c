//! Twenty thousand polls at one instance: what each costs in memory, and that one message wakes them all.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::time::Duration;

use service_host::testing::{Peer, Process, run, socket};

const POLLS: usize = 20_000;

/// Sent at once: a pipe's out-queue takes 8 192 messages.
const PORTION: usize = 2_000;

/// All processes together may have 12 KiB; the terminator's connection needs most of them.
const BYTES_MAX: u64 = 3 * 1024;

/// Resident memory of a process, in bytes.
fn resident(pid: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_ascii_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

#[test]
fn twenty_thousand_polls_are_small_and_all_woken_by_one_message() {
    for rooms in [1, POLLS / 2] {
        run(async {
            let dir = tempfile::tempdir().unwrap();
            let url = socket(dir.path(), "chat.sock");
            let store = format!("embedded:{}/store", dir.path().display());
            let args = ["--bus-listen", &url, "--store", &store];
            let process = Process::start(env!("CARGO_BIN_EXE_chat"), &args);
            let peer = Peer::dial(&url, None);
            peer.ready("GET", "/chats/x/updates").await;
            let started = process.logged("listens on");
            // chat VERSION HOST-PID-RANDOM, listens on ..
            let pid = started.split('-').rev().find_map(|word| word.parse::<u32>().ok()).unwrap().to_string();

            let before = resident(&pid);
            let mut polls = Vec::new();
            for n in 0..POLLS {
                let path = format!("/chats/{}/updates?after=00000000000000000000", n % rooms);
                let asker = peer.clone();
                polls.push(tokio::task::spawn_local(async move {
                    let answer = asker.ask("GET", &path).within(Duration::from_secs(28)).answer().await;
                    (answer.status, answer.text().contains("\"hello\""))
                }));
                if (n + 1) % PORTION == 0 {
                    let sent = n + 1;
                    let counted = |bus: &service_host::bus::Bus| {
                        let queued: usize = bus.peers().iter().map(|peer| peer.queued_messages).sum();
                        bus.outstanding() == sent && queued == 0
                    };
                    peer.until(counted).await;
                }
            }
            // An answer to what was asked last says that the polls before it were read.
            assert_eq!(peer.get("/chats/none/messages").await.status, 200);
            let each = resident(&pid).saturating_sub(before) / POLLS as u64;
            println!("{rooms} conversations: {each} bytes a poll");
            assert!(each <= BYTES_MAX, "{each} bytes a poll, the limit is {BYTES_MAX}");

            for room in 0..rooms {
                let body = format!(r#"{{"id":"{room}","author":"ada","text":"hello"}}"#);
                let path = format!("/chats/{room}/messages");
                let posted =
                    peer.ask("POST", &path).body(body).within(Duration::from_secs(20)).answer().await;
                assert_eq!(posted.status, 201);
                if rooms > 1 && room == 200 {
                    break;
                }
            }
            let woken = if rooms == 1 { POLLS } else { 201 * (POLLS / rooms) };
            peer.until(|bus| bus.outstanding() == POLLS - woken).await;
            for (n, poll) in polls.into_iter().enumerate() {
                if n % rooms <= 200 {
                    assert_eq!(poll.await.unwrap(), (200, true), "poll {n}");
                }
            }
        });
    }
}
