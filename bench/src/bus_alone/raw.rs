//! The raw copy loop: what tokio moves with framing alone.
//!
//! Owns a writer that copies each message behind its length into one buffer, and a reader that
//! takes them apart. One way and over sockets only: the upper bound of any bus that frames
//! messages.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use anyhow::{Result, anyhow};
use bytes::{Buf, BufMut, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::runtime::Builder;

use super::pair::{Pair, Pattern, Transport};
use crate::figures::float;
use crate::process::pin;

/// Approximate bytes per write: the kernel splits larger writes on loopback.
const BATCH: usize = 64 << 10;
const READ_LEN: usize = 256 << 10;
const PREFIX_LEN: usize = 8;

/// Messages per second; `None` where the loop does not apply.
pub(super) async fn measure(pair: &Pair) -> Result<Option<f64>> {
    if pair.pattern == Pattern::Ask || pair.transport == Transport::Inproc {
        return Ok(None);
    }
    let count = Arc::new(AtomicU64::new(0));
    let stop = Arc::new(AtomicBool::new(false));
    let (writer, reader) = streams(pair.transport).await?;
    let size = pair.size;
    let writing = side("raw-write", pair.cores[0], writer, {
        let stop = Arc::clone(&stop);
        async move |stream| write(stream, size, &stop).await
    })?;
    let reading = side("raw-read", pair.cores[1], reader, {
        let count = Arc::clone(&count);
        async move |stream| read(stream, &count).await
    })?;
    tokio::time::sleep(pair.time() / 10).await;
    let (start, before) = (Instant::now(), count.load(Ordering::Relaxed));
    tokio::time::sleep(pair.time()).await;
    let arrived = count.load(Ordering::Relaxed) - before;
    let rate = float(arrived) / start.elapsed().as_secs_f64();
    stop.store(true, Ordering::Relaxed);
    for thread in [writing, reading] {
        thread.join().map_err(|_| anyhow!("a thread of the copy loop panicked"))??;
    }
    Ok(Some(rate))
}

enum Stream {
    Tcp(std::net::TcpStream),
    Unix(std::os::unix::net::UnixStream),
}

trait Duplex: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Duplex for T {}

async fn streams(transport: Transport) -> Result<(Stream, Stream)> {
    if transport == Transport::Ipc {
        let (one, other) = UnixStream::pair()?;
        return Ok((Stream::Unix(one.into_std()?), Stream::Unix(other.into_std()?)));
    }
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let one = TcpStream::connect(listener.local_addr()?).await?;
    let (other, _) = listener.accept().await?;
    one.set_nodelay(true)?;
    Ok((Stream::Tcp(one.into_std()?), Stream::Tcp(other.into_std()?)))
}

/// Runs `work` on a thread and runtime of its own.
fn side<F>(
    name: &str,
    core: usize,
    stream: Stream,
    work: F,
) -> io::Result<std::thread::JoinHandle<io::Result<()>>>
where
    F: AsyncFnOnce(&mut dyn Duplex) -> io::Result<()> + Send + 'static,
{
    std::thread::Builder::new().name(name.to_owned()).spawn(move || {
        pin(core)?;
        Builder::new_current_thread().enable_all().build()?.block_on(async {
            match stream {
                Stream::Tcp(stream) => work(&mut TcpStream::from_std(stream)?).await,
                Stream::Unix(stream) => work(&mut UnixStream::from_std(stream)?).await,
            }
        })
    })
}

async fn write(stream: &mut dyn Duplex, size: usize, stop: &AtomicBool) -> io::Result<()> {
    let message = vec![b'x'; size];
    let mut buffer = BytesMut::with_capacity(BATCH + PREFIX_LEN + size);
    while !stop.load(Ordering::Relaxed) {
        buffer.clear();
        while buffer.len() < BATCH {
            buffer.put_u64(size as u64);
            buffer.put_slice(&message);
        }
        stream.write_all(&buffer).await?;
    }
    Ok(())
}

async fn read(stream: &mut dyn Duplex, count: &AtomicU64) -> io::Result<()> {
    let mut buffer = BytesMut::new();
    loop {
        buffer.reserve(READ_LEN);
        if stream.read_buf(&mut buffer).await? == 0 {
            return Ok(());
        }
        let mut messages = 0;
        while let Some(prefix) = buffer.first_chunk::<PREFIX_LEN>() {
            let len = usize::try_from(u64::from_be_bytes(*prefix)).map_err(io::Error::other)?;
            if buffer.len() < PREFIX_LEN + len {
                break;
            }
            buffer.advance(PREFIX_LEN);
            // Passed on as every bus must: a slice that keeps the buffer alive.
            drop(std::hint::black_box(buffer.split_to(len).freeze()));
            messages += 1;
        }
        count.store(count.load(Ordering::Relaxed) + messages, Ordering::Relaxed);
    }
}
