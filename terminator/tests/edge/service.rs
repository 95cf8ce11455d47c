//! A service written from bus/PROTOCOL.md: it dials over IPC, sends its hello, and replies when the
//! test tells it to.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Instant;

use bus::proto::{Header, Kind};
use bus::{Envelope, Flags, HeadWriter, Hello};
use bytes::{Bytes, BytesMut};

use crate::PATIENCE;

pub(crate) struct Service {
    socket: UnixStream,
}

impl Service {
    /// Dials, and sends the hello of an instance of `service` that takes `limit` requests at once;
    /// 0 is any number.
    pub(crate) fn connect(bus: &Path, service: &str, routes: &[&str], limit: u32) -> Self {
        let mut hello = Hello::new(service, "1", "test");
        hello.limit = limit;
        hello.routes = routes.iter().map(|route| route.parse().unwrap()).collect();
        Self::join(bus, &hello)
    }

    /// Dials, and sends `hello`.
    pub(crate) fn join(bus: &Path, hello: &Hello) -> Self {
        let mut socket = UnixStream::connect(bus).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let opening = [0, b'S', b'P', 0, 0, 0x70, 0, 0];
        socket.write_all(&opening).unwrap();
        let mut theirs = [0; 8];
        socket.read_exact(&mut theirs).unwrap();
        assert_eq!(theirs, opening);
        let mut service = Self { socket };
        service.send(Header::new(Kind::Hello), |head| hello.encode(head), b"");
        service
    }

    /// Waits for the next request; answers pings and skips other messages.
    pub(crate) fn request(&mut self) -> Envelope {
        let begun = Instant::now();
        loop {
            let message = self.next(begun);
            let header = message.header();
            match header.kind {
                Kind::Request => return message,
                Kind::Ping => self.send(Header { kind: Kind::Pong, ..header }, |_| {}, b""),
                _ => {}
            }
        }
    }

    /// As [`request`](Self::request), for as long as it takes; `None` once the connection is
    /// closed.
    pub(crate) fn try_request(&mut self) -> Option<Envelope> {
        self.socket.set_read_timeout(None).unwrap();
        loop {
            let message = self.try_next().ok()?;
            let header = message.header();
            match header.kind {
                Kind::Request => return Some(message),
                Kind::Ping => self.try_send(Header { kind: Kind::Pong, ..header }, |_| {}, b"").ok()?,
                _ => {}
            }
        }
    }

    /// Waits for a message of this kind; skips others.
    pub(crate) fn until(&mut self, kind: Kind) -> Envelope {
        let begun = Instant::now();
        loop {
            let message = self.next(begun);
            if message.header().kind == kind {
                return message;
            }
        }
    }

    /// Waits until the terminator has closed the connection.
    pub(crate) fn until_closed(&mut self) {
        let mut bytes = [0; 4096];
        while self.socket.read(&mut bytes).unwrap() > 0 {}
    }

    /// Waits for the next message. Panics when the caller's wait, since `begun`, is too long, as
    /// when only pings arrive.
    fn next(&mut self, begun: Instant) -> Envelope {
        assert!(begun.elapsed() < PATIENCE, "only messages of other kinds arrived");
        self.try_next().unwrap()
    }

    fn try_next(&mut self) -> io::Result<Envelope> {
        let mut prefix = [0; 9];
        self.socket.read_exact(&mut prefix)?;
        assert_eq!(prefix[0], 1);
        let len = u64::from_be_bytes(prefix[1..].try_into().unwrap());
        let mut message = vec![0; usize::try_from(len).unwrap()];
        self.socket.read_exact(&mut message)?;
        Ok(Envelope::decode(Bytes::from(message)).unwrap())
    }

    pub(crate) fn reply(&mut self, to: &Envelope, status: u16, fields: &[(&str, &str)], body: &[u8]) {
        self.send(to.header().reply(status), |head| write(head, fields), body);
    }

    /// As [`reply`](Self::reply); false when the connection is closed.
    pub(crate) fn try_reply(
        &mut self,
        to: &Envelope,
        status: u16,
        fields: &[(&str, &str)],
        body: &[u8],
    ) -> bool {
        self.try_send(to.header().reply(status), |head| write(head, fields), body).is_ok()
    }

    /// Sends one part of a reply that is not the last.
    pub(crate) fn part(&mut self, to: &Envelope, fields: &[(&str, &str)], body: &[u8]) {
        let header = Header { flags: Flags::MORE, ..to.header().reply(200) };
        self.send(header, |head| write(head, fields), body);
    }

    pub(crate) fn send(&mut self, header: Header, fields: impl FnOnce(&mut HeadWriter<'_>), body: &[u8]) {
        self.try_send(header, fields, body).unwrap();
    }

    fn try_send(
        &mut self,
        header: Header,
        fields: impl FnOnce(&mut HeadWriter<'_>),
        body: &[u8],
    ) -> io::Result<()> {
        let mut head = BytesMut::new();
        let mut writer = HeadWriter::new(&mut head);
        fields(&mut writer);
        let len = u32::try_from(writer.finish().unwrap()).unwrap();
        let message = [&header.to_bytes(len)[..], &head, body].concat();
        let prefix = [&[1][..], &(message.len() as u64).to_be_bytes()].concat();
        self.socket.write_all(&[&prefix[..], &message].concat())
    }
}

fn write(head: &mut HeadWriter<'_>, fields: &[(&str, &str)]) {
    fields.iter().for_each(|(name, value)| head.field(name, value));
}

/// The value of a field as text.
pub(crate) fn field<'a>(envelope: &'a Envelope, name: &str) -> Option<&'a str> {
    envelope.field(name).map(|value| std::str::from_utf8(value).unwrap())
}
