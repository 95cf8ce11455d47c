//! What `CONTRIBUTING.md` asks of every source file, as far as a machine can tell.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// A longer file holds two concepts. The aim is 300.
const LINES_MAX: usize = 400;

/// Names that do not say what a module owns.
const BANNED: &[&str] = &["manager", "helper", "helpers", "util", "utils", "common", "misc"];

/// Widest comment line, in characters. Tables, code and single words may be wider.
const COMMENT_WIDTH_MAX: usize = 100;

/// Phrases that a reader of the file alone does not understand: name the subject instead. Compared
/// in lower case, in comments only.
const RIDDLES: &[&str] = &[
    "who waits",
    "who knew",
    "those who",
    "those which",
    "that is none",
    "so does one",
    "nobody",
    "everybody",
    "goes on",
    " go on ",
    "mended",
    "/ whether",
    "the road",
];

/// Directories without our source.
const SKIPPED: &[&str] = &["target", "node_modules", "data"];

#[test]
fn files_are_short() {
    fail_on(|source| {
        let lines = source.text.lines().count();
        (lines > LINES_MAX)
            .then(|| format!("{lines} lines, the limit is {LINES_MAX}: which concept wants its own file?"))
    });
}

#[test]
fn files_open_with_what_they_own() {
    fail_on(|source| {
        let header = source.text.starts_with("//! ");
        (!header).then(|| {
            "the first line is not `//! ...`: what does it own, what not, what always holds?".to_owned()
        })
    });
}

#[test]
fn modules_are_named_for_what_they_own() {
    fail_on(|source| {
        let words =
            source.path.iter().filter_map(|part| part.to_str()).flat_map(|part| part.split(['_', '-', '.']));
        let banned = words.into_iter().find(|word| BANNED.contains(word))?;
        Some(format!("`{banned}` says nothing: name what it owns"))
    });
}

#[test]
fn modules_are_self_named() {
    fail_on(|source| {
        source.path.ends_with("mod.rs").then(|| "write foo.rs and foo/bar.rs, not foo/mod.rs".to_owned())
    });
}

#[test]
fn tests_do_not_sleep() {
    // Concatenated, or this file would match.
    let sleep = ["thread", "sleep("].join("::");
    fail_on(|source| {
        source.text.contains(&sleep).then(|| "sleeps: wait for the event, or use paused time".to_owned())
    });
}

#[test]
fn comments_are_narrow_and_plain() {
    fail_on(|source| wrong_comment(&source.text));
}

/// The first line comment that is too wide or has a riddle.
fn wrong_comment(text: &str) -> Option<String> {
    let mut in_code = false;
    for (number, line) in text.lines().enumerate().map(|(at, line)| (at + 1, line)) {
        let Some(comment) = line.trim_start().strip_prefix("//") else { continue };
        let words = comment.trim_start_matches(['/', '!']).trim_start();
        in_code ^= words.starts_with("```");
        let width = line.chars().count();
        if width > COMMENT_WIDTH_MAX && !in_code && !words.starts_with('|') && words.contains(' ') {
            return Some(format!("line {number}: {width} characters, the limit is {COMMENT_WIDTH_MAX}"));
        }
        let lower = comment.to_lowercase();
        if let Some(riddle) = RIDDLES.iter().find(|riddle| lower.contains(**riddle)) {
            return Some(format!("line {number}: `{riddle}`: who or what is it?"));
        }
    }
    None
}

/// `bench/runs` keeps the latest run of each command: older ones are in git's history.
#[test]
fn one_run_of_each_benchmark_is_kept() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let listed = std::process::Command::new("git")
        .args(["ls-files", "bench/runs"])
        .current_dir(&root)
        .output()
        .ok()
        .filter(|listed| listed.status.success());
    let Some(listed) = listed else {
        println!("SKIPPED: git cannot list the files of {}", root.display());
        return;
    };
    let listed = String::from_utf8(listed.stdout).expect("paths are UTF-8");
    let runs: BTreeSet<&str> = listed.lines().filter_map(|path| path.split('/').nth(2)).collect();
    let mut commands = BTreeSet::new();
    for run in &runs {
        // DATE-COMMAND, or DATE-COMMAND-N: the date has ten characters.
        let command = run.get(11..).and_then(|rest| rest.split('-').next()).unwrap_or(run);
        assert!(commands.insert(command), "bench/runs has several runs of {command}: {runs:?}");
    }
}

struct Source {
    /// Relative to the workspace's root.
    path: PathBuf,
    text: String,
}

/// Fails with every file for which `check` returns a reason.
fn fail_on(check: impl Fn(&Source) -> Option<String>) {
    let wrong: Vec<String> = sources()
        .iter()
        .filter_map(|source| check(source).map(|reason| format!("{}: {reason}", source.path.display())))
        .collect();
    assert!(wrong.is_empty(), "\n  {}", wrong.join("\n  "));
}

/// Every Rust file of the workspace.
fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut sources = Vec::new();
    collect(&root, &root, &mut sources);
    assert!(sources.len() > 20, "found only {} files: is {} the workspace?", sources.len(), root.display());
    sources
}

fn collect(root: &Path, directory: &Path, sources: &mut Vec<Source>) {
    for entry in std::fs::read_dir(directory).expect("reads") {
        let entry = entry.expect("reads");
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_string_lossy();
        if entry.file_type().expect("reads").is_dir() {
            if !SKIPPED.contains(&name.as_ref()) && !name.starts_with('.') {
                collect(root, &path, sources);
            }
        } else if name.ends_with(".rs") {
            let text = std::fs::read_to_string(&path).expect("is UTF-8");
            sources.push(Source { path: path.strip_prefix(root).expect("is below").to_owned(), text });
        }
    }
}
