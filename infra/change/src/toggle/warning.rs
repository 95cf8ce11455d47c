//! Parts of a plan that parse and yet cannot mean what their author intended.
//!
//! Owns the type. Leaves finding them to the compilation. Invariant: a warning changes nothing;
//! what it complains of evaluates as Unleash's clients evaluate it, usually to off.

use std::fmt;

/// One such part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// The toggle's name.
    pub toggle: String,
    /// The path of the field in the toggle's document, such as `strategies[0].constraints[1]`.
    pub path: String,
    /// What is wrong, what follows from it, and what to write instead.
    pub message: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.toggle, self.path, self.message)
    }
}

/// Collects the warnings of one toggle.
pub(super) struct Warnings<'a> {
    pub(super) toggle: &'a str,
    pub(super) found: &'a mut Vec<Warning>,
}

impl Warnings<'_> {
    pub(super) fn add(&mut self, path: &str, message: impl Into<String>) {
        let (toggle, path) = (self.toggle.to_owned(), path.to_owned());
        self.found.push(Warning { toggle, path, message: message.into() });
    }
}
