//! One line of JSON each, with a descriptor beside it where there is one (`SCM_RIGHTS`, unix(7)).
//!
//! Owns: the lines and their transport. Leaves their order to `stand` and `successor`. Invariant: a
//! descriptor belongs to the `socket` line that it was sent with; both keep their order.

use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags,
};
use rustix::process::geteuid;
use serde::{Deserialize, Serialize};
use tokio::io::Interest;
use tokio::net::UnixStream;

use crate::sockets::Kind;

/// Of these lines; another one is refused.
pub(super) const VERSION: u32 = 1;

/// The longest line: an offer that names some ten thousand instances.
const LINE_LEN_MAX: usize = 1 << 20;

/// Descriptors that one read takes; each line has one at most.
const DESCRIPTORS: usize = 8;

/// An instance of a service that the predecessor has a pipe to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Member {
    pub(super) service: String,
    pub(super) instance: String,
    pub(super) routes: Vec<String>,
}

impl Member {
    pub(super) fn name(&self) -> String {
        format!("{}/{}", self.service, self.instance)
    }
}

/// One line.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Line {
    Ask {
        version: u32,
        pid: u32,
    },
    Socket {
        kind: Kind,
        flag: String,
        owns_file: bool,
    },
    Offer {
        pid: u32,
        members: Vec<Member>,
    },
    Started,
    /// The instances that have not joined.
    Ready {
        missing: Vec<String>,
    },
    Go,
    Serving,
    Abort {
        reason: String,
    },
}

/// One end of the connection between the two processes.
#[derive(Debug)]
pub(super) struct Channel {
    stream: UnixStream,
    read: Vec<u8>,
    descriptors: VecDeque<OwnedFd>,
}

impl Channel {
    /// Over a connection to a process of the same user, or of root.
    ///
    /// # Errors
    /// `PermissionDenied` when the other process is somebody else's.
    pub(super) fn new(stream: UnixStream) -> io::Result<Self> {
        let (theirs, ours) = (stream.peer_cred()?.uid(), geteuid().as_raw());
        if theirs != ours && theirs != 0 {
            let reason = format!("the other process belongs to user {theirs}, this one to user {ours}");
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, reason));
        }
        Ok(Self { stream, read: Vec::new(), descriptors: VecDeque::new() })
    }

    pub(super) async fn send(&self, line: &Line, descriptor: Option<BorrowedFd<'_>>) -> io::Result<()> {
        let mut text = serde_json::to_vec(line)?;
        text.push(b'\n');
        let sent = self.send_with(&text, descriptor).await?;
        let mut rest = &text[sent..];
        while !rest.is_empty() {
            rest = &rest[self.send_with(rest, None).await?..];
        }
        Ok(())
    }

    async fn send_with(&self, bytes: &[u8], descriptor: Option<BorrowedFd<'_>>) -> io::Result<usize> {
        let send = || {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            let descriptors = descriptor.as_slice();
            if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
                return Err(io::Error::other("no room for a descriptor"));
            }
            let slices = [IoSlice::new(bytes)];
            Ok(rustix::net::sendmsg(self.stream.as_fd(), &slices, &mut control, SendFlags::NOSIGNAL)?)
        };
        self.stream.async_io(Interest::WRITABLE, send).await
    }

    /// The next line, with the descriptor of a `socket`.
    ///
    /// # Errors
    /// `UnexpectedEof` when the other process has closed its end or is gone; `ConnectionAborted`
    /// with its reason when it has given up; `InvalidData` for what is no line.
    ///
    /// **Cancel safety**: safe; what was read is kept.
    pub(super) async fn receive(&mut self) -> io::Result<(Line, Option<OwnedFd>)> {
        let bad = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
        loop {
            if let Some(end) = self.read.iter().position(|byte| *byte == b'\n') {
                let text: Vec<u8> = self.read.drain(..=end).collect();
                let line = serde_json::from_slice(&text).map_err(|error| bad(&error.to_string()))?;
                if let Line::Abort { reason } = line {
                    return Err(io::Error::new(io::ErrorKind::ConnectionAborted, reason));
                }
                let descriptor = match line {
                    Line::Socket { .. } => {
                        let next = self.descriptors.pop_front();
                        Some(next.ok_or_else(|| bad("a socket without its descriptor"))?)
                    }
                    _ => None,
                };
                return Ok((line, descriptor));
            }
            if self.read.len() > LINE_LEN_MAX {
                return Err(bad("a line without end"));
            }
            self.read_some().await?;
        }
    }

    async fn read_some(&mut self) -> io::Result<()> {
        let Self { stream, read, descriptors } = self;
        let receive = || {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let mut bytes = [0; 4096];
            let mut slices = [IoSliceMut::new(&mut bytes)];
            let flags = RecvFlags::CMSG_CLOEXEC;
            let received = rustix::net::recvmsg(stream.as_fd(), &mut slices, &mut control, flags)?.bytes;
            for message in control.drain() {
                if let RecvAncillaryMessage::ScmRights(passed) = message {
                    descriptors.extend(passed);
                }
            }
            if received == 0 {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the other process is gone"));
            }
            read.extend_from_slice(&bytes[..received]);
            Ok(())
        };
        stream.async_io(Interest::READABLE, receive).await
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn lines_keep_their_order_and_their_descriptors() {
        let (one, other) = UnixStream::pair().unwrap();
        let (one, mut other) = (Channel::new(one).unwrap(), Channel::new(other).unwrap());
        let sockets: Vec<TcpListener> = (0..20).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let flag = |at: usize| sockets[at].local_addr().unwrap().to_string();
        one.send(&Line::Started, None).await.unwrap();
        for (at, socket) in sockets.iter().enumerate() {
            let line = Line::Socket { kind: Kind::Http, flag: flag(at), owns_file: true };
            one.send(&line, Some(socket.as_fd())).await.unwrap();
        }
        let routes = vec!["GET /a".repeat(4000)];
        let member = Member { service: "a".to_owned(), instance: "1".to_owned(), routes };
        one.send(&Line::Offer { pid: 7, members: vec![member] }, None).await.unwrap();
        assert_eq!(other.receive().await.unwrap().0, Line::Started);
        for at in 0..sockets.len() {
            let (line, descriptor) = other.receive().await.unwrap();
            let Line::Socket { flag: named, .. } = line else { panic!("{line:?}") };
            let got = TcpListener::from(descriptor.unwrap()).local_addr().unwrap().to_string();
            assert_eq!((&named, &got), (&flag(at), &flag(at)));
        }
        assert!(matches!(other.receive().await.unwrap(), (Line::Offer { pid: 7, .. }, None)));
        drop(one);
        assert_eq!(other.receive().await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[tokio::test]
    async fn what_is_no_line_and_a_giving_up_are_errors() {
        let (one, other) = UnixStream::pair().unwrap();
        let (one, mut other) = (Channel::new(one).unwrap(), Channel::new(other).unwrap());
        one.send(&Line::Abort { reason: "too late".to_owned() }, None).await.unwrap();
        let aborted = other.receive().await.unwrap_err();
        assert_eq!(
            (aborted.kind(), aborted.to_string().as_str()),
            (io::ErrorKind::ConnectionAborted, "too late")
        );
        one.send(&Line::Socket { kind: Kind::Bus, flag: String::new(), owns_file: false }, None)
            .await
            .unwrap();
        assert_eq!(other.receive().await.unwrap_err().kind(), io::ErrorKind::InvalidData);
        one.send_with(b"nonsense\n", None).await.unwrap();
        assert_eq!(other.receive().await.unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
