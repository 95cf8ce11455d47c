//! Bare hyper, and HTTP proxies in front of it.

use anyhow::Result;

use crate::peers::ground::Ground;
use crate::peers::running::Running;
use crate::process::{self, Process};

/// The yardstick, with additional flags of `bench bare`.
pub(crate) async fn bare(ground: &Ground, flags: &[&str]) -> Result<Running> {
    let port = process::free_port()?;
    let address = format!("127.0.0.1:{port}");
    let args = [&["bare", "--listen", &address], flags].concat();
    let mut processes = vec![Process::start("hyper", &ground.own, &args, &ground.logs())?];
    process::until_answers(port, "/", &mut processes).await?;
    Ok(Running { processes, port, path: "/" })
}

pub(crate) async fn nginx(ground: &Ground) -> Result<Running> {
    let bare = bare(ground, &[]).await?;
    let port = process::free_port()?;
    let directory = ground.scratch.path().display();
    // One process, like every system, and keep-alive to the server; otherwise each request would
    // open a connection.
    let text = format!(
        "daemon off; master_process off; pid {directory}/nginx.pid; error_log stderr warn;
events {{ worker_connections 16384; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
    client_body_temp_path {directory}/b; proxy_temp_path {directory}/p; fastcgi_temp_path {directory}/f;
    uwsgi_temp_path {directory}/u; scgi_temp_path {directory}/s;
    upstream behind {{ server 127.0.0.1:{}; keepalive 4096; keepalive_requests 1000000000; }}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location / {{ proxy_pass http://behind; proxy_http_version 1.1; proxy_set_header Connection \"\"; }}
    }}
}}
",
        bare.port
    );
    let file = ground.scratch.path().join("nginx.conf");
    std::fs::write(&file, text)?;
    front(ground, bare, "nginx", &["-c", &file.to_string_lossy()], port).await
}

pub(crate) async fn haproxy(ground: &Ground) -> Result<Running> {
    let bare = bare(ground, &[]).await?;
    let port = process::free_port()?;
    let text = format!(
        "global
    nbthread 1
    maxconn 9000
defaults
    mode http
    timeout connect 5s
    timeout client 75s
    timeout server 75s
    option http-keep-alive
    http-reuse always
frontend front
    bind 127.0.0.1:{port} backlog 4096
    default_backend behind
backend behind
    server hyper 127.0.0.1:{}
",
        bare.port
    );
    let file = ground.scratch.path().join("haproxy.cfg");
    std::fs::write(&file, text)?;
    front(ground, bare, "haproxy", &["-db", "-f", &file.to_string_lossy()], port).await
}

/// Starts a proxy in front of `behind`.
async fn front(ground: &Ground, behind: Running, program: &str, args: &[&str], port: u16) -> Result<Running> {
    let found = process::find(program).unwrap_or_else(|| program.into());
    let mut processes = behind.processes;
    processes.push(Process::start(program, found, args, &ground.logs())?);
    process::until_answers(port, "/", &mut processes).await?;
    Ok(Running { processes, port, path: "/" })
}
