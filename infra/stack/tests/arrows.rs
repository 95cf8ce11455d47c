//! Which crate may depend on which: the arrows of ARCHITECTURE.md, checked against `cargo
//! metadata`.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

/// All allowed arrows. A service never links another one; the stack uses the roles by their command
/// lines only; `bench` may measure anything, so it has no row.
const ARROWS: &[(&str, &[&str])] = &[
    ("bus-proto", &[]),
    ("bus", &["bus-proto"]),
    ("role", &["bus", "change"]),
    ("change", &[]),
    ("store", &[]),
    ("http1", &[]),
    ("terminator", &["bus", "change", "http1", "role"]),
    ("service-host", &["bus", "change", "role", "store"]),
    ("profile", &["role", "service-host", "store"]),
    ("feed", &["role", "service-host", "store"]),
    ("chat", &["role", "service-host", "store"]),
    ("events", &["role", "service-host", "store"]),
    ("web", &["role", "service-host"]),
    ("stack", &["change"]),
    // Measures the cost of the hot path, so it links all of it; nothing links `ratchet`.
    ("ratchet", &["bus", "change", "terminator"]),
];

/// May depend on anything, and nothing may depend on it.
const MEASURES: &str = "bench";

/// Tests may use the wire format directly.
const TEST_ARROWS: &[&str] = &["bus-proto", "role"];

#[test]
fn dependencies_follow_the_architecture() {
    let metadata = metadata();
    let packages = metadata["packages"].as_array().expect("has packages");
    let members: BTreeSet<&str> = packages.iter().map(name).collect();
    let allowed: BTreeMap<&str, &[&str]> = ARROWS.iter().copied().collect();

    let mut wrong = Vec::new();
    for package in packages.iter().filter(|package| name(package) != MEASURES) {
        let from = name(package);
        let Some(to_allowed) = allowed.get(from) else {
            wrong.push(format!("{from} has no row: add its arrows to this test and to ARCHITECTURE.md"));
            continue;
        };
        for dependency in package["dependencies"].as_array().expect("has dependencies") {
            let to = name(dependency);
            let in_tests = dependency["kind"] == "dev" && TEST_ARROWS.contains(&to);
            if members.contains(to) && !to_allowed.contains(&to) && !in_tests {
                wrong.push(format!("{from} -> {to}"));
            }
        }
    }
    assert!(wrong.is_empty(), "arrows that ARCHITECTURE.md does not have:\n  {}", wrong.join("\n  "));
}

#[test]
fn every_row_is_a_crate() {
    let metadata = metadata();
    let members: BTreeSet<&str> =
        metadata["packages"].as_array().expect("has packages").iter().map(name).collect();
    for (from, to) in ARROWS {
        for crate_name in std::iter::once(from).chain(*to) {
            assert!(members.contains(crate_name), "there is no crate {crate_name}");
        }
    }
}

fn name(value: &Value) -> &str {
    value["name"].as_str().expect("has a name")
}

/// The workspace's own packages.
fn metadata() -> Value {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline", "--manifest-path"])
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("is JSON")
}
