//! Every role starts with its example file, and systemd accepts the units.

use std::path::Path;
use std::process::Command;

use crate::files::{Site, source};
use crate::process::role;
use crate::site::{service, services, terminator};
use crate::tools::program;
use crate::until::until;

const SERVICES: [&str; 5] = ["web", "profile", "feed", "chat", "events"];

/// Exposure that `systemd-analyze security` may find, in tenths of its scale from 0 to 10.
const EXPOSURE_MAX: &str = "20";

#[test]
fn every_role_joins_with_its_example() {
    let site = Site::new();
    let _terminators = [1, 2].map(|number| terminator(&site, number));
    // Every role's example is tried, whatever else is missing.
    let _services = SERVICES.map(|name| service(&site, name));
    for number in [1, 2] {
        until(&format!("every service has joined terminator {number}"), || {
            let seen = services(&site, number);
            let missing: Vec<_> =
                SERVICES.iter().filter(|name| !seen.iter().any(|service| service == *name)).collect();
            if missing.is_empty() { Ok(()) } else { Err(format!("{missing:?} are missing")) }
        });
    }
}

#[test]
fn systemd_accepts_the_units_and_finds_them_hardened() {
    let Some(analyze) = program("systemd-analyze") else { return };
    let root = tempfile::tempdir().unwrap();
    let units = root.path().join("etc/systemd/system");
    copy(&source("systemd"), &units);
    let mut names: Vec<String> = SERVICES.iter().map(|name| format!("stack-{name}.service")).collect();
    names.push("stack-terminator@1.service".to_owned());
    let socket = "stack-terminator@1.socket".to_owned();

    let verify = Command::new(&analyze)
        .args(["verify", "--man=no", "stack.target"])
        .args(names.iter().chain([&socket]))
        .current_dir(&units)
        .env("SYSTEMD_UNIT_PATH", format!("{}:", units.display()))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&verify.stderr);
    // Other units of the machine may have faults of their own.
    let ours: Vec<_> = said.lines().filter(|line| line.contains("stack")).collect();
    assert!(ours.is_empty(), "{said}");

    let security = Command::new(&analyze)
        .args(["security", "--offline=true", "--no-pager", "--threshold", EXPOSURE_MAX, "--root"])
        .arg(root.path())
        .args(&names)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&security.stdout);
    for line in said.lines().filter(|line| line.contains("Overall exposure")) {
        eprintln!("{line}");
    }
    assert!(security.status.success(), "{said}\n{}", String::from_utf8_lossy(&security.stderr));
}

/// Copies units, with the directory of the roles' binaries put in.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
            continue;
        }
        let binaries = role("terminator");
        let binaries = binaries.parent().unwrap().display().to_string();
        let text = std::fs::read_to_string(entry.path()).unwrap();
        std::fs::write(target, text.replace("/usr/local/bin", &binaries)).unwrap();
    }
}
