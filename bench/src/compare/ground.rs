//! What every system stands on: directories, binaries, the sample.
//!
//! Owns: preparing them once. Invariant: everything that a run writes lies in its own directory under `runs`, or in a
//! temporary one that goes away with it.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use tempfile::TempDir;
use tokio::process::Command;
use tokio::sync::OnceCell;

use super::install::Installer;
use super::systems::{Needs, System};

/// The packages that are built, as the README builds them.
const PACKAGES: [&str; 7] = ["bench", "terminator", "web", "profile", "feed", "chat", "stack"];

/// Members of the sample that the stack reads from.
const MEMBERS: u32 = 1000;

/// What a run may do to the machine, and how the stack is started.
#[derive(Clone, Debug, Args)]
pub struct Settings {
    /// Worker threads of every role of the stack; their own defaults when not given
    #[arg(long, value_name = "N")]
    pub workers: Option<u16>,
    /// Further flags of the terminator, as one word: --terminator-args='--access-log stderr'
    #[arg(long, value_name = "FLAGS", default_value = "")]
    pub terminator_args: String,
    /// Where runs are kept
    #[arg(long, value_name = "DIR", default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/runs"))]
    pub runs: PathBuf,
    /// The end of the run's directory name [default: the subcommand]
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Write the tables into bench/README.md, between their markers
    #[arg(long)]
    pub report: bool,
    /// Install nothing
    #[arg(long)]
    pub no_install: bool,
    /// Take the binaries beside this one as they are
    #[arg(long)]
    pub no_build: bool,
}

/// Prepared.
#[derive(Debug)]
pub(crate) struct Ground {
    /// This program.
    pub(crate) own: PathBuf,
    /// Where the roles' binaries are.
    pub(crate) binaries: PathBuf,
    /// Where this run is kept.
    pub(crate) runs: PathBuf,
    /// Sockets, configurations, data: goes away.
    pub(crate) scratch: TempDir,
    pub(super) workers: Option<u16>,
    pub(super) terminator_args: Vec<String>,
    installer: Installer,
    build: bool,
    roles: OnceCell<()>,
    nng: OnceCell<()>,
}

impl Ground {
    /// `what` is measured: the run's name when it was given none.
    pub(crate) fn prepare(options: &Settings, what: &str) -> Result<Self> {
        let own = std::env::current_exe()?;
        let binaries = own.parent().context("a binary lies in a directory")?.to_owned();
        let today = humantime::format_rfc3339_seconds(std::time::SystemTime::now()).to_string();
        let name = options.name.as_deref().unwrap_or(what);
        let runs = fresh(&options.runs, &format!("{}-{name}", &today[..10]))?;
        let ground = Self {
            own,
            binaries,
            runs,
            scratch: tempfile::Builder::new().prefix("bench-").tempdir()?,
            workers: options.workers,
            terminator_args: options.terminator_args.split_whitespace().map(str::to_owned).collect(),
            installer: Installer::new(!options.no_install),
            build: !options.no_build,
            roles: OnceCell::new(),
            nng: OnceCell::new(),
        };
        std::fs::create_dir(ground.logs())?;
        Ok(ground)
    }

    /// Where processes write.
    pub(crate) fn logs(&self) -> PathBuf {
        self.runs.join("logs")
    }

    /// wrk drives everybody.
    pub(super) async fn wrk(&self) -> Result<()> {
        self.installer.program("wrk", "wrk").await
    }

    /// Whether `system` can be measured here; installs or builds what it lacks.
    pub(super) async fn needs(&self, system: System) -> Result<()> {
        match system.needs() {
            Needs::Nothing => Ok(()),
            Needs::Packages(programs) => {
                for (program, package) in programs {
                    self.installer.program(program, package).await?;
                }
                Ok(())
            }
            Needs::Roles => self.roles().await,
            Needs::Nng => self.nng().await,
        }
    }

    /// Builds the stack's roles and loads their sample, once.
    pub(crate) async fn roles(&self) -> Result<()> {
        self.roles.get_or_try_init(|| self.prepare_roles()).await.copied()
    }

    /// Builds [`Ground::nng_peer`], once.
    pub(crate) async fn nng(&self) -> Result<()> {
        self.nng.get_or_try_init(|| self.build_nng()).await.copied()
    }

    /// The store that the sample was loaded into.
    pub(super) fn store(&self) -> String {
        self.store_of("store")
    }

    /// A store of this run's own.
    pub(super) fn store_of(&self, role: &str) -> String {
        format!("embedded:{}", self.scratch.path().join(role).display())
    }

    /// The nng peer: this program once more, with the feature.
    pub(crate) fn nng_peer(&self) -> PathBuf {
        self.binaries.join("bench-nng")
    }

    /// Builds everything, unless it was told not to, and checks that `names` are there.
    pub(crate) async fn binaries(&self, names: &[&str]) -> Result<()> {
        if self.build {
            self.cargo(&[]).await?;
        }
        for name in names {
            let binary = self.binaries.join(name);
            ensure!(binary.exists(), "{}: not there; run without --no-build", binary.display());
        }
        Ok(())
    }

    async fn prepare_roles(&self) -> Result<()> {
        self.binaries(&["terminator", "web", "profile"]).await?;
        let sample = self.scratch.path().join("sample.jsonl");
        std::fs::write(&sample, members())?;
        let status = Command::new(self.binaries.join("profile"))
            .args(["--store", &self.store(), "load"])
            .arg(&sample)
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(self.logs().join("profile-load.log"))?)
            .kill_on_drop(true)
            .status()
            .await?;
        ensure!(
            status.success(),
            "`profile load` failed ({status}); see {}/profile-load.log",
            self.logs().display()
        );
        Ok(())
    }

    async fn build_nng(&self) -> Result<()> {
        self.installer.program("cmake", "cmake").await.context("nng is built by cmake")?;
        if self.build {
            self.cargo(&["--features", "bench/nng", "--bin", "bench-nng"]).await?;
        }
        ensure!(self.nng_peer().exists(), "{}: not there; run without --no-build", self.nng_peer().display());
        Ok(())
    }

    /// Builds into the directory that this binary lies in. Always the packages that the README builds: another choice of
    /// packages has other features of their dependencies, and would build them all anew.
    async fn cargo(&self, args: &[&str]) -> Result<()> {
        let profile = match self.binaries.file_name().and_then(|name| name.to_str()) {
            Some("debug") | None => "dev",
            Some(name) => name,
        };
        let target = self.binaries.parent().unwrap_or(Path::new("."));
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let status = Command::new(cargo)
            .args(["build", "--profile", profile, "--manifest-path"])
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml"))
            .arg("--target-dir")
            .arg(target)
            .args(PACKAGES.map(|package| format!("--package={package}")))
            .args(args)
            .kill_on_drop(true)
            .status()
            .await
            .context("cargo cannot be started")?;
        ensure!(status.success(), "cargo build {} failed; its reason is above", args.join(" "));
        Ok(())
    }

    /// Compiles one of the peers' C handlers, linked to libzmq.
    pub(super) async fn handler(&self, name: &str, source: &str) -> Result<PathBuf> {
        let binary = self.scratch.path().join(name);
        if binary.exists() {
            return Ok(binary);
        }
        self.installer.program("cc", "gcc").await?;
        self.installer.file("/usr/include/zmq.h", "libzmq3-dev").await?;
        let file = self.scratch.path().join(format!("{name}.c"));
        std::fs::write(&file, source)?;
        let output = Command::new("cc")
            .args(["-O2", "-o"])
            .args([&binary, &file])
            .arg("-lzmq")
            .kill_on_drop(true)
            .output()
            .await?;
        if !output.status.success() {
            bail!("{name}.c: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(binary)
    }
}

/// `directory/name`, or with a number behind it when there was a run of that name today.
fn fresh(directory: &Path, name: &str) -> Result<PathBuf> {
    std::fs::create_dir_all(directory).with_context(|| directory.display().to_string())?;
    for number in 1..1000 {
        let suffix = if number == 1 { String::new() } else { format!("-{number}") };
        let path = directory.join(format!("{name}{suffix}"));
        match std::fs::create_dir(&path) {
            Ok(()) => return Ok(path),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error).with_context(|| path.display().to_string()),
        }
    }
    bail!("{}: a thousand runs of one day are kept there already", directory.display())
}

/// One document a line, some 200 bytes each, as the stack's own sample.
fn members() -> String {
    let line = |id: u32| {
        let member = serde_json::json!({
            "id": id.to_string(),
            "name": "Ada Lovelace",
            "email": format!("ada.lovelace.{id}@example.org"),
            "city": "Lisbon",
            "born": 1950 + id % 50,
            "joined": "2015-12-10",
            "newsletter": id.is_multiple_of(2),
        });
        format!("{member}\n")
    };
    (1..=MEMBERS).map(line).collect()
}
