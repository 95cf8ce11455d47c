//! What every system needs: directories, binaries, the sample.
//!
//! Owns preparing them once. Invariant: everything that a run writes is in its own directory under
//! `runs`, or in a temporary one that is removed afterwards.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use tempfile::TempDir;
use tokio::process::Command;
use tokio::sync::OnceCell;

use super::install::Installer;
use super::stores::{Keys, StoreKind};

/// The packages that the README builds.
const PACKAGES: [&str; 8] = ["bench", "terminator", "web", "profile", "feed", "chat", "events", "stack"];

/// What the README adds for FoundationDB.
const FDB_FEATURES: [&str; 2] = ["--features", "bench/fdb,profile/fdb,feed/fdb,chat/fdb,events/fdb"];

/// Members of the sample that the stack reads from.
const MEMBERS: u32 = 1000;

/// What a run may change on the machine, and how the stack is started.
#[derive(Clone, Debug, Args)]
pub struct Settings {
    /// Worker threads of every role of the stack; by default each role's own default
    #[arg(long, value_name = "N")]
    pub workers: Option<u16>,
    /// Directory of kept runs
    #[arg(long, value_name = "DIR", default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/runs"))]
    pub runs: PathBuf,
    /// Write the tables into bench/README.md, between their markers
    #[arg(long)]
    pub report: bool,
    /// Install nothing
    #[arg(long)]
    pub no_install: bool,
    /// Use the binaries beside this one as they are
    #[arg(long)]
    pub no_build: bool,
}

/// A prepared machine.
#[derive(Debug)]
pub(crate) struct Ground {
    /// This program.
    pub(crate) own: PathBuf,
    /// Directory of the roles' binaries.
    pub(crate) binaries: PathBuf,
    /// Directory of this run.
    pub(crate) runs: PathBuf,
    /// Temporary directory of sockets, configurations and data.
    pub(crate) scratch: TempDir,
    pub(crate) workers: Option<u16>,
    pub(crate) installer: Installer,
    store: StoreKind,
    /// On a cluster.
    keys: Option<Keys>,
    build: bool,
    roles: OnceCell<()>,
    nng: OnceCell<()>,
}

impl Ground {
    /// Prepares a run of `what`, which names the run's directory.
    pub(crate) fn prepare(options: &Settings, what: &str) -> Result<Self> {
        let own = std::env::current_exe()?;
        let binaries = own.parent().context("a binary lies in a directory")?.to_owned();
        let today = humantime::format_rfc3339_seconds(std::time::SystemTime::now()).to_string();
        let runs = fresh(&options.runs, &format!("{}-{what}", &today[..10]))?;
        let ground = Self {
            own,
            binaries,
            runs,
            scratch: tempfile::Builder::new().prefix("bench-").tempdir()?,
            workers: options.workers,
            installer: Installer::new(!options.no_install),
            store: StoreKind::Embedded,
            keys: None,
            build: !options.no_build,
            roles: OnceCell::new(),
            nng: OnceCell::new(),
        };
        std::fs::create_dir(ground.logs())?;
        Ok(ground)
    }

    /// As [`Ground::prepare`], for services that store their data in `store`; [`Ground::clear`]
    /// removes their keys.
    pub(crate) async fn prepare_on(store: &StoreKind, options: &Settings, what: &str) -> Result<Self> {
        let keys = match store {
            StoreKind::Embedded => None,
            StoreKind::Fdb(address) => Some(Keys::take(address).await?),
        };
        let ground = Self::prepare(options, &format!("{what}{}", store.suffix()))?;
        Ok(Self { store: store.clone(), keys, ..ground })
    }

    /// Removes what the run wrote on a cluster. The services must have ended.
    pub(crate) async fn clear(&self) -> Result<()> {
        match &self.keys {
            Some(keys) => keys.clear().await.context("the run's keys stay on the cluster"),
            None => Ok(()),
        }
    }

    /// The cluster of the run, when there is one.
    pub(crate) fn cluster(&self) -> Option<&store::Store> {
        self.keys.as_ref().map(|keys| &keys.store)
    }

    /// Directory of the processes' output.
    pub(crate) fn logs(&self) -> PathBuf {
        self.runs.join("logs")
    }

    /// Makes sure that wrk is installed.
    pub(crate) async fn wrk(&self) -> Result<()> {
        self.installer.program("wrk", "wrk").await
    }

    /// Builds the stack's roles and loads their sample, once.
    pub(crate) async fn roles(&self) -> Result<()> {
        self.roles.get_or_try_init(|| self.prepare_roles()).await.copied()
    }

    /// Builds [`Ground::nng_peer`], once.
    pub(crate) async fn nng(&self) -> Result<()> {
        self.nng.get_or_try_init(|| self.build_nng()).await.copied()
    }

    /// The store of a service, for this run only.
    pub(crate) fn store_of(&self, role: &str) -> String {
        match &self.store {
            StoreKind::Embedded => format!("embedded:{}", self.scratch.path().join(role).display()),
            cluster => cluster.to_string(),
        }
    }

    /// Path of the nng peer: this program built with the feature `nng`.
    pub(crate) fn nng_peer(&self) -> PathBuf {
        self.binaries.join("bench-nng")
    }

    /// Builds everything unless told not to, and checks that `names` exist.
    pub(crate) async fn binaries(&self, names: &[&str]) -> Result<()> {
        if self.build {
            let features = if self.store.is_cluster() { &FDB_FEATURES[..] } else { &[] };
            self.cargo(features).await?;
        }
        for name in names {
            let binary = self.binaries.join(name);
            ensure!(binary.exists(), "{}: is missing; run without --no-build", binary.display());
        }
        Ok(())
    }

    async fn prepare_roles(&self) -> Result<()> {
        self.binaries(&["terminator", "web", "profile", "feed", "events"]).await?;
        let sample = self.scratch.path().join("sample.jsonl");
        std::fs::write(&sample, members())?;
        self.load("profile", &["load", &sample.to_string_lossy()], "").await?;
        self.load("feed", &["--lines"], &entries()).await
    }

    /// Runs a service on its store until it has taken `input`.
    async fn load(&self, service: &str, args: &[&str], input: &str) -> Result<()> {
        let file = self.scratch.path().join(format!("{service}.input"));
        std::fs::write(&file, input)?;
        let log = self.logs().join(format!("{service}-load.log"));
        let status = Command::new(self.binaries.join(service))
            .args(["--store", &self.store_of(service)])
            .args(args)
            .stdin(std::fs::File::open(&file)?)
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&log)?)
            .kill_on_drop(true)
            .status()
            .await?;
        ensure!(status.success(), "`{service} {}` failed ({status}); see {}", args.join(" "), log.display());
        Ok(())
    }

    async fn build_nng(&self) -> Result<()> {
        self.installer.program("cmake", "cmake").await.context("nng is built by cmake")?;
        if self.build {
            self.cargo(&["--features", "bench/nng", "--bin", "bench-nng"]).await?;
        }
        ensure!(
            self.nng_peer().exists(),
            "{}: is missing; run without --no-build",
            self.nng_peer().display()
        );
        Ok(())
    }

    /// Builds into this binary's directory. Always builds the packages that the README builds,
    /// because another choice of packages changes the features of their dependencies and would
    /// build these again.
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

    /// Compiles the C handler of a peer, linked to libzmq.
    pub(crate) async fn handler(&self, name: &str, source: &str) -> Result<PathBuf> {
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

/// `directory/name`, with a number appended when the name was used today.
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

/// One document of some 200 bytes per line, like the stack's own sample.
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

/// More entries than a page has, of the member whose feed is read; the other members' are empty.
fn entries() -> String {
    let line = |id: u32| {
        let body = serde_json::json!({ "id": format!("e{id}"), "text": "x".repeat(120) });
        let line = serde_json::json!({ "id": id, "method": "POST", "path": "/feeds/2", "body": body });
        format!("{line}\n")
    };
    (1..=30).map(line).collect()
}
