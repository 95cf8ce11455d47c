//! Keys: what a document is called in a directory, in etcd, and in messages to the operator.
//!
//! Owns the kinds of documents and records, the rules for names, and both spellings. Does not open
//! files or ask etcd. Invariant: `key.to_string().parse()` is the key, and so is the key of
//! [`Key::file`]; no name can leave its folder.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Longest name of a toggle, service, bus or instance, in bytes.
pub const NAME_LEN_MAX: usize = 128;

/// What a key holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// `toggles/NAME`: a feature in Unleash's client format.
    Toggle,
    /// `segments`: Unleash's global segments.
    Segments,
    /// `rollouts/SERVICE`: how a candidate replaces the stable version.
    Rollout,
    /// `ghosts/SERVICE`: which requests are copied to a candidate.
    Ghost,
    /// `buses/BUS/INSTANCE`: where an instance listens, under a lease.
    Bus,
    /// `rollout-state/SERVICE`: how far a rollout is; written by the deciding terminator.
    RolloutState,
    /// `counts/SERVICE/INSTANCE`: what one terminator counted for a rollout, under a lease.
    Counts,
    /// `elections/NAME/LEASE`: a candidate of an election, under its lease.
    Candidate,
}

/// The folder of each kind, how many names follow it, and its traits.
struct Shape {
    kind: Kind,
    folder: &'static str,
    names: usize,
    /// Written by operators: part of the plan. The other kinds are records of running processes.
    document: bool,
    /// A directory may hold it. The other kinds need leases, which only etcd has.
    file: bool,
}

const SHAPES: &[Shape] = &[
    Shape { kind: Kind::Toggle, folder: "toggles", names: 1, document: true, file: true },
    Shape { kind: Kind::Segments, folder: "segments", names: 0, document: true, file: true },
    Shape { kind: Kind::Rollout, folder: "rollouts", names: 1, document: true, file: true },
    Shape { kind: Kind::Ghost, folder: "ghosts", names: 1, document: true, file: true },
    Shape { kind: Kind::Bus, folder: "buses", names: 2, document: false, file: false },
    Shape { kind: Kind::RolloutState, folder: "rollout-state", names: 1, document: false, file: true },
    Shape { kind: Kind::Counts, folder: "counts", names: 2, document: false, file: false },
    Shape { kind: Kind::Candidate, folder: "elections", names: 2, document: false, file: false },
];

impl Kind {
    /// The first part of its keys.
    pub fn folder(self) -> &'static str {
        self.shape().folder
    }

    /// True when operators write it, so that it is part of the plan; false for records that running
    /// processes write.
    pub fn is_document(self) -> bool {
        self.shape().document
    }

    /// True when it outlives the process that wrote it: it is under no lease.
    pub fn is_durable(self) -> bool {
        self.shape().file
    }

    fn shape(self) -> &'static Shape {
        SHAPES.iter().find(|shape| shape.kind == self).expect("every kind has a shape")
    }
}

/// The name of one document or record.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    kind: Kind,
    /// As many as the kind has; the rest is empty.
    names: [String; 2],
}

/// Why a text is no key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The first part is no kind.
    #[error("`{0}` is no kind of document: expected {kinds}", kinds = folders())]
    UnknownKind(String),
    /// A part is missing, or there is one too many.
    #[error("`{key}` has {found} names after `{folder}`, expected {expected}")]
    Parts {
        /// The text.
        key: String,
        /// Its first part.
        folder: &'static str,
        /// Names that the text has.
        found: usize,
        /// Names that the kind has.
        expected: usize,
    },
    /// A name breaks the rules.
    #[error(
        "`{0}` is no name: 1 to {NAME_LEN_MAX} ASCII letters, digits and -_.~:@+ are, not beginning with a dot"
    )]
    Name(String),
    /// The file does not end in `.json`.
    #[error("`{0}` is no document: its name does not end in .json")]
    File(String),
}

impl Key {
    /// `toggles/NAME`.
    ///
    /// # Errors
    /// [`KeyError::Name`], as for all of these constructors.
    pub fn toggle(name: &str) -> Result<Self, KeyError> {
        Self::new(Kind::Toggle, &[name])
    }

    /// `segments`.
    pub fn segments() -> Self {
        Self { kind: Kind::Segments, names: Default::default() }
    }

    /// A key of `kind` with its names in order, e.g. the bus and the instance.
    ///
    /// # Errors
    /// [`KeyError::Name`] when a name breaks the rules, [`KeyError::Parts`] when the kind has
    /// another number of names.
    pub fn new(kind: Kind, names: &[&str]) -> Result<Self, KeyError> {
        let shape = kind.shape();
        if names.len() != shape.names {
            return Err(KeyError::Parts {
                key: std::iter::once(&shape.folder).chain(names).copied().collect::<Vec<_>>().join("/"),
                folder: shape.folder,
                found: names.len(),
                expected: shape.names,
            });
        }
        let mut key = Self { kind, names: Default::default() };
        for (name, slot) in names.iter().zip(&mut key.names) {
            check_name(name)?;
            (*name).clone_into(slot);
        }
        Ok(key)
    }

    /// What it holds.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The toggle, service, bus or election; empty for `segments`.
    pub fn name(&self) -> &str {
        &self.names[0]
    }

    /// The instance of a bus or of counts, the lease of a candidate; else empty.
    pub fn instance(&self) -> &str {
        &self.names[1]
    }

    /// Its file relative to the plan's directory; `None` for kinds that only etcd holds.
    pub fn file(&self) -> Option<PathBuf> {
        self.kind.shape().file.then(|| PathBuf::from(format!("{self}.json")))
    }

    /// The key of a file relative to the plan's directory.
    ///
    /// # Errors
    /// [`KeyError`] when the path is that of no document.
    pub fn of_file(path: &Path) -> Result<Self, KeyError> {
        let text = path.to_string_lossy();
        let stem = text.strip_suffix(".json").ok_or_else(|| KeyError::File(text.clone().into_owned()))?;
        let key: Self = stem.parse()?;
        if key.kind.shape().file { Ok(key) } else { Err(KeyError::UnknownKind(key.kind.folder().to_owned())) }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shape = self.kind.shape();
        f.write_str(shape.folder)?;
        self.names.iter().take(shape.names).try_for_each(|name| write!(f, "/{name}"))
    }
}

impl FromStr for Key {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let mut parts = text.split('/');
        let folder = parts.next().unwrap_or_default();
        let shape = SHAPES
            .iter()
            .find(|shape| shape.folder == folder)
            .ok_or_else(|| KeyError::UnknownKind(folder.to_owned()))?;
        Self::new(shape.kind, &parts.collect::<Vec<_>>())
    }
}

/// The rules are strict so that a name needs no escaping in a path, a URL, a metric's label, or a
/// head field such as `toggle: NAME=VARIANT`.
fn check_name(name: &str) -> Result<(), KeyError> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~:@+".contains(&byte);
    let ok = (1..=NAME_LEN_MAX).contains(&name.len()) && !name.starts_with('.') && name.bytes().all(allowed);
    if ok { Ok(()) } else { Err(KeyError::Name(name.chars().take(NAME_LEN_MAX + 1).collect())) }
}

fn folders() -> String {
    SHAPES.iter().map(|shape| shape.folder).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_files_name_each_other() {
        for text in [
            "toggles/new-page",
            "segments",
            "rollouts/profile",
            "ghosts/profile",
            "buses/front/host-12-ab",
            "rollout-state/profile",
            "counts/profile/t1",
            "elections/rollouts/7f",
        ] {
            let key: Key = text.parse().expect("is a key");
            assert_eq!(key.to_string(), text);
            match key.file() {
                Some(file) => assert_eq!(Key::of_file(&file), Ok(key)),
                None => assert!(!key.kind().is_durable(), "{text}"),
            }
        }
    }

    #[test]
    fn names_that_leave_their_folder_or_need_escaping_are_refused() {
        let long = "x".repeat(NAME_LEN_MAX + 1);
        for name in ["", ".", "..", ".hidden", "a b", "a=b", "a\\b", "ü", "a\n", "a\0", &long] {
            assert!(matches!(Key::toggle(name), Err(KeyError::Name(_))), "{name:?}");
        }
        assert!(Key::toggle(&"x".repeat(NAME_LEN_MAX)).is_ok());
        for text in ["toggles", "toggles/a/b", "segments/a", "buses/front", "buses/front/a/b"] {
            assert!(matches!(text.parse::<Key>(), Err(KeyError::Parts { .. })), "{text}");
        }
        assert!(matches!("toggels/a".parse::<Key>(), Err(KeyError::UnknownKind(_))));
        assert!(matches!(Key::of_file(Path::new("toggles/a.yaml")), Err(KeyError::File(_))));
        assert!(matches!(Key::of_file(Path::new("buses/front/a.json")), Err(KeyError::UnknownKind(_))));
    }
}
