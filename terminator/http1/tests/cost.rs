//! The cost of heads and replies in instructions: one that is made to be expensive costs at most
//! twice as much as an ordinary one of the same length, read at once or byte by byte. Instructions
//! do not depend on the machine's load, as time does.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::process::Command;

/// Repetitions in the shorter and in the longer run. The difference is the cost; start-up cancels
/// out.
const COUNTS: [u32; 2] = [3, 9];

/// Scenarios of `examples/cost.rs`, the scenario that each is compared with, and how many times its
/// cost is allowed.
const ALLOWED: &[(&str, &[&str], f64)] = &[
    (
        "ordinary",
        &[
            "options", "tokens", "closes", "commas", "codings", "digits", "cookie", "host", "percents",
            "query", "path", "absolute",
        ],
        2.0,
    ),
    // Bytes looked up in a table and white space are processed one at a time, values many at once.
    ("ordinary", &["name", "method", "spaces"], 2.8),
    (
        "bytes-ordinary",
        &["bytes-options", "bytes-tokens", "bytes-percents", "bytes-name", "bytes-spaces"],
        2.0,
    ),
    ("reply-ordinary", &["reply-options", "reply-tokens"], 2.0),
];

#[test]
fn the_dearest_head_costs_no_more_than_twice_an_ordinary_one() {
    if Command::new("valgrind").arg("--version").output().is_err() {
        println!("SKIPPED: valgrind is not installed: instructions are not counted");
        return;
    }
    let program = build();
    let mut faults = Vec::new();
    for (ordinary, scenarios, allowed) in ALLOWED {
        let base = cost(&program, ordinary);
        println!("{ordinary}: {base:.0} instructions");
        for scenario in *scenarios {
            let times = cost(&program, scenario) / base;
            println!("{scenario}: {times:.2} times {ordinary}");
            if times > *allowed {
                faults.push(format!("{scenario}: {times:.2} times {ordinary}, {allowed} allowed"));
            }
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

/// The release build of the example: the tests' own build is not optimized.
fn build() -> PathBuf {
    // The tests run from TARGET/PROFILE/deps.
    let own = std::env::current_exe().unwrap();
    let target = own.ancestors().nth(3).unwrap();
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["build", "--release", "--package", "http1", "--example", "cost", "--manifest-path"])
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))
        .arg("--target-dir")
        .arg(target)
        .status()
        .unwrap();
    assert!(status.success(), "the release build failed; cargo's reason is above");
    target.join("release/examples/cost")
}

fn cost(program: &Path, scenario: &str) -> f64 {
    let [few, many] = COUNTS.map(|count| instructions(program, scenario, count));
    (many - few) / f64::from(COUNTS[1] - COUNTS[0])
}

fn instructions(program: &Path, scenario: &str, count: u32) -> f64 {
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).arg(program);
    let output = valgrind.args([scenario, &count.to_string()]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{scenario}: {text}");
    let collected = text.lines().find_map(|line| line.split_once("Collected : "));
    let (_, collected) = collected.unwrap_or_else(|| panic!("valgrind counted nothing: {text}"));
    collected.trim().parse().unwrap()
}
