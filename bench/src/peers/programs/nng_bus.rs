//! HTTP over nng's BUS, with the crate `nng`: each message begins with eight bytes that match a
//! reply to its request.
//!
//! Owns a gateway and a service. Both use nng's asynchronous I/O, whose callbacks run on nng's own
//! threads. nng drops messages that do not fit its queues, so a request may stay without a reply;
//! the gateway gives up after a second.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Result, anyhow};
use bytes::Bytes;
use nng::options::{Options as _, RecvBufferSize, SendBufferSize};
use nng::{Aio, AioResult, Message, Protocol, Socket};
use tokio::sync::oneshot;

use super::gateway::{self, REPLY};

/// The longest queue that nng allows.
pub(crate) const QUEUE: i32 = 8192;
const DEADLINE: Duration = Duration::from_secs(1);
const ID_LEN: usize = 8;

type Waiting = Arc<Mutex<HashMap<[u8; ID_LEN], oneshot::Sender<Bytes>>>>;

/// Sends every HTTP request to the bus.
pub(crate) async fn gateway(listen: SocketAddr, bus: &str) -> Result<()> {
    let waiting = Waiting::default();
    let socket = open()?;
    let _receive = receive(&socket, {
        let waiting = Arc::clone(&waiting);
        move |message| {
            let Some((id, body)) = message.split_first_chunk::<ID_LEN>() else { return };
            let waits = lock(&waiting).remove(id);
            if let Some(waits) = waits {
                let _ = waits.send(Bytes::copy_from_slice(body));
            }
        }
    })?;
    socket.listen(bus)?;
    let next = Rc::new(std::cell::Cell::new(0_u64));
    gateway::serve(listen, move |path| {
        next.set(next.get() + 1);
        let id = next.get().to_be_bytes();
        let (answer, answered) = oneshot::channel();
        lock(&waiting).insert(id, answer);
        let sent = socket.send(Message::from(&[&id[..], &path].concat()[..])).is_ok();
        let waiting = Arc::clone(&waiting);
        async move {
            let body = if sent { tokio::time::timeout(DEADLINE, answered).await.ok() } else { None };
            if body.is_none() {
                lock(&waiting).remove(&id);
            }
            body.and_then(Result::ok)
        }
    })
    .await
}

/// Answers the bus at `dial`, with the reply of `next` when it is given.
pub(crate) async fn service(dial: &str, next: Option<&str>) -> Result<()> {
    let upstream = open()?;
    let mut receivers = Vec::new();
    if let Some(next) = next {
        // Ids of outstanding requests: a number of our own replaces the asker's id on the next bus.
        let waiting: Arc<Mutex<HashMap<[u8; ID_LEN], [u8; ID_LEN]>>> = Arc::default();
        let downstream = open()?;
        let (back, asked) = (upstream.clone(), Arc::clone(&waiting));
        receivers.push(receive(&downstream, move |message| {
            let Some((id, body)) = message.split_first_chunk::<ID_LEN>() else { return };
            let asker = lock(&asked).remove(id);
            if let Some(asker) = asker {
                let _ = back.send(Message::from(&[&asker[..], body].concat()[..]));
            }
        })?);
        downstream.listen(next)?;
        let number = AtomicU64::new(0);
        receivers.push(receive(&upstream, move |message| {
            let Some((id, body)) = message.split_first_chunk::<ID_LEN>() else { return };
            let own = number.fetch_add(1, Ordering::Relaxed).to_be_bytes();
            lock(&waiting).insert(own, *id);
            let _ = downstream.send(Message::from(&[&own[..], body].concat()[..]));
        })?);
    } else {
        let back = upstream.clone();
        receivers.push(receive(&upstream, move |message| {
            let Some(id) = message.first_chunk::<ID_LEN>() else { return };
            let _ = back.send(Message::from(&[&id[..], &REPLY].concat()[..]));
        })?);
    }
    upstream.dial_async(dial)?;
    std::future::pending::<()>().await;
    Ok(())
}

pub(crate) fn open() -> Result<Socket> {
    let socket = Socket::new(Protocol::Bus0)?;
    // NNG before 1.6 fixes the BUS send queue at 16 and refuses the option; it is measured with
    // that queue.
    let _ = socket.set_opt::<SendBufferSize>(QUEUE);
    let _ = socket.set_opt::<RecvBufferSize>(QUEUE);
    Ok(socket)
}

/// Calls `handle` for every message. Several receives are outstanding, so that nng's threads do not
/// wait for each other.
fn receive(socket: &Socket, handle: impl Fn(&[u8]) + Send + Sync + 'static) -> Result<Vec<Aio>> {
    let handle = Arc::new(handle);
    let mut receives = Vec::new();
    for _ in 0..4 {
        let (socket_of, handle) = (socket.clone(), Arc::clone(&handle));
        let aio = Aio::new(move |aio, result| {
            if let AioResult::Recv(Ok(message)) = result {
                handle(&message);
                let _ = socket_of.recv_async(&aio);
            }
        })?;
        socket.recv_async(&aio).map_err(|error| anyhow!("nng: {error}"))?;
        receives.push(aio);
    }
    Ok(receives)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
