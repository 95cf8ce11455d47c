//! A stack that should use a FoundationDB cluster, in a build without FoundationDB: it says what to
//! do instead of trying for ever.

use std::process::Command;

use crate::process::{Process, role};

/// Runs a stack that should use the cluster of `file`.
fn on_cluster(file: &str, cargo: bool) -> (Option<i32>, Vec<String>) {
    let mut command = Command::new(role("stack"));
    let free = ["--http", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--guests", "127.0.0.1:0"];
    command.args(free).args(["--store", &format!("fdb:{file}")]).env_remove("CARGO");
    if cargo {
        // Never called, because the store is refused before the build.
        command.env("CARGO", "/bin/false");
    } else {
        command.arg("--no-build");
    }
    let mut process = Process::start("stack", &mut command);
    (process.wait().code(), process.lines())
}

#[test]
fn a_cluster_without_the_feature_is_refused_with_the_command_that_has_it() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("fdb.cluster");
    let (code, lines) = on_cluster(file.to_str().unwrap(), false);
    assert!(code == Some(1) && lines.iter().any(|line| line.contains("fdb.cluster")), "no file: {lines:?}");

    std::fs::write(&file, "test:test@127.0.0.1:4500").unwrap();
    let file = file.to_str().unwrap();
    let (code, lines) = on_cluster(file, true);
    let remedy = format!("cargo run --release --features fdb -- --store fdb:{file}");
    assert!(code == Some(1) && lines.iter().any(|line| line.contains(&remedy)), "{lines:?}");

    // Binaries that were built earlier report it themselves, once: they are not restarted.
    let (code, lines) = on_cluster(file, false);
    assert_eq!(code, Some(1), "{lines:?}");
    assert!(lines.iter().any(|line| line.contains("build with `--features fdb`")), "{lines:?}");
    assert!(lines.iter().any(|line| line.contains("refused its arguments")), "{lines:?}");
}
