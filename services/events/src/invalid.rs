//! Input that breaks a rule, and the checks of names that several kinds of input share.
//!
//! Owns which field, which limit, and how to correct it. Statuses are in `failure`.

use std::fmt::Write;

/// A field that breaks a rule. The sender is at fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{field}` {rule}")]
pub struct Invalid {
    /// The field, as a path: `events[3].tags[0]`.
    pub field: String,
    /// What the field has to be, with its value or length.
    pub rule: String,
    /// The limit in force, when the rule is a limit.
    pub limit: Option<u64>,
    /// True when the field is too long rather than wrong.
    pub too_long: bool,
}

impl Invalid {
    /// A field whose value is wrong.
    pub(crate) fn wrong(field: impl Into<String>, rule: impl Into<String>) -> Self {
        Self { field: field.into(), rule: rule.into(), limit: None, too_long: false }
    }

    /// A field that exceeds a limit.
    pub(crate) fn over(field: impl Into<String>, what: &str, limit: usize, found: usize) -> Self {
        let rule = format!("has at most {limit} {what}; this one has {found}");
        Self { field: field.into(), rule, limit: Some(limit as u64), too_long: what == "bytes" }
    }

    /// The same field inside a larger value: `tags[0]` in `events[3]`.
    pub(crate) fn inside(mut self, outer: &str) -> Self {
        self.field = format!("{outer}.{}", self.field);
        self
    }
}

/// Checks a name that appears in keys: 1 to `max` bytes, no control characters.
pub(crate) fn check_name(field: &str, name: &str, max: usize) -> Result<(), Invalid> {
    if name.is_empty() {
        return Err(Invalid { limit: Some(max as u64), ..Invalid::wrong(field, "is empty") });
    }
    if name.len() > max {
        return Err(Invalid::over(field, "bytes", max, name.len()));
    }
    if name.chars().any(char::is_control) {
        return Err(Invalid::wrong(field, "has a control character"));
    }
    Ok(())
}

/// Checks a type or a tag: a name that can stand in a list in a URL.
pub(crate) fn check_label(field: &str, label: &str, max: usize) -> Result<(), Invalid> {
    check_name(field, label, max)?;
    if label.contains(',') {
        return Err(Invalid::wrong(field, "has a comma, which separates types and tags in a URL"));
    }
    Ok(())
}

/// Checks several labels, and that none occurs twice.
pub(crate) fn check_labels(
    field: &str,
    labels: &[String],
    max: usize,
    bytes_max: usize,
) -> Result<(), Invalid> {
    if labels.len() > max {
        return Err(Invalid::over(field, field, max, labels.len()));
    }
    let mut name = String::new();
    for (at, label) in labels.iter().enumerate() {
        let named = |name: &mut String| {
            name.clear();
            // Writing to a String cannot fail.
            let _ = write!(name, "{field}[{at}]");
        };
        if let Err(mut invalid) = check_label("", label, bytes_max) {
            named(&mut name);
            invalid.field.clone_from(&name);
            return Err(invalid);
        }
        if labels[..at].contains(label) {
            named(&mut name);
            return Err(Invalid::wrong(name, format!("is there twice: {label:?}")));
        }
    }
    Ok(())
}
