//! The admin listener: what an operator or an orchestrator asks, on the main thread.
//!
//! Owns: the paths, the answers' form. Does not: change anything; every path is read only.
//! Invariant: it cannot slow a worker but by the few microseconds that a question takes there.

mod report;

use std::cell::Cell;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use role::worker::Workers;
use serde::Serialize;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet};

use crate::limits::{
    ACCEPT_PAUSE, ADMIN_CONNECTIONS, ADMIN_TIMEOUT, HEADER_BYTES_MIN, READY_TIMEOUT, RETRY_AFTER_SECONDS,
};
use crate::rescue::Problem;
use crate::worker::{Picture, Worker};

/// The bound listener.
#[derive(Debug)]
pub struct Admin {
    listener: TcpListener,
    address: SocketAddr,
}

impl Admin {
    /// Binds; inside a runtime.
    ///
    /// # Errors
    /// When the address cannot be bound; the caller names it.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        Self::adopt(std::net::TcpListener::bind(address)?.into())
    }

    /// Listens on a TCP socket that is bound already; inside a runtime.
    ///
    /// # Errors
    /// When the runtime refuses it.
    pub fn adopt(socket: OwnedFd) -> io::Result<Self> {
        let listener = std::net::TcpListener::from(socket);
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        Ok(Self { listener: TcpListener::from_std(listener)?, address })
    }

    /// A duplicate of the socket, for a process that is to listen there next.
    ///
    /// # Errors
    /// When the process may not have more open files.
    pub fn duplicate(&self) -> io::Result<OwnedFd> {
        self.listener.as_fd().try_clone_to_owned()
    }

    /// The address, its port chosen.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Starts answering. `count` workers make it ready.
    #[must_use]
    pub fn serve(self, workers: Rc<Workers<Rc<Worker>>>, count: usize) -> Serving {
        let draining = Rc::new(Cell::new(false));
        let (release, released) = oneshot::channel();
        let desk = Rc::new(Desk { workers, count, draining: Rc::clone(&draining) });
        Serving {
            task: tokio::task::spawn_local(accept(self.listener, desk, released)),
            draining,
            release: Some(release),
        }
    }
}

/// The listener at work.
#[derive(Debug)]
pub struct Serving {
    task: JoinHandle<()>,
    draining: Rc<Cell<bool>>,
    release: Option<oneshot::Sender<()>>,
}

impl Serving {
    /// From now on `/ready` says no.
    pub fn set_draining(&mut self) {
        self.draining.set(true);
    }

    /// Closes the listener; connections that are open are served on.
    pub fn release(&mut self) {
        self.release.take();
    }

    /// Ends it, with every connection.
    pub async fn stop(self) {
        self.task.abort();
        // Cancelled is what was asked for.
        let _ = self.task.await;
    }
}

/// What answers need.
struct Desk {
    workers: Rc<Workers<Rc<Worker>>>,
    count: usize,
    draining: Rc<Cell<bool>>,
}

async fn accept(listener: TcpListener, desk: Rc<Desk>, released: oneshot::Receiver<()>) {
    let mut connections = JoinSet::new();
    tokio::select! {
        () = accept_into(&mut connections, &listener, &desk) => {}
        _ = released => {}
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn accept_into(connections: &mut JoinSet<()>, listener: &TcpListener, desk: &Rc<Desk>) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
        };
        match accepted {
            // Above the limit a connection is closed: an operator who tries again finds a place.
            Ok((stream, _)) if connections.len() < ADMIN_CONNECTIONS => {
                connections.spawn_local(serve(stream, Rc::clone(desk)));
            }
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(%error, "admin: accept failed");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve(stream: TcpStream, desk: Rc<Desk>) {
    let service = service_fn(move |request| {
        let desk = Rc::clone(&desk);
        async move { Ok::<_, Infallible>(desk.answer(&request).await) }
    });
    let mut http = http1::Builder::new();
    http.header_read_timeout(None).max_buf_size(HEADER_BYTES_MIN);
    let connection = http.serve_connection(TokioIo::new(stream), service);
    // A connection that takes longer, or breaks off, is its client's affair.
    let _ = tokio::time::timeout(ADMIN_TIMEOUT, connection).await;
}

const PATHS: [(&str, &str); 5] = [
    ("/live", "200 while the process runs"),
    ("/ready", "200 when every worker serves and no drain has begun, else 503"),
    ("/routes", "routes that services claim"),
    ("/peers", "services that are connected, by worker"),
    ("/stats", "counters since start and latency by route, all workers together and one by one"),
];

impl Desk {
    async fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut response = problem(
                StatusCode::METHOD_NOT_ALLOWED,
                "method",
                "Method not allowed",
                "the admin listener only answers questions",
                "use GET",
            );
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        match request.uri().path() {
            "/" => json(&PATHS.into_iter().collect::<std::collections::BTreeMap<_, _>>()),
            "/live" => json(&serde_json::json!({ "live": true, "version": env!("CARGO_PKG_VERSION") })),
            "/ready" => self.ready().await,
            "/routes" => json(&report::routes(&self.pictures().await)),
            "/peers" => json(&report::peers(&self.pictures().await)),
            "/stats" => json(&report::stats(self.pictures().await)),
            path => problem(
                StatusCode::NOT_FOUND,
                "no_route",
                "No such path",
                &format!("the admin listener has no {path}"),
                "GET / lists what there is",
            ),
        }
    }

    /// Workers are asked rather than trusted: one that hangs or has ended makes the answer no.
    async fn ready(&self) -> Response<Full<Bytes>> {
        let asked = self.workers.ask(|worker| {
            let peers = worker.bus.peers();
            (worker.settling(), worker.missing(), peers.iter().filter(|peer| peer.hello.is_some()).count())
        });
        let unready = |detail: &str, remedy| {
            problem(StatusCode::SERVICE_UNAVAILABLE, "not_ready", "Not ready", detail, remedy)
        };
        let Ok(services) = tokio::time::timeout(READY_TIMEOUT, asked).await else {
            return unready("a worker did not answer within 1 s", "look at its CPU; restart if it stays");
        };
        if self.draining.get() {
            return unready("draining", "send requests to another instance");
        }
        if services.len() < self.count {
            let detail = format!("{} of {} workers run", services.len(), self.count);
            return unready(&detail, "look into the log for the panic; restart");
        }
        if let Some((_, missing, _)) = services.iter().find(|(_, missing, _)| !missing.is_empty()) {
            return unready(
                &format!("{missing} (--expect): not seen yet"),
                "start what is missing, or let it reach this terminator's bus",
            );
        }
        if services.iter().any(|(settling, ..)| *settling) {
            return unready(
                "started a moment ago: services are still dialling",
                "ask again in a second (--settle)",
            );
        }
        let services: usize = services.into_iter().map(|(.., count)| count).max().unwrap_or(0);
        json(&serde_json::json!({
            "ready": true,
            "workers": self.count,
            "services_connected": services,
            "note": if services == 0 { "no service is connected: every request is answered 404 or 503" } else { "" },
        }))
    }

    async fn pictures(&self) -> Vec<Picture> {
        self.workers.ask(|worker| worker.picture()).await
    }
}

fn json(value: &impl Serialize) -> Response<Full<Bytes>> {
    let mut body = serde_json::to_vec(value).expect("reports have string keys and finite numbers");
    body.push(b'\n');
    respond(StatusCode::OK, "application/json", body.into())
}

fn problem(
    status: StatusCode,
    reason: &'static str,
    title: &'static str,
    detail: &str,
    remedy: &'static str,
) -> Response<Full<Bytes>> {
    let detail = detail.to_owned();
    let problem =
        Problem { reason, title, status, detail, limit: None, remedy, request_id: "", instance: "" };
    let mut response = respond(status, "application/problem+json", problem.to_json());
    if status == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER_SECONDS));
    }
    response
}

fn respond(status: StatusCode, content_type: &'static str, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
