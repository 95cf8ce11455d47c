//! Measured processes: started, observed in `/proc`, ended.
//!
//! Owns their lives. Invariant: processes started here end with this process, however it ends.
//! Signals go only to process ids that were started here, and to their descendants.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

/// User and system time of each process, by name.
pub(crate) type Cpu = BTreeMap<String, Duration>;

/// Time for a process to end after SIGTERM.
const GRACE: Duration = Duration::from_secs(5);

/// A running process.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    pid: u32,
    log: PathBuf,
}

impl Process {
    /// Starts `program`, with its output in `logs/NAME.log`.
    ///
    /// # Errors
    /// The program cannot be started.
    pub fn start(
        name: &str,
        program: impl AsRef<Path>,
        args: &[impl AsRef<str>],
        logs: &Path,
    ) -> Result<Self> {
        let program = program.as_ref();
        let log = logs.join(format!("{name}.log"));
        let out = File::options().create(true).append(true).open(&log)?;
        let mut command = tied(program);
        command
            .args(args.iter().map(AsRef::as_ref))
            .stdin(Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(out)
            .process_group(0);
        let child = command.spawn().with_context(|| format!("{}: cannot be started", program.display()))?;
        let pid = child.id().context("a process that was just started has an id")?;
        Ok(Self { name: name.to_owned(), child, pid, log })
    }

    /// The name of its role.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Succeeds while the process runs.
    ///
    /// # Errors
    /// The process has ended; the error contains the end of its output.
    pub fn check(&mut self) -> Result<()> {
        let Some(status) = self.child.try_wait()? else { return Ok(()) };
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let from = log.lines().count().saturating_sub(5);
        let last: Vec<&str> = log.lines().skip(from).collect();
        bail!("{} ended ({status}): {}", self.name, last.join(" / "))
    }

    /// User and system time of the process and its descendants.
    ///
    /// # Errors
    /// The process has ended.
    pub fn cpu(&self) -> Result<Duration> {
        let mut ticks = 0;
        for pid in family(self.pid) {
            ticks += stat(pid).map_or(0, |stat| stat.ticks);
        }
        if !Path::new(&format!("/proc/{}", self.pid)).exists() {
            bail!("{} has ended; its output: {}", self.name, self.log.display());
        }
        let per_second = u32::try_from(rustix::param::clock_ticks_per_second()).unwrap_or(100);
        Ok(Duration::from_secs(ticks) / per_second)
    }

    /// Resident bytes (`VmRSS`) of the process and its descendants.
    #[must_use]
    pub fn resident(&self) -> u64 {
        family(self.pid).into_iter().map(resident).sum()
    }

    /// Sends SIGTERM, and SIGKILL when that does not help.
    pub async fn stop(mut self) {
        let family = family(self.pid);
        signal(self.pid, Signal::TERM);
        if tokio::time::timeout(GRACE, self.child.wait()).await.is_err() {
            family.iter().for_each(|pid| signal(*pid, Signal::KILL));
            let _ = self.child.wait().await;
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // After the process was reaped, its id may belong to another process.
        if !matches!(self.child.try_wait(), Ok(None)) {
            return;
        }
        family(self.pid).into_iter().for_each(|pid| signal(pid, Signal::KILL));
    }
}

/// A command for `program` that gets SIGTERM when this process dies.
fn tied(program: &Path) -> Command {
    if !is_installed("setpriv") {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "TERM", "--"]).arg(program);
    command
}

/// True when a program of this name is installed.
#[must_use]
pub fn is_installed(program: &str) -> bool {
    find(program).is_some()
}

/// Finds a program in `PATH` and in Debian's directories of servers.
#[must_use]
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let more = ["/usr/sbin", "/usr/local/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&path)
        .chain(more)
        .map(|directory| directory.join(program))
        .find(|candidate| candidate.is_file())
}

/// Waits until an HTTP server answers `GET path` at `port` with a 2xx status.
///
/// # Errors
/// One of `processes` ended, or there was no such answer in 20 s.
pub async fn until_answers(port: u16, path: &str, processes: &mut [Process]) -> Result<()> {
    until_answer_has("", port, path, processes).await
}

/// Waits until an HTTP server answers `GET path` at `port` with a 2xx status and a body that
/// contains `text`.
///
/// # Errors
/// One of `processes` ended, or there was no such answer in 20 s.
pub async fn until_answer_has(text: &str, port: u16, path: &str, processes: &mut [Process]) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        for process in &mut *processes {
            process.check()?;
        }
        let asked = tokio::time::timeout(Duration::from_secs(2), answer(port, path)).await;
        match asked {
            Ok(Ok((200..300, body))) if body.contains(text) => return Ok(()),
            seen if Instant::now() >= deadline => {
                bail!("http://127.0.0.1:{port}{path}: no 2xx answer with {text:?} in 20 s, last {seen:?}")
            }
            _ => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

/// The status of an answer, and everything after the status line.
async fn answer(port: u16, path: &str) -> Result<(u16, String)> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await?;
    // Mongrel2 accepts `Host` in this spelling only.
    let request = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    let answer = String::from_utf8_lossy(&answer);
    let status = answer.get(9..12).context("the answer has no status")?.parse()?;
    Ok((status, answer[12..].to_owned()))
}

/// A port of 127.0.0.1 that was free a moment ago.
///
/// # Errors
/// There is no free port.
pub fn free_port() -> Result<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// Pins the calling thread, and the threads that it starts.
pub(crate) fn pin(core: usize) -> std::io::Result<()> {
    let mut set = rustix::thread::CpuSet::new();
    set.set(core);
    Ok(rustix::thread::sched_setaffinity(None, &set)?)
}

/// Raises the limit of open files of this process and its children to the hard limit, and returns
/// it.
#[must_use]
pub fn raise_file_limit() -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    // A soft limit up to the hard one is always granted.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

struct Stat {
    parent: u32,
    ticks: u64,
}

/// `proc_pid_stat(5)`: fields 4 (parent), 14 and 15 (user and system time). The second field may
/// contain anything, in parentheses.
fn stat(pid: u32) -> Option<Stat> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
    Some(Stat { parent: u32::try_from(number(4)?).ok()?, ticks: number(14)? + number(15)? })
}

/// A process and its descendants.
fn family(pid: u32) -> Vec<u32> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let id = entry.file_name().to_str().and_then(|name| name.parse().ok());
        if let Some((id, stat)) = id.and_then(|id| Some((id, stat(id)?))) {
            children.entry(stat.parent).or_default().push(id);
        }
    }
    let mut family = vec![pid];
    let mut at = 0;
    while let Some(parent) = family.get(at) {
        family.extend(children.remove(parent).unwrap_or_default());
        at += 1;
    }
    family
}

fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

fn signal(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        // It may have ended by itself.
        let _ = kill_process(pid, signal);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_process_is_watched_and_ends_with_its_children() {
        let logs = tempfile::tempdir().unwrap();
        let mut process = Process::start("sh", "sh", &["-c", "sleep 600 & wait"], logs.path()).unwrap();
        process.check().unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        let family = loop {
            let family = family(process.pid);
            if family.len() == 2 {
                break family;
            }
            assert!(Instant::now() < deadline, "{family:?}");
            tokio::task::yield_now().await;
        };
        assert!(process.resident() > 0);
        process.cpu().unwrap();
        drop(process);
        for pid in family {
            let is_gone = || stat(pid).is_none_or(|_| status_of(pid).contains("zombie"));
            while !is_gone() {
                assert!(Instant::now() < deadline, "{pid} lives");
                tokio::task::yield_now().await;
            }
        }
    }

    fn status_of(pid: u32) -> String {
        std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_else(|_| "zombie".into())
    }

    #[tokio::test]
    async fn a_process_that_ended_says_why() {
        let logs = tempfile::tempdir().unwrap();
        let mut process = Process::start("sh", "sh", &["-c", "echo broken; exit 3"], logs.path()).unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        let error = loop {
            match process.check() {
                Err(error) => break error.to_string(),
                Ok(()) => assert!(Instant::now() < deadline),
            }
            tokio::task::yield_now().await;
        };
        assert!(error.contains("broken") && error.contains("sh ended"), "{error}");
    }
}
