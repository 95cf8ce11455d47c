//! What comes into force, stays in force and leaves.

use super::*;

fn entry(name: &str, document: &str, revision: u64) -> Entry {
    Entry {
        name: name.to_owned(),
        document: Ok(Bytes::copy_from_slice(document.as_bytes())),
        revision: Revision(revision),
        created: Revision(revision),
        lease: 0,
        origin: Origin::Etcd,
    }
}

fn key(text: &str) -> Key {
    text.parse().expect("is a key")
}

const ALL: fn(&str) -> bool = |_| true;

const NONE_KEPT: fn(&Key, &Document) -> bool = |_, _| false;

#[test]
fn a_document_that_does_not_parse_keeps_the_last_good_one_in_force() {
    let mut plan = Plan::default();
    assert!(plan.put(entry("toggles/a", "{\"name\":\"a\",\"enabled\":true,\"v\":1}", 1), 10));
    assert!(plan.put(entry("toggles/a", "{\"name\":\"a\",\"enabled\":true,\"v\":", 2), 20));
    let document = plan.document(&key("toggles/a")).expect("is in force");
    assert_eq!(
        (&*document.text, document.revision, document.since_ms),
        ("{\"name\":\"a\",\"enabled\":true,\"v\":1}", Revision(1), 10)
    );
    let (name, refusal) = plan.refused().next().expect("is listed");
    assert_eq!((name, refusal.revision, refusal.fault.line), ("toggles/a", Revision(2), 1));

    // The same refusal is counted once, however often the source repeats it.
    assert!(!plan.put(entry("toggles/a", "{\"name\":\"a\",\"enabled\":true,\"v\":", 2), 30));
    assert!(!plan.replace(
        vec![entry("toggles/a", "{\"name\":\"a\",\"enabled\":true,\"v\":", 2)],
        ALL,
        NONE_KEPT,
        40
    ));
    assert_eq!(plan.refusals(), 1);

    assert!(plan.put(entry("toggles/a", "{\"name\":\"a\",\"enabled\":true,\"v\":3}", 3), 50));
    assert_eq!((plan.refused().count(), plan.refusals()), (0, 1));
    assert_eq!(plan.document(&key("toggles/a")).map(|document| document.revision), Some(Revision(3)));
}

#[test]
fn what_the_source_no_longer_has_is_removed_also_when_its_last_version_was_refused() {
    let mut plan = Plan::default();
    plan.put(entry("toggles/a", "{\"name\":\"a\",\"enabled\":true}", 1), 0);
    plan.put(entry("toggles/b", "{\"name\":\"a\",\"enabled\":true}", 1), 0);
    plan.put(entry("toggles/b", "", 2), 0);
    plan.put(entry("toggels/c", "{}", 1), 0);
    assert_eq!(plan.refused().map(|(name, _)| name).collect::<Vec<_>>(), ["toggels/c", "toggles/b"]);
    assert!(plan.remove("toggles/b"));
    assert!(!plan.remove("toggles/b"));
    assert!(plan.replace(Vec::new(), ALL, NONE_KEPT, 0));
    assert_eq!((plan.documents().count(), plan.refused().count()), (0, 0));
}

#[test]
fn what_a_store_has_lost_stays_until_it_is_written_or_removed() {
    let mut plan = Plan::default();
    plan.put(entry("toggles/a", "{\"name\":\"a\",\"enabled\":true}", 9), 0);
    plan.put(entry("buses/front/i", r#"{"urls":["tcp://a:1"],"role":"r","version":"1"}"#, 9), 0);
    let durable = |key: &Key, _: &Document| key.kind().is_durable();
    assert!(plan.replace(Vec::new(), ALL, durable, 0));
    let origins: Vec<_> =
        plan.documents().map(|(key, document)| (key.to_string(), document.origin)).collect();
    assert_eq!(origins, [("toggles/a".to_owned(), Origin::Lost)]);
    assert!(!plan.replace(Vec::new(), ALL, durable, 0), "said once");
    assert!(
        plan.put(entry("toggles/a", "{\"name\":\"a\",\"enabled\":true}", 1), 0),
        "the lower revision is a new one"
    );
    assert_eq!(plan.document(&key("toggles/a")).map(|document| document.origin), Some(Origin::Etcd));
}

#[test]
fn more_documents_than_the_limit_are_refused_and_those_in_force_can_still_change() {
    let mut plan = Plan::default();
    for at in 0..DOCUMENTS_MAX {
        plan.put(entry(&format!("toggles/{at}"), "{\"name\":\"a\",\"enabled\":true}", 1), 0);
    }
    plan.put(entry("toggles/more", "{\"name\":\"a\",\"enabled\":true}", 1), 0);
    assert_eq!(plan.documents().count(), DOCUMENTS_MAX);
    let (_, refusal) = plan.refused().next().expect("is refused");
    assert!(refusal.fault.reason.contains("10000 documents"), "{}", refusal.fault);
    assert!(plan.put(entry("toggles/7", "{\"name\":\"a\",\"enabled\":true,\"v\":2}", 2), 0));
    plan.remove("toggles/8");
    plan.put(entry("toggles/more", "{\"name\":\"a\",\"enabled\":true}", 1), 0);
    assert_eq!(plan.refused().count(), 0);
}

#[test]
fn an_unreadable_file_is_refused_with_the_reason() {
    let mut plan = Plan::default();
    plan.put(entry("toggles/a", "{\"name\":\"a\",\"enabled\":true}", 1), 0);
    plan.put(Entry { document: Err("permission denied".to_owned()), ..entry("toggles/a", "", 0) }, 0);
    assert_eq!(plan.refused().next().expect("is refused").1.fault.reason, "permission denied");
    assert!(plan.document(&key("toggles/a")).is_some());
}
