//! etcd killed, stopped, compacted, wiped, and in part: what is in force stays, and changes arrive
//! when it is back.

#[path = "support/running.rs"]
#[allow(dead_code, reason = "each test binary uses a part of it")]
mod running;
#[path = "support/server.rs"]
#[allow(dead_code, clippy::print_stdout, reason = "each test binary uses a part of it; SKIPPED lines")]
mod server;

use std::sync::Arc;

use change::discovery::publish;
use change::document::{Kind, Listener, Origin, Plan, Revision};
use change::source::{Expected, PlanSettings, Source, SourceError};
use running::{Running, has, key, put, run, turn, within, write};
use rustix::process::Signal;
use server::{Etcd, settings};

fn listener() -> Listener {
    let urls = vec!["tcp://127.0.0.1:5555".to_owned()];
    Listener { urls, role: "terminator".to_owned(), version: "1".to_owned() }
}

fn is_down(status: &change::source::Status) -> bool {
    !status.state.connected && status.state.error.is_some()
}

#[test]
fn a_killed_etcd_changes_nothing_and_changes_arrive_after_its_return() {
    run(async {
        let Some(mut etcd) = Etcd::start().await else { return };
        let running = Running::start(&etcd.settings());
        let front = key("buses/front/t1");
        let held = publish(&running.source, "front", "t1", &listener()).expect("publishes");
        running.put("toggles/a", "{\"name\":\"a\",\"enabled\":true,\"v\":1}").await;
        running
            .plan("a change", |plan| has(plan, "toggles/a", "{\"name\":\"a\",\"enabled\":true,\"v\":1}"))
            .await;
        running.records("the listener", |records| records.document(&front).is_some()).await;
        for turn in 2..5 {
            etcd.kill();
            let status = running.status("it is lost", is_down).await;
            assert_eq!((status.documents.len(), status.refused.len()), (2, 0), "{status:?}");
            let error = running
                .source
                .write(write("toggles/a", Some("{\"name\":\"a\",\"enabled\":true}"), Expected::Any))
                .await;
            assert!(matches!(error, Err(SourceError::Unavailable(_))), "{error:?}");

            etcd.run().await;
            let text = format!("{{\"name\":\"a\",\"enabled\":true,\"v\":{turn}}}");
            etcd.put("/stack/toggles/a", &text).await;
            running.plan("a change after its return", |plan| has(plan, "toggles/a", &text)).await;
        }
        running.records("the listener", |records| records.document(&front).is_some()).await;
        assert_eq!(running.source.status().state.wipes, 0);
        drop(held);
    });
}

/// The watch's connection stays open, and no packet says that its peer is dead (etcd-client#48).
#[test]
fn a_stopped_etcd_is_noticed_and_changes_arrive_when_it_continues() {
    run(async {
        let Some(etcd) = Etcd::start().await else { return };
        let running = Running::start(&etcd.settings());
        let mut election = running.source.elect("rollouts").expect("is a name");
        running.put("toggles/a", "{\"name\":\"a\",\"enabled\":true,\"v\":1}").await;
        running
            .plan("a change", |plan| has(plan, "toggles/a", "{\"name\":\"a\",\"enabled\":true,\"v\":1}"))
            .await;
        within("it leads", async {
            while !election.is_leader() {
                election.changed().await
            }
        })
        .await;

        etcd.signal(Signal::STOP);
        running.status("it is lost", is_down).await;
        let compared =
            write("toggles/b", Some("{\"name\":\"a\",\"enabled\":true}"), Expected::At(Revision(0)));
        let error = running.source.write(compared).await.expect_err("is not answered");
        assert!(matches!(error, SourceError::OutcomeUnknown(_)), "{error}");
        let error = running.source.get(&key("toggles/b")).await.expect_err("is not answered");
        assert!(matches!(error, SourceError::Unavailable(_)), "{error}");
        within("the term ends", async {
            while election.is_leader() {
                turn().await
            }
        })
        .await;
        assert!(has(
            &running.source.plan().borrow(),
            "toggles/a",
            "{\"name\":\"a\",\"enabled\":true,\"v\":1}"
        ));
        etcd.signal(Signal::CONT);
        running.status("it is back", |status| status.state.connected).await;
        running.put("toggles/a", "{\"name\":\"a\",\"enabled\":true,\"v\":2}").await;
        running
            .plan("a change", |plan| has(plan, "toggles/a", "{\"name\":\"a\",\"enabled\":true,\"v\":2}"))
            .await;
        within("it leads again", async {
            while !election.is_leader() {
                election.changed().await
            }
        })
        .await;
    });
}

#[test]
fn a_silent_watch_is_renewed_without_losing_the_connection() {
    run(async {
        let Some(etcd) = Etcd::start().await else { return };
        let running = Running::start(&etcd.settings());
        running.source.loaded().await;
        // Others write and compact, so that the watch's next revision is gone when it is renewed.
        etcd.compact().await;
        running.status("the compaction", |status| status.state.compactions > 0).await;
        etcd.put("/stack/toggles/a", "{\"name\":\"a\",\"enabled\":true,\"v\":1}").await;
        running
            .plan("a change", |plan| has(plan, "toggles/a", "{\"name\":\"a\",\"enabled\":true,\"v\":1}"))
            .await;
        let state = running.source.status().state;
        assert_eq!((state.connected, state.connects, state.wipes), (true, 1, 0));
    });
}

#[test]
fn what_was_compacted_while_disconnected_is_listed() {
    run(async {
        let Some(mut members) = Etcd::cluster(3, &[]) else { return };
        members.iter_mut().for_each(Etcd::spawn);
        let running = Running::start(&members[0].settings());
        for name in ["a", "b", "c"] {
            running.put(&format!("toggles/{name}"), "{\"name\":\"a\",\"enabled\":true,\"v\":1}").await;
        }
        running.plan("all", |plan| plan.documents().count() == 3).await;

        members[0].kill();
        running.status("it is lost", is_down).await;
        let other = Source::open(&members[1].settings()).expect("opens").0;
        put(&other, "toggles/a", "{\"name\":\"a\",\"enabled\":true,\"v\":2}").await;
        other.write(write("toggles/b", None, Expected::Any)).await.expect("removes");
        members[1].compact().await;
        members[0].run().await;
        let plan = running
            .plan("the change", |plan| has(plan, "toggles/a", "{\"name\":\"a\",\"enabled\":true,\"v\":2}"))
            .await;
        assert_eq!(plan.documents().count(), 2, "the deletion came with it");
        assert_eq!(running.source.status().state.wipes, 0);
    });
}

#[test]
fn a_wiped_etcd_takes_nothing_out_of_force() {
    run(async {
        let Some(mut etcd) = Etcd::start().await else { return };
        let running = Running::start(&etcd.settings());
        let front = key("buses/front/t1");
        let held = publish(&running.source, "front", "t1", &listener()).expect("publishes");
        for at in 0..20 {
            running.put("toggles/a", &format!("{{\"name\":\"a\",\"enabled\":true,\"v\":{at}}}")).await;
        }
        running.put("toggles/b", "{\"name\":\"a\",\"enabled\":true}").await;
        running.put("toggles/c", "{\"name\":\"a\",\"enabled\":true}").await;
        running
            .plan("all", |plan| {
                has(plan, "toggles/a", "{\"name\":\"a\",\"enabled\":true,\"v\":19}")
                    && plan.documents().count() == 3
            })
            .await;

        etcd.kill();
        etcd.wipe();
        etcd.run().await;
        let origin = |plan: &Arc<Plan>, name: &str| plan.document(&key(name)).map(|found| found.origin);
        running.plan("the loss", |plan| origin(plan, "toggles/a") == Some(Origin::Lost)).await;
        let status = running.source.status().state;
        assert_eq!((status.wipes, status.connected), (1, true));
        assert!(status.revision.0 < 20, "the revision went backwards: {status:?}");
        running
            .records("the listener is published anew", |records| {
                records.document(&front).is_some_and(|found| found.origin == Origin::Etcd)
            })
            .await;

        // What is written again counts; what is not stays; what an operator removes goes.
        running.put("toggles/a", "{\"name\":\"a\",\"enabled\":true,\"v\":\"new\"}").await;
        let plan = running
            .plan("a", |plan| has(plan, "toggles/a", "{\"name\":\"a\",\"enabled\":true,\"v\":\"new\"}"))
            .await;
        assert_eq!(origin(&plan, "toggles/a"), Some(Origin::Etcd));
        assert_eq!(origin(&plan, "toggles/b"), Some(Origin::Lost));
        running.source.write(write("toggles/b", None, Expected::Any)).await.expect("removes");
        running.plan("b", |plan| plan.document(&key("toggles/b")).is_none()).await;

        // Losing the connection once more changes nothing of it.
        etcd.kill();
        running.status("it is lost", is_down).await;
        etcd.run().await;
        running.put("toggles/d", "{\"name\":\"a\",\"enabled\":true}").await;
        let plan =
            running.plan("d", |plan| has(plan, "toggles/d", "{\"name\":\"a\",\"enabled\":true}")).await;
        assert_eq!(origin(&plan, "toggles/c"), Some(Origin::Lost));
        assert!(plan.document(&key("toggles/b")).is_none());
        drop(held);
    });
}

#[test]
fn of_three_members_one_may_die() {
    run(async {
        let Some(mut members) = Etcd::cluster(3, &[]) else { return };
        members.iter_mut().for_each(Etcd::spawn);
        let running = Running::start(&settings(&members));
        running.put("toggles/a", "{\"name\":\"a\",\"enabled\":true,\"v\":1}").await;
        running
            .plan("a change", |plan| has(plan, "toggles/a", "{\"name\":\"a\",\"enabled\":true,\"v\":1}"))
            .await;
        let mut election = running.source.elect("rollouts").expect("is a name");
        within("it leads", async {
            while !election.is_leader() {
                election.changed().await
            }
        })
        .await;

        for (dead, member) in members.iter_mut().enumerate() {
            member.kill();
            let text = format!("{{\"name\":\"a\",\"enabled\":true,\"dead\":{dead}}}");
            running.put("toggles/a", &text).await;
            running.plan("a change with two members", |plan| has(plan, "toggles/a", &text)).await;
            member.run().await;
        }
        within("it leads still", async {
            while !election.is_leader() {
                election.changed().await
            }
        })
        .await;

        // Without a majority the last member answers nothing, rather than what it remembers.
        members[0].kill();
        members[1].kill();
        running.status("there is no quorum", is_down).await;
        assert!(has(
            &running.source.plan().borrow(),
            "toggles/a",
            "{\"name\":\"a\",\"enabled\":true,\"dead\":2}"
        ));
        members[0].spawn();
        running.put("toggles/a", "{\"name\":\"a\",\"enabled\":true}").await;
        running
            .plan("a change with two members", |plan| {
                has(plan, "toggles/a", "{\"name\":\"a\",\"enabled\":true}")
            })
            .await;
        assert_eq!(running.source.status().state.wipes, 0);
    });
}

#[test]
fn a_process_that_starts_without_etcd_uses_its_cache() {
    run(async {
        let Some(mut etcd) = Etcd::start().await else { return };
        let dir = tempfile::tempdir().expect("makes a directory");
        let cache = dir.path().join("var/plan.cache");
        let settings = PlanSettings { cache: Some(cache.clone()), ..etcd.settings() };
        let first = Running::start(&settings);
        let held = publish(&first.source, "front", "t1", &listener()).expect("publishes");
        first.put("toggles/a", "{\"name\":\"a\",\"enabled\":true,\"v\":1}").await;
        first.put("toggles/b", "{\"name\":\"a\",\"enabled\":true}").await;
        first.plan("both", |plan| plan.documents().count() == 2).await;
        first.records("the listener", |records| records.of(Kind::Bus).count() == 1).await;
        within("the cache is written", async {
            let whole = |text: String| text.contains("toggles/b") && text.contains("buses/front/t1");
            while !std::fs::read_to_string(&cache).is_ok_and(whole) {
                turn().await;
            }
        })
        .await;
        etcd.kill();
        first.crash();
        drop(held);

        let second = Running::start(&settings);
        within("the cache", second.source.loaded()).await;
        let status = second.status("it says so", |status| status.state.from_cache).await;
        assert!(!status.state.connected);
        assert_eq!(status.documents.len(), 3, "{status:?}");
        assert!(status.documents.iter().all(|document| document.source == Origin::Cache));

        // Changed and removed meanwhile: etcd counts once it answers.
        etcd.run().await;
        etcd.delete("/stack/toggles/b").await;
        put(
            &Source::open(&etcd.settings()).expect("opens").0,
            "toggles/a",
            "{\"name\":\"a\",\"enabled\":true,\"v\":2}",
        )
        .await;
        let plan = second
            .plan("etcd's", |plan| has(plan, "toggles/a", "{\"name\":\"a\",\"enabled\":true,\"v\":2}"))
            .await;
        assert_eq!(plan.documents().count(), 1);
        assert!(!second.source.status().state.from_cache);
        second.stop().await;

        // A damaged cache is reported and harmless.
        let text = std::fs::read_to_string(&cache).expect("was written at the end");
        assert!(!text.contains("toggles/b"), "{text}");
        let whole = text.replace("\"format\":1", "\"format\":9");
        for (at, damaged) in [&text[..text.len() / 2], "", &whole].into_iter().enumerate() {
            // A file for each: a write of the process before may be under way.
            let cache = dir.path().join(at.to_string());
            std::fs::write(&cache, damaged).expect("writes");
            let third = Running::start(&PlanSettings { cache: Some(cache), ..settings.clone() });
            third
                .plan("etcd's", |plan| has(plan, "toggles/a", "{\"name\":\"a\",\"enabled\":true,\"v\":2}"))
                .await;
            assert_eq!(third.source.status().state.cache_errors, 1, "{damaged}");
            third.crash();
        }
    });
}

/// What a wrong port, a proxy or a broken gateway may answer to a request.
#[test]
fn an_address_that_is_not_etcd_is_reported_and_survived() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    run(async {
        let Some(etcd) = Etcd::start().await else { return };
        etcd.put("/stack/toggles/a", "{\"name\":\"a\",\"enabled\":true}").await;
        let answers = [
            ("", "connection closed"),
            ("SSH-2.0-OpenSSH_9.2\r\n", "HTTP"),
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "not the gateway's"),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{\"header\":{\"revi",
                "end of file before message length",
            ),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 27\r\n\r\n{\"header\":{\"revision\":\"x\"}}",
                "not the gateway's",
            ),
            ("HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n", "502"),
        ];
        for (answer, reason) in answers {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("binds");
            let url = format!("http://{}", listener.local_addr().expect("is bound"));
            let server = tokio::task::spawn_local(async move {
                while let Ok((mut stream, _)) = listener.accept().await {
                    // The client may have closed already.
                    let _ = stream.read(&mut [0; 4096]).await;
                    let _ = stream.write_all(answer.as_bytes()).await;
                }
            });
            let wrong = url.parse().expect("is a URL");
            let alone = Running::start(&PlanSettings { etcd: vec![wrong], ..etcd.settings() });
            let status = alone.status("the reason", is_down).await;
            let error = status.state.error.expect("was seen");
            assert!(error.starts_with(&url) && error.contains(reason), "{answer:?}: {error}");

            // The next endpoint is etcd.
            let urls = [url.parse().expect("is a URL")].into_iter().chain(etcd.settings().etcd).collect();
            let both = Running::start(&PlanSettings { etcd: urls, ..etcd.settings() });
            both.plan("etcd's", |plan| has(plan, "toggles/a", "{\"name\":\"a\",\"enabled\":true}")).await;
            server.abort();
        }
    });
}
