//! Ghost comparison over many seeded requests: what is reported, and what is not.
//!
//! Owns: what [`change::ghost`] promises about noise and bounds. Invariant: every run prints its
//! seed, and `SEED=N` repeats it.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "all of this crate is tests; clippy knows only the functions marked so"
)]

use change::ghost::{Comparison, Reply, Report};
use fastrand::Rng;

const JSON: (&str, &[u8]) = ("Content-Type", b"application/json; charset=utf-8");

fn reply(body: &str) -> Reply<'_> {
    Reply { status: 200, headers: &[JSON], body: body.as_bytes() }
}

/// Compares `count` times the same replies.
fn compared(count: usize, stable: &str, candidate: &str, second: &str) -> Report {
    let mut comparison = Comparison::new("profile", "2", Vec::new());
    for _ in 0..count {
        comparison.compare("/", &reply(stable), &reply(candidate), &reply(second));
    }
    comparison.report()
}

fn paths(report: &Report) -> Vec<&str> {
    report.differences.iter().map(|difference| difference.path.as_str()).collect()
}

/// A member as a service answers it: the clock advances between the copies, in seconds at times.
fn member(rng: &mut Rng, now_ms: &mut u64, name: &str) -> String {
    *now_ms += rng.u64(1..400);
    format!(
        r#"{{"id":"{:016x}","member":{{"{name}":"Ann","age":41}},"tags":[{{"label":"a"}},{{"label":"b"}}],
            "at_ms":{now_ms},"at_s":{}}}"#,
        rng.u64(..),
        *now_ms / 1_000
    )
}

/// Runs 2 000 copies on three routes; on one, the candidate renames a field in 5 % of its replies.
fn renamed(seed: u64) -> Report {
    let mut rng = Rng::with_seed(seed);
    let mut comparison = Comparison::new("profile", "2", Vec::new());
    let mut now_ms = 1_700_000_000_000;
    for copy in 0..2_000 {
        let route = ["/members", "/feed", "/"][copy % 3];
        let name = if route == "/members" && rng.f64() < 0.05 { "full_name" } else { "name" };
        let stable = member(&mut rng, &mut now_ms, "name");
        let (candidate, second) = if rng.bool() {
            let candidate = member(&mut rng, &mut now_ms, name);
            (candidate, member(&mut rng, &mut now_ms, "name"))
        } else {
            let second = member(&mut rng, &mut now_ms, "name");
            (member(&mut rng, &mut now_ms, name), second)
        };
        let ids = [(); 3].map(|()| format!("{:x}", rng.u64(..)));
        let headers = ids.each_ref().map(|id| [JSON, ("X-Request-Id", id.as_bytes())]);
        let [stable, candidate, second] = [(0, &stable), (1, &candidate), (2, &second)]
            .map(|(at, body)| Reply { status: 200, headers: &headers[at], body: body.as_bytes() });
        comparison.copy();
        comparison.compare(route, &stable, &candidate, &second);
    }
    comparison.report()
}

#[test]
fn a_renamed_field_is_reported_and_noise_is_not() {
    let seed = std::env::var("SEED").map_or_else(|_| fastrand::u64(..), |seed| seed.parse().unwrap());
    println!("SEED={seed}");
    for run in 0..200 {
        let report = renamed(seed.wrapping_add(run));
        // The old name is absent from the candidate, the new one from stable.
        assert_eq!(paths(&report), ["body.member.full_name", "body.member.name"], "run {run}");
        assert!(report.differences.iter().all(|difference| difference.route == "/members"));
        let name = &report.differences[1];
        assert_eq!(
            (name.samples[0].stable.as_str(), name.samples[0].candidate.as_str()),
            ("\"Ann\"", "absent")
        );
        assert_eq!((report.counted.copies, report.counted.compared, name.noise), (2_000, 2_000, 0));
    }
}

#[test]
fn statuses_headers_and_bytes_are_compared() {
    let mut comparison = Comparison::new("profile", "2", vec!["header.x-trace".to_owned()]);
    let stable = Reply {
        status: 200,
        headers: &[("Content-Type", b"text/plain"), ("Date", b"1"), ("X-Trace", b"1"), ("X-A", b"1")],
        body: b"same start, a",
    };
    let candidate = Reply {
        status: 503,
        headers: &[("content-type", b"text/plain"), ("date", b"2"), ("x-trace", b"2"), ("x-a", b"2")],
        body: b"same start, b",
    };
    for _ in 0..5 {
        comparison.compare("/", &stable, &candidate, &stable);
    }
    let report = comparison.report();
    assert_eq!(paths(&report), ["body", "header.x-a", "status"]);
    assert_eq!(report.differences[0].samples[0].stable, "13 bytes, from byte 12: a");
    assert_eq!(report.differences[2].samples[0].candidate, "503");
}

#[test]
fn four_differences_are_too_few_and_equal_noise_is_none() {
    let (one, two) = (r#"{"a":1}"#, r#"{"a":2}"#);
    assert_eq!(paths(&compared(4, one, two, one)), [""; 0]);
    assert_eq!(paths(&compared(5, one, two, one)), ["body.a"]);
    assert_eq!(paths(&compared(500, one, two, two)), [""; 0]);
    assert_eq!(paths(&compared(500, one, one, two)), [""; 0]);
}

#[test]
fn rare_differences_among_many_comparisons_are_not_reported() {
    let mut comparison = Comparison::new("profile", "2", Vec::new());
    let same = reply("{}");
    for at in 0..20_000 {
        let candidate = if at < 6 { reply(r#"{"a":1}"#) } else { same };
        comparison.compare("/", &same, &candidate, &same);
    }
    // 6 of 20 000 is exactly 0.03 %.
    assert_eq!(paths(&comparison.report()), [""; 0]);
}

#[test]
fn arrays_are_compared_by_element_and_length() {
    let report = compared(
        5,
        r#"{"a":[{"c":1,"d":1},{"c":2,"d":1}],"n":[1,2]}"#,
        r#"{"a":[{"c":1,"d":1},{"c":3,"d":1}],"n":[1,2,3]}"#,
        r#"{"a":[{"c":1,"d":1},{"c":2,"d":1}],"n":[1,2]}"#,
    );
    assert_eq!(paths(&report), ["body.a[].c", "body.n[]"]);
    assert_eq!(report.differences[1].samples[0].candidate, "3 items");
}

#[test]
fn ignored_paths_hide_what_is_below_them_only() {
    let mut comparison = Comparison::new("profile", "2", vec!["body.a".to_owned()]);
    let stable = reply(r#"{"a":{"b":1},"ab":1}"#);
    let candidate = reply(r#"{"a":{"b":2},"ab":2}"#);
    for _ in 0..5 {
        comparison.compare("/", &stable, &candidate, &stable);
    }
    assert_eq!(paths(&comparison.report()), ["body.ab"]);
}

#[test]
fn deep_large_and_broken_bodies_are_bounded() {
    let deep = |leaf: u32| format!("{}{leaf}{}", "[".repeat(100), "]".repeat(100));
    let report = compared(5, &deep(1), &deep(2), &deep(1));
    assert_eq!(report.differences.len(), 1);
    assert!(report.differences[0].path.len() <= 100, "{}", report.differences[0].path);
    let large = |leaf: u32| format!(r#"["{}",{leaf}]"#, "x".repeat(300_000));
    let report = compared(5, &large(1), &large(2), &large(1));
    assert_eq!(paths(&report), ["body"]);
    assert!(report.differences[0].samples[0].stable.len() < 200);
    let too_deep = "[".repeat(200_000);
    assert_eq!(paths(&compared(5, "[]", &too_deep, "[]")), ["body"]);
    assert_eq!(paths(&compared(5, r#"{"a":1}"#, r#"{"a":1"#, r#"{"a":1}"#)), ["body"]);
}

#[test]
fn routes_paths_and_samples_are_bounded_and_counted() {
    let mut comparison = Comparison::new("profile", "2", Vec::new());
    for route in 0..300 {
        comparison.compare(&format!("/{route}"), &reply("{}"), &reply("{}"), &reply("{}"));
    }
    let mut rng = Rng::with_seed(3);
    for _ in 0..500 {
        let candidate = format!(r#"{{"{:x}":"{}"}}"#, rng.u64(..), "ä".repeat(400));
        comparison.compare("/0", &reply("{}"), &reply(&candidate), &reply("{}"));
    }
    let report = comparison.report();
    assert_eq!((report.counted.dropped.routes, report.counted.dropped.paths), (100, 300));
    let report = compared(50, "{}", &format!(r#"{{"a":"{}"}}"#, "ä".repeat(400)), "{}");
    assert_eq!(report.differences[0].samples.len(), 10);
    assert!(report.differences[0].samples[0].candidate.len() <= 103);
}

#[test]
fn workers_that_compare_apart_report_as_one() {
    let (one, two) = (r#"{"a":1,"b":1}"#, r#"{"a":2,"b":1}"#);
    let [mut all, mut worker] = [(); 2].map(|()| Comparison::new("profile", "2", Vec::new()));
    for at in 0..12 {
        worker.copy();
        match at {
            0 => worker.lose(),
            1 => worker.skip(),
            _ => worker.compare("/", &reply(one), &reply(if at < 9 { two } else { one }), &reply(one)),
        }
        assert_eq!(worker.report().differences.len(), usize::from(at == 6), "at {at}");
        if at % 7 == 6 {
            let taken = worker.take();
            assert!(taken.is_like(&all) && worker.is_empty() && !taken.is_empty());
            all.merge(taken);
        }
    }
    all.merge(worker);
    let report = all.report();
    let counted = report.counted;
    assert_eq!((counted.copies, counted.compared, counted.lost, counted.skipped), (12, 10, 1, 1));
    let difference = &report.differences[0];
    assert_eq!((difference.raw, difference.noise, difference.total), (7, 0, 10));
    assert_eq!((report.differences.len(), difference.samples.len()), (1, 7));
}

#[test]
fn merging_keeps_the_bounds_and_counts_what_exceeds_them() {
    let [mut all, mut other] = [(); 2].map(|()| Comparison::new("profile", "2", Vec::new()));
    for (at, comparison) in [(0, &mut all), (150, &mut other)] {
        for route in at..at + 150 {
            comparison.compare(&format!("/{route}"), &reply("1"), &reply("2"), &reply("1"));
        }
    }
    for _ in 0..20 {
        all.compare("/0", &reply("1"), &reply("2"), &reply("1"));
        other.compare("/200", &reply("1"), &reply("2"), &reply("1"));
    }
    all.merge(other);
    let report = all.report();
    assert_eq!((report.counted.compared, report.counted.dropped.routes), (340, 100 + 20));
    assert_eq!(report.differences.len(), 1, "only /0 has five differences of those that are kept");
    assert_eq!(report.differences[0].samples.len(), 10);
}

#[test]
fn the_report_has_the_fields_of_the_admin_path() {
    let mut comparison = Comparison::new("profile", "2", Vec::new());
    comparison.copy();
    comparison.lose();
    for _ in 0..5 {
        comparison.compare("/", &reply("1"), &reply("2"), &reply("1"));
    }
    let report = serde_json::to_value(comparison.report()).unwrap();
    assert_eq!((&report["service"], &report["candidate"]), (&"profile".into(), &"2".into()));
    assert_eq!((&report["copies"], &report["compared"], &report["lost"]), (&1.into(), &5.into(), &1.into()));
    let difference = &report["differences"][0];
    for field in ["route", "path", "raw", "noise", "total"] {
        assert!(difference.get(field).is_some(), "{field}: {report}");
    }
    assert_eq!(difference["samples"][0]["stable"], "1");
    assert_eq!(difference["samples"][0]["candidate"], "2");
}
