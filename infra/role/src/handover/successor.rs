//! The successor's side: takes the sockets, and says when it is ready and when it serves.
//!
//! Owns: the order of a handover as the new process sees it. Leaves binding and serving to the
//! role. Invariant: it does not accept clients before the predecessor has said `go`, or has died.

use std::collections::BTreeSet;
use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use bus::{Hello, OwnsFile};
use tokio::net::UnixStream;

use super::stand::{members, refuse_other_files, unexpected};
use super::wire::{Channel, Line, Member, VERSION};
use super::{HandoverError, Options};
use crate::sockets::{self, Inherited, Wanted};
use crate::steps::Role;
use crate::worker::Workers;

/// How often the workers are asked whether the instances have joined.
const JOINED_LOOK: Duration = Duration::from_millis(5);

/// A process that takes over from another one.
#[derive(Debug)]
pub struct Successor {
    channel: Channel,
    path: PathBuf,
    timeout: Duration,
    /// Of the predecessor.
    pid: u32,
    /// Of the files of Unix sockets, which become this process's when it serves.
    files: OwnsFile,
    /// The instances that the predecessor has pipes to.
    members: Vec<Member>,
}

impl Successor {
    /// Asks the process at the path of `options` for its sockets: each for one of `wanted`, in that
    /// order. `None` when there is no path, or no process there.
    ///
    /// # Errors
    /// When there is a process and it does not hand over.
    pub async fn ask(
        options: &Options,
        wanted: &[Wanted],
    ) -> Result<Option<(Self, Vec<Vec<Inherited>>)>, HandoverError> {
        let Some(path) = &options.handover else { return Ok(None) };
        refuse_other_files(path).map_err(|error| HandoverError::path(path, error))?;
        let stream = match UnixStream::connect(path).await {
            Ok(stream) => stream,
            Err(error)
                if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) =>
            {
                return Ok(None);
            }
            Err(error) => return Err(HandoverError::path(path, error)),
        };
        let failed = |error| HandoverError::failed(path, error);
        let mut channel = Channel::new(stream).map_err(failed)?;
        let files = OwnsFile::new(false);
        let offer = within(options.handover_timeout, take(&mut channel, &files)).await.map_err(failed)?;
        let (pid, members, passed) = offer;
        tracing::info!(pid, sockets = passed.len(), "taking over from a predecessor");
        let (path, timeout) = (path.clone(), options.handover_timeout);
        let all = sockets::from_predecessor(wanted, passed);
        Ok(Some((Self { channel, path, timeout, pid, files, members }, all)))
    }

    /// What is known of the services on the bus before they have joined, for
    /// [`bus::Bus::remember`] on every worker.
    #[must_use]
    pub fn hellos(&self) -> Vec<Hello> {
        let hello = |member: &Member| {
            let mut hello = Hello::new(&member.service, "", &member.instance);
            hello.routes = member.routes.iter().filter_map(|route| route.parse().ok()).collect();
            hello
        };
        self.members.iter().map(hello).collect()
    }

    /// Tells the predecessor that the workers accept on the bus, waits until the instances that it
    /// knows are on the bus of every worker, for `settle` at most, and then for its word to go. A
    /// predecessor that has died meanwhile has nothing to say.
    ///
    /// # Errors
    /// When the predecessor serves on: this process must not serve.
    pub async fn get_ready<R: Role>(
        &mut self,
        workers: &Workers<R::Worker>,
        settle: Duration,
    ) -> Result<(), HandoverError> {
        let ready = async {
            self.say(&Line::Started).await?;
            let missing = self.join::<R>(workers, settle).await?;
            if !missing.is_empty() {
                tracing::warn!(
                    missing = missing.join(", "),
                    "has not joined within --settle; its requests may wait or fail until it does"
                );
            }
            self.ready(missing).await
        };
        let ended = ready.await;
        self.unless_gone(ended)
    }

    /// Has the predecessor drain before this process gets ready, because it holds what this one
    /// needs: an embedded store. Requests wait meanwhile, as long as their senders hold them.
    ///
    /// # Errors
    /// When the predecessor serves on: this process must end.
    pub async fn replace_at_once(mut self) -> Result<(), HandoverError> {
        let ready = async {
            self.say(&Line::Started).await?;
            self.ready(Vec::new()).await
        };
        let ended = ready.await;
        self.unless_gone(ended)?;
        self.serving().await
    }

    /// Says that this process is ready, and waits for the predecessor's word to go.
    async fn ready(&mut self, missing: Vec<String>) -> io::Result<()> {
        self.say(&Line::Ready { missing }).await?;
        match within(self.timeout, self.channel.receive()).await?.0 {
            Line::Go => Ok(()),
            line => Err(unexpected(&line)),
        }
    }

    /// A predecessor that has died leaves its part to this process.
    fn unless_gone(&self, ended: io::Result<()>) -> Result<(), HandoverError> {
        match ended {
            Err(error) if is_gone(&error) => {
                tracing::warn!(pid = self.pid, "the predecessor has died; this process serves");
                Ok(())
            }
            ended => ended.map_err(|error| HandoverError::failed(&self.path, error)),
        }
    }

    /// Sends a line. When the connection is closed, the error is the predecessor's last line, if it
    /// said why.
    async fn say(&mut self, line: &Line) -> io::Result<()> {
        match self.channel.send(line, None).await {
            Err(error) if is_gone(&error) => self.channel.receive().await.map(drop),
            sent => sent,
        }
    }

    /// The instances that have not joined when `settle` has passed.
    async fn join<R: Role>(
        &mut self,
        workers: &Workers<R::Worker>,
        settle: Duration,
    ) -> io::Result<Vec<String>> {
        let end = Instant::now() + settle;
        loop {
            let joined = workers.ask(|worker| members(&R::buses(worker))).await;
            let joined: Vec<BTreeSet<String>> =
                joined.iter().map(|joined| joined.iter().map(Member::name).collect()).collect();
            let is_missing = |name: &String| joined.iter().any(|joined| !joined.contains(name));
            let missing: Vec<String> = self.members.iter().map(Member::name).filter(is_missing).collect();
            if missing.is_empty() || Instant::now() >= end {
                return Ok(missing);
            }
            // The predecessor says nothing now, unless it gives up.
            tokio::select! {
                line = self.channel.receive() => return Err(line.map_or_else(|error| error, |(line, _)| unexpected(&line))),
                () = tokio::time::sleep(JOINED_LOOK) => {}
            }
        }
    }

    /// Tells the predecessor that this process accepts clients and can be taken over itself.
    ///
    /// # Errors
    /// When the predecessor has given up and serves on: this process must end.
    pub async fn serving(mut self) -> Result<(), HandoverError> {
        let said = match self.say(&Line::Serving).await {
            // It closes the connection without a word, unless it has given up before.
            Ok(()) => within(self.timeout, self.channel.receive()).await.map(drop),
            failed => failed,
        };
        match said {
            Err(error) if !is_gone(&error) => Err(HandoverError::failed(&self.path, error)),
            _ => {
                self.files.set(true);
                Ok(())
            }
        }
    }
}

/// Everything up to the offer.
async fn take(channel: &mut Channel, files: &OwnsFile) -> io::Result<(u32, Vec<Member>, Vec<Inherited>)> {
    channel.send(&Line::Ask { version: VERSION, pid: std::process::id() }, None).await?;
    let mut passed = Vec::new();
    loop {
        match channel.receive().await? {
            (Line::Socket { kind, flag, owns_file }, Some(socket)) => {
                let owns_file = if owns_file { files.clone() } else { OwnsFile::new(false) };
                passed.push(Inherited { kind: Some(kind), flag: Some(flag), owns_file, socket });
            }
            (Line::Offer { pid, members }, _) => return Ok((pid, members, passed)),
            (line, _) => return Err(unexpected(&line)),
        }
    }
}

/// True when the predecessor's end is closed although it said nothing: its process is gone.
fn is_gone(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset
    )
}

async fn within<T>(time: Duration, what: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::time::timeout(time, what).await.unwrap_or_else(|_| {
        let reason = format!("no answer within {} (--handover-timeout)", humantime::format_duration(time));
        Err(io::Error::new(io::ErrorKind::TimedOut, reason))
    })
}
