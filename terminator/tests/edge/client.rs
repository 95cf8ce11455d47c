//! A blocking HTTP/1.1 client that sends exactly the given bytes and reads one response at a time.
//!
//! Owns framing responses and checking that a response is a problem. Leaves building requests to
//! the tests. Invariant: no read waits longer than [`PATIENCE`].

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use crate::PATIENCE;

trait Socket: Read + Write {
    /// Shuts down the sending side; the client can still read.
    fn end(&self);
    /// Makes dropping the socket a reset instead of an orderly close.
    fn reset_on_drop(&self);
}

impl Socket for TcpStream {
    fn end(&self) {
        self.shutdown(Shutdown::Write).unwrap();
    }

    fn reset_on_drop(&self) {
        socket2::SockRef::from(self).set_linger(Some(Duration::ZERO)).unwrap();
    }
}

impl Socket for UnixStream {
    fn end(&self) {
        self.shutdown(Shutdown::Write).unwrap();
    }

    fn reset_on_drop(&self) {
        unreachable!("a Unix socket has no reset");
    }
}

pub(crate) struct Client {
    socket: BufReader<Box<dyn Socket>>,
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) version: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Client {
    /// Connects to `IP:PORT` or `unix:PATH`.
    pub(crate) fn connect(address: &str) -> Self {
        let socket: Box<dyn Socket> = match address.strip_prefix("unix:") {
            Some(path) => {
                let stream = UnixStream::connect(path).unwrap();
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                Box::new(stream)
            }
            None => {
                let stream = TcpStream::connect(address).unwrap();
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                Box::new(stream)
            }
        };
        Self { socket: BufReader::new(socket) }
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.socket.get_mut().write_all(bytes.as_ref()).unwrap();
    }

    /// Sends; false when the peer has closed the connection.
    pub(crate) fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.socket.get_mut().write_all(bytes.as_ref()).is_ok()
    }

    /// Shuts down the sending side; the client can still read.
    pub(crate) fn end(&mut self) {
        self.socket.get_ref().end();
    }

    /// Closes with a reset, as when a process is killed with unread bytes.
    pub(crate) fn reset(self) {
        self.socket.get_ref().reset_on_drop();
    }

    pub(crate) fn get(&mut self, path: &str) -> Answer {
        self.send(format!("GET {path} HTTP/1.1\r\nhost: example.org\r\n\r\n"));
        self.answer()
    }

    /// Reads the next response, to a request that is not HEAD.
    pub(crate) fn answer(&mut self) -> Answer {
        let mut answer = self.head();
        answer.body = if answer.header("transfer-encoding") == Some("chunked") {
            self.chunks()
        } else if let Some(length) = answer.header("content-length") {
            let mut body = vec![0; length.parse().unwrap()];
            self.socket.read_exact(&mut body).unwrap();
            body
        } else {
            self.rest()
        };
        answer
    }

    /// Reads a status line and headers only, as of a response to HEAD or of `100 Continue`.
    pub(crate) fn head(&mut self) -> Answer {
        let line = self.line();
        let mut words = line.splitn(3, ' ');
        let version = words.next().unwrap().to_owned();
        let status = words.next().unwrap_or_else(|| panic!("no status line: {line:?}")).parse().unwrap();
        let mut headers = Vec::new();
        loop {
            let line = self.line();
            let Some((name, value)) = line.split_once(": ") else {
                assert!(line.is_empty(), "not a header: {line:?}");
                return Answer { status, version, headers, body: Vec::new() };
            };
            headers.push((name.to_ascii_lowercase(), value.to_owned()));
        }
    }

    /// Reads until the peer closes.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        self.socket.read_to_end(&mut rest).unwrap();
        rest
    }

    /// True when the peer closes, or resets, without sending a further byte.
    pub(crate) fn is_closed(&mut self) -> bool {
        match self.socket.fill_buf() {
            Ok(bytes) => bytes.is_empty(),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => true,
            Err(error) => panic!("neither a byte nor the end: {error}"),
        }
    }

    /// True when the peer closes without a reset and without sending a further byte.
    pub(crate) fn has_ended(&mut self) -> bool {
        matches!(self.socket.fill_buf(), Ok([]))
    }

    /// True when the peer resets the connection, after any number of bytes.
    pub(crate) fn breaks_off(&mut self) -> bool {
        let mut rest = Vec::new();
        self.socket.read_to_end(&mut rest).is_err_and(|error| error.kind() == ErrorKind::ConnectionReset)
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.socket.read_line(&mut line).unwrap();
        line.trim_end_matches("\r\n").to_owned()
    }

    /// Reads the next chunk; empty for the last one.
    pub(crate) fn chunk(&mut self) -> String {
        let size = usize::from_str_radix(&self.line(), 16).unwrap();
        let mut chunk = vec![0; size];
        self.socket.read_exact(&mut chunk).unwrap();
        assert_eq!(self.line(), "");
        String::from_utf8(chunk).unwrap()
    }

    fn chunks(&mut self) -> Vec<u8> {
        let mut body = Vec::new();
        loop {
            match self.chunk() {
                chunk if chunk.is_empty() => return body,
                chunk => body.extend_from_slice(chunk.as_bytes()),
            }
        }
    }
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// Checks that this is a problem with this status and reason; returns its members.
    #[track_caller]
    pub(crate) fn problem(&self, status: u16, reason: &str) -> serde_json::Value {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.header("content-type"), Some("application/problem+json"));
        let problem: serde_json::Value = serde_json::from_slice(&self.body).unwrap();
        assert_eq!(problem["type"], format!("urn:stack:problem:{reason}"), "{problem:#}");
        assert_eq!((&problem["status"], &problem["reason"]), (&status.into(), &reason.into()));
        for member in ["title", "detail", "remedy"] {
            assert!(problem[member].as_str().is_some_and(|text| !text.is_empty()), "{member}: {problem:#}");
        }
        assert_eq!(self.header("retry-after").is_some(), status == 503);
        problem
    }
}
