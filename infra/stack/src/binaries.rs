//! The roles' binaries: beside this one, and built first when cargo runs it.
//!
//! Owns finding and building them. `cargo run` builds the package `stack` alone, because the roles
//! are no dependencies of it; so under cargo (which sets `CARGO`) this module runs cargo once more,
//! with the same profile, and shows its progress.

use std::path::{Path, PathBuf};

use tokio::process::Command;

use crate::error::Error;
use crate::roles::{DATA_ROLES, ROLES};

/// True when this build builds and starts roles with FoundationDB.
pub const HAS_FDB: bool = cfg!(feature = "fdb");

/// The directory of the roles' binaries. Builds them first when `build` is true and cargo runs this
/// process.
///
/// # Errors
/// The build failed, or a binary is missing.
pub async fn ready(build: bool) -> Result<PathBuf, Error> {
    let own = std::env::current_exe().map_err(|source| Error::Start { program: "stack".into(), source })?;
    let directory = own.parent().unwrap_or(Path::new("/")).to_owned();
    if let (true, Some(cargo)) = (build, std::env::var_os("CARGO")) {
        let manifest = std::env::var_os("CARGO_MANIFEST_DIR").map(|dir| Path::new(&dir).join("Cargo.toml"));
        let mut command = Command::new(&cargo);
        command.args(arguments(&directory, manifest.as_deref(), HAS_FDB)).kill_on_drop(true);
        let status =
            command.status().await.map_err(|source| Error::Start { program: cargo.into(), source })?;
        if !status.success() {
            return Err(Error::Build);
        }
    }
    for role in ROLES {
        let binary = directory.join(role);
        if !binary.exists() {
            return Err(Error::NoBinary { binary });
        }
    }
    Ok(directory)
}

/// Builds into the directory of this binary: `TARGET/release` is the profile `release`,
/// `TARGET/debug` is `dev`. Features are written with their package, because several packages are
/// built at once.
fn arguments(directory: &Path, manifest: Option<&Path>, fdb: bool) -> Vec<std::ffi::OsString> {
    let profile = match directory.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "dev",
        Some(name) => name,
    };
    let mut args = vec!["build".into(), "--profile".into(), profile.into()];
    if let Some(target) = directory.parent() {
        args.extend(["--target-dir".into(), target.into()]);
    }
    if let Some(manifest) = manifest {
        args.extend(["--manifest-path".into(), manifest.into()]);
    }
    args.extend(ROLES.iter().flat_map(|role| ["-p".into(), role.into()]));
    if fdb {
        let features = DATA_ROLES.map(|role| format!("{role}/fdb")).join(",");
        args.extend(["--features".into(), features.into()]);
    }
    args
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::arguments;

    fn line(directory: &str, fdb: bool) -> String {
        let args = arguments(Path::new(directory), Some(Path::new("/w/Cargo.toml")), fdb);
        args.iter().map(|arg| arg.to_str().expect("is UTF-8")).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn roles_are_built_with_the_profile_of_the_stack() {
        let rest = "--target-dir /w/target --manifest-path /w/Cargo.toml \
            -p terminator -p web -p profile -p feed -p chat -p events";
        assert_eq!(line("/w/target/release", false), format!("build --profile release {rest}"));
        assert_eq!(line("/w/target/debug", false), format!("build --profile dev {rest}"));
    }

    #[test]
    fn services_that_keep_data_are_built_with_foundationdb_when_the_stack_is() {
        let line = line("/w/target/release", true);
        let features = "--features profile/fdb,feed/fdb,chat/fdb,events/fdb";
        assert!(line.ends_with(features), "{line}");
    }
}
