//! HTTP over other messaging systems, with gateways and services in Rust
//! ([`crate::peers::programs`]).

use anyhow::Result;

use crate::peers::ground::Ground;
use crate::peers::running::Running;
use crate::process::{self, Process};

/// HTTP -> NATS -> responder, or a second responder behind the first.
pub(crate) async fn nats(ground: &Ground, hops: u32) -> Result<Running> {
    let (port, server_port) = (process::free_port()?, process::free_port()?);
    let (listen, server) = (format!("127.0.0.1:{port}"), format!("127.0.0.1:{server_port}"));
    let found = process::find("nats-server").unwrap_or_else(|| "nats-server".into());
    let args = ["--addr", "127.0.0.1", "--port", &server_port.to_string()];
    let peer = |name: &str, args: &[&str]| {
        let args = [&["peer"], args, &["--server", &server]].concat();
        Process::start(name, &ground.own, &args, &ground.logs())
    };
    let mut processes = vec![Process::start("nats-server", found, &args, &ground.logs())?];
    if hops == 2 {
        processes.push(peer("second", &["nats-responder", "--subject", "second"])?);
        processes.push(peer("first", &["nats-responder", "--subject", "first", "--next", "second"])?);
    } else {
        processes.push(peer("first", &["nats-responder", "--subject", "first"])?);
    }
    processes.push(peer("gateway", &["nats-gateway", "--listen", &listen])?);
    process::until_answers(port, "/", &mut processes).await?;
    Ok(Running { processes, port, path: "/" })
}

/// HTTP -> nng BUS -> service, or a second service behind the first, over Unix sockets.
pub(crate) async fn nng(ground: &Ground, hops: u32) -> Result<Running> {
    let port = process::free_port()?;
    let listen = format!("127.0.0.1:{port}");
    let url = |name: &str| format!("ipc://{}/nng-{name}-{port}.ipc", ground.scratch.path().display());
    let (front, back) = (url("front"), url("back"));
    let peer = |name: &str, args: &[&str]| {
        Process::start(name, ground.nng_peer(), &[&["peer"], args].concat(), &ground.logs())
    };
    let mut processes = vec![peer("gateway", &["nng-gateway", "--listen", &listen, "--bus", &front])?];
    if hops == 2 {
        processes.push(peer("first", &["nng-service", "--dial", &front, "--next", &back])?);
        processes.push(peer("second", &["nng-service", "--dial", &back])?);
    } else {
        processes.push(peer("first", &["nng-service", "--dial", &front])?);
    }
    process::until_answers(port, "/", &mut processes).await?;
    Ok(Running { processes, port, path: "/" })
}
