//! The sample: a thousand members, the same on every machine.
//!
//! Owns their documents, and when they are loaded. `profile load` writes them to the store.
//! Invariant: existing data in the directory is never changed: the sample is loaded into a new
//! directory, or continued where a load of it was interrupted.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

/// Members of the sample.
pub const MEMBERS: u32 = 1000;

/// Fixed, so that every machine draws the same members.
const SEED: u64 = 0x5eed;

const GIVEN: [&str; 16] = [
    "Ada",
    "Alan",
    "Barbara",
    "Donald",
    "Edsger",
    "Frances",
    "Grace",
    "Hedy",
    "John",
    "Katherine",
    "Leslie",
    "Margaret",
    "Niklaus",
    "Radia",
    "Tony",
    "Vint",
];
const FAMILY: [&str; 16] = [
    "Allen", "Cerf", "Dijkstra", "Hamilton", "Hoare", "Hopper", "Johnson", "Knuth", "Lamarr", "Lamport",
    "Liskov", "Lovelace", "McCarthy", "Perlman", "Turing", "Wirth",
];
const CITIES: [&str; 8] = ["Amsterdam", "Berlin", "Lisbon", "Nairobi", "Oslo", "Porto", "Quito", "Toronto"];

/// The file to load when the directory `data` needs the sample. The file stays there until
/// [`loaded`].
///
/// # Errors
/// The directory or the file cannot be written.
pub fn due(data: &Path) -> std::io::Result<Option<PathBuf>> {
    let file = file(data);
    if data.join("profile").exists() && !file.exists() {
        return Ok(None);
    }
    std::fs::create_dir_all(data)?;
    let mut writer = BufWriter::new(File::create(&file)?);
    write(&mut writer)?;
    writer.flush()?;
    Ok(Some(file))
}

/// Records that the sample is in the store.
///
/// # Errors
/// The file cannot be removed.
pub fn loaded(data: &Path) -> std::io::Result<()> {
    std::fs::remove_file(file(data))
}

fn file(data: &Path) -> PathBuf {
    data.join("sample.jsonl")
}

/// Writes one document per line.
fn write(writer: &mut impl Write) -> std::io::Result<()> {
    let mut rng = fastrand::Rng::with_seed(SEED);
    for id in 1..=MEMBERS {
        writeln!(writer, "{}", member(&mut rng, &id.to_string()))?;
    }
    Ok(())
}

/// A member's document.
pub(crate) fn member(rng: &mut fastrand::Rng, id: &str) -> Value {
    let given = GIVEN[rng.usize(..GIVEN.len())];
    let family = FAMILY[rng.usize(..FAMILY.len())];
    json!({
        "id": id,
        "name": format!("{given} {family}"),
        "email": format!("{}.{}.{id}@example.org", given.to_lowercase(), family.to_lowercase()),
        "city": CITIES[rng.usize(..CITIES.len())],
        "born": rng.u32(1950..2008),
        "joined": format!("20{:02}-{:02}-{:02}", rng.u32(10..26), rng.u32(1..13), rng.u32(1..29)),
        "newsletter": rng.bool(),
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use serde_json::Value;

    use super::{MEMBERS, due, loaded, write};

    #[test]
    fn every_line_is_a_member_of_its_own() {
        let mut lines = Vec::new();
        write(&mut lines).expect("writes");
        let lines = String::from_utf8(lines).expect("is UTF-8");
        let ids: HashSet<String> = lines
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).expect("is JSON"))
            .map(|member| member["id"].as_str().expect("is text").to_owned())
            .collect();
        assert_eq!(ids.len(), MEMBERS as usize);
        assert!(ids.contains("1") && ids.contains("1000"));
    }

    #[test]
    fn sample_is_the_same_every_time() {
        let (mut one, mut two) = (Vec::new(), Vec::new());
        write(&mut one).and_then(|()| write(&mut two)).expect("writes");
        assert_eq!(one, two);
    }

    #[test]
    fn sample_is_due_in_a_fresh_directory_until_it_is_loaded() {
        let dir = tempfile::tempdir().expect("a directory");
        let data = dir.path().join("data");
        let file = due(&data).expect("writes").expect("is due");
        assert!(file.exists());
        std::fs::create_dir(data.join("profile")).expect("creates");
        assert!(due(&data).expect("writes").is_some(), "the load was cut short");
        loaded(&data).expect("removes");
        assert!(due(&data).expect("reads").is_none(), "somebody's data is there");
    }
}
