//! `bench/ratchet.toml`: what each scenario may cost.
//!
//! Owns comparing figures with the file, and writing the file on request. Invariant: a figure more
//! than [`TOLERANCE`] worse fails; one as much better asks to lower the ratchet.

use std::collections::BTreeMap;
use std::path::Path;

/// The file of allowed figures.
const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../ratchet.toml");
/// A figure that is worse by more than this fails.
pub const TOLERANCE: f64 = 0.03;
/// When set to `write`, the tests store what they measured.
pub const VARIABLE: &str = "RATCHET";

const HEADER: &str = "\
# What one request may cost: instructions (callgrind, release build) and allocations.
# The tests of the package `ratchet` fail when a figure is more than 3 % worse than here.
# After an improvement, or a growth that is worth it (say why in the commit):
#     RATCHET=write cargo test -p ratchet
# Instructions depend on the compiler: write them anew with a new one.
";

type Table = BTreeMap<String, BTreeMap<String, f64>>;

/// Checks `measured`, by scenario, against the section of the file; stores it there instead when
/// [`VARIABLE`] is `write`.
///
/// # Errors
/// Which figures are worse, or that the file cannot be read.
pub fn check(section: &str, measured: &BTreeMap<String, f64>) -> Result<Vec<String>, String> {
    check_in(Path::new(FILE), section, measured, std::env::var(VARIABLE).is_ok_and(|word| word == "write"))
}

fn check_in(
    file: &Path,
    section: &str,
    measured: &BTreeMap<String, f64>,
    write: bool,
) -> Result<Vec<String>, String> {
    let cannot = |error: &dyn std::fmt::Display| format!("{}: {error}", file.display());
    let text = match std::fs::read_to_string(file) {
        Err(error) if write && error.kind() == std::io::ErrorKind::NotFound => String::new(),
        read => read.map_err(|error| cannot(&error))?,
    };
    let mut table: Table = toml::from_str(&text).map_err(|error| cannot(&error))?;
    if write {
        table.insert(section.to_owned(), measured.clone());
        let text = toml::to_string(&table).map_err(|error| cannot(&error))?;
        std::fs::write(file, format!("{HEADER}\n{text}")).map_err(|error| cannot(&error))?;
        return Ok(vec![format!("{section}: written to {}", file.display())]);
    }
    let allowed = table.remove(section).unwrap_or_default();
    let (mut worse, mut notes) = (Vec::new(), Vec::new());
    for (name, &measured) in measured {
        let Some(&allowed) = allowed.get(name) else {
            worse.push(format!("{section}.{name}: {measured:.1}, and no figure is allowed yet"));
            continue;
        };
        let change = format!("{section}.{name}: {measured:.1}, {allowed:.1} allowed");
        if measured > allowed * (1.0 + TOLERANCE) {
            worse.push(change);
        } else if measured < allowed * (1.0 - TOLERANCE) {
            notes.push(format!("{change}: better; lower the ratchet with {VARIABLE}=write"));
        } else {
            notes.push(change);
        }
    }
    if worse.is_empty() {
        return Ok(notes);
    }
    Err(format!(
        "worse than {} allows by more than {:.0} %; correct the code, or run with {VARIABLE}=write and say why in the commit:\n  {}",
        file.display(),
        TOLERANCE * 100.0,
        worse.join("\n  ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(figure: f64) -> BTreeMap<String, f64> {
        BTreeMap::from([("encode".to_owned(), figure)])
    }

    #[test]
    fn worse_fails_better_asks_and_unknown_fails() {
        let path = std::env::temp_dir().join(format!("ratchet-{}.toml", std::process::id()));
        check_in(&path, "instructions", &figures(100.0), true).unwrap();
        let check = |figure| check_in(&path, "instructions", &figures(figure), false);
        assert!(check(102.9).unwrap()[0].ends_with("100.0 allowed"));
        assert!(check(103.1).unwrap_err().contains("103.1, 100.0 allowed"));
        assert!(check(96.0).unwrap()[0].contains("lower the ratchet"));
        assert!(check_in(&path, "other", &figures(1.0), false).unwrap_err().contains("no figure"));
        std::fs::remove_file(&path).unwrap();
    }
}
