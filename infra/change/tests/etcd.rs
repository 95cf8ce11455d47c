//! etcd as the source, while it is well: lists, watches, writes, leases, elections, users, TLS.

#[path = "support/running.rs"]
#[allow(dead_code, reason = "each test binary uses a part of it")]
mod running;
#[path = "support/server.rs"]
#[allow(dead_code, clippy::print_stdout, reason = "each test binary uses a part of it; SKIPPED lines")]
mod server;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use change::discovery::{Action, Membership, publish};
use change::document::{Key, Kind, Listener, Revision};
use change::source::{Election, Expected, PlanSettings, Source, SourceError};
use running::{Running, has, key, run, turn, within, write};
use serde_json::json;
use server::{Etcd, settings, times};

#[test]
fn documents_are_listed_watched_and_refused() {
    run(async {
        let Some(etcd) = Etcd::start().await else { return };
        etcd.put("/stack/toggles/a", "{\"name\":\"a\",\"enabled\":true,\"v\":1}").await;
        etcd.put("/stacks/toggles/x", "{\"name\":\"a\",\"enabled\":true}").await;
        let running = Running::start(&etcd.settings());
        running.source.loaded().await;
        running
            .plan("the list", |plan| {
                has(plan, "toggles/a", "{\"name\":\"a\",\"enabled\":true,\"v\":1}")
                    && plan.documents().count() == 1
            })
            .await;

        etcd.put("/stack/toggles/a", "{\"name\":\"a\",\"enabled\":true,\"v\":2}").await;
        running
            .plan("a change", |plan| has(plan, "toggles/a", "{\"name\":\"a\",\"enabled\":true,\"v\":2}"))
            .await;
        etcd.put("/stack/toggles/a", "{\n\"v\":}").await;
        etcd.put("/stack/toggels/b", "{}").await;
        let plan = running.plan("two refusals", |plan| plan.refused().count() == 2).await;
        assert!(has(&plan, "toggles/a", "{\"name\":\"a\",\"enabled\":true,\"v\":2}"));
        let refused = &running.source.status().refused[1];
        assert_eq!((refused.line, refused.column, refused.in_force), (2, 5, true));

        etcd.delete("/stack/toggles/a").await;
        running.plan("the removal", |plan| plan.documents().count() == 0).await;
        let status = running.source.status();
        assert!(status.state.connected && status.state.source.ends_with(" /stack/"), "{status:?}");
    });
}

#[test]
fn a_list_of_many_pages_is_whole() {
    run(async {
        let Some(etcd) = Etcd::start().await else { return };
        for at in 0..250 {
            etcd.put(
                &format!("/stack/toggles/t{at}"),
                &format!("{{\"name\":\"a\",\"enabled\":true,\"v\":{at}}}"),
            )
            .await;
        }
        let running = Running::start(&etcd.settings());
        let plan = running.plan("all", |plan| plan.documents().count() > 0).await;
        assert_eq!(plan.documents().count(), 250, "one batch");
        assert!((0..250).all(|at| has(
            &plan,
            &format!("toggles/t{at}"),
            &format!("{{\"name\":\"a\",\"enabled\":true,\"v\":{at}}}")
        )));
    });
}

#[test]
fn a_document_of_the_largest_size_arrives_and_a_larger_one_is_refused() {
    run(async {
        let Some(etcd) = Etcd::start().await else { return };
        let running = Running::start(&etcd.settings());
        running.source.loaded().await;
        let frame = |text: &str| format!("{{\"name\":\"a\",\"enabled\":true,\"a\":\"{text}\"}}");
        let largest = frame(&"x".repeat(change::document::DOCUMENT_LEN_MAX - frame("").len()));
        running.put("toggles/a", &largest).await;
        running.plan("the largest", |plan| has(plan, "toggles/a", &largest)).await;
        let larger = largest.replace("x\"", "xx\"");
        let refused = running.source.write(write("toggles/a", Some(&larger), Expected::Any)).await;
        assert!(refused.expect_err("is too long").to_string().contains("the limit is 262144"));
        etcd.put("/stack/toggles/a", &larger).await;
        running.plan("the refusal", |plan| plan.refused().count() == 1).await;
    });
}

#[test]
fn writers_compare_and_swap_and_history_comes_from_revisions() {
    run(async {
        let Some(etcd) = Etcd::start().await else { return };
        let (source, _) = Source::open(&etcd.settings()).expect("opens");
        let absent = Expected::At(Revision(0));
        let first = source
            .write(write("toggles/a", Some("{\"name\":\"a\",\"enabled\":true,\"v\":1}"), absent))
            .await
            .expect("writes");
        let conflict = source
            .write(write("toggles/a", Some("{\"name\":\"a\",\"enabled\":true}"), absent))
            .await
            .expect_err("is there");
        assert!(matches!(conflict, SourceError::Conflict { found, .. } if found == first), "{conflict}");
        let second = source
            .write(write("toggles/a", Some("{\"name\":\"a\",\"enabled\":true,\"v\":2}"), Expected::Any))
            .await
            .expect("writes");
        let gone = source.write(write("toggles/a", None, Expected::At(second))).await.expect("removes");
        assert_eq!((gone, source.get(&key("toggles/a")).await.expect("reads")), (Revision(0), None));

        let history = source.history(&key("toggles/a")).await.expect("reads");
        let steps: Vec<_> =
            history.iter().map(|change| (change.before, change.after, change.who.as_str())).collect();
        let none = Revision(0);
        assert_eq!(steps, [(second, none, "ann"), (first, second, "ann"), (none, first, "ann")]);
        assert_eq!(
            history[2].document.as_ref().map(|text| text.get()),
            Some("{\"name\":\"a\",\"enabled\":true,\"v\":1}")
        );
        etcd.compact().await;
        assert_eq!(source.history(&key("toggles/a")).await.expect("reads").len(), 1, "the rest is compacted");
    });
}

fn listener(url: &str) -> Listener {
    Listener { urls: vec![url.to_owned()], role: "terminator".to_owned(), version: "1".to_owned() }
}

#[test]
fn a_listener_is_found_published_again_when_deleted_and_gone_with_its_process() {
    run(async {
        let Some(etcd) = Etcd::start().await else { return };
        let (host, peer) = (Running::start(&etcd.settings()), Running::start(&etcd.settings()));
        let front = key("buses/front/t1");
        let url = "tcp://127.0.0.1:5555";
        let mut held = publish(&host.source, "front", "t1", &listener(url)).expect("publishes");
        let there = peer.records("the listener", |records| records.document(&front).is_some()).await;
        let mut members = Membership::new("front", None, |_| true);
        assert_eq!(members.update(&there, std::time::Instant::now()), [Action::Dial(url.to_owned())]);
        within("it is held", async {
            while !held.is_held() {
                held.changed().await
            }
        })
        .await;

        let revision = there.document(&front).expect("is there").revision;
        etcd.delete("/stack/buses/front/t1").await;
        let is_new = |found: &std::sync::Arc<change::document::Document>| found.revision > revision;
        peer.records("it is again", |records| records.document(&front).is_some_and(is_new)).await;

        let moved = serde_json::to_string(&listener("tcp://127.0.0.1:6666")).expect("is plain data");
        held.set(&moved);
        peer.records("it moved", |records| has(records, "buses/front/t1", &moved)).await;

        drop(held);
        peer.records("it was released", |records| records.document(&front).is_none()).await;

        // A clean end takes the record along, a crash leaves it to the lease.
        for clean in [true, false] {
            let host = Running::start(&etcd.settings());
            let held = publish(&host.source, "front", "t1", &listener(url)).expect("publishes");
            peer.records("the listener", |records| records.document(&front).is_some()).await;
            if clean {
                host.stop().await
            } else {
                host.crash()
            }
            peer.records("it ended", |records| records.document(&front).is_none()).await;
            drop(held);
        }
        let wrong = publish(&host.source, "front", "t1", &listener("5555")).err().expect("no URL");
        assert!(wrong.to_string().contains("urls[0]: is no URL"), "{wrong}");
    });
}

#[test]
fn a_lease_is_kept_for_longer_than_its_time() {
    run(async {
        let Some(etcd) = Etcd::start().await else { return };
        let host = Running::start(&etcd.settings());
        let held = publish(&host.source, "front", "t1", &listener("tcp://a:1")).expect("publishes");
        let front = key("buses/front/t1");
        let first = host.records("it is there", |records| records.document(&front).is_some()).await;
        let revision = first.document(&front).expect("is there").revision;
        // Another lease of the same length that is not renewed ends, and then some.
        let lease =
            etcd.post("/v3/lease/grant", &json!({"TTL": (times().lease.as_secs() + 2).to_string()})).await;
        let lease = lease.expect("is granted")["ID"].as_str().expect("has an id").to_owned();
        within("the other lease ends", async {
            loop {
                let left = etcd.post("/v3/lease/timetolive", &json!({"ID": lease})).await.expect("answers");
                if left["TTL"] == "-1" {
                    break;
                }
                turn().await;
            }
        })
        .await;
        assert!(held.is_held());
        let records = host.source.records().borrow().clone();
        assert_eq!(records.document(&front).expect("is there").revision, revision, "was never written again");
    });
}

async fn leads(election: &mut Election) {
    within("it leads", async {
        while !election.is_leader() {
            election.changed().await
        }
    })
    .await;
}

#[test]
fn one_candidate_leads_and_the_next_one_follows() {
    run(async {
        let Some(etcd) = Etcd::start().await else { return };
        let hosts: Vec<_> = (0..3).map(|_| Running::start(&etcd.settings())).collect();
        let mut elections = Vec::new();
        for (at, host) in hosts.iter().enumerate() {
            elections.push(host.source.elect("rollouts").expect("is a name"));
            let candidates =
                |records: &std::sync::Arc<change::document::Plan>| records.of(Kind::Candidate).count();
            host.records("the candidate", |records| candidates(records) == at + 1).await;
        }
        leads(&mut elections[0]).await;
        assert!(!elections[1].is_leader() && !elections[2].is_leader());

        // The leader resigns, the next one crashes, and the last one's key is deleted.
        drop(elections.remove(0));
        leads(&mut elections[0]).await;
        assert!(!elections[1].is_leader());
        let mut hosts = hosts.into_iter().skip(1);
        hosts.next().expect("is the second").crash();
        leads(&mut elections[1]).await;

        let last = hosts.next().expect("is the third");
        let records = last.source.records().borrow().clone();
        let candidate: Vec<&Key> = records.of(Kind::Candidate).map(|(key, _)| key).collect();
        assert_eq!(candidate.len(), 1, "the lease of the second has ended");
        etcd.delete(&format!("/stack/{}", candidate[0])).await;
        within("it loses", async {
            while elections[1].is_leader() {
                elections[1].changed().await
            }
        })
        .await;
        leads(&mut elections[1]).await;
    });
}

#[test]
fn a_user_is_authenticated_again_when_etcd_forgets_its_token() {
    run(async {
        let Some(mut etcd) = Etcd::start().await else { return };
        let done = async |path: &str, body: serde_json::Value| etcd.post(path, &body).await.expect("is done");
        done("/v3/auth/user/add", json!({"name": "root", "password": "r"})).await;
        done("/v3/auth/user/grant", json!({"user": "root", "role": "root"})).await;
        done("/v3/auth/user/add", json!({"name": "stack", "password": "p:w"})).await;
        done("/v3/auth/role/add", json!({"name": "stack"})).await;
        let permission = json!({"permType": "READWRITE",
            "key": STANDARD.encode("/stack/"), "range_end": STANDARD.encode("/stack0")});
        done("/v3/auth/role/grant", json!({"name": "stack", "perm": permission})).await;
        done("/v3/auth/user/grant", json!({"user": "stack", "role": "stack"})).await;
        done("/v3/auth/enable", json!({})).await;

        let stranger = Running::start(&etcd.settings());
        let refused = stranger.status("a stranger is refused", |status| status.state.error.is_some()).await;
        assert!(refused.state.error.expect("was seen").contains("user name is empty"));
        let settings =
            PlanSettings { user: Some("stack:p:w".parse().expect("is a user")), ..etcd.settings() };
        let running = Running::start(&settings);
        running.put("toggles/a", "{\"name\":\"a\",\"enabled\":true,\"v\":1}").await;
        running
            .plan("a change", |plan| has(plan, "toggles/a", "{\"name\":\"a\",\"enabled\":true,\"v\":1}"))
            .await;

        // Tokens are in etcd's memory.
        etcd.kill();
        etcd.spawn();
        running.put("toggles/a", "{\"name\":\"a\",\"enabled\":true,\"v\":2}").await;
        running
            .plan("a change after the restart", |plan| {
                has(plan, "toggles/a", "{\"name\":\"a\",\"enabled\":true,\"v\":2}")
            })
            .await;

        let wrong = PlanSettings { user: Some("stack:no".parse().expect("is a user")), ..etcd.settings() };
        let (source, _) = Source::open(&wrong).expect("opens");
        let refused = source.get(&key("toggles/a")).await.expect_err("the password is wrong");
        assert!(refused.to_string().contains("authentication failed"), "{refused}");
        let outside = PlanSettings { prefix: "/other/".parse().expect("is a prefix"), ..settings };
        let (source, _) = Source::open(&outside).expect("opens");
        let refused = source.get(&key("toggles/a")).await.expect_err("the role ends at its prefix");
        assert!(
            matches!(&refused, SourceError::Refused(why) if why.contains("permission denied")),
            "{refused}"
        );
    });
}

#[test]
fn tls_needs_the_authority_and_the_clients_certificate() {
    run(async {
        let dir = tempfile::tempdir().expect("makes a directory");
        let path = |name: &str| dir.path().join(name);
        let store = |name: &str, text: String| std::fs::write(path(name), text).expect("writes");
        let mut authority = rcgen::CertificateParams::new(vec![]).expect("has no names");
        authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let authority_key = rcgen::KeyPair::generate().expect("generates");
        store("ca", authority.self_signed(&authority_key).expect("signs").pem());
        let issuer = rcgen::Issuer::new(authority, authority_key);
        for name in ["server", "client"] {
            let key = rcgen::KeyPair::generate().expect("generates");
            let params = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("is an address");
            store(name, params.signed_by(&key, &issuer).expect("signs").pem());
            store(&format!("{name}-key"), key.serialize_pem());
        }
        let text = |name: &str| path(name).to_str().expect("is UTF-8").to_owned();
        let (ca, server, server_key) = (text("ca"), text("server"), text("server-key"));
        let flags = [
            "--client-cert-auth",
            "--trusted-ca-file",
            &ca,
            "--cert-file",
            &server,
            "--key-file",
            &server_key,
        ];
        let Some(mut members) = Etcd::cluster(1, &flags) else { return };
        let mut etcd = members.remove(0);
        etcd.spawn();

        let url = format!("https://{}", etcd.address()).parse().expect("is a URL");
        let good = PlanSettings {
            etcd: vec![url],
            ca: Some(path("ca")),
            certificate: Some(path("client")),
            private_key: Some(path("client-key")),
            ..settings(&[])
        };
        let running = Running::start(&good);
        running.put("toggles/a", "{\"name\":\"a\",\"enabled\":true,\"v\":1}").await;
        running
            .plan("a change", |plan| has(plan, "toggles/a", "{\"name\":\"a\",\"enabled\":true,\"v\":1}"))
            .await;

        let other = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).expect("signs");
        store("other", other.cert.pem());
        let fails = async |settings: PlanSettings| {
            let (source, _) = Source::open(&settings).expect("opens");
            source.get(&key("toggles/a")).await.expect_err("is not trusted").to_string()
        };
        let stranger = fails(PlanSettings { ca: Some(path("other")), ..good.clone() }).await;
        assert!(stranger.contains("certificate"), "{stranger}");
        fails(PlanSettings { certificate: None, private_key: None, ..good.clone() }).await;
        let missing = Source::open(&PlanSettings { ca: Some(path("none")), ..good.clone() });
        assert!(missing.err().expect("no file").to_string().contains("none"));
        let empty = Source::open(&PlanSettings { ca: Some(path("client-key")), ..good });
        assert!(empty.err().expect("no certificate").to_string().contains("no certificate in PEM"));
    });
}
