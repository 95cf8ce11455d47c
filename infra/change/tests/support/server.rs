//! Real etcd servers: started on free ports, killed, stopped, wiped.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use change::source::{PlanSettings, Times};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::running::{turn, within};

/// One member.
pub(crate) struct Etcd {
    name: String,
    program: PathBuf,
    dir: TempDir,
    ports: [u16; 2],
    arguments: Vec<String>,
    child: Option<Child>,
}

impl Etcd {
    /// A server alone; `None` after a line with the reason when etcd is not installed.
    pub(crate) async fn start() -> Option<Self> {
        let mut etcd = Self::cluster(1, &[])?.remove(0);
        etcd.run().await;
        Some(etcd)
    }

    /// Members that know each other and do not run yet.
    pub(crate) fn cluster(size: usize, arguments: &[&str]) -> Option<Vec<Self>> {
        let Some(program) = program("etcd") else {
            println!("SKIPPED: etcd is not installed (Debian package etcd-server; .ci/tools installs it)");
            return None;
        };
        let ports: Vec<_> = (0..size).map(|_| [free_port(), free_port()]).collect();
        let peers: Vec<_> = ports
            .iter()
            .enumerate()
            .map(|(at, [_, peer])| format!("m{at}=http://127.0.0.1:{peer}"))
            .collect();
        let member = |(at, ports): (usize, &[u16; 2])| Self {
            name: format!("m{at}"),
            program: program.clone(),
            dir: tempfile::tempdir().expect("makes a directory"),
            ports: *ports,
            arguments: ["--initial-cluster", &peers.join(",")]
                .iter()
                .chain(arguments)
                .map(|argument| (*argument).to_owned())
                .collect(),
            child: None,
        };
        Some(ports.iter().enumerate().map(member).collect())
    }

    /// Starts it and waits until it has a leader.
    pub(crate) async fn run(&mut self) {
        self.spawn();
        within("etcd is ready", async {
            while self.post("/v3/kv/range", &json!({"key": STANDARD.encode("x")})).await.is_none() {
                turn().await;
            }
        })
        .await;
    }

    /// Starts it.
    pub(crate) fn spawn(&mut self) {
        let [client, peer] = self.ports;
        let scheme =
            if self.arguments.iter().any(|argument| argument == "--cert-file") { "https" } else { "http" };
        let (client, peer) = (format!("{scheme}://127.0.0.1:{client}"), format!("http://127.0.0.1:{peer}"));
        let log = std::fs::File::create(self.dir.path().join("log")).expect("makes the log");
        let child = Command::new(&self.program)
            .args(["--name", &self.name, "--data-dir"])
            .arg(self.dir.path().join("data"))
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--heartbeat-interval", "100", "--election-timeout", "1000"])
            .args(&self.arguments)
            .env("ETCD_UNSUPPORTED_ARCH", std::env::consts::ARCH)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        self.child = Some(child.expect("etcd starts"));
    }

    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("is ours");
            child.wait().expect("is our child");
        }
    }

    /// Removes the data of a server that does not run.
    pub(crate) fn wipe(&self) {
        assert!(self.child.is_none());
        std::fs::remove_dir_all(self.dir.path().join("data")).expect("was written");
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let child = self.child.as_ref().expect("runs");
        kill_process(Pid::from_child(child), signal).expect("is ours");
    }

    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.ports[0])
    }

    /// Settings with bounds that suit a test.
    pub(crate) fn settings(&self) -> PlanSettings {
        settings(std::slice::from_ref(self))
    }

    /// Asks the gateway; `None` when the answer is not 200.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> Option<Value> {
        let body = body.to_string();
        let request =
            format!("POST {path} HTTP/1.0\r\nHost: etcd\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        let asked = async {
            let mut stream = TcpStream::connect(self.address()).await.ok()?;
            stream.write_all(request.as_bytes()).await.ok()?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.ok()?;
            let (head, body) = answer.split_once("\r\n\r\n")?;
            let end = body.rfind('}').map_or(0, |at| at + 1);
            head.contains(" 200 ").then(|| serde_json::from_str(&body[..end]).ok())?
        };
        tokio::time::timeout(Duration::from_secs(5), asked).await.ok()?
    }

    /// Writes a key behind the back of all sources.
    pub(crate) async fn put(&self, key: &str, value: &str) {
        let put = json!({"key": STANDARD.encode(key), "value": STANDARD.encode(value)});
        self.post("/v3/kv/put", &put).await.expect("is written");
    }

    /// Deletes a key behind the back of all sources.
    pub(crate) async fn delete(&self, key: &str) {
        self.post("/v3/kv/deleterange", &json!({"key": STANDARD.encode(key)})).await.expect("is deleted");
    }

    /// Compacts everything up to now, after some revisions of a key outside of the prefix.
    pub(crate) async fn compact(&self) {
        for at in 0..5 {
            self.put("elsewhere", &at.to_string()).await;
        }
        let header = self.post("/v3/kv/range", &json!({"key": STANDARD.encode("x")})).await.expect("answers");
        let revision = header["header"]["revision"].as_str().expect("has a revision");
        self.post("/v3/kv/compaction", &json!({"revision": revision})).await.expect("compacts");
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Settings for several members.
pub(crate) fn settings(members: &[Etcd]) -> PlanSettings {
    let url = |etcd: &Etcd| format!("http://{}", etcd.address()).parse().expect("is a URL");
    PlanSettings { etcd: members.iter().map(url).collect(), times: times(), ..PlanSettings::default() }
}

/// Short, but not shorter than a busy machine needs.
pub(crate) fn times() -> Times {
    Times { request: Duration::from_secs(2), progress: Duration::from_secs(1), lease: Duration::from_secs(4) }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
    listener.local_addr().expect("is bound").port()
}

fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| file.is_file())
}
