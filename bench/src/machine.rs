//! The conditions of a measurement.
//!
//! Owns the description beside every result.

use std::collections::BTreeMap;
use std::process::Command;

use serde::{Deserialize, Serialize};

/// A machine, and the versions of the programs measured on it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// Model name according to the kernel.
    pub cpu: String,
    /// Cores available to this process.
    pub cores: usize,
    /// Memory in bytes.
    pub memory: u64,
    /// `uname -sr`.
    pub kernel: String,
    /// `PRETTY_NAME` of os-release.
    pub system: String,
    /// Commit of the checkout, with `-dirty` when it was changed.
    pub commit: String,
    /// UTC, RFC 3339.
    pub date: String,
    /// Load average of the minute before the run; above 0.5 other programs were running.
    pub load_before: String,
    /// First line of each program's version output.
    pub versions: BTreeMap<String, String>,
}

/// Programs, and the arguments that print their version.
const VERSIONS: &[(&str, &[&str])] = &[
    ("rustc", &["--version"]),
    ("wrk", &["--version"]),
    ("nginx", &["-v"]),
    ("haproxy", &["-v"]),
    ("nats-server", &["--version"]),
    ("pushpin", &["--version"]),
    ("condure", &["--version"]),
    ("valgrind", &["--version"]),
];

impl Machine {
    /// Describes this machine, now.
    #[must_use]
    pub fn describe() -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let field = |text: &str, name: &str, separator: char| {
            let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
            line.split_once(separator).map_or("", |(_, value)| value).trim().trim_matches('"').to_owned()
        };
        let memory = field(&read("/proc/meminfo"), "MemTotal", ':');
        let memory_kib: u64 = memory.split_whitespace().next().and_then(|kib| kib.parse().ok()).unwrap_or(0);
        let kernel = rustix::system::uname();
        let name = |text: &std::ffi::CStr| text.to_string_lossy().into_owned();
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
        let commit = first_line("git", &["-C", root, "describe", "--always", "--dirty", "--abbrev=12"]);
        Self {
            cpu: field(&read("/proc/cpuinfo"), "model name", ':'),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            memory: memory_kib * 1024,
            kernel: format!("{} {}", name(kernel.sysname()), name(kernel.release())),
            system: field(&read("/etc/os-release"), "PRETTY_NAME", '='),
            commit: commit.unwrap_or_else(|| "unknown".to_owned()),
            date: humantime::format_rfc3339_seconds(std::time::SystemTime::now()).to_string(),
            load_before: read("/proc/loadavg").split(' ').next().unwrap_or_default().to_owned(),
            versions: versions(),
        }
    }

    /// One line for a report.
    #[must_use]
    pub fn line(&self) -> String {
        format!(
            "{}, {} cores, {:.0} GiB, {}, {}, commit {}, {}, load average before {}",
            self.cpu,
            self.cores,
            crate::figures::float(self.memory) / f64::from(1 << 30),
            self.system,
            self.kernel,
            self.commit,
            self.date,
            self.load_before,
        )
    }
}

fn versions() -> BTreeMap<String, String> {
    let mut versions = BTreeMap::new();
    for (program, args) in VERSIONS {
        let version = crate::process::find(program)
            .and_then(|program| first_line(&program.to_string_lossy(), args))
            .unwrap_or_else(|| "not installed".to_owned());
        versions.insert((*program).to_owned(), version);
    }
    versions
}

/// The first line that a program prints to stdout, or to stderr as some do with their version.
fn first_line(program: &str, args: &[&str]) -> Option<String> {
    let output = Command::new(program).args(args).output().ok()?;
    let text = if output.stdout.is_empty() { output.stderr } else { output.stdout };
    let text = String::from_utf8_lossy(&text);
    text.lines().find(|line| !line.trim().is_empty()).map(|line| line.trim().to_owned())
}
