//! A real Unleash: npm's `unleash-server` on a PostgreSQL of its own in a temporary directory.
//!
//! `.ci/tools` installs them. PostgreSQL refuses to run as root, so root starts it as `postgres`.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::running::{turn, within};

pub(crate) const CLIENT_TOKEN: &str = "default:development.unleash-test-client";
const ADMIN_TOKEN: &str = "*:*.unleash-test-admin";

/// A running server. Dropping it kills both processes.
pub(crate) struct Unleash {
    pub(crate) port: u16,
    processes: Vec<Child>,
    _dir: TempDir,
}

impl Unleash {
    /// Starts both and waits until the server is healthy; `None` after a line that says why not.
    pub(crate) async fn start() -> Option<Self> {
        let (script, postgres) = (script()?, postgres()?);
        let dir = tempfile::tempdir().expect("makes a directory");
        let data = dir.path().join("data");
        own(dir.path());
        let init = as_postgres(&postgres.join("initdb"))
            .args(["--auth=trust", "--username=unleash", "--no-sync", "--pgdata"])
            .arg(&data)
            .output()
            .expect("initdb starts");
        assert!(init.status.success(), "{}", String::from_utf8_lossy(&init.stderr));
        let (database, port) = (free_port(), free_port());
        let mut processes = Vec::new();
        let mut server = as_postgres(&postgres.join("postgres"));
        server.arg("-D").arg(&data).arg("-k").arg(dir.path()).args(["-p", &database.to_string()]);
        server.args(["-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"]);
        processes.push(quiet(&mut server).spawn().expect("postgres starts"));
        within("postgres listens", async {
            while TcpStream::connect(("127.0.0.1", database)).await.is_err() {
                turn().await;
            }
        })
        .await;
        let mut node = Command::new("node");
        node.arg(script)
            .env("DATABASE_URL", format!("postgres://unleash@127.0.0.1:{database}/postgres"))
            .env("DATABASE_SSL", "false")
            .env("INIT_CLIENT_API_TOKENS", CLIENT_TOKEN)
            .env("INIT_ADMIN_API_TOKENS", ADMIN_TOKEN)
            .env("HTTP_HOST", "127.0.0.1")
            .env("HTTP_PORT", port.to_string())
            .env("CHECK_VERSION", "false")
            .env("SEND_TELEMETRY", "false");
        processes.push(quiet(&mut node).spawn().expect("node starts"));
        let unleash = Self { port, processes, _dir: dir };
        within("Unleash is healthy", async {
            while unleash.ask("GET", "/health", None).await.is_none_or(|(status, _)| status != 200) {
                turn().await;
            }
        })
        .await;
        Some(unleash)
    }

    /// Asks the admin API, as its console does. Panics when it does not do it.
    pub(crate) async fn admin(&self, method: &str, path: &str, body: &Value) {
        let answer = self.ask(method, &format!("/api/admin/projects/default/{path}"), Some(body)).await;
        let (status, said) = answer.expect("it answers");
        assert!((200..300).contains(&status), "{method} {path}: {status}: {said}");
    }

    async fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Option<(u16, String)> {
        let body = body.map(Value::to_string).unwrap_or_default();
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await.ok()?;
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: a\r\nauthorization: {ADMIN_TOKEN}\r\nconnection: close\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok()?;
        Some((answer.split(' ').nth(1)?.parse().ok()?, answer))
    }
}

impl Drop for Unleash {
    fn drop(&mut self) {
        for process in self.processes.iter_mut().rev() {
            // It may have ended already.
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

fn script() -> Option<PathBuf> {
    let default = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tools");
    let tools = std::env::var_os("STACK_TOOLS_DIR").map_or_else(default, PathBuf::from);
    let script = tools.join("node_modules/unleash-server/dist/server.js");
    if script.is_file() {
        return Some(script);
    }
    println!("SKIPPED: unleash-server is missing ({}); .ci/tools installs it with Node 20", script.display());
    None
}

/// The directory of PostgreSQL's programs, which Debian has in none of the PATH.
fn postgres() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let found = versions.map(|version| version.path().join("bin")).find(|bin| bin.join("initdb").is_file());
    if found.is_none() {
        println!("SKIPPED: PostgreSQL is missing (/usr/lib/postgresql); .ci/tools installs it");
    }
    found
}

fn is_root() -> bool {
    rustix::process::getuid().is_root()
}

/// Gives the directory to the user that PostgreSQL runs as.
fn own(dir: &Path) {
    if is_root() {
        let owned = Command::new("chown").arg("postgres").arg(dir).status().expect("chown starts");
        assert!(owned.success());
    }
}

fn as_postgres(program: &Path) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    // setpriv replaces itself by the program, so that killing the child kills it.
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups", "--"]).arg(program);
    command
}

fn quiet(command: &mut Command) -> &mut Command {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null())
}

/// Free a moment ago.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
    listener.local_addr().expect("is bound").port()
}
