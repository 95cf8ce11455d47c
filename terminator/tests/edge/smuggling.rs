//! Request smuggling: an attacker sends every case of the protocol's table, followed by a further
//! request, through nginx or haproxy to the terminator, while a victim's requests use the same
//! upstream connection.
//!
//! Owns the proxies' configuration and the search for a response that the victim did not ask for. A
//! test whose proxy is not installed is skipped.

#![allow(clippy::print_stdout, reason = "the output says how many cases ran, and which proxy is missing")]

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::PATIENCE;
use crate::client::Client;
use crate::table;
use crate::terminator::Terminator;

/// The request behind every case. If a proxy took it for a part of the case and the terminator for
/// a request, the victim would get its response.
const SMUGGLED: &[u8] = b"GET /echo/smuggled HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";

/// How long the attacker waits for a response when the proxy waits for more bytes.
const ATTACKER_PATIENCE: Duration = Duration::from_millis(300);

/// Longer cases exceed the proxies' own limits.
const LEN_MAX: usize = 8000;

/// A proxy in front of a terminator. Dropping it ends the process.
struct Proxy {
    child: Child,
    address: String,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // The process may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn nginx(dir: &Path, port: &str, upstream: &str) -> Vec<String> {
    let dir = dir.display();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .iter()
        .map(|name| format!("{name}_temp_path {dir}/{name};"))
        .collect();
    let config = format!(
        "daemon off; master_process off; pid {dir}/nginx.pid; error_log {dir}/nginx.log; events {{}}
         http {{ access_log off; {temporary} upstream t {{ server {upstream}; keepalive 1; }}
                server {{ listen 127.0.0.1:{port}; keepalive_requests 100000; proxy_request_buffering off;
                         location / {{ proxy_pass http://t; proxy_http_version 1.1; proxy_set_header Connection \"\"; }} }} }}"
    );
    std::fs::write(format!("{dir}/nginx.conf"), config).unwrap();
    ["-c", &format!("{dir}/nginx.conf"), "-e", &format!("{dir}/nginx.log")].map(str::to_owned).to_vec()
}

fn haproxy(dir: &Path, port: &str, upstream: &str) -> Vec<String> {
    let config = format!(
        "defaults\n mode http\n timeout client 30s\n timeout server 30s\n timeout connect 30s\n http-reuse always\n\
         frontend f\n bind 127.0.0.1:{port}\n default_backend b\nbackend b\n server s {upstream}\n"
    );
    let file = dir.join("haproxy.cfg");
    std::fs::write(&file, config).unwrap();
    ["-db", "-q", "-f", &file.display().to_string()].map(str::to_owned).to_vec()
}

fn program(name: &str) -> Option<PathBuf> {
    let places = ["/usr/sbin", "/usr/bin", "/usr/local/sbin"].map(|place| Path::new(place).join(name));
    places.into_iter().find(|place| place.is_file())
}

fn start(
    program: &Path,
    terminator: &Terminator,
    configure: impl Fn(&Path, &str, &str) -> Vec<String>,
) -> Proxy {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    let args = configure(terminator.dir.path(), &port, &terminator.http[0]);
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let proxy = Proxy { child: command.spawn().unwrap(), address: format!("127.0.0.1:{port}") };
    let begun = Instant::now();
    while TcpStream::connect(&proxy.address).is_err() {
        assert!(begun.elapsed() < PATIENCE, "the proxy does not listen");
        std::thread::yield_now();
    }
    proxy
}

/// Sends a case and the request behind it; returns what the proxy answers.
fn attack(proxy: &Proxy, bytes: &[u8]) -> Vec<u8> {
    let mut socket = TcpStream::connect(&proxy.address).unwrap();
    socket.set_read_timeout(Some(ATTACKER_PATIENCE)).unwrap();
    let mut out = Vec::new();
    // The proxy may close the connection before all is sent.
    let _ = socket.write_all(&[bytes, SMUGGLED].concat());
    let mut part = [0; 4096];
    loop {
        match socket.read(&mut part) {
            Ok(0) => return out,
            Ok(len) => out.extend_from_slice(&part[..len]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return out,
        }
    }
}

/// Runs every case; describes each response to the victim that belongs to another request.
fn foreign_responses(proxy: &Proxy) -> Vec<String> {
    let mut foreign = Vec::new();
    let (mut victim, mut number, mut own, mut failed) = (Client::connect(&proxy.address), 0, 0, 0);
    let cases: Vec<_> = table::cases().into_iter().filter(|case| case.bytes.len() <= LEN_MAX).collect();
    for case in &cases {
        // One request of the victim before the attack, so that there is an upstream connection to
        // poison, and two after it, to receive a smuggled response.
        for turn in 0..3 {
            if turn == 1 {
                attack(proxy, &case.bytes);
            }
            number += 1;
            let path = format!("/echo/victim-{number}");
            let answer = victim.get(&path);
            match answer.status {
                200 if answer.text() == path => own += 1,
                // The proxy answers so when the terminator has closed the upstream connection.
                502 | 504 => failed += 1,
                _ => foreign.push(format!("{}: {path} got {answer:?}", case.name)),
            }
            if answer.status != 200 || answer.header("connection") == Some("close") {
                victim = Client::connect(&proxy.address);
            }
        }
    }
    println!(
        "{} cases: {own} own responses, {failed} failures of the proxy, {} foreign",
        cases.len(),
        foreign.len()
    );
    assert!(failed < own / 20, "{failed} failures of the proxy beside {own} own responses prove nothing");
    foreign
}

fn no_foreign_response(name: &str, configure: impl Fn(&Path, &str, &str) -> Vec<String>) {
    struct Echo;
    impl bus::Serve for Echo {
        fn serve(&self, request: bus::Incoming) -> bus::Serving {
            bus::Serving::Now(bus::Response::new(200).body(request.path().to_owned()))
        }
    }
    let Some(program) = program(name) else {
        println!("SKIPPED: {name} is not installed (.ci/tools): smuggling through it is not tested");
        return;
    };
    let terminator = Terminator::start(&[]);
    let mut hello = bus::Hello::new("echo", "1", "one");
    hello.routes = ["GET /", "POST /", "GET /echo/{*rest}"].map(|route| route.parse().unwrap()).to_vec();
    let dial = vec![format!("ipc://{}", terminator.bus().display()).parse().unwrap()];
    let config = bus::Config { dial, hello: Some(hello), ..bus::Config::default() };
    let _workers =
        role::worker::start("echo", role::Scheduling::Inherit, bus::bind(&config, 1).unwrap(), |_, bus| {
            bus.serve(Rc::new(Echo));
            Ok(())
        })
        .unwrap();
    terminator.until("/routes", |routes| routes[0]["instances"] == 1);
    let proxy = start(&program, &terminator, configure);
    let foreign = foreign_responses(&proxy);
    assert!(foreign.is_empty(), "{} foreign responses:\n{foreign:#?}", foreign.len());
}

#[test]
fn nothing_is_smuggled_through_nginx() {
    no_foreign_response("nginx", nginx);
}

#[test]
fn nothing_is_smuggled_through_haproxy() {
    no_foreign_response("haproxy", haproxy);
}
