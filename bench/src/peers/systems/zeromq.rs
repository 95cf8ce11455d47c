//! Mongrel2 and Pushpin, each with the smallest ZeroMQ handler in C (`bench/peers`).

use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use tokio::process::Command;

use crate::peers::ground::Ground;
use crate::peers::running::Running;
use crate::process::{self, Process};

const MONGREL2_HANDLER: &str = include_str!("../../../peers/mongrel2_handler.c");
const PUSHPIN_HANDLER: &str = include_str!("../../../peers/pushpin_handler.c");

pub(crate) async fn mongrel2(ground: &Ground) -> Result<Running> {
    let handler = ground.handler("mongrel2_handler", MONGREL2_HANDLER).await?;
    let port = process::free_port()?;
    // mongrel2 keeps paths relative to its own directory.
    let directory = ground.scratch.path().join(format!("mongrel2-{port}"));
    for sub in ["run", "logs", "tmp"] {
        std::fs::create_dir_all(directory.join(sub))?;
    }
    // TCP, because mongrel2 started by root changes its root directory, where a Unix socket's path
    // names another file.
    let (requests, replies) = (
        format!("tcp://127.0.0.1:{}", process::free_port()?),
        format!("tcp://127.0.0.1:{}", process::free_port()?),
    );
    let text = format!(
        "bench_handler = Handler(send_spec='{requests}', send_ident='bench', recv_spec='{replies}', recv_ident='')
bench_host = Host(name='127.0.0.1', routes={{'/': bench_handler}})
bench_server = Server(uuid='bench', access_log='/logs/access.log', error_log='/logs/error.log', chroot='{0}',
    default_host='127.0.0.1', name='bench', pid_file='/run/mongrel2.pid', bind_addr='127.0.0.1', port={port},
    hosts=[bench_host])
settings = {{'disable.access_logging': 1, 'server.daemonize': 0, 'superpoll.max_fd': 16384}}
servers = [bench_server]
",
        directory.display()
    );
    let (file, database) = (directory.join("mongrel2.conf"), directory.join("config.sqlite"));
    std::fs::write(&file, text)?;
    let loaded = Command::new("m2sh")
        .args(["load", "-config"])
        .arg(&file)
        .arg("-db")
        .arg(&database)
        .stdin(Stdio::null())
        .current_dir(&directory)
        .output()
        .await
        .context("m2sh reads mongrel2's configuration")?;
    ensure!(loaded.status.success(), "m2sh: {}", String::from_utf8_lossy(&loaded.stderr));
    let database = database.to_string_lossy();
    let mut processes = vec![
        Process::start("mongrel2", "/usr/bin/mongrel2", &[&database, "bench"], &ground.logs())?,
        Process::start("handler", handler, &[&requests, &replies], &ground.logs())?,
    ];
    process::until_answers(port, "/", &mut processes).await?;
    Ok(Running { processes, port, path: "/" })
}

pub(crate) async fn pushpin(ground: &Ground) -> Result<Running> {
    let handler = ground.handler("pushpin_handler", PUSHPIN_HANDLER).await?;
    let port = process::free_port()?;
    let directory = ground.scratch.path().join(format!("pushpin-{port}"));
    std::fs::create_dir_all(&directory)?;
    let requests = format!("ipc://{}/requests", directory.display());
    let [push, publish, http, command] =
        [process::free_port()?, process::free_port()?, process::free_port()?, process::free_port()?];
    let text = format!(
        "[global]
include={{libdir}}/internal.conf
rundir={0}
ipc_prefix=p-
[runner]
services=condure,pushpin-proxy,pushpin-handler
http_port=127.0.0.1:{port}
logdir={0}
log_level=1
client_buffer_size=8192
client_maxconn=20000
[proxy]
routesfile=routes
[handler]
push_in_spec=tcp://127.0.0.1:{push}
push_in_sub_specs=tcp://127.0.0.1:{publish}
push_in_http_addr=127.0.0.1
push_in_http_port={http}
command_spec=tcp://127.0.0.1:{command}
",
        directory.display()
    );
    let file = directory.join("pushpin.conf");
    std::fs::write(&file, text)?;
    std::fs::write(directory.join("routes"), format!("* zhttpreq/{requests}\n"))?;
    let mut processes = vec![
        Process::start("handler", handler, &[&requests], &ground.logs())?,
        Process::start(
            "pushpin",
            "/usr/bin/pushpin",
            &[format!("--config={}", file.display())],
            &ground.logs(),
        )?,
    ];
    process::until_answers(port, "/", &mut processes).await?;
    Ok(Running { processes, port, path: "/" })
}
