//! What goes over the wire, seen by a plain UDP socket.

use std::net::UdpSocket;
use std::time::Duration;

use role::telemetry::{Latency, PACKET_BYTES_MAX, Snapshot, Statsd};

/// Long enough for loopback on a loaded machine; only a failing test waits for it.
const DEADLINE: Duration = Duration::from_secs(10);

struct Daemon {
    socket: UdpSocket,
}

impl Daemon {
    fn new() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("binds");
        socket.set_read_timeout(Some(DEADLINE)).expect("sets");
        Self { socket }
    }

    fn client(&self, dogstatsd: bool) -> Statsd {
        let target = self.socket.local_addr().expect("is bound").to_string();
        Statsd::new(&target, "role", dogstatsd).expect("resolves")
    }

    fn packet(&self) -> String {
        let mut packet = vec![0; 65_536];
        let len = self.socket.recv(&mut packet).expect("a packet in time");
        String::from_utf8(packet[..len].to_vec()).expect("is text")
    }

    /// The lines up to and with the one that starts with `last`.
    fn lines_until(&self, last: &str) -> Vec<String> {
        let mut lines = Vec::new();
        while !lines.iter().any(|line: &String| line.starts_with(last)) {
            lines.extend(self.packet().lines().map(str::to_owned));
        }
        lines
    }
}

fn latency(route: Option<&str>) -> (&'static str, Option<(&'static str, String)>, Latency) {
    let mut latency = Latency::new();
    latency.record(Duration::from_millis(2));
    latency.record(Duration::from_millis(40));
    ("latency", route.map(|route| ("route", route.to_owned())), latency)
}

#[test]
fn counters_are_sent_as_differences_and_only_when_they_moved() {
    let daemon = Daemon::new();
    let mut statsd = daemon.client(false);
    let counters = |requests, errors| Snapshot {
        counters: vec![("requests", requests), ("errors", errors)],
        ..Snapshot::default()
    };
    statsd.flush(&counters(5, 0));
    assert_eq!(daemon.packet(), "role.requests:5|c\n");
    statsd.flush(&counters(5, 0)); // nothing moved: no packet at all
    statsd.flush(&counters(12, 1));
    assert_eq!(daemon.packet(), "role.requests:7|c\nrole.errors:1|c\n");
    statsd.flush(&counters(2, 1)); // a worker that started anew
    assert_eq!(daemon.packet(), "role.requests:2|c\n");
}

#[test]
fn latencies_become_gauges_and_counts_that_may_be_added() {
    let daemon = Daemon::new();
    let snapshot = Snapshot { latencies: vec![latency(Some("GET /members/{id}"))], ..Snapshot::default() };
    daemon.client(false).flush(&snapshot);
    let lines = daemon.lines_until("role.latency.GET_members_id.count");
    assert_eq!(
        lines[2..],
        [
            "role.latency.GET_members_id.max:40|g",
            "role.latency.GET_members_id.under_25ms:1|c",
            "role.latency.GET_members_id.count:2|c"
        ]
    );
    let p50: f64 = lines[0]
        .strip_prefix("role.latency.GET_members_id.p50:")
        .and_then(|rest| rest.strip_suffix("|g"))
        .expect("p50 first")
        .parse()
        .expect("a number");
    assert!((2.0..2.03).contains(&p50), "milliseconds: {p50}");
}

#[test]
fn dogstatsd_writes_tags_behind_the_value() {
    let daemon = Daemon::new();
    let snapshot = Snapshot { latencies: vec![latency(Some("GET /a:b|c@d#e\nf"))], ..Snapshot::default() };
    daemon.client(true).flush(&snapshot);
    let lines = daemon.lines_until("role.latency.count");
    assert_eq!(lines.last().map(String::as_str), Some("role.latency.count:2|c|#route:GET_/a_b_c_d_e_f"));
    assert_eq!(lines.len(), 5, "the newline in the tag made no line: {lines:?}");
}

#[test]
fn empty_latency_and_meaningless_gauge_send_nothing() {
    let daemon = Daemon::new();
    let mut statsd = daemon.client(false);
    statsd.flush(&Snapshot {
        gauges: vec![("bad", f64::NAN), ("worse", f64::INFINITY)],
        latencies: vec![("latency", None, Latency::new())],
        ..Snapshot::default()
    });
    statsd.flush(&Snapshot { gauges: vec![("queue", 1.5), ("below", -2.0)], ..Snapshot::default() });
    assert_eq!(daemon.packet(), "role.queue:1.5|g\nrole.below:0|g\nrole.below:-2|g\n");
}

#[test]
fn no_packet_is_over_the_limit() {
    let daemon = Daemon::new();
    let routes: Vec<String> = (0..60).map(|n| format!("GET /{}/{n:03}", "ü".repeat(n * 5))).collect();
    let mut latencies: Vec<_> = routes.iter().map(|route| latency(Some(route))).collect();
    latencies.push(("last", None, latencies[0].2.clone()));
    daemon.client(true).flush(&Snapshot { latencies, ..Snapshot::default() });
    let (mut packets, mut lines) = (0, Vec::new());
    while !lines.iter().any(|line: &String| line.starts_with("role.last.count")) {
        let packet = daemon.packet();
        assert!(packet.len() <= PACKET_BYTES_MAX, "{} bytes", packet.len());
        assert!(packet.ends_with('\n'), "a line was cut: {packet:?}");
        packets += 1;
        lines.extend(packet.lines().map(str::to_owned));
    }
    assert_eq!(lines.len(), 61 * 5);
    assert!(packets > 1 && packets < lines.len(), "several lines a packet: {packets}");
}

#[test]
fn unusable_target_is_named() {
    for target in ["no-port", "127.0.0.1:99999", "127.0.0.1"] {
        let error = Statsd::new(target, "role", false).expect_err("is unusable");
        assert!(error.contains(target) && error.contains("HOST:PORT"), "{error}");
    }
}

/// A daemon that is not there yet is no reason not to serve.
#[test]
fn a_name_without_an_address_is_no_error() {
    let mut statsd = Statsd::new("nobody.invalid:8125", "role", false).expect("it is asked for again");
    statsd.flush(&Snapshot { counters: vec![("requests", 3)], ..Snapshot::default() });
}

#[test]
fn refused_packets_are_counted_and_nothing_fails() {
    // The system refuses to send to port 0.
    let mut statsd = Statsd::new("127.0.0.1:0", "role", false).expect("resolves");
    let counters = vec![("requests", 3)];
    statsd.flush(&Snapshot { counters, ..Snapshot::default() });
    assert_eq!(statsd.packets_dropped(), 1);
    let error = Statsd::new("127.0.0.1:8125", &"x".repeat(201), false).expect_err("is too long");
    assert!(error.contains("200"), "{error}");
}
