//! What the terminator sends to statsd: checked by a UDP socket that reads every packet, and by the
//! npm daemon that parses them.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
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

#[test]
fn the_npm_daemon_shows_the_request_counts() {
    let (Some(node), Some(script)) = (program("node"), statsd()) else { return };
    let dir = tempfile::tempdir().unwrap();
    let free = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (data, ask) = (free(), free());
    let config = dir.path().join("config.js");
    let text = format!(
        "{{ address: '127.0.0.1', port: {}, mgmt_address: '127.0.0.1', mgmt_port: {}, flushInterval: 3600000, \
         backends: [], debug: false }}",
        data.port(),
        ask.port()
    );
    std::fs::write(&config, text).unwrap();
    let _daemon = Process::start("statsd", Command::new(node).arg(script).arg(&config));
    // The answer to `counters` ends with END and has the counts since the last flush; the daemon is
    // configured never to flush.
    let counters = || -> Result<String, String> {
        let mut stream = TcpStream::connect(ask).map_err(|error| error.to_string())?;
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        stream.write_all(b"counters\n").map_err(|error| error.to_string())?;
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
    };
    until("the daemon answers", counters);

    let target = data.to_string();
    let terminator = Terminator::start(&["--statsd", &target, "--statsd-interval", "100ms"]);
    for _ in 0..REQUESTS {
        assert_eq!(terminator.get("/nobody").status, 404);
    }
    until("the daemon shows the requests", || {
        let shown = counters()?;
        match shown.contains(&format!("'terminator.requests': {REQUESTS}")) {
            true => Ok(()),
            false => Err(shown),
        }
    });
    let shown = counters().unwrap();
    assert!(shown.contains("'statsd.bad_lines_seen': 0"), "{shown}");
}
