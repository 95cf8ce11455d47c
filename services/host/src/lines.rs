//! `--lines`: requests from standard input, one a line, instead of messages of a bus.
//!
//! Owns the form of the lines, and the requests in hand. Routes and handlers are those that serve,
//! so a request has the same effect and the same answer. `stack seed --direct` loads data this way.
//!
//! The first line of the output says that the store is open: `{"ready":"profile"}`. Then
//! `{"id":7,"method":"PUT","path":"/profiles/m1","body":{..}}` is answered by
//! `{"id":7,"status":204}`, in the order in which requests end; a status from 400 comes with the
//! body of the answer.
//!
//! Invariant: every request that was read is answered, also after the end of the input; at most
//! [`IN_HAND_MAX`] are in hand. While the output is not read, nothing is done.

use std::borrow::Cow;
use std::io::{self, BufRead, BufReader, Write};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc as blocking;
use std::time::Instant;

use anyhow::Context as _;
use bus::proto::{Header, PipeId};
use bus::{Envelope, HeadWriter, Incoming, Kind, Serve, Serving};
use bytes::{BufMut, BytesMut};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::sync::{Semaphore, mpsc};

use crate::bound::versions;
use crate::context::Context;
use crate::gate::Gate;
use crate::options::Settings;
use crate::router::Router;
use crate::serve::{Server, Worker};

/// Requests whose handlers wait, and answers that wait to be written. Bounds memory, and what a
/// commit may wait for.
const IN_HAND_MAX: usize = 4096;

/// Lines that are read before the requests before them have ended.
const AHEAD_MAX: usize = 1024;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<'a> {
    id: u64,
    #[serde(borrow)]
    method: Cow<'a, str>,
    #[serde(borrow)]
    path: Cow<'a, str>,
    #[serde(default, borrow)]
    body: Option<&'a RawValue>,
}

#[derive(Serialize)]
struct Answer<'a> {
    id: u64,
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<Cow<'a, str>>,
}

/// Answers the lines of standard input until its end. `build` makes the routes, as for
/// [`crate::run`]; their bus has no peers.
///
/// # Errors
/// A line that is not a request, or an input that cannot be read; requests that were read before
/// have been answered.
pub(crate) fn answer<A: Settings>(
    args: A,
    build: &impl Fn(&Context<A>) -> anyhow::Result<Router>,
) -> anyhow::Result<()> {
    let name = A::command().get_name().to_owned();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(tokio::runtime::LocalOptions::default())?;
    let (out, lines) = blocking::sync_channel::<Vec<u8>>(IN_HAND_MAX);
    let writer = std::thread::Builder::new().name("output".to_owned()).spawn(move || write(&lines))?;
    out.send(format!("{{\"ready\":\"{name}\"}}\n").into_bytes()).context("standard output is closed")?;
    let answered = runtime.block_on(async {
        let seed = bus::bind(&bus::Config::default(), 1)?.pop().context("one worker has one seed")?;
        let version = versions(&args)[0].clone();
        let args = Arc::new(args);
        let context = Context { args, worker: 0, bus: seed.start(), upstream: None, version };
        let worker = Worker::new(build(&context)?.finish()?, Gate::new(0, 0));
        all(&Rc::new(Server(worker)), &out).await
    });
    drop(out);
    let written = writer.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    answered?;
    Ok(written?)
}

async fn all(server: &Rc<Server>, out: &blocking::SyncSender<Vec<u8>>) -> anyhow::Result<()> {
    let (sender, mut lines) = mpsc::channel(AHEAD_MAX);
    // Not waited for: after a bad line it may wait for input that never comes.
    std::thread::Builder::new().name("input".to_owned()).spawn(move || read(&sender))?;
    let places = Arc::new(Semaphore::new(IN_HAND_MAX));
    let mut bad = None;
    while let Some(line) = lines.recv().await {
        let (id, incoming) = match line.context("standard input").and_then(|line| request(&line)) {
            Ok(request) => request,
            Err(error) => {
                bad = Some(error);
                break;
            }
        };
        let place = Arc::clone(&places).acquire_owned().await.context("never closed")?;
        match server.serve(incoming) {
            Serving::Now(response) => say(out, id, &response),
            Serving::Later(work) => {
                let out = out.clone();
                tokio::task::spawn_local(async move {
                    say(&out, id, &work.await);
                    drop(place);
                });
            }
        }
    }
    let all = u32::try_from(IN_HAND_MAX).expect("is a small constant");
    drop(places.acquire_many(all).await.context("never closed")?);
    bad.map_or(Ok(()), Err)
}

/// Reads lines until the end of the input, or until nothing takes them.
fn read(lines: &mpsc::Sender<io::Result<Vec<u8>>>) {
    let mut input = BufReader::with_capacity(256 * 1024, io::stdin());
    loop {
        let mut line = Vec::new();
        let read = match input.read_until(b'\n', &mut line) {
            Ok(0) => return,
            Ok(_) => Ok(line),
            Err(error) => Err(error),
        };
        let failed = read.is_err();
        if lines.blocking_send(read).is_err() || failed {
            return;
        }
    }
}

/// Writes what there is with one call, so that a reader is woken once for many answers.
fn write(lines: &blocking::Receiver<Vec<u8>>) -> io::Result<()> {
    let mut out = io::stdout().lock();
    while let Ok(mut text) = lines.recv() {
        lines.try_iter().for_each(|more| text.extend(more));
        out.write_all(&text)?;
        out.flush()?;
    }
    Ok(())
}

/// The request of a line as the bus would have read it.
fn request(line: &[u8]) -> anyhow::Result<(u64, Incoming)> {
    let shown = || format!("not a request: {}", String::from_utf8_lossy(line).trim_end());
    let Line { id, method, path, body } = serde_json::from_slice(line).with_context(shown)?;
    let mut head = BytesMut::new();
    let mut fields = HeadWriter::new(&mut head);
    fields.field(":method", &*method);
    fields.field(":path", &*path);
    fields.field("content-type", "application/json");
    let head_len = u32::try_from(fields.finish().with_context(shown)?).with_context(shown)?;
    let mut message = BytesMut::new();
    message.put_slice(&Header::new(Kind::Request).to_bytes(head_len));
    message.put_slice(&head);
    message.put_slice(body.map_or("", RawValue::get).as_bytes());
    let envelope = Envelope::decode(message.freeze()).with_context(shown)?;
    let pipe = PipeId { index: 0, generation: 0 };
    Ok((id, Incoming { envelope, received: Instant::now(), deadline: None, pipe }))
}

fn say(out: &blocking::SyncSender<Vec<u8>>, id: u64, response: &bus::Response) {
    let body = (response.status >= 400).then(|| String::from_utf8_lossy(&response.body));
    let mut text = serde_json::to_vec(&Answer { id, status: response.status, body })
        .expect("numbers and strings are always JSON");
    text.push(b'\n');
    // The writer ends early only when the output is closed, which it reports.
    let _ = out.send(text);
}
