//! No import cycles between the files of a crate: `use crate::`, `use super::` and `use self::` are
//! arrows, and following them must not lead back.
//!
//! Does not see: paths written in full in an expression, and methods. Tests are left out, and so is
//! what a module re-exports from its own children: it offers it to others and does not need it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// The crates that are held to it, their folders, and how many files at least are found there. The
/// list grows.
const CRATES: &[(&str, &str, usize)] = &[
    ("bus", "bus/src", 10),
    ("bus-proto", "bus/proto/src", 10),
    ("http1", "terminator/http1/src", 10),
    ("terminator", "terminator/src", 10),
    ("role", "infra/role/src", 10),
    ("change", "infra/change/src", 10),
    ("service-host", "services/host/src", 10),
    ("store", "services/store/src", 10),
    ("profile", "services/profile/src", 6),
    ("feed", "services/feed/src", 10),
    ("chat", "services/chat/src", 10),
    ("events", "services/events/src", 10),
    ("web", "services/web/src", 10),
    ("change", "infra/change/src", 10),
    ("stack", "infra/stack/src", 10),
    ("bench", "bench/src", 10),
];

type Arrows = BTreeMap<String, BTreeSet<String>>;

#[test]
fn files_of_a_crate_do_not_import_each_other_in_a_circle() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    for (name, folder, files_min) in CRATES {
        let mut texts = BTreeMap::new();
        collect(&root.join(folder), "", &mut texts);
        assert!(texts.len() >= *files_min, "found only {} files of {name}", texts.len());
        let arrows = arrows(&texts);
        let count: usize = arrows.values().map(BTreeSet::len).sum();
        assert!(count > texts.len() / 2, "found only {count} imports in {name}: has their form changed?");
        if let Some(circle) = circle(&arrows) {
            panic!("files of {name} import each other in a circle:\n  {}", circle.join("\n  -> "));
        }
    }
}

#[test]
fn a_circle_is_found_by_whatever_path_it_is_imported() {
    let files = |texts: &[(&str, &str)]| -> BTreeMap<String, String> {
        texts.iter().map(|(module, text)| ((*module).to_owned(), (*text).to_owned())).collect()
    };
    let circular = files(&[
        ("a", "use crate::b::Thing;\n"),
        ("b", "use std::io;\nuse super::c::{\n    Other,\n    More,\n};\n"),
        ("c", "pub use self::d::Inner;\n"),
        ("c::d", "use crate::{a::Thing, e};\n"),
        ("e", ""),
    ]);
    assert_eq!(arrows(&circular)["b"], BTreeSet::from(["c".to_owned()]));
    assert_eq!(arrows(&circular)["c::d"], BTreeSet::from(["a".to_owned(), "e".to_owned()]));
    assert_eq!(circle(&arrows(&circular)), None, "c only passes on what is in c::d");
    let mut circular = circular;
    circular.insert("c".to_owned(), "use self::d::Inner;\n".to_owned());
    let found = circle(&arrows(&circular)).expect("a -> b -> c -> c::d -> a");
    assert_eq!(found.len(), 5);
    let in_tests =
        files(&[("a", "use crate::b::B;\n"), ("b", "#[cfg(test)]\nmod tests {\n    use crate::a::A;\n}\n")]);
    assert_eq!(circle(&arrows(&in_tests)), None);
}

/// Every module of a folder by its path in the crate, tests left out. `lib.rs` and `main.rs` are
/// not among them: they import everything.
fn collect(folder: &Path, path: &str, texts: &mut BTreeMap<String, String>) {
    for entry in std::fs::read_dir(folder).expect("reads") {
        let entry = entry.expect("reads");
        let name = entry.file_name().to_string_lossy().into_owned();
        let module = name.strip_suffix(".rs").unwrap_or(&name);
        let module = if path.is_empty() { module.to_owned() } else { format!("{path}::{module}") };
        if entry.file_type().expect("reads").is_dir() {
            collect(&entry.path(), &module, texts);
        } else if name.ends_with(".rs") && !["lib.rs", "main.rs", "tests.rs"].contains(&&*name) {
            texts.insert(module, std::fs::read_to_string(entry.path()).expect("is UTF-8"));
        }
    }
}

fn arrows(texts: &BTreeMap<String, String>) -> Arrows {
    let arrow = |(module, text): (&String, &String)| {
        let text = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
        let mut to = BTreeSet::new();
        for statement in text.split(';') {
            // What is before the `use`, such as documentation and `mod` lines, ends with a line.
            let Some((is_public, import)) = statement.lines().enumerate().find_map(|(at, line)| {
                let (is_public, rest) =
                    match line.strip_prefix("pub").and_then(|rest| rest.split_once("use ")) {
                        Some((_, rest)) => (true, rest),
                        None => (false, line.strip_prefix("use ")?),
                    };
                let more: Vec<&str> = statement.lines().skip(at + 1).collect();
                Some((is_public, format!("{rest}{}", more.concat())))
            }) else {
                continue;
            };
            for path in flatten(&import) {
                let Some(path) = absolute(module, &path) else { continue };
                let Some(found) = longest_module(texts, &path) else { continue };
                let is_passed_on = is_public && found.starts_with(&format!("{module}::"));
                if found != *module && !is_passed_on {
                    to.insert(found);
                }
            }
        }
        (module.clone(), to)
    };
    texts.iter().map(arrow).collect()
}

/// `a::{b, c::{d, e}}` as `a::b`, `a::c::d`, `a::c::e`.
fn flatten(import: &str) -> Vec<String> {
    let import = import.trim();
    let Some((prefix, rest)) = import.split_once('{') else {
        return vec![import.split(" as ").next().unwrap_or_default().trim().to_owned()];
    };
    let inside = rest.rsplit_once('}').map_or(rest, |(inside, _)| inside);
    let (mut parts, mut depth, mut part) = (Vec::new(), 0, String::new());
    for letter in inside.chars() {
        match letter {
            ',' if depth == 0 => parts.push(std::mem::take(&mut part)),
            _ => {
                depth += i32::from(letter == '{') - i32::from(letter == '}');
                part.push(letter);
            }
        }
    }
    parts.push(part);
    let parts = parts.iter().filter(|part| !part.trim().is_empty());
    parts.flat_map(|part| flatten(&format!("{prefix}{}", part.trim()))).collect()
}

/// The path from the crate's root; `None` for another crate's.
fn absolute(module: &str, path: &str) -> Option<String> {
    let mut base: Vec<&str> = module.split("::").collect();
    let mut names = path.split("::").peekable();
    match names.next()? {
        "crate" => base.clear(),
        "self" => {}
        "super" => {
            base.pop();
            while names.next_if_eq(&"super").is_some() {
                base.pop();
            }
        }
        // A module's own child, by its bare name.
        child => base.push(child),
    }
    base.extend(names);
    Some(base.join("::"))
}

/// The module that a path leads into: its longest beginning that is one.
fn longest_module(texts: &BTreeMap<String, String>, path: &str) -> Option<String> {
    let mut path = path;
    while !texts.contains_key(path) {
        path = path.rsplit_once("::")?.0;
    }
    Some(path.to_owned())
}

/// Some circle, its first module again at the end.
fn circle(arrows: &Arrows) -> Option<Vec<String>> {
    fn visit(arrows: &Arrows, at: &str, way: &mut Vec<String>, done: &mut BTreeSet<String>) -> bool {
        if let Some(begin) = way.iter().position(|module| module == at) {
            way.drain(..begin);
            way.push(at.to_owned());
            return true;
        }
        if !done.insert(at.to_owned()) {
            return false;
        }
        way.push(at.to_owned());
        let found = arrows[at].iter().any(|to| visit(arrows, to, way, done));
        if !found {
            way.pop();
        }
        found
    }
    let mut done = BTreeSet::new();
    arrows.keys().find_map(|module| {
        let mut way = Vec::new();
        visit(arrows, module, &mut way, &mut done).then_some(way)
    })
}
