//! Programs of Debian: present, installed, or the reason why not.
//!
//! Owns calling apt-get. Invariant: nothing is installed when that is forbidden, and each package
//! is tried once.

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::Path;
use std::process::Stdio;

use anyhow::{Result, bail};
use tokio::process::Command;

use crate::process;

#[derive(Debug)]
pub(crate) struct Installer {
    allowed: bool,
    /// The result of each package that was tried.
    tried: RefCell<HashMap<String, Result<(), String>>>,
}

impl Installer {
    pub(crate) fn new(allowed: bool) -> Self {
        Self { allowed, tried: RefCell::default() }
    }

    /// Makes sure that `program` exists; installs `package` when it does not.
    pub(crate) async fn program(&self, program: &str, package: &str) -> Result<()> {
        if process::is_installed(program) {
            return Ok(());
        }
        self.install(package).await?;
        if !process::is_installed(program) {
            bail!("the package {package} brought no `{program}`");
        }
        Ok(())
    }

    /// Makes sure that a file exists.
    pub(crate) async fn file(&self, file: &str, package: &str) -> Result<()> {
        if Path::new(file).exists() {
            return Ok(());
        }
        self.install(package).await
    }

    async fn install(&self, package: &str) -> Result<()> {
        if !self.allowed {
            bail!("the package {package} is not installed, and --no-install was given");
        }
        let known = self.tried.borrow().get(package).cloned();
        let tried = match known {
            Some(tried) => tried,
            None => {
                println!("installs {package}");
                let tried = apt_get(package).await;
                self.tried.borrow_mut().insert(package.to_owned(), tried.clone());
                tried
            }
        };
        tried.map_err(anyhow::Error::msg)
    }
}

async fn apt_get(package: &str) -> Result<(), String> {
    let root = rustix::process::geteuid().is_root();
    let mut command = if root { Command::new("apt-get") } else { Command::new("sudo") };
    if !root {
        command.args(["-n", "apt-get"]);
    }
    let output = command
        .args(["install", "-y", "-q", "--no-install-recommends", package])
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .map_err(|error| {
            format!("the package {package} is not installed, and apt-get cannot run: {error}")
        })?;
    if output.status.success() {
        return Ok(());
    }
    let reason = String::from_utf8_lossy(&output.stderr);
    let reason = reason.lines().last().unwrap_or("no reason given").to_owned();
    Err(format!("the package {package} is not installed, and apt-get could not install it: {reason}"))
}
