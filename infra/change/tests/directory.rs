//! A directory as the source: editors, links, missing directories, and the operator's writes.

#[path = "support/running.rs"]
#[allow(dead_code, reason = "each test binary uses a part of it")]
mod running;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use change::document::Revision;
use change::source::{Expected, PlanSettings, Source, SourceError};
use running::{Running, has, key, run, turn, within, write};

/// A document of a rollout.
const ROLLOUT: &str = "{\"stable\":\"1\",\"candidate\":\"2\",\"stages\":[{\"percent\":100}]}";

fn settings(root: &Path) -> PlanSettings {
    PlanSettings { directory: Some(root.to_owned()), ..PlanSettings::default() }
}

fn directory() -> tempfile::TempDir {
    tempfile::tempdir().expect("makes a directory")
}

/// A file, written as an editor without care does: in place.
fn file(root: &Path, name: &str, content: &str) {
    let path = root.join(name);
    std::fs::create_dir_all(path.parent().expect("has a folder")).expect("makes the folder");
    std::fs::write(path, content).expect("writes");
}

#[test]
fn files_written_replaced_and_removed_are_seen() {
    run(async {
        let dir = directory();
        let root = dir.path();
        file(root, "toggles/a.json", "{\"name\":\"a\",\"enabled\":true,\"v\":1}");
        file(root, "segments.json", "[]");
        let running = Running::start(&settings(root));
        running
            .plan("the first scan", |plan| {
                has(plan, "toggles/a", "{\"name\":\"a\",\"enabled\":true,\"v\":1}")
                    && has(plan, "segments", "[]")
            })
            .await;

        // In place, in a folder that did not exist, and by an atomic rename.
        file(root, "toggles/a.json", "{\"name\":\"a\",\"enabled\":true,\"v\":2}");
        running
            .plan("a change in place", |plan| {
                has(plan, "toggles/a", "{\"name\":\"a\",\"enabled\":true,\"v\":2}")
            })
            .await;
        file(root, "rollouts/profile.json", ROLLOUT);
        running.plan("a new folder", |plan| has(plan, "rollouts/profile", ROLLOUT)).await;
        file(root, "toggles/.a.json.swp", "{\"name\":\"a\",\"enabled\":true,\"v\":3}");
        fs::rename(root.join("toggles/.a.json.swp"), root.join("toggles/a.json")).expect("renames");
        running
            .plan("a rename", |plan| has(plan, "toggles/a", "{\"name\":\"a\",\"enabled\":true,\"v\":3}"))
            .await;

        fs::remove_file(root.join("toggles/a.json")).expect("removes");
        running.plan("a removal", |plan| plan.document(&key("toggles/a")).is_none()).await;
        running.stop().await;
    });
}

#[test]
fn a_broken_document_is_refused_with_its_place_and_editors_files_are_none() {
    run(async {
        let dir = directory();
        let root = dir.path();
        for name in [
            "toggles/a.json~",
            "toggles/.b.json.swp",
            "toggles/4913",
            "toggles/#c.json#",
            "README.md",
            "x.json",
        ] {
            file(root, name, "not JSON");
        }
        file(root, "toggles/a.json", "{\"name\":\"a\",\"enabled\":true,\"v\":1}");
        file(root, "toggels/typo.json", "{}");
        fs::create_dir(root.join("toggles/folder.json")).expect("makes a folder");
        let running = Running::start(&settings(root));
        running
            .plan("the first scan", |plan| {
                has(plan, "toggles/a", "{\"name\":\"a\",\"enabled\":true,\"v\":1}")
            })
            .await;

        file(root, "toggles/a.json", "{\n \"v\": tru }");
        let plan = running.plan("the refusal", |plan| plan.refused().count() == 2).await;
        assert!(
            has(&plan, "toggles/a", "{\"name\":\"a\",\"enabled\":true,\"v\":1}"),
            "the last good one stays"
        );
        let refused = running.source.status().refused;
        assert_eq!((refused[0].key.as_str(), refused[0].in_force), ("toggels/typo", false));
        assert!(refused[0].reason.contains("expected toggles, segments"), "{}", refused[0].reason);
        assert_eq!((refused[1].key.as_str(), refused[1].line, refused[1].in_force), ("toggles/a", 2, true));

        // Removing the broken file removes the document.
        fs::remove_file(root.join("toggles/a.json")).expect("removes");
        running.plan("a removal", |plan| plan.documents().count() == 0 && plan.refused().count() == 1).await;
    });
}

#[test]
fn a_file_that_is_too_long_or_no_file_is_refused() {
    run(async {
        let dir = directory();
        let root = dir.path();
        file(root, "toggles/long.json", &format!("{{\"a\":\"{}\"}}", "x".repeat(300 * 1024)));
        rustix::fs::mknodat(
            rustix::fs::CWD,
            {
                fs::create_dir_all(root.join("ghosts")).expect("makes the folder");
                root.join("ghosts/pipe.json")
            },
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
            0,
        )
        .expect("makes a pipe");
        let running = Running::start(&settings(root));
        running.plan("the refusals", |plan| plan.refused().count() == 2).await;
        let status = running.source.status();
        let reasons: Vec<_> = status.refused.iter().map(|refused| refused.reason.as_str()).collect();
        assert_eq!(reasons[0], "is no regular file");
        assert!(reasons[1].contains("307208 bytes, the limit is 262144"), "{}", reasons[1]);
    });
}

#[test]
fn a_directory_that_appears_later_and_one_that_is_replaced_are_followed() {
    run(async {
        let dir = directory();
        let root = dir.path().join("not/yet");
        let running = Running::start(&settings(&root));
        running.status("it is missing", |status| status.state.error.is_some()).await;
        file(&root, "toggles/a.json", "{\"name\":\"a\",\"enabled\":true,\"v\":1}");
        running
            .plan("it appeared", |plan| has(plan, "toggles/a", "{\"name\":\"a\",\"enabled\":true,\"v\":1}"))
            .await;

        // Missing: nothing changes.
        fs::rename(&root, dir.path().join("not/old")).expect("renames");
        running.status("it is gone", |status| !status.state.connected).await;
        assert!(has(
            &running.source.plan().borrow(),
            "toggles/a",
            "{\"name\":\"a\",\"enabled\":true,\"v\":1}"
        ));

        let fresh = dir.path().join("fresh");
        file(&fresh, "toggles/b.json", "{\"name\":\"a\",\"enabled\":true,\"v\":2}");
        fs::rename(&fresh, &root).expect("renames");
        let plan = running
            .plan("its replacement", |plan| {
                has(plan, "toggles/b", "{\"name\":\"a\",\"enabled\":true,\"v\":2}")
            })
            .await;
        assert_eq!(plan.documents().count(), 1);
        file(&root, "toggles/b.json", "{\"name\":\"a\",\"enabled\":true,\"v\":3}");
        running
            .plan("a change in the replacement", |plan| {
                has(plan, "toggles/b", "{\"name\":\"a\",\"enabled\":true,\"v\":3}")
            })
            .await;
    });
}

/// A config map: `toggles -> ..data/toggles`, `..data -> ..1`, and a change renames a new `..data`
/// over the old one.
#[test]
fn a_config_map_of_kubernetes_changes_as_a_whole() {
    run(async {
        let dir = directory();
        let root = dir.path();
        file(root, "..1/toggles/a.json", "{\"name\":\"a\",\"enabled\":true,\"v\":1}");
        file(root, "..1/toggles/b.json", "{\"name\":\"a\",\"enabled\":true}");
        symlink("..1", root.join("..data")).expect("links");
        symlink("..data/toggles", root.join("toggles")).expect("links");
        let running = Running::start(&settings(root));
        running
            .plan("the first scan", |plan| {
                has(plan, "toggles/a", "{\"name\":\"a\",\"enabled\":true,\"v\":1}")
            })
            .await;

        for version in 2..5 {
            let text = format!("{{\"name\":\"a\",\"enabled\":true,\"v\":{version}}}");
            file(root, &format!("..{version}/toggles/a.json"), &text);
            symlink(format!("..{version}"), root.join("..data_tmp")).expect("links");
            fs::rename(root.join("..data_tmp"), root.join("..data")).expect("renames");
            let plan = running.plan("the new data", |plan| has(plan, "toggles/a", &text)).await;
            assert!(plan.document(&key("toggles/b")).is_none(), "it is in the first version only");
            fs::remove_dir_all(root.join(format!("..{}", version - 1))).expect("removes");
        }
    });
}

#[test]
fn writers_compare_and_swap_and_leave_a_history() {
    run(async {
        let dir = directory();
        let root = dir.path().join("plan");
        let (source, _) = Source::open(&settings(&root)).expect("opens");
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
        let (text, revision) = source.get(&key("toggles/a")).await.expect("reads").expect("is there");
        assert_eq!((&text[..], revision), (&b"{\"name\":\"a\",\"enabled\":true,\"v\":1}"[..], first));

        let second = source
            .write(write(
                "toggles/a",
                Some("{\"name\":\"a\",\"enabled\":true,\"v\":\n2}"),
                Expected::At(first),
            ))
            .await
            .expect("writes");
        assert_eq!(
            source.write(write("toggles/a", None, Expected::At(second))).await.expect("removes"),
            Revision(0)
        );
        assert!(source.get(&key("toggles/a")).await.expect("reads").is_none());
        let bad = source
            .write(write("toggles/a", Some("{\"name\":\"a\",\"enabled\":true,\"v\":"), Expected::Any))
            .await
            .expect_err("is no JSON");
        assert!(bad.to_string().starts_with("toggles/a: line 1 column 31: v: "), "{bad}");
        let leased = source.write(write("buses/front/i", None, Expected::Any)).await.expect_err("needs etcd");
        assert!(matches!(leased, SourceError::NeedsEtcd(_)), "{leased}");

        let history = source.history(&key("toggles/a")).await.expect("reads");
        let steps: Vec<_> =
            history.iter().map(|change| (change.before, change.after, change.who.as_str())).collect();
        let none = Revision(0);
        assert_eq!(steps, [(second, none, "ann"), (first, second, "ann"), (none, first, "ann")]);
        assert_eq!(
            history[2].document.as_ref().map(|text| text.get()),
            Some("{\"name\":\"a\",\"enabled\":true,\"v\":1}")
        );
        assert!(history[0].document.is_none());
    });
}

#[test]
fn of_writers_at_once_each_change_is_based_on_the_one_before() {
    run(async {
        let dir = directory();
        let settings = settings(dir.path());
        let count = async |source: Source| {
            for _ in 0..20 {
                loop {
                    let known = source.get(&key("rollout-state/s")).await.expect("reads");
                    let number = known.as_ref().map_or(0, |(text, _)| {
                        serde_json::from_slice::<serde_json::Value>(text).expect("is whole")["n"]
                            .as_u64()
                            .expect("is one")
                    });
                    let expected = Expected::At(known.map_or(Revision(0), |(_, revision)| revision));
                    let text = format!("{{\"n\":{}}}", number + 1);
                    match source.write(write("rollout-state/s", Some(&text), expected)).await {
                        Ok(_) => break,
                        Err(SourceError::Conflict { .. }) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
            }
        };
        let open = || Source::open(&settings).expect("opens").0;
        within("three writers", async { tokio::join!(count(open()), count(open()), count(open())) }).await;
        let (text, _) = open().get(&key("rollout-state/s")).await.expect("reads").expect("is there");
        assert_eq!(&text[..], b"{\"n\":60}");
        assert_eq!(open().history(&key("rollout-state/s")).await.expect("reads").len(), 60);
    });
}

#[test]
fn of_processes_on_one_directory_one_leads() {
    run(async {
        let dir = directory();
        let (a, b) = (Running::start(&settings(dir.path())), Running::start(&settings(dir.path())));
        let first = a.source.elect("rollouts").expect("is a name");
        within("a leads", async {
            while !first.is_leader() {
                turn().await
            }
        })
        .await;
        let second = b.source.elect("rollouts").expect("is a name");
        // b has tried at least once when it leads another election.
        let other = b.source.elect("other").expect("is a name");
        within("b leads the other", async {
            while !other.is_leader() {
                turn().await
            }
        })
        .await;
        assert!(first.is_leader() && !second.is_leader());
        drop(first);
        within("b leads", async {
            while !second.is_leader() {
                turn().await
            }
        })
        .await;
        assert!(a.source.elect("a/b").is_err());
    });
}

/// The directory is a link to a link, and the second one is set anew where nothing is watched.
#[test]
fn a_change_that_no_event_tells_of_is_found_by_the_regular_scan() {
    run(async {
        let (dir, elsewhere) = (directory(), directory());
        let release = |version: u32| elsewhere.path().join(version.to_string());
        for version in 1..3 {
            file(
                &release(version),
                "toggles/a.json",
                &format!("{{\"name\":\"a\",\"enabled\":true,\"v\":{version}}}"),
            );
        }
        let current = elsewhere.path().join("current");
        symlink(release(1), &current).expect("links");
        symlink(&current, dir.path().join("plan")).expect("links");
        let running = Running::start(&settings(&dir.path().join("plan")));
        running
            .plan("the first scan", |plan| {
                has(plan, "toggles/a", "{\"name\":\"a\",\"enabled\":true,\"v\":1}")
            })
            .await;
        symlink(release(2), elsewhere.path().join("next")).expect("links");
        fs::rename(elsewhere.path().join("next"), &current).expect("renames");
        running
            .plan("the second release", |plan| {
                has(plan, "toggles/a", "{\"name\":\"a\",\"enabled\":true,\"v\":2}")
            })
            .await;
    });
}

#[test]
fn the_status_is_what_the_admin_path_answers() {
    run(async {
        let dir = directory();
        file(dir.path(), "toggles/a.json", "{\"name\":\"a\",\"enabled\":true}");
        file(dir.path(), "toggles/b.json", "{\"b\": nul}");
        let running = Running::start(&settings(dir.path()));
        running.plan("the first scan", |plan| plan.refused().count() == 1).await;
        let status = running.status("connected", |status| status.state.connected).await;
        let json = serde_json::to_value(&status).expect("is plain data");
        assert_eq!((&json["source"], &json["refusals"]), (&dir.path().to_str().into(), &1.into()));
        let document = &json["documents"][0];
        assert_eq!((&document["key"], &document["source"]), (&"toggles/a".into(), &"directory".into()));
        assert!(document["revision"].is_string() && document["age_ms"].is_u64(), "{document}");
        let refused = &json["refused"][0];
        assert_eq!(
            (&refused["key"], &refused["line"], &refused["column"]),
            (&"toggles/b".into(), &1.into(), &10.into())
        );
    });
}
