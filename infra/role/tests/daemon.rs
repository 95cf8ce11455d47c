//! A real statsd daemon (npm `statsd`) receives what a role sends.
#![expect(clippy::print_stdout, reason = "a skipped test says so where CI counts it")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use role::identity::Identity;
use role::metrics::{Latency, METRICS, Metric, Sample, Value};
use role::telemetry::Statsd;

/// Only a failing test waits for it.
const DEADLINE: Duration = Duration::from_secs(20);

fn metric(name: &str) -> Metric {
    *METRICS.iter().find(|metric| metric.name == name).expect("is in the table")
}

fn number(name: &str, value: u64) -> Sample {
    Sample { metric: metric(name), value: Value::Number(value) }
}

fn identity(instance: &str) -> Identity {
    Identity::new("terminator", "1", Some(instance.to_owned()))
}

#[test]
fn real_daemon_reads_counters_gauges_and_latencies() {
    let Some(daemon) = Daemon::start() else { return };
    let mut statsd = Statsd::new(&daemon.target(), "{service}", false, &identity("a")).expect("resolves");
    let mut latency = Latency::new();
    (1..=100).for_each(|ms| latency.record(Duration::from_millis(ms)));
    let samples = |requests| {
        let routes = Value::Latencies(vec![("GET /members/{id}".to_owned(), latency.clone())]);
        let routes = Sample { metric: metric("route_latency"), value: routes };
        [number("requests", requests), number("cancelled", 0), number("in_flight", 256), routes]
    };
    statsd.flush(&samples(100));
    statsd.flush(&samples(250));

    daemon.wait_for("counters", "'terminator.requests': 250");
    daemon.wait_for("counters", "'terminator.cancelled': 0");
    daemon.wait_for("counters", "'terminator.route_latency.GET_members_id.under_25ms': 48");
    daemon.wait_for("counters", "'terminator.route_latency.GET_members_id.count': 200");
    daemon.wait_for("counters", "'statsd.bad_lines_seen': 0");
    daemon.wait_for("gauges", "'terminator.in_flight': 256");
    daemon.wait_for("gauges", "'terminator.route_latency.GET_members_id.max': 100");
    daemon.wait_for("gauges", "'terminator.route_latency.GET_members_id.p99': 99");
}

#[test]
fn two_instances_on_one_daemon_do_not_overwrite_each_other() {
    let Some(daemon) = Daemon::start() else { return };
    for (instance, in_flight) in [("a", 7), ("b", 9)] {
        let who = identity(instance);
        let mut statsd =
            Statsd::new(&daemon.target(), "{service}.{instance}", false, &who).expect("resolves");
        statsd.flush(&[number("in_flight", in_flight)]);
    }
    daemon.wait_for("gauges", "'terminator.a.in_flight': 7");
    daemon.wait_for("gauges", "'terminator.b.in_flight': 9");
}

/// The daemon in node, with its management port, which lists what the daemon has.
struct Daemon {
    child: Child,
    udp: u16,
    management: u16,
    /// Held open: the daemon dies of a closed one.
    _output: BufReader<ChildStdout>,
    _directory: tempfile::TempDir,
}

impl Daemon {
    /// `None`, after a line that says so, where there is no statsd.
    fn start() -> Option<Self> {
        let script = tools().join("node_modules/statsd/stats.js");
        if !script.exists() || Command::new("node").arg("--version").output().is_err() {
            println!("SKIPPED: statsd is not installed: .ci/test puts it at {}", script.display());
            return None;
        }
        let directory = tempfile::tempdir().expect("a directory");
        let (udp, management) = free_ports();
        let config = directory.path().join("config.js");
        let text = format!(
            "{{ address: '127.0.0.1', port: {udp}, mgmt_address: '127.0.0.1', mgmt_port: {management}, \
             flushInterval: 3600000, backends: ['./backends/console'] }}"
        );
        std::fs::write(&config, text).expect("writes");
        let mut child = Command::new("node")
            .arg(&script)
            .arg(&config)
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("node is there");
        let mut output = BufReader::new(child.stdout.take().expect("is piped"));
        let up = output.by_ref().lines().map_while(Result::ok).any(|line| line.contains("server is up"));
        let daemon = Self { child, udp, management, _output: output, _directory: directory };
        assert!(up, "statsd ended before it was up");
        daemon.wait_until_it_listens();
        Some(daemon)
    }

    fn target(&self) -> String {
        format!("127.0.0.1:{}", self.udp)
    }

    /// It says that it is up before its sockets are bound: sends until something arrives.
    fn wait_until_it_listens(&self) {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("binds");
        let start = Instant::now();
        loop {
            // Refused while nothing is bound.
            let _ = socket.send_to(b"probe:1|c", ("127.0.0.1", self.udp));
            if self.ask("counters").is_ok_and(|held| held.contains("probe")) {
                return;
            }
            assert!(start.elapsed() < DEADLINE, "statsd does not listen");
        }
    }

    /// Asks for the `what` that the daemon holds until `expected` is among it.
    fn wait_for(&self, what: &str, expected: &str) {
        let start = Instant::now();
        loop {
            let held = self.ask(what).expect("answers");
            if held.contains(expected) {
                return;
            }
            assert!(start.elapsed() < DEADLINE, "no {expected} in {held}");
        }
    }

    fn ask(&self, what: &str) -> std::io::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.management))?;
        stream.set_read_timeout(Some(DEADLINE))?;
        stream.write_all(what.as_bytes())?;
        let mut answer = String::new();
        for line in BufReader::new(stream).lines() {
            match line? {
                end if end == "END" => break,
                line => answer.extend([line.as_str(), "\n"]),
            }
        }
        Ok(answer)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where `.ci/test` installs what is not Rust.
fn tools() -> PathBuf {
    let default = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tools");
    std::env::var_os("STACK_TOOLS_DIR").map_or_else(default, PathBuf::from)
}

/// Free a moment ago; statsd cannot be given port 0.
fn free_ports() -> (u16, u16) {
    let udp = UdpSocket::bind("127.0.0.1:0").expect("binds");
    let tcp = TcpListener::bind("127.0.0.1:0").expect("binds");
    (udp.local_addr().expect("is bound").port(), tcp.local_addr().expect("is bound").port())
}
