//! `--direct`: the services' own programs write a seed into their stores, without HTTP and bus.
//!
//! Owns one process per service, which answers lines (`SERVICE --lines`), and which service has
//! which paths. The services own what a request means, so it has the effect that it has over HTTP.
//! Leaves order and repetitions to `sending` and `target`. Invariant: a request is answered once;
//! when a process ends, the requests in its hands fail.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::ffi::OsString;
use std::path::Path;
use std::process::Stdio;
use std::rc::Rc;

use bytes::{BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout};
use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_local;

use super::error::Error;
use super::request::Request;
use crate::binaries;
use crate::roles::DATA_ROLES;
use crate::tied::Launcher;

/// First segments of paths, and the services that write what is sent there.
const PATHS: [(&str, &str); 5] = [
    ("profiles", "profile"),
    ("feeds", "feed"),
    ("chats", "chat"),
    ("events", "events"),
    ("projections", "events"),
];

/// Requests on their way to one process. Senders wait for a place.
const WAITING_MAX: usize = 256;

/// The value of `--direct`: a store as a service's `--store` names it; an embedded one is the
/// directory above those of the services, as `--data` of the stack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectStore(String);

impl std::str::FromStr for DirectStore {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            Some(("embedded" | "fdb", rest)) if !rest.is_empty() && !rest.starts_with('?') => {
                Ok(Self(text.to_owned()))
            }
            _ => Err(format!("{text:?} is no store: give embedded:DIR or fdb:CLUSTER_FILE")),
        }
    }
}

impl std::fmt::Display for DirectStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl DirectStore {
    /// The store of one service.
    fn of(&self, service: &str) -> OsString {
        match self.0.strip_prefix("embedded:") {
            Some(rest) => {
                let (directory, options) = rest.split_at(rest.find('?').unwrap_or(rest.len()));
                let directory = Path::new(directory).join(service);
                format!("embedded:{}{options}", directory.display()).into()
            }
            None => self.0.clone().into(),
        }
    }
}

/// The processes of all services with data.
#[derive(Debug)]
pub struct Direct {
    services: Vec<Service>,
}

#[derive(Debug)]
struct Service {
    name: &'static str,
    child: Child,
    lines: mpsc::Sender<Bytes>,
    waiting: Rc<Waiting>,
}

/// Requests without an answer, by their numbers.
#[derive(Debug, Default)]
struct Waiting {
    next: Cell<u64>,
    /// True when the process will answer nothing more.
    ended: Cell<bool>,
    answers: RefCell<HashMap<u64, oneshot::Sender<Answer>>>,
}

#[derive(Serialize)]
struct Line<'a> {
    id: u64,
    method: &'a str,
    path: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<&'a RawValue>,
}

/// The answer of a service.
#[derive(Debug, Deserialize)]
pub(super) struct Answer {
    id: u64,
    /// As over HTTP.
    pub(super) status: u16,
    /// The problem of a request that failed.
    #[serde(default)]
    pub(super) body: String,
}

impl Direct {
    /// Starts the services' processes on `store`, and waits until each has opened its store. Builds
    /// them first when `build` is true and cargo runs this process.
    ///
    /// # Errors
    /// [`Error::Direct`] when a store belongs to another service or is in use, or a program is
    /// missing.
    pub async fn start(store: &DirectStore, build: bool) -> Result<Self, Error> {
        let failed = |service: &str, reason: String| Error::Direct { service: service.to_owned(), reason };
        let binaries = binaries::ready(build).await.map_err(|error| failed("stack", error.to_string()))?;
        let launcher = Launcher::this_process();
        let mut services = Vec::new();
        for name in DATA_ROLES {
            let args = ["--lines".into(), "--store".into(), store.of(name)];
            let mut command = launcher.command(&binaries.join(name), &args);
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
            let mut child = command.spawn().map_err(|error| failed(name, error.to_string()))?;
            let input = child.stdin.take().expect("is piped");
            let mut output = BufReader::new(child.stdout.take().expect("is piped")).lines();
            // The first line says that the store is open.
            if !matches!(output.next_line().await, Ok(Some(_))) {
                let status = child.wait().await?;
                return Err(failed(
                    name,
                    format!("it did not open its store ({status}); its reason is above"),
                ));
            }
            let (lines, queue) = mpsc::channel(WAITING_MAX);
            let waiting = Rc::<Waiting>::default();
            spawn_local(write(input, queue));
            spawn_local(read(output, Rc::clone(&waiting)));
            services.push(Service { name, child, lines, waiting });
        }
        Ok(Self { services })
    }

    /// Sends a request to its service.
    ///
    /// # Errors
    /// There is no such service, or its process has ended.
    pub(super) async fn ask(&self, request: &Request) -> Result<Answer, String> {
        let path = request.path.path();
        let first = path.split('/').nth(1).unwrap_or_default();
        let Some((_, name)) = PATHS.iter().find(|(segment, _)| *segment == first) else {
            let known = PATHS.map(|(segment, _)| format!("/{segment}")).join(", ");
            let body = format!("{path} belongs to no service with a store; --direct loads {known}");
            return Ok(Answer { id: 0, status: 404, body });
        };
        let service = self.services.iter().find(|service| service.name == *name);
        let service = service.expect("every service of the table is started");
        let id = service.waiting.next.replace(service.waiting.next.get() + 1);
        let line = line(id, request).map_err(|error| error.to_string())?;
        let (sender, answer) = oneshot::channel();
        let ended = || format!("the process of the service {name} has ended");
        if service.waiting.ended.get() {
            return Err(ended());
        }
        service.waiting.answers.borrow_mut().insert(id, sender);
        service.lines.send(line).await.map_err(|_| ended())?;
        answer.await.map_err(|_| ended())
    }

    /// Ends the processes after the last answer.
    ///
    /// # Errors
    /// [`Error::Direct`] when one fails.
    pub async fn finish(self) -> Result<(), Error> {
        for Service { name, mut child, lines, .. } in self.services {
            drop(lines);
            let status = child.wait().await?;
            if !status.success() {
                return Err(Error::Direct {
                    service: name.to_owned(),
                    reason: format!("it ended with {status}"),
                });
            }
        }
        Ok(())
    }
}

fn line(id: u64, request: &Request) -> serde_json::Result<Bytes> {
    // A line feed outside of a JSON string is white space, and inside it is escaped.
    let body: Vec<u8> = request.body.iter().map(|&byte| if byte == b'\n' { b' ' } else { byte }).collect();
    let body = if body.is_empty() { None } else { Some(serde_json::from_slice::<&RawValue>(&body)?) };
    let mut out = BytesMut::with_capacity(body.map_or(0, |body| body.get().len()) + 128).writer();
    let (method, path) = (request.method.as_str(), request.path.as_str());
    serde_json::to_writer(&mut out, &Line { id, method, path, body })?;
    let mut out = out.into_inner();
    out.put_u8(b'\n');
    Ok(out.freeze())
}

/// Writes lines until there are no more senders. When the process has ended, `read` learns of it.
async fn write(mut input: ChildStdin, mut lines: mpsc::Receiver<Bytes>) {
    let mut batch = Vec::new();
    while lines.recv_many(&mut batch, WAITING_MAX).await > 0 {
        if input.write_all(&batch.concat()).await.is_err() {
            return;
        }
        batch.clear();
    }
}

async fn read(mut output: Lines<BufReader<ChildStdout>>, waiting: Rc<Waiting>) {
    while let Ok(Some(line)) = output.next_line().await {
        let Ok(answer) = serde_json::from_str::<Answer>(&line) else { break };
        if let Some(sender) = waiting.answers.borrow_mut().remove(&answer.id) {
            // The lane may have been dropped.
            let _ = sender.send(answer);
        }
    }
    // Requests that have no answer fail.
    waiting.ended.set(true);
    waiting.answers.borrow_mut().clear();
}

#[cfg(test)]
mod tests {
    use super::{DirectStore, Request, line};

    #[test]
    fn each_service_has_its_directory_or_the_shared_cluster() {
        let of = |text: &str| {
            let store: DirectStore = text.parse().expect("is a store");
            store.of("feed").into_string().expect("is UTF-8")
        };
        assert_eq!(of("embedded:/var/data"), "embedded:/var/data/feed");
        assert_eq!(of("embedded:d?durability=buffered"), "embedded:d/feed?durability=buffered");
        assert_eq!(of("fdb:/etc/fdb.cluster"), "fdb:/etc/fdb.cluster");
        for text in ["", "data", "embedded:", "embedded:?durability=fsync", "fdb:", "redis:x"] {
            let error = text.parse::<DirectStore>().expect_err(text);
            assert!(error.contains("embedded:DIR"), "{error}");
        }
    }

    #[test]
    fn a_request_is_one_line_whatever_its_body() {
        let request = Request::new("PUT", "/profiles/m1", "{\"a\":\n \"b\\n\"}").expect("is one");
        let text = line(7, &request).expect("is JSON");
        assert_eq!(
            text,
            "{\"id\":7,\"method\":\"PUT\",\"path\":\"/profiles/m1\",\"body\":{\"a\":  \"b\\n\"}}\n"
        );
        let request = Request::new("PUT", "/feeds/m1/read", "").expect("is one");
        assert_eq!(
            line(8, &request).expect("is JSON"),
            "{\"id\":8,\"method\":\"PUT\",\"path\":\"/feeds/m1/read\"}\n"
        );
    }
}
