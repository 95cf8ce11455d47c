//! The control socket of a running stack: who may ask, and one upgrade at a time.
//!
//! Owns the socket's file and the order of the roles. Leaves replacing one role to `supervise`.
//! Invariant: only processes of the same user, or of root, are answered; an upgrade that has begun
//! does not end when its client leaves.

use std::cell::Cell;
use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};

use super::message::{Ask, Line, Replaced};
use crate::log::Log;
use crate::replace::{Done, Failure, Upgrade};

/// Time for a client to say what it wants.
const ASK_WITHIN: Duration = Duration::from_secs(5);
/// Longest question.
const ASK_BYTES_MAX: u64 = 64 << 10;
/// Pause after an accept that failed for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A role's name, and where it takes requests to be replaced.
pub type Target = (&'static str, mpsc::Sender<Upgrade>);

/// The socket. Dropping it removes its file.
#[derive(Debug)]
pub struct Control {
    listener: UnixListener,
    path: PathBuf,
}

/// What the connections share.
struct Shared {
    /// In the order in which they are replaced.
    roles: Vec<Target>,
    log: Log,
    /// The role that is being replaced.
    busy: Cell<Option<&'static str>>,
}

impl Control {
    /// Listens at `path`, with mode 0600. The file of a stack that was killed is replaced.
    ///
    /// # Errors
    /// `AddrInUse` when a stack listens there, otherwise the system's error.
    pub fn bind(path: &Path) -> io::Result<Self> {
        if std::os::unix::net::UnixStream::connect(path).is_ok() {
            return Err(io::Error::new(io::ErrorKind::AddrInUse, "another stack listens there"));
        }
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(path)?;
        std::fs::set_permissions(path, Permissions::from_mode(0o600))?;
        Ok(Self { listener, path: path.to_owned() })
    }

    /// Answers until it is dropped. `roles` are in the order in which they are replaced.
    pub async fn serve(&self, roles: Vec<Target>, log: &Log) {
        let shared = Rc::new(Shared { roles, log: log.clone(), busy: Cell::default() });
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    tokio::task::spawn_local(Rc::clone(&shared).answer(stream));
                }
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            }
        }
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        // A file that stays is replaced by the next stack.
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Shared {
    async fn answer(self: Rc<Self>, mut stream: UnixStream) {
        let outcome = self.converse(&mut stream).await;
        let last = outcome.unwrap_or_else(|reason| Line::Refused { reason });
        say(&mut stream, &last).await;
    }

    async fn converse(&self, stream: &mut UnixStream) -> Result<Line, String> {
        let theirs = stream.peer_cred().map_err(|error| error.to_string())?.uid();
        let ours = rustix::process::geteuid().as_raw();
        if theirs != ours && theirs != 0 {
            return Err(format!("this stack belongs to user {ours}, and user {theirs} asks"));
        }
        let ask = tokio::time::timeout(ASK_WITHIN, read(stream)).await;
        let ask = ask.map_err(|_| "no question within 5 s".to_owned())?.map_err(|error| error.to_string())?;
        let is_unknown = |name: &&String| !self.roles.iter().any(|(role, _)| role == *name);
        if let Some(unknown) = ask.roles.iter().find(is_unknown) {
            let names: Vec<_> = self.roles.iter().map(|(role, _)| *role).collect();
            return Err(format!("there is no role {unknown:?}; there are {}", names.join(", ")));
        }
        if let Some(busy) = self.busy.get() {
            return Err(format!("an upgrade is running, now of {busy}; wait for its end"));
        }
        let wanted = |(role, _): &&Target| ask.roles.is_empty() || ask.roles.iter().any(|name| name == role);
        let wanted: Vec<&Target> = self.roles.iter().filter(wanted).collect();
        let outcome = self.upgrade(&wanted, Duration::from_millis(ask.within_ms), stream).await;
        self.busy.set(None);
        Ok(outcome)
    }

    async fn upgrade(&self, roles: &[&Target], within: Duration, stream: &mut UnixStream) -> Line {
        for (at, (role, upgrades)) in roles.iter().enumerate() {
            self.busy.set(Some(*role));
            match replace(upgrades, within).await {
                Ok(Done { old, new, took }) => {
                    let ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
                    let took = humantime::format_duration(Duration::from_millis(ms));
                    self.log.line("stack", &format!("{role} was replaced in {took}"));
                    say(stream, &Line::Replaced(Replaced { role: (*role).to_owned(), old, new, ms })).await;
                }
                Err(Failure { reason, remains }) => {
                    let untouched = roles[at + 1..].iter().map(|(role, _)| (*role).to_owned()).collect();
                    return Line::Failed { role: (*role).to_owned(), reason, remains, untouched };
                }
            }
        }
        Line::Complete
    }
}

async fn replace(upgrades: &mpsc::Sender<Upgrade>, within: Duration) -> Result<Done, Failure> {
    let stops = || Failure { reason: "the stack stops".to_owned(), remains: "nothing remains".to_owned() };
    let (outcome, answer) = oneshot::channel();
    upgrades.send(Upgrade { within, outcome }).await.map_err(|_| stops())?;
    answer.await.map_err(|_| stops())?
}

async fn read(stream: &mut UnixStream) -> io::Result<Ask> {
    let mut line = String::new();
    BufReader::new(stream.take(ASK_BYTES_MAX)).read_line(&mut line).await?;
    Ok(serde_json::from_str(&line)?)
}

/// Says a line. A client that has left hears nothing.
async fn say(stream: &mut UnixStream, line: &Line) {
    let mut text = serde_json::to_vec(line).expect("is plain data");
    text.push(b'\n');
    let _ = stream.write_all(&text).await;
}
