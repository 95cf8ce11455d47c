//! A FoundationDB cluster of one server, for one test.
//!
//! Owns its directory, its port, and what happens to the server. Invariant: a server that was
//! killed starts again on the same data.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;
use tempfile::TempDir;

use crate::process::Process;
use crate::tools::skipped;
use crate::until::until;

/// A running cluster.
pub(crate) struct Cluster {
    server: Process,
    program: PathBuf,
    port: u16,
    dir: TempDir,
}

impl Cluster {
    /// Starts an empty one and waits until it answers; `None` without a server's binary.
    pub(crate) fn start() -> Option<Self> {
        let Some(program) = std::env::var_os("FDB_SERVER").map(PathBuf::from) else {
            skipped("FDB_SERVER is not set: give the path of fdbserver, with fdbcli beside it");
            return None;
        };
        let dir = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let file = dir.path().join("fdb.cluster");
        std::fs::write(&file, format!("test:{:016x}@127.0.0.1:{port}\n", fastrand::u64(..))).unwrap();
        for name in ["data", "logs"] {
            std::fs::create_dir(dir.path().join(name)).unwrap();
        }
        let cluster = Self { server: server(&program, port, dir.path()), program, port, dir };
        until("the database is created", || {
            let said = cluster.cli("configure new single ssd");
            // A try that timed out may have created it.
            let created = said.contains("Database created") || said.contains("Database already exists");
            if created { Ok(()) } else { Err(said) }
        });
        cluster.wait_available();
        Some(cluster)
    }

    /// The address of a store on it.
    pub(crate) fn store(&self) -> String {
        format!("fdb:{}", self.file().display())
    }

    /// The cluster file.
    pub(crate) fn file(&self) -> PathBuf {
        self.dir.path().join("fdb.cluster")
    }

    /// Waits until the cluster calls itself available.
    pub(crate) fn wait_available(&self) {
        until("the cluster is available", || {
            let said = self.cli("status minimal");
            if said.contains("is available") { Ok(()) } else { Err(said) }
        });
    }

    /// Stops the server without ending it.
    pub(crate) fn stop(&self) {
        self.server.signal(Signal::STOP);
    }

    /// Lets a stopped server run.
    pub(crate) fn resume(&self) {
        self.server.signal(Signal::CONT);
    }

    /// Sends the server SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.server.kill();
    }

    /// Starts the server again.
    pub(crate) fn restart(&mut self) {
        self.server = server(&self.program, self.port, self.dir.path());
    }

    /// What fdbcli says, on both outputs.
    fn cli(&self, command: &str) -> String {
        let cli = self.program.with_file_name("fdbcli");
        let output = Command::new(&cli)
            .arg("-C")
            .arg(self.file())
            .args(["--timeout", "5", "--exec", command])
            .output()
            .unwrap_or_else(|error| panic!("{}: {error}", cli.display()));
        [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat()
    }
}

fn server(program: &Path, port: u16, dir: &Path) -> Process {
    let mut command = Command::new(program);
    command.args(["-p", &format!("127.0.0.1:{port}"), "--memory", "2GiB", "--cache-memory", "256MiB"]);
    for (flag, name) in [("-d", "data"), ("-L", "logs"), ("-C", "fdb.cluster")] {
        command.arg(flag).arg(dir.join(name));
    }
    Process::start("fdbserver", &mut command)
}
