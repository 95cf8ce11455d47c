//! The predecessor's side: listens at the path, and hands over to one successor at a time.
//!
//! Owns: the path's file, the sockets that are passed on, and the order of a handover. Leaves what
//! follows one to `life`. Invariant: until a successor serves, nothing that clients see changes,
//! and whatever fails is undone.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::fs::{Metadata, Permissions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bus::Bus;
use socket2::{Domain, SockAddr, Socket, Type};
use tokio::net::{UnixListener, UnixStream};

use super::wire::{Channel, Line, Member, VERSION};
use super::{HandoverError, Options};
use crate::sockets::Inherited;
use crate::steps::Role;
use crate::worker::Workers;

/// Successors that wait for their turn.
const BACKLOG: i32 = 8;

/// How long to wait after an accept that failed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A successor that serves.
#[derive(Debug)]
pub(crate) struct Succeeded {
    /// Its process id.
    pub(crate) pid: u32,
    /// The instances, `SERVICE/INSTANCE`, that have not dialled it.
    pub(crate) missing: Vec<String>,
}

/// A process that can be replaced. Dropping it removes the path's file, unless a successor has put
/// its own there.
#[derive(Debug)]
pub struct Stand {
    listener: UnixListener,
    path: PathBuf,
    /// Device and number of the file.
    file: (u64, u64),
    timeout: Duration,
    sockets: Vec<Inherited>,
}

impl Stand {
    /// Listens at the path of `options`, in place of whatever process did so before; `None` without
    /// a path. `sockets` are what a successor gets. Inside a runtime.
    ///
    /// # Errors
    /// When the path cannot be bound, or has a file that is no socket.
    pub fn bind(options: &Options, sockets: Vec<Inherited>) -> Result<Option<Self>, HandoverError> {
        let Some(path) = &options.handover else { return Ok(None) };
        let failed = |error| HandoverError::path(path, error);
        let (listener, file) = bind(path).map_err(failed)?;
        let (path, timeout) = (path.clone(), options.handover_timeout);
        Ok(Some(Self { listener, path, file, timeout, sockets }))
    }

    /// Waits for a successor that serves. Those that fail are logged.
    ///
    /// **Cancel safety**: a handover under way is given up, and the end of the connection tells its
    /// successor, which serves if it has the sockets; their files are its own then. The bus may be
    /// left without accepting.
    pub(crate) async fn successor<R: Role>(&self, workers: &Workers<R::Worker>) -> Succeeded {
        loop {
            let stream = match self.listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "--handover: accept failed");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            match self.hand_over::<R>(stream, workers).await {
                Ok(succeeded) => return succeeded,
                Err(error) => {
                    workers.ask(|worker| R::buses(worker).iter().for_each(Bus::resume_listening)).await;
                    tracing::warn!(%error, "the handover failed; this process goes on");
                }
            }
        }
    }

    async fn hand_over<R: Role>(
        &self,
        stream: UnixStream,
        workers: &Workers<R::Worker>,
    ) -> io::Result<Succeeded> {
        let mut channel = Channel::new(stream)?;
        let offered = Offered::default();
        let converse = self.converse::<R>(&mut channel, workers, &offered);
        let handed = tokio::time::timeout(self.timeout, converse).await;
        offered.0.take();
        let handed = handed.unwrap_or_else(|_| {
            let reason =
                format!("not ready within {} (--handover-timeout)", humantime::format_duration(self.timeout));
            Err(io::Error::new(io::ErrorKind::TimedOut, reason))
        });
        if let Err(error) = &handed {
            // A successor that stood still has to learn that it must not serve. It may be gone.
            let abort = Line::Abort { reason: error.to_string() };
            let _ = tokio::time::timeout(ACCEPT_PAUSE, channel.send(&abort, None)).await;
        }
        handed
    }

    async fn converse<'a, R: Role>(
        &'a self,
        channel: &mut Channel,
        workers: &Workers<R::Worker>,
        offered: &Offered<'a>,
    ) -> io::Result<Succeeded> {
        let pid = match channel.receive().await?.0 {
            Line::Ask { version: VERSION, pid } => pid,
            line => return Err(unexpected(&line)),
        };
        tracing::info!(pid, "handing over to a successor");
        for Inherited { kind, flag, owns_file, socket } in &self.sockets {
            let (Some(kind), Some(flag)) = (*kind, flag.clone()) else { continue };
            let line = Line::Socket { kind, flag, owns_file: owns_file.get() };
            channel.send(&line, Some(socket.as_fd())).await?;
        }
        let members = workers.ask(|worker| members(&R::buses(worker))).await;
        let members: BTreeSet<Member> = members.into_iter().flatten().collect();
        let offer = Line::Offer { pid: std::process::id(), members: members.into_iter().collect() };
        channel.send(&offer, None).await?;
        offered.0.set(&self.sockets);
        expect(channel, &Line::Started).await?;
        // The peers of a bus with a hello would send it no more requests, before the successor
        // takes any: they are told when this process drains.
        workers
            .ask(|worker| {
                let asking = R::buses(worker).into_iter().filter(|bus| bus.hello().is_none());
                asking.for_each(|bus| bus.pause_listening());
            })
            .await;
        let missing = match channel.receive().await?.0 {
            Line::Ready { missing } => missing,
            line => return Err(unexpected(&line)),
        };
        channel.send(&Line::Go, None).await?;
        expect(channel, &Line::Serving).await?;
        Ok(Succeeded { pid, missing })
    }
}

impl Drop for Stand {
    fn drop(&mut self) {
        let is_ours = std::fs::symlink_metadata(&self.path).is_ok_and(|found| id(&found) == self.file);
        if is_ours {
            // One that stays is replaced by the next process.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// The sockets of a handover under way. Dropped with them, because this process stops, it leaves
/// their files in place: the successor serves.
#[derive(Default)]
struct Offered<'a>(Cell<&'a [Inherited]>);

impl Drop for Offered<'_> {
    fn drop(&mut self) {
        self.0.get().iter().for_each(|inherited| inherited.owns_file.set(false));
    }
}

/// The instances that a worker's buses have pipes to: those that take requests.
pub(super) fn members(buses: &[Bus]) -> Vec<Member> {
    let peers = buses.iter().flat_map(Bus::peers).filter(|peer| !peer.draining && !peer.silent);
    let member = |hello: bus::Hello| Member {
        routes: hello.routes.iter().map(ToString::to_string).collect(),
        service: hello.service,
        instance: hello.instance,
    };
    peers.filter_map(|peer| peer.hello).map(member).collect()
}

async fn expect(channel: &mut Channel, wanted: &Line) -> io::Result<()> {
    match channel.receive().await?.0 {
        line if line == *wanted => Ok(()),
        line => Err(unexpected(&line)),
    }
}

pub(super) fn unexpected(line: &Line) -> io::Error {
    let reason = format!("unexpected: {line:?}; are both processes of the same version?");
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

fn id(file: &Metadata) -> (u64, u64) {
    (file.dev(), file.ino())
}

/// Binds beside the path and moves the file there, so that at every moment somebody listens.
fn bind(path: &Path) -> io::Result<(UnixListener, (u64, u64))> {
    refuse_other_files(path)?;
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}", std::process::id()));
    let beside = PathBuf::from(beside);
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&SockAddr::unix(&beside)?)?;
    let listen = || {
        // No process can connect before: a socket that does not listen yet refuses.
        std::fs::set_permissions(&beside, Permissions::from_mode(0o600))?;
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        let file = id(&std::fs::symlink_metadata(&beside)?);
        std::fs::rename(&beside, path)?;
        Ok(file)
    };
    let file = listen().inspect_err(|_: &io::Error| drop(std::fs::remove_file(&beside)))?;
    Ok((UnixListener::from_std(socket.into())?, file))
}

/// Refuses a path where another file than a socket is: it may be a mistake, and is left alone.
pub(super) fn refuse_other_files(path: &Path) -> io::Result<()> {
    match std::fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => {
            Err(io::Error::new(io::ErrorKind::AlreadyExists, "a file that is no socket is there"))
        }
        _ => Ok(()),
    }
}
