//! `bench bare`: a bare hyper server on one `current_thread` runtime, the yardstick of every
//! comparison.
//!
//! Owns the minimal HTTP server in Rust. Invariant: it does nothing that hyper does not do by
//! itself.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::rc::Rc;

use anyhow::{Context, Result};
use bytes::Bytes;
use clap::Args;
use http_body_util::{BodyExt, Either, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, LocalOptions};
use tokio::task::spawn_local;

use crate::interrupt;

const EXAMPLES: &str = "\
Examples:
  bench bare --listen 127.0.0.1:9000                        200-byte replies
  bench bare --listen 127.0.0.1:9000 --reply 1048576        1 MiB replies; bodies that are sent are read and dropped
  bench bare --listen 127.0.0.1:9000 --echo                 bodies are sent back as they come
  bench bare --listen 127.0.0.1:9000 --unpaced              connections as the terminator's on a loopback address";

/// The yardstick: a bare hyper server on one thread.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Options {
    /// Listening address; port 0 lets the system choose
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9000")]
    pub listen: SocketAddr,
    /// Bytes of every reply
    #[arg(long, value_name = "BYTES", default_value_t = 200)]
    pub reply: usize,
    /// Send bodies back
    #[arg(long)]
    pub echo: bool,
    /// Use congestion control reno whatever the system's is, as the terminator does on a loopback
    /// address (docs/adr/0022)
    #[arg(long)]
    pub unpaced: bool,
}

/// Serves until Ctrl-C.
///
/// # Errors
/// The address cannot be bound.
pub fn main(options: &Options) -> Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default())?;
    runtime.block_on(async {
        tokio::select! {
            ended = serve(options) => ended,
            () = interrupt::requested() => Ok(()),
        }
    })
}

async fn serve(options: &Options) -> Result<()> {
    let reply = Bytes::from(vec![b'x'; options.reply]);
    let echo = options.echo;
    let handler = Rc::new(move |request| answer(request, reply.clone(), echo));
    accept(listen(options.listen, options.unpaced)?, handler).await
}

async fn answer(
    request: Request<Incoming>,
    reply: Bytes,
    echo: bool,
) -> Result<Response<Either<Full<Bytes>, Incoming>>, Infallible> {
    let is_upload = request.method() == Method::POST || request.method() == Method::PUT;
    if is_upload && echo {
        return Ok(Response::new(Either::Right(request.into_body())));
    }
    if is_upload {
        let mut body = request.into_body();
        while let Some(Ok(_)) = body.frame().await {}
    }
    Ok(Response::new(Either::Left(Full::new(reply))))
}

/// Listens at `address`; accepted connections are `unpaced`, or use the system's congestion
/// control.
pub(crate) fn listen(address: SocketAddr, unpaced: bool) -> Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => tokio::net::TcpSocket::new_v4()?,
        SocketAddr::V6(_) => tokio::net::TcpSocket::new_v6()?,
    };
    socket.set_reuseaddr(true)?;
    if unpaced {
        rustix::net::sockopt::set_tcp_congestion(&socket, "reno")?;
    }
    socket.bind(address).with_context(|| format!("{address}: cannot listen; is the port in use?"))?;
    Ok(socket.listen(4096)?)
}

/// Serves HTTP/1.1 on `listener` with `handler` for every request, on this thread, for ever.
pub(crate) async fn accept<F, Fut, B>(listener: TcpListener, handler: Rc<F>) -> Result<()>
where
    F: Fn(Request<Incoming>) -> Fut + 'static,
    Fut: Future<Output = Result<Response<B>, Infallible>> + 'static,
    B: hyper::body::Body + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    loop {
        // Out of file descriptors, or a client that left: other connections continue.
        let Ok((stream, _)) = listener.accept().await else {
            tokio::task::yield_now().await;
            continue;
        };
        let _ = stream.set_nodelay(true);
        let handler = Rc::clone(&handler);
        spawn_local(async move {
            let service = service_fn(move |request| handler(request));
            let _ = http1::Builder::new()
                .timer(TokioTimer::new())
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}
