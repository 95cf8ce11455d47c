//! Thousands of polls at one instance: the memory of each, that one message wakes all of them, and
//! that a peer that does not read does not delay other peers' polls.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![allow(clippy::print_stdout, reason = "prints what a poll costs")]

use std::sync::mpsc;
use std::time::Duration;

use service_host::testing::stores::Place;
use service_host::testing::{Answer, Peer, Process, run};
use tokio::task::JoinHandle;

service_host::store_tests! {
    on_stores:
        a_peer_that_does_not_read_holds_up_nobody_elses_polls,
        twenty_thousand_polls_are_small_and_all_woken_by_one_message;
}

const POLLS: usize = 20_000;

/// Polls sent at once. A pipe's out-queue takes 8 192 messages.
const PORTION: usize = 2_000;

/// Most bytes per poll in this process. All processes together may use 12 KiB, most of it for the
/// terminator's connection.
const BYTES_MAX: u64 = 3 * 1024;

/// Resident memory of a process, in bytes.
fn resident(pid: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_ascii_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

fn poll(peer: &Peer, room: &str) -> JoinHandle<Answer> {
    let (asker, path) = (peer.clone(), format!("/chats/{room}/updates?after=00000000000000000000"));
    tokio::task::spawn_local(
        async move { asker.ask("GET", &path).within(Duration::from_secs(28)).answer().await },
    )
}

/// Waits until `sent` requests are outstanding and written.
async fn written(peer: &Peer, sent: usize) {
    peer.until(|bus| {
        let queued: usize = bus.peers().iter().map(|peer| peer.queued_messages).sum();
        bus.outstanding() == sent && queued == 0
    })
    .await;
}

async fn post(peer: &Peer, room: &str, id: &str) {
    let body = format!(r#"{{"id":"{id}","author":"ada","text":"hello"}}"#);
    let path = format!("/chats/{room}/messages");
    let posted = peer.ask("POST", &path).body(body).within(Duration::from_secs(20)).answer().await;
    assert_eq!(posted.status, 201);
}

/// Polls of a peer that does not read: more than fit into its socket, fewer than fit into its
/// queue.
const UNREAD: usize = 6_000;

fn a_peer_that_does_not_read_holds_up_nobody_elses_polls(place: &Place) {
    let url = place.socket("chat.sock");
    // One worker, so that both peers share it.
    let args = ["--bus-listen", &url, "--store", place.store(), "--workers", "1"];
    let _process = Process::start(env!("CARGO_BIN_EXE_chat"), &args);
    let ((waits, waiting), (end, ended)) = (mpsc::sync_channel(1), mpsc::sync_channel::<()>(1));
    let stopped = std::thread::spawn({
        let url = url.clone();
        move || {
            run(async {
                let peer = Peer::dial(&url, None);
                peer.ready("GET", "/chats/x/updates").await;
                for n in 0..UNREAD {
                    drop(poll(&peer, "crowded"));
                    if (n + 1) % PORTION == 0 {
                        written(&peer, n + 1).await;
                    }
                }
                // An answer to the last request shows that the polls before it were read.
                assert_eq!(peer.get("/chats/none/messages").await.status, 200);
                waits.send(()).unwrap();
                // The thread blocks, and its bus with it.
                let _ = ended.recv();
            });
        }
    });
    waiting.recv().unwrap();
    run(async {
        let peer = Peer::dial(&url, None);
        peer.ready("GET", "/chats/x/updates").await;
        let polls: Vec<_> = (0..300).map(|_| poll(&peer, "large")).collect();
        written(&peer, polls.len()).await;
        post(&peer, "crowded", "1").await;
        post(&peer, "large", "1").await;
        for poll in polls {
            let answer = poll.await.unwrap();
            assert!(answer.text().contains("\"hello\""), "{}", answer.text());
        }
    });
    drop(end);
    stopped.join().unwrap();
}

fn twenty_thousand_polls_are_small_and_all_woken_by_one_message(place: &Place) {
    for rooms in [1, POLLS / 2] {
        run(async {
            let place = place.another();
            let url = place.socket("chat.sock");
            let args = ["--bus-listen", &url, "--store", place.store()];
            let process = Process::start(env!("CARGO_BIN_EXE_chat"), &args);
            let peer = Peer::dial(&url, None);
            peer.ready("GET", "/chats/x/updates").await;
            let started = process.logged("listens on");
            // The line is `chat VERSION HOST-PID-RANDOM, listens on ..`.
            let pid = started.split('-').rev().find_map(|word| word.parse::<u32>().ok()).unwrap().to_string();

            let before = resident(&pid);
            let mut polls = Vec::new();
            for n in 0..POLLS {
                polls.push(poll(&peer, &(n % rooms).to_string()));
                if (n + 1) % PORTION == 0 {
                    written(&peer, n + 1).await;
                }
            }
            // An answer to the last request shows that the polls before it were read.
            assert_eq!(peer.get("/chats/none/messages").await.status, 200);
            let each = resident(&pid).saturating_sub(before) / POLLS as u64;
            println!("{rooms} conversations: {each} bytes a poll");
            assert!(each <= BYTES_MAX, "{each} bytes a poll, the limit is {BYTES_MAX}");

            for room in 0..rooms {
                post(&peer, &room.to_string(), &room.to_string()).await;
                if rooms > 1 && room == 200 {
                    break;
                }
            }
            let woken = if rooms == 1 { POLLS } else { 201 * (POLLS / rooms) };
            peer.until(|bus| bus.outstanding() == POLLS - woken).await;
            for (n, poll) in polls.into_iter().enumerate() {
                if n % rooms <= 200 {
                    let answer = poll.await.unwrap();
                    assert!(answer.status == 200 && answer.text().contains("\"hello\""), "poll {n}");
                }
            }
        });
    }
}
