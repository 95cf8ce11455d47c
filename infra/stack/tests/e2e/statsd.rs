//! What the terminator sends to statsd: checked by a UDP socket that reads every packet, and by the
//! npm daemon that parses them.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::time::Duration;

use crate::process::Process;
use crate::terminator::Terminator;
use crate::tools::{program, statsd};
use crate::until::until;

/// Ethernet's MTU less the headers of IPv6, UDP and a tunnel: a larger packet is fragmented and may
/// be lost.
const PACKET_LEN_MAX: usize = 1432;
const REQUESTS: u64 = 40;

#[test]
fn a_udp_socket_gets_the_request_counts_in_small_packets() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    let target = socket.local_addr().unwrap().to_string();
    let terminator = Terminator::start(&["--statsd", &target, "--statsd-interval", "100ms"]);
    for _ in 0..REQUESTS {
        assert_eq!(terminator.get("/nobody").status, 404);
    }
    let (mut counted, mut lines) = (0, Vec::new());
    until("all requests are counted", || {
        let mut packet = [0; 65_536];
        let length =
            socket.recv(&mut packet).map_err(|error| format!("{error}; so far {counted}: {lines:?}"))?;
        assert!(length <= PACKET_LEN_MAX, "a packet of {length} bytes");
        for line in std::str::from_utf8(&packet[..length]).expect("statsd is text").lines() {
            let (name, rest) = line.split_once(':').unwrap_or_else(|| panic!("no statsd line: {line:?}"));
            let (value, kind) = rest.split_once('|').unwrap_or_else(|| panic!("no statsd line: {line:?}"));
            assert!(value.parse::<f64>().is_ok(), "{line:?}");
            if name == "terminator.requests" && kind == "c" {
                counted += value.parse::<u64>().unwrap();
            }
            lines.push(line.to_owned());
        }
        if counted >= REQUESTS { Ok(()) } else { Err(counted.to_string()) }
    });
    assert_eq!(counted, REQUESTS, "each once");
}

/// The npm daemon, and its management port, which lists what it has.
struct Daemon {
    _process: Process,
    data: SocketAddr,
    management: SocketAddr,
    _dir: tempfile::TempDir,
}

impl Daemon {
    /// `None`, after a line that says so, where there is no daemon.
    fn start() -> Option<Self> {
        let (node, script) = (program("node")?, statsd()?);
        let dir = tempfile::tempdir().unwrap();
        let free = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let (data, management) = (free(), free());
        let config = dir.path().join("config.js");
        // It is configured never to flush, so that it keeps all counts.
        let text = format!(
            "{{ address: '127.0.0.1', port: {}, mgmt_address: '127.0.0.1', mgmt_port: {}, flushInterval: 3600000, \
             backends: [], debug: false }}",
            data.port(),
            management.port()
        );
        std::fs::write(&config, text).unwrap();
        let process = Process::start("statsd", Command::new(node).arg(script).arg(&config));
        let daemon = Self { _process: process, data, management, _dir: dir };
        until("the daemon answers", || daemon.list("counters"));
        Some(daemon)
    }

    /// The daemon's `counters` or `gauges`; the answer ends with END.
    fn list(&self, what: &str) -> Result<String, String> {
        let mut stream = TcpStream::connect(self.management).map_err(|error| error.to_string())?;
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        stream.write_all(format!("{what}\n").as_bytes()).map_err(|error| error.to_string())?;
        let (mut answer, mut piece) = (String::new(), [0; 4096]);
        while !answer.contains("END") {
            match stream.read(&mut piece) {
                Ok(1..) if answer.len() > 1 << 20 => panic!("no END in a MiB"),
                Ok(length @ 1..) => answer += &String::from_utf8_lossy(&piece[..length]),
                Ok(0) => return Err(answer),
                Err(error) => return Err(error.to_string()),
            }
        }
        Ok(answer)
    }

    fn wait_for(&self, what: &str, wanted: &str) {
        until(&format!("the daemon has {wanted}"), || {
            let list = self.list(what)?;
            if list.contains(wanted) { Ok(()) } else { Err(list) }
        });
    }
}

#[test]
fn the_npm_daemon_shows_the_request_counts() {
    let Some(daemon) = Daemon::start() else { return };
    let target = daemon.data.to_string();
    let terminator = Terminator::start(&["--statsd", &target, "--statsd-interval", "100ms"]);
    for _ in 0..REQUESTS {
        assert_eq!(terminator.get("/nobody").status, 404);
    }
    daemon.wait_for("counters", &format!("'terminator.requests': {REQUESTS}"));
    daemon.wait_for("counters", &format!("'terminator.rejected.no_route': {REQUESTS}"));
    daemon.wait_for("counters", "'terminator.rejected.deadline': 0");
    let shown = daemon.list("counters").unwrap();
    assert!(shown.contains("'statsd.bad_lines_seen': 0"), "{shown}");
}

#[test]
fn two_instances_on_one_daemon_keep_their_gauges_apart() {
    let Some(daemon) = Daemon::start() else { return };
    let target = daemon.data.to_string();
    let start = |instance: &str, prefix: &str| {
        let who = ["--instance", instance, "--statsd-prefix", prefix];
        Terminator::start(&[&["--statsd", &target, "--statsd-interval", "100ms"], &who[..]].concat())
    };
    let (one, _two) = (start("one", "{service}.{instance}"), start("two", "{service}.{instance}"));
    let _open = TcpStream::connect(one.http).unwrap();
    daemon.wait_for("gauges", "'terminator.one.connections_open': 1");
    daemon.wait_for("gauges", "'terminator.two.connections_open': 0");
    assert_eq!(one.get("/nobody").status, 404);
    daemon.wait_for("counters", "'terminator.one.requests': 1");
    daemon.wait_for("counters", "'terminator.two.requests': 0");
}
