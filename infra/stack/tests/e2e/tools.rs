//! Programs of others that the tests use: found, or reported in a line `SKIPPED: ...`.
//!
//! `.ci/test` installs them: the Python venv and the npm modules under `target/tools`, the rest
//! from Debian.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process::Process;

/// A Python with pynng, or `None` after a line with what is missing.
pub(crate) fn python() -> Option<PathBuf> {
    tool("the Python venv with pynng", "venv/bin/python")
}

/// The npm statsd daemon's script.
pub(crate) fn statsd() -> Option<PathBuf> {
    tool("the npm module statsd", "node_modules/statsd/stats.js")
}

/// A program on the PATH, or in /usr/sbin, where Debian keeps servers.
pub(crate) fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .chain([PathBuf::from("/usr/sbin")])
        .map(|dir| dir.join(name))
        .find(|file| file.is_file());
    if found.is_none() {
        skipped(&format!("{name} is not on the PATH"));
    }
    found
}

/// Prints the line that `.ci/test` counts.
pub(crate) fn skipped(why: &str) {
    eprintln!("SKIPPED: {why}");
}

/// A file of infra/guests.
pub(crate) fn guest_source(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../guests").join(file)
}

/// Starts one of the example guests in Python.
pub(crate) fn guest(python: &Path, script: &str, args: &[&str]) -> Process {
    Process::start("guest", Command::new(python).arg("-u").arg(guest_source(script)).args(args))
}

/// Compiles one of the example guests in C into `dir`, with every warning an error. `None` when
/// there is no C compiler or no libnng.
pub(crate) fn compiled_guest(file: &str, dir: &Path) -> Option<PathBuf> {
    let compiler = program("cc")?;
    let mut has_nng = Command::new(&compiler);
    has_nng.args(["-E", "-include", "nng/nng.h", "-x", "c", "/dev/null"]);
    if !has_nng.output().expect("cc starts").status.success() {
        skipped("nng/nng.h of libnng-dev is missing; `.ci/test` installs it");
        return None;
    }
    let binary = dir.join("guest");
    let mut compile = Command::new(&compiler);
    compile.args(["-std=c99", "-Wall", "-Wextra", "-Werror"]).arg(guest_source(file));
    let compiled = compile.arg("-o").arg(&binary).arg("-lnng").output().expect("cc starts");
    assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
    Some(binary)
}

/// A tool in `STACK_TOOLS_DIR`, or in `target/tools` beside the directory of our binaries.
fn tool(what: &str, file: &str) -> Option<PathBuf> {
    let beside = || {
        let profile = Path::new(env!("CARGO_BIN_EXE_stack")).parent().expect("a binary lies in a directory");
        profile.parent().expect("target/<profile>").join("tools")
    };
    let path = std::env::var_os("STACK_TOOLS_DIR").map_or_else(beside, PathBuf::from).join(file);
    if path.is_file() {
        return Some(path);
    }
    skipped(&format!("{what} is missing ({}); `.ci/test` installs it", path.display()));
    None
}
