//! What the commands print: lines and tables for people, JSON for programs.
//!
//! Owns stdout. Invariant: with `-o json` stdout has exactly one JSON document, or one in each line
//! for a command that watches.

use std::io::{Write, stdout};
use std::time::{Duration, UNIX_EPOCH};

use serde::Serialize;

/// The form of the output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}

/// The flag `-o`.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Output {
    /// The form of the output.
    #[arg(
        short = 'o',
        long = "output",
        value_enum,
        value_name = "FORMAT",
        default_value = "text",
        global = true
    )]
    pub format: Format,
}

impl Output {
    /// Prints `value` as JSON, or the text that `text` makes of it.
    pub fn show<T: Serialize + ?Sized>(self, value: &T, text: impl FnOnce(&T) -> String) {
        let mut out = match self.format {
            Format::Text => text(value),
            Format::Json => serde_json::to_string_pretty(value).expect("its maps have string keys"),
        };
        if !out.is_empty() && !out.ends_with('\n') {
            out.push('\n');
        }
        // A closed stdout, as of `| head`, is no error.
        let _ = stdout().write_all(out.as_bytes());
    }

    /// Prints a line at once, for a command that watches. Ends the process when stdout is closed,
    /// as by `| head`.
    pub fn line(self, line: &str) {
        let mut out = stdout().lock();
        if writeln!(out, "{line}").and_then(|()| out.flush()).is_err() {
            std::process::exit(0);
        }
    }
}

/// Rows with aligned columns; the first row has the headings.
#[must_use]
pub fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}

/// A time of the protocol, `2026-11-29T08:00:00Z`.
#[must_use]
pub fn time(ms: u64) -> String {
    // Later times than this the formatter refuses.
    const MS_MAX: u64 = 253_402_300_799_000;
    humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_millis(ms.min(MS_MAX))).to_string()
}

#[cfg(test)]
mod tests {
    use super::{table, time};

    #[test]
    fn columns_are_aligned_and_rows_have_no_trailing_blanks() {
        let rows = [vec!["a".to_owned(), "é".to_owned()], vec!["long".to_owned(), String::new()]];
        assert_eq!(table(&rows), "a     é\nlong\n");
    }

    #[test]
    fn any_time_is_printed() {
        assert_eq!(time(0), "1970-01-01T00:00:00Z");
        assert_eq!(time(u64::MAX), "9999-12-31T23:59:59Z");
    }
}
