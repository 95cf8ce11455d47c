//! The cluster file: `description:id@address,address`, and lines that begin with `#`.
//!
//! Read before FoundationDB's client reads it, because the client waits for ever where this module
//! returns an error. Addresses are left to the client.

use std::{fs, io, path::Path};

use crate::error::OpenError;

/// Characters of a malformed file that its error shows.
const SHOWN_LEN_MAX: usize = 60;

/// A valid cluster file.
#[derive(Debug)]
pub(crate) struct ClusterFile {
    /// The path in the client's form.
    pub(crate) path: String,
    /// The addresses as written in the file.
    pub(crate) coordinators: String,
}

impl ClusterFile {
    /// Reads and checks the file at `path`.
    pub(crate) fn read(path: &Path) -> Result<Self, OpenError> {
        let cluster_file = path.to_owned();
        let Some(utf8) = path.to_str() else {
            let source = io::Error::new(io::ErrorKind::InvalidInput, "its path is not UTF-8");
            return Err(OpenError::ClusterFileUnreadable { cluster_file, source });
        };
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(OpenError::ClusterFileMissing { cluster_file });
            }
            Err(source) => return Err(OpenError::ClusterFileUnreadable { cluster_file, source }),
        };
        match coordinators(&text) {
            Some(coordinators) => Ok(Self { path: utf8.to_owned(), coordinators: coordinators.to_owned() }),
            None => {
                let found = text.trim().chars().take(SHOWN_LEN_MAX).collect();
                Err(OpenError::ClusterFileMalformed { cluster_file, found })
            }
        }
    }
}

/// The text after the `@` of the only line that is neither empty nor a comment.
fn coordinators(text: &str) -> Option<&str> {
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let (Some(line), None) = (lines.next(), lines.next()) else { return None };
    let (cluster, addresses) = line.split_once('@')?;
    let (description, id) = cluster.split_once(':')?;
    (!description.is_empty() && !id.is_empty() && addresses.contains(':')).then_some(addresses)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coordinators_stand_behind_the_at() {
        assert_eq!(coordinators("# made by fdbcli\n\n prod:x7@10.0.0.1:4500 \n"), Some("10.0.0.1:4500"));
        assert_eq!(coordinators("a:b@[::1]:4500:tls,host:4501"), Some("[::1]:4500:tls,host:4501"));
    }

    #[test]
    fn what_names_no_cluster_is_refused() {
        for text in
            ["", "#a:b@c:1", "prod", "prod:x7", "prod@10.0.0.1:4500", "a:@h:1", "a:b@", "a:b@h:1\na:b@h:2"]
        {
            assert_eq!(coordinators(text), None, "{text:?}");
        }
    }
}
