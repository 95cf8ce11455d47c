//! A second implementation of the wire, written from bus/PROTOCOL.md alone and sharing no code with
//! the bus, so that a mistake on one side is found. Blocking sockets.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;

/// BUS's opening (section 1).
pub(crate) const OPENING: [u8; 8] = [0x00, 0x53, 0x50, 0x00, 0x00, 0x70, 0x00, 0x00];

pub(crate) const HELLO: u8 = 0;
pub(crate) const REQUEST: u8 = 1;
pub(crate) const REPLY: u8 = 2;
pub(crate) const EVENT: u8 = 3;
pub(crate) const CANCEL: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const PONG: u8 = 7;

/// Origin and request id, bytes 8..24.
pub(crate) type Correlation = [u8; 16];

/// An envelope (section 2).
#[derive(Clone, Debug, Default)]
pub(crate) struct Message {
    pub(crate) kind: u8,
    pub(crate) flags: u16,
    pub(crate) ttl_us: u32,
    pub(crate) correlation: Correlation,
    pub(crate) status: u16,
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Message {
    pub(crate) fn new(kind: u8, fields: &[(&str, &str)]) -> Self {
        let fields = fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Self { kind, fields, ..Self::default() }
    }

    pub(crate) fn pack(&self) -> Vec<u8> {
        let mut head = Vec::new();
        for (name, value) in &self.fields {
            head.extend(u16::try_from(name.len()).unwrap().to_be_bytes());
            head.extend(u16::try_from(value.len()).unwrap().to_be_bytes());
            head.extend(name.as_bytes());
            head.extend(value.as_bytes());
        }
        let mut out = vec![0xB1, self.kind];
        out.extend(self.flags.to_be_bytes());
        out.extend(self.ttl_us.to_be_bytes());
        out.extend(self.correlation);
        out.extend(self.status.to_be_bytes());
        out.extend([0, 0]);
        out.extend(u32::try_from(head.len()).unwrap().to_be_bytes());
        out.extend(head);
        out.extend(&self.body);
        out
    }

    /// `None` when the bytes are not an envelope.
    pub(crate) fn unpack(bytes: &[u8]) -> Option<Self> {
        let header = bytes.get(..32).filter(|header| header[0] == 0xB1)?;
        let head_len = u32::from_be_bytes(header[28..].try_into().ok()?) as usize;
        let mut head = bytes.get(32..32usize.checked_add(head_len)?)?;
        let mut message = Self {
            kind: header[1],
            flags: u16::from_be_bytes([header[2], header[3]]),
            ttl_us: u32::from_be_bytes(header[4..8].try_into().ok()?),
            correlation: header[8..24].try_into().ok()?,
            status: u16::from_be_bytes([header[24], header[25]]),
            fields: Vec::new(),
            body: bytes[32 + head_len..].to_vec(),
        };
        while !head.is_empty() {
            let [n0, n1, v0, v1] = *head.first_chunk()?;
            let (name, value) =
                (u16::from_be_bytes([n0, n1]) as usize, u16::from_be_bytes([v0, v1]) as usize);
            let text = |from: usize, len: usize| {
                head.get(from..from + len).map(|bytes| String::from_utf8_lossy(bytes).into_owned())
            };
            message.fields.push((text(4, name)?, text(4 + name, value)?));
            head = &head[4 + name + value..];
        }
        Some(message)
    }

    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The reply to this request.
    pub(crate) fn reply(&self, status: u16, body: &[u8]) -> Self {
        let mut reply = Self::new(REPLY, &[("content-type", "application/json")]);
        (reply.correlation, reply.status, reply.body) = (self.correlation, status, body.to_vec());
        reply
    }
}

/// One connection of the SP layer.
pub(crate) enum Pipe {
    Tcp(TcpStream),
    Ipc(UnixStream),
}

impl Pipe {
    /// Connects to `tcp://HOST:PORT` or `ipc://PATH` without sending anything.
    pub(crate) fn connect(url: &str) -> io::Result<Self> {
        match url.split_once("://") {
            Some(("tcp", address)) => {
                let stream = TcpStream::connect(address)?;
                stream.set_nodelay(true)?;
                Ok(Self::Tcp(stream))
            }
            Some(("ipc", path)) => UnixStream::connect(path).map(Self::Ipc),
            _ => panic!("{url} is neither tcp:// nor ipc://"),
        }
    }

    /// Connects and exchanges the openings.
    pub(crate) fn open(url: &str) -> io::Result<Self> {
        let mut pipe = Self::connect(url)?;
        pipe.write_all(&OPENING)?;
        let mut theirs = [0; 8];
        pipe.read_exact(&mut theirs)?;
        assert_eq!(theirs, OPENING, "the opening of {url}");
        Ok(pipe)
    }

    pub(crate) fn try_clone(&self) -> io::Result<Self> {
        match self {
            Self::Tcp(stream) => stream.try_clone().map(Self::Tcp),
            Self::Ipc(stream) => stream.try_clone().map(Self::Ipc),
        }
    }

    /// Shuts down one direction or both; a reader on another thread sees the end.
    pub(crate) fn shutdown(&self, how: Shutdown) {
        let _ = match self {
            Self::Tcp(stream) => stream.shutdown(how),
            Self::Ipc(stream) => stream.shutdown(how),
        };
    }

    pub(crate) fn read_timeout(&self, timeout: std::time::Duration) {
        match self {
            Self::Tcp(stream) => stream.set_read_timeout(Some(timeout)),
            Self::Ipc(stream) => stream.set_read_timeout(Some(timeout)),
        }
        .unwrap();
    }

    /// The bytes before a payload of `length`.
    pub(crate) fn prefix(&self, length: u64) -> Vec<u8> {
        let mark: &[u8] = if matches!(self, Self::Ipc(_)) { &[1] } else { &[] };
        [mark, &length.to_be_bytes()].concat()
    }

    pub(crate) fn send(&mut self, payload: &[u8]) -> io::Result<()> {
        let mut out = self.prefix(payload.len() as u64);
        out.extend(payload);
        self.write_all(&out)
    }

    pub(crate) fn receive(&mut self) -> io::Result<Vec<u8>> {
        let mut prefix = vec![0; self.prefix(0).len()];
        self.read_exact(&mut prefix)?;
        let length = u64::from_be_bytes(*prefix.last_chunk().expect("8 bytes at least"));
        let mut payload = vec![0; usize::try_from(length).unwrap()];
        self.read_exact(&mut payload)?;
        Ok(payload)
    }

    /// The next envelope of `kind`; others are skipped.
    pub(crate) fn receive_kind(&mut self, kind: u8) -> io::Result<Message> {
        loop {
            if let Some(message) = Message::unpack(&self.receive()?).filter(|message| message.kind == kind) {
                return Ok(message);
            }
        }
    }

    /// Sends a ping and waits for its pong: everything sent before it has been processed then.
    pub(crate) fn ping(&mut self) -> io::Result<()> {
        let mut ping = Message::new(PING, &[]);
        ping.correlation = *b"end-to-end test.";
        self.send(&ping.pack())?;
        while self.receive_kind(PONG)?.correlation != ping.correlation {}
        Ok(())
    }
}

impl Read for Pipe {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(into),
            Self::Ipc(stream) => stream.read(into),
        }
    }
}

impl Write for Pipe {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(from),
            Self::Ipc(stream) => stream.write(from),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
