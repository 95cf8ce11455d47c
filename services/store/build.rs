//! Tells the linker, and the linked binary, where FoundationDB's client library is. Every package
//! with a feature `fdb` names this script as its own (`build = "../store/build.rs"`), because a
//! link argument holds for one package only.
//!
//! Does nothing without the feature, and nothing without `FDB_CLIENT_LIB_PATH`: then the library is
//! where the system looks. docs/adr/0004 has the reasons.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

const VARIABLE: &str = "FDB_CLIENT_LIB_PATH";
const LIBRARY: &str = "libfdb_c.so";

fn main() -> ExitCode {
    // foundationdb-sys reads the variable too, but does not run again when it changes.
    println!("cargo::rerun-if-env-changed={VARIABLE}");
    println!("cargo::rerun-if-changed=build.rs");
    if env::var_os("CARGO_FEATURE_FDB").is_none() {
        return ExitCode::SUCCESS;
    }
    let Some(dir) = env::var_os(VARIABLE).filter(|dir| !dir.is_empty()).map(PathBuf::from) else {
        return ExitCode::SUCCESS;
    };
    match link(&dir) {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            println!("cargo::error={VARIABLE}={}: {reason}", dir.display());
            ExitCode::FAILURE
        }
    }
}

fn link(dir: &Path) -> Result<(), String> {
    let dir = dir.canonicalize().map_err(|error| error.to_string())?;
    let library = dir.join(LIBRARY);
    if !library.is_file() {
        return Err(format!("has no {LIBRARY}; name the directory that holds FoundationDB's client library"));
    }
    // For programs that run from the build directory.
    println!("cargo::rustc-link-arg=-Wl,-rpath,{}", dir.display());
    // Documentation tests take no link argument, but cargo lets the loader look into directories of
    // `target`.
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
    let beside = out.join(LIBRARY);
    if beside.symlink_metadata().is_ok() {
        fs::remove_file(&beside).map_err(|error| error.to_string())?;
    }
    std::os::unix::fs::symlink(&library, &beside).map_err(|error| error.to_string())?;
    println!("cargo::rustc-link-search=native={}", out.display());
    Ok(())
}
