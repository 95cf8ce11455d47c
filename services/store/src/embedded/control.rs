//! The socket `control` in an open store's directory, by which another process asks for a backup.
//!
//! Only one process opens a directory, so only that process can copy it while it is in use. The
//! socket makes every service able to, without a setting: `backup PATH` and a line feed in, one
//! line out, `ok VERSION ROWS BYTES` or `error TEXT`. It is readable by the owner of the directory.
//!
//! Invariant: the socket's thread has ended when the store is closed.

use std::{
    fs::{self, File, Permissions},
    io::{self, BufRead, BufReader, Read, Write},
    net::Shutdown,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::{
            ffi::OsStrExt,
            fs::PermissionsExt,
            net::{UnixListener, UnixStream},
        },
    },
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use super::{backup, directory, view::Views};
use crate::backup::{Backup, BackupError};

/// Longest request, in bytes: a path (Linux's `PATH_MAX`) and a word.
const REQUEST_BYTES_MAX: u64 = 5_000;

/// How long a request may take to arrive. The connections are served one after the other.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(1);

/// The thread that answers; ended on drop.
pub(super) struct Control {
    dir: PathBuf,
    /// Shares the socket with the thread.
    socket: UnixStream,
    closing: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Control {
    /// Listens in `dir`. Without the socket the store works as well, so a failure is logged only.
    pub(super) fn start(dir: &Path, views: Arc<Views>) -> Option<Self> {
        let closing = Arc::new(AtomicBool::new(false));
        let started = listen(dir).and_then(|listener| {
            let socket = UnixStream::from(OwnedFd::from(listener.try_clone()?));
            let closing = Arc::clone(&closing);
            let serve = move || serve(&listener, &views, &closing);
            let thread = thread::Builder::new().name("store-control".to_owned()).spawn(serve)?;
            Ok((socket, thread))
        });
        match started {
            Ok((socket, thread)) => Some(Self { dir: dir.to_owned(), socket, closing, thread: Some(thread) }),
            Err(error) => {
                tracing::warn!(dir = %dir.display(), %error, "the store can't be asked for a backup");
                None
            }
        }
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.closing.store(true, Ordering::Relaxed);
        // Ends the `accept` of the thread.
        let woken = self.socket.shutdown(Shutdown::Both);
        fs::remove_file(self.dir.join("control")).ok();
        if let Some(thread) = self.thread.take()
            && woken.is_ok()
            && thread.join().is_err()
        {
            tracing::error!("the thread that makes backups had panicked");
        }
    }
}

/// Asks the process that has the store in `dir` open for a backup in `to`. `None` when no process
/// has.
pub(super) fn ask(dir: &Path, to: &Path) -> Option<Result<Backup, BackupError>> {
    let mut stream = connect(dir).ok()?;
    let mut asked = || {
        stream.write_all(b"backup ")?;
        stream.write_all(to.as_os_str().as_bytes())?;
        stream.write_all(b"\n")?;
        let mut answer = String::new();
        BufReader::new(&stream).read_line(&mut answer)?;
        io::Result::Ok(answer)
    };
    Some(match asked() {
        Ok(answer) => parsed(answer.trim_end()),
        Err(error) => Err(BackupError::Refused { reason: error.to_string() }),
    })
}

fn parsed(answer: &str) -> Result<Backup, BackupError> {
    let refused = |reason: &str| BackupError::Refused { reason: reason.to_owned() };
    let Some(numbers) = answer.strip_prefix("ok ") else {
        return Err(match answer.strip_prefix("error ") {
            Some(reason) => refused(reason),
            None => refused("the process that has the store open ended"),
        });
    };
    let numbers: Result<Vec<u64>, _> = numbers.split(' ').map(str::parse).collect();
    match numbers.as_deref() {
        Ok(&[version, rows, bytes]) => Ok(Backup { version, rows, bytes }),
        _ => Err(refused(answer)),
    }
}

fn listen(dir: &Path) -> io::Result<UnixListener> {
    let (_dir, short) = short(dir)?;
    // The name is given to the socket when its permissions are right; an old one is replaced.
    let new = short.join("control.new");
    fs::remove_file(&new).or_else(|error| match error.kind() {
        io::ErrorKind::NotFound => Ok(()),
        _ => Err(error),
    })?;
    let listener = UnixListener::bind(&new)?;
    fs::set_permissions(&new, Permissions::from_mode(0o600))?;
    fs::rename(&new, short.join("control"))?;
    Ok(listener)
}

fn connect(dir: &Path) -> io::Result<UnixStream> {
    let (_dir, short) = short(dir)?;
    UnixStream::connect(short.join("control"))
}

/// The directory, and a path to it while it is open that fits into a socket's address (108 bytes).
fn short(dir: &Path) -> io::Result<(File, PathBuf)> {
    let dir = File::open(dir)?;
    let short = format!("/proc/self/fd/{}", dir.as_raw_fd()).into();
    Ok((dir, short))
}

fn serve(listener: &UnixListener, views: &Views, closing: &AtomicBool) {
    directory::go_behind_workers();
    for stream in listener.incoming() {
        if closing.load(Ordering::Relaxed) {
            return;
        }
        let answered = stream.and_then(|stream| answer(&stream, views, closing));
        if let Err(error) = answered {
            tracing::warn!(%error, "a request for a backup could not be read or answered");
        }
    }
}

fn answer(mut stream: &UnixStream, views: &Views, closing: &AtomicBool) -> io::Result<()> {
    stream.set_read_timeout(Some(REQUEST_TIMEOUT))?;
    stream.set_write_timeout(Some(REQUEST_TIMEOUT))?;
    let mut request = Vec::new();
    BufReader::new(stream.take(REQUEST_BYTES_MAX)).read_until(b'\n', &mut request)?;
    let to = request.strip_prefix(b"backup ").and_then(|path| path.strip_suffix(b"\n"));
    let Some(to) = to else {
        return stream.write_all(b"error the request is not `backup PATH`\n");
    };
    let to = Path::new(std::ffi::OsStr::from_bytes(to));
    if to.is_relative() {
        return stream.write_all(b"error the path is relative\n");
    }
    let view = views.newest();
    match backup::write(&view, to, closing) {
        Ok(Backup { version, rows, bytes }) => {
            tracing::info!(to = %to.display(), version, rows, bytes, "the store was copied");
            writeln!(stream, "ok {version} {rows} {bytes}")
        }
        Err(error) => {
            tracing::error!(to = %to.display(), %error, "the store was not copied");
            let cause = std::error::Error::source(&error).map_or(String::new(), |cause| format!(": {cause}"));
            writeln!(stream, "error {}", format!("{error}{cause}").replace('\n', " "))
        }
    }
}
