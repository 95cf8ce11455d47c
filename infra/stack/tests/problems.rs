//! docs/problems.md and the problem types in the source of the services and of the admin listeners
//! are the same. The terminator compares the reasons of its requests with the table.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Status and title of a reason.
type Kind = (String, String);

#[test]
fn the_table_of_problems_has_every_type_of_the_services_and_no_other() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut in_source = BTreeMap::new();
    collect(&root.join("services"), &mut in_source);
    collect(&root.join("infra/role/src/admin"), &mut in_source);
    collect(&root.join("terminator/src/control"), &mut in_source);
    assert!(in_source.len() > 30, "found only {} problem types", in_source.len());

    let table = std::fs::read_to_string(root.join("docs/problems.md")).expect("is UTF-8");
    let mut in_table = BTreeMap::new();
    let mut of_terminator = BTreeSet::new();
    for (reason, kind, roles) in table.lines().filter_map(row) {
        if roles == "terminator" {
            of_terminator.insert(reason.clone());
        }
        assert!(in_table.insert(reason.clone(), kind).is_none(), "{reason} is in docs/problems.md twice");
    }
    for (reason, kind) in &in_source {
        assert_eq!(in_table.get(reason), Some(kind), "docs/problems.md and the source differ in {reason}");
    }
    let unknown: Vec<_> = in_table
        .keys()
        .filter(|reason| !in_source.contains_key(*reason) && !of_terminator.contains(*reason))
        .collect();
    assert!(unknown.is_empty(), "docs/problems.md has reasons that no service has: {unknown:?}");
}

/// `| reason | status | title | roles | when |`.
fn row(line: &str) -> Option<(String, Kind, &str)> {
    let mut cells = line.strip_prefix("| `")?.split(" | ");
    let reason = cells.next()?.strip_suffix('`')?.to_owned();
    let status = cells.next().filter(|status| status.parse::<u16>().is_ok())?.to_owned();
    Some((reason, (status, cells.next()?.to_owned()), cells.next()?))
}

/// Every `ProblemType::new("reason", status, "title")` in a folder.
fn collect(folder: &Path, kinds: &mut BTreeMap<String, Kind>) {
    for entry in std::fs::read_dir(folder).expect("reads") {
        let path = entry.expect("reads").path();
        if path.is_dir() {
            collect(&path, kinds);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).expect("is UTF-8");
            for call in text.split("ProblemType::new(").skip(1) {
                let mut pieces = call.split('"');
                let (before, reason) = (pieces.next().unwrap_or_default(), pieces.next());
                let (Some(reason), true) = (reason, before.trim().is_empty()) else { continue };
                let status = pieces.next().unwrap_or_default().trim_matches([',', ' ', '\n']).to_owned();
                let kind = (status, pieces.next().unwrap_or_default().to_owned());
                let known = kinds.entry(reason.to_owned()).or_insert_with(|| kind.clone());
                assert_eq!(*known, kind, "{reason} has two meanings; one is in {}", path.display());
            }
        }
    }
}
