//! Instructions of the hot functions, counted by valgrind in a release build.
//!
//! Each scenario runs with two numbers of repetitions; the difference is its cost, because the
//! start-up cancels out.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

use ratchet::{allowed, scenario};

/// Repetitions in the shorter and in the longer run.
const COUNTS: [u32; 2] = [200, 1200];

#[test]
fn hot_functions_run_no_more_instructions_than_they_are_allowed() {
    if Command::new("valgrind").arg("--version").output().is_err() {
        println!("SKIPPED: valgrind is not installed: instructions are not counted");
        return;
    }
    let hot = build();
    let measured: BTreeMap<String, f64> = scenario::ALL
        .iter()
        .map(|(name, _)| {
            let [few, many] = COUNTS.map(|count| instructions(&hot, name, count));
            let per_run = (many - few) / f64::from(COUNTS[1] - COUNTS[0]);
            ((*name).to_owned(), (per_run * 10.0).round() / 10.0)
        })
        .collect();
    match allowed::check("instructions", &measured) {
        Ok(notes) => println!("{}", notes.join("\n")),
        Err(worse) => panic!("{worse}"),
    }
}

/// Builds `hot` in release mode, because the tests' own build is not optimized.
fn build() -> PathBuf {
    // Tests run from TARGET/PROFILE/deps.
    let own = std::env::current_exe().unwrap();
    let target = own.ancestors().nth(3).unwrap();
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["build", "--release", "--package", "ratchet", "--bin", "hot", "--manifest-path"])
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))
        .arg("--target-dir")
        .arg(target)
        .status()
        .unwrap();
    assert!(status.success(), "the release build failed; cargo's reason is above");
    target.join("release/hot")
}

fn instructions(hot: &PathBuf, name: &str, count: u32) -> f64 {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(hot)
        .args([name, &count.to_string()])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name}: {text}");
    let collected = text.lines().find_map(|line| line.split_once("Collected : "));
    let (_, collected) = collected.unwrap_or_else(|| panic!("valgrind counted nothing: {text}"));
    collected.trim().parse().unwrap()
}
