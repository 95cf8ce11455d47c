//! The stack: its own binaries with their own defaults, over Unix sockets, statsd on.
//!
//! Owns the command lines, as `infra/stack` has them, on free ports. Invariant: every feature of
//! the default configuration is on; figures go to a statsd port without a listener, so flushing
//! is measured too.

use anyhow::Result;

use crate::peers::ground::Ground;
use crate::peers::running::Running;
use crate::process::{self, Process};

/// The page that web builds for a member.
const MEMBER: &str = "/members/1";

/// terminator -> profile -> embedded store.
pub(crate) async fn one_hop(ground: &Ground) -> Result<Running> {
    serve(ground, &["profile"], "/profiles/1", "").await
}

/// terminator -> web -> profile and feed -> embedded stores: the member's page of the stack that
/// `cargo run` starts.
pub(crate) async fn two_hops(ground: &Ground) -> Result<Running> {
    serve(ground, &["profile", "feed"], MEMBER, "\"unread\":").await
}

/// terminator -> web -> profile -> embedded store: the member's page without feed. Each hop asks
/// one service, as with the peers.
pub(crate) async fn two_hops_profile(ground: &Ground) -> Result<Running> {
    serve(ground, &["profile"], MEMBER, "\"profile\":").await
}

/// terminator -> feed -> embedded store: 20 entries of some 200 bytes.
pub(crate) async fn feed_page(ground: &Ground) -> Result<Running> {
    serve(ground, &["feed"], "/feeds/2?limit=20", "\"position\":").await
}

/// terminator -> events -> embedded store.
pub(crate) async fn events(ground: &Ground) -> Result<Running> {
    let terminator = Terminator::new(ground)?;
    let store = ground.store_of("events");
    let mut processes = vec![
        role(ground, "events", &["--bus-dial", &terminator.bus, "--store", &store])?,
        terminator.start(ground, &[])?,
    ];
    process::until_answers(terminator.port, "/events?limit=1", &mut processes).await?;
    Ok(Running { processes, port: terminator.port, path: "/events" })
}

/// Starts the terminator, web and the services with `data`, and waits until an answer at `path`
/// contains `text`.
async fn serve(ground: &Ground, data: &[&str], path: &'static str, text: &str) -> Result<Running> {
    let terminator = Terminator::new(ground)?;
    let web = format!("ipc://{}/web.ipc", ground.scratch.path().display());
    let bus = terminator.bus.as_str();
    let mut processes = Vec::new();
    for name in data {
        let store = ground.store_of(name);
        processes.push(role(ground, name, &["--bus-dial", bus, "--bus-dial", &web, "--store", &store])?);
    }
    processes.push(role(ground, "web", &["--bus-dial", bus, "--upstream-listen", &web])?);
    processes.push(terminator.start(ground, &[])?);
    process::until_answer_has(text, terminator.port, path, &mut processes).await?;
    Ok(Running { processes, port: terminator.port, path })
}

/// Every role of the mixed load, each with a store of its own, as `infra/stack` starts them.
pub(crate) async fn whole(ground: &Ground, connections: u64) -> Result<Running> {
    let terminator = Terminator::new(ground)?;
    let web = format!("ipc://{}/web.ipc", ground.scratch.path().display());
    let bus = terminator.bus.as_str();
    let connections = connections.to_string();
    let flags = [
        "--route-deadline",
        "GET /chats/{id}/updates=31s",
        "--connection-limit",
        &connections,
        "--in-flight-limit",
        &connections,
    ];
    let mut processes = vec![
        terminator.start(ground, &flags)?,
        role(ground, "web", &["--bus-dial", bus, "--upstream-listen", &web])?,
    ];
    for name in ["profile", "feed", "chat"] {
        let store = ground.store_of(name);
        processes.push(role(ground, name, &["--bus-dial", bus, "--bus-dial", &web, "--store", &store])?);
    }
    for path in ["/profiles?limit=1", "/feeds/1", "/chats/1/messages", "/members?limit=1"] {
        process::until_answers(terminator.port, path, &mut processes).await?;
    }
    Ok(Running { processes, port: terminator.port, path: "/" })
}

/// A terminator and `count` services that answer at once, without a store.
pub(crate) async fn services(
    ground: &Ground,
    count: u32,
    flags: &[&str],
    terminator_flags: &[&str],
) -> Result<Running> {
    let terminator = Terminator::new(ground)?;
    let mut processes = vec![terminator.start(ground, terminator_flags)?];
    for instance in 1..=count {
        let instance = instance.to_string();
        let args = ["peer", "bus-service", "--dial", &terminator.bus, "--instance", &instance];
        let args = [&args, flags].concat();
        processes.push(Process::start("service", &ground.own, &args, &ground.logs())?);
    }
    process::until_answers(terminator.port, "/bench/1", &mut processes).await?;
    Ok(Running { processes, port: terminator.port, path: "/bench/1" })
}

/// The addresses of a terminator.
#[derive(Debug)]
struct Terminator {
    pub(crate) port: u16,
    pub(crate) bus: String,
}

impl Terminator {
    pub(crate) fn new(ground: &Ground) -> Result<Self> {
        let bus = format!("ipc://{}/terminator.ipc", ground.scratch.path().display());
        Ok(Self { port: process::free_port()?, bus })
    }

    pub(crate) fn start(&self, ground: &Ground, flags: &[&str]) -> Result<Process> {
        let (http, admin) =
            (format!("127.0.0.1:{}", self.port), format!("127.0.0.1:{}", process::free_port()?));
        let mut args = vec!["--http", &http, "--admin", &admin, "--bus-listen", &self.bus];
        args.extend(flags);
        role(ground, "terminator", &args)
    }
}

fn role(ground: &Ground, name: &str, args: &[&str]) -> Result<Process> {
    let mut args: Vec<String> = args.iter().map(|&arg| arg.to_owned()).collect();
    args.extend(["--statsd".to_owned(), format!("127.0.0.1:{}", process::free_port()?)]);
    if let Some(workers) = ground.workers {
        args.extend(["--workers".to_owned(), workers.to_string()]);
    }
    Process::start(name, ground.binaries.join(name), &args, &ground.logs())
}
