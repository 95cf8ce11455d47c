//! What statsd packets contain, seen by a plain UDP socket.

use std::net::UdpSocket;
use std::time::Duration;

use role::identity::Identity;
use role::metrics::{Latency, METRICS, Metric, Sample, Value};
use role::telemetry::{PACKET_BYTES_MAX, Statsd};

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

    fn client(&self, prefix: &str, dogstatsd: bool) -> Statsd {
        let target = self.socket.local_addr().expect("is bound").to_string();
        Statsd::new(&target, prefix, dogstatsd, &identity("a-1")).expect("resolves")
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

fn identity(instance: &str) -> Identity {
    Identity { host: "h.example".to_owned(), ..Identity::new("role", "1", Some(instance.to_owned())) }
}

fn metric(name: &str) -> Metric {
    *METRICS.iter().find(|metric| metric.name == name).expect("is in the table")
}

fn number(name: &str, value: u64) -> Sample {
    Sample { metric: metric(name), value: Value::Number(value) }
}

fn latency() -> Latency {
    let mut latency = Latency::new();
    latency.record(Duration::from_millis(2));
    latency.record(Duration::from_millis(40));
    latency
}

fn route(route: &str) -> Sample {
    let value = Value::Latencies(vec![(route.to_owned(), latency())]);
    Sample { metric: metric("route_latency"), value }
}

#[test]
fn counters_are_sent_once_as_0_and_then_as_differences_when_they_moved() {
    let daemon = Daemon::new();
    let mut statsd = daemon.client("role", false);
    let counters = |requests, cancelled| [number("requests", requests), number("cancelled", cancelled)];
    statsd.flush(&counters(5, 0));
    assert_eq!(daemon.packet(), "role.requests:5|c\nrole.cancelled:0|c\n");
    statsd.flush(&counters(5, 0)); // Nothing moved: no packet at all.
    statsd.flush(&counters(12, 1));
    assert_eq!(daemon.packet(), "role.requests:7|c\nrole.cancelled:1|c\n");
    statsd.flush(&counters(2, 1)); // A worker that started anew.
    assert_eq!(daemon.packet(), "role.requests:2|c\n");
}

#[test]
fn labels_are_levels_of_the_name() {
    let daemon = Daemon::new();
    let value = Value::Numbers(vec![("2xx".to_owned(), 3), ("5xx".to_owned(), 0)]);
    daemon.client("role", false).flush(&[Sample { metric: metric("responses"), value }]);
    assert_eq!(daemon.packet(), "role.responses.2xx:3|c\nrole.responses.5xx:0|c\n");
}

#[test]
fn latencies_become_gauges_and_counts_that_may_be_added() {
    let daemon = Daemon::new();
    daemon.client("role", false).flush(&[route("GET /members/{id}")]);
    let lines = daemon.lines_until("role.route_latency.GET_members_id.count");
    assert_eq!(
        lines[2..],
        [
            "role.route_latency.GET_members_id.max:40|g",
            "role.route_latency.GET_members_id.under_25ms:1|c",
            "role.route_latency.GET_members_id.count:2|c"
        ]
    );
    let p50: f64 = lines[0]
        .strip_prefix("role.route_latency.GET_members_id.p50:")
        .and_then(|rest| rest.strip_suffix("|g"))
        .expect("p50 first")
        .parse()
        .expect("a number");
    assert!((2.0..2.03).contains(&p50), "milliseconds: {p50}");
}

#[test]
fn a_latency_without_samples_is_sent_the_first_time_only() {
    let daemon = Daemon::new();
    let mut statsd = daemon.client("role", false);
    let empty = || Sample { metric: metric("latency"), value: Value::Latency(Box::default()) };
    statsd.flush(&[empty()]);
    let lines = daemon.lines_until("role.latency.count");
    assert_eq!((lines.len(), lines[0].as_str()), (5, "role.latency.p50:0|g"), "{lines:?}");
    statsd.flush(&[empty()]);
    statsd.flush(&[number("requests", 1)]);
    assert_eq!(daemon.packet(), "role.requests:1|c\n", "nothing was sent between");
}

#[test]
fn dogstatsd_has_labels_and_the_identity_as_tags() {
    let daemon = Daemon::new();
    daemon.client("role", true).flush(&[number("in_flight", 2), route("GET /a:b|c@d#e\nf")]);
    let lines = daemon.lines_until("role.route_latency.count");
    let identity = "service:role,instance:a-1,host:h.example";
    assert_eq!(lines[0], format!("role.in_flight:2|g|#{identity}"));
    assert_eq!(lines[5], format!("role.route_latency.count:2|c|#{identity},route:GET_/a_b_c_d_e_f"));
    assert_eq!(lines.len(), 6, "the newline in the tag made no line: {lines:?}");
}

#[test]
fn the_prefix_has_the_parts_of_the_identity() {
    let daemon = Daemon::new();
    daemon.client("{host}.{service}.{instance}", false).flush(&[number("in_flight", 2)]);
    assert_eq!(daemon.packet(), "h_example.role.a-1.in_flight:2|g\n");
}

#[test]
fn no_packet_is_over_the_limit() {
    let daemon = Daemon::new();
    let target = daemon.socket.local_addr().expect("is bound").to_string();
    let long = Identity { host: "ü".repeat(300), ..identity(&"x".repeat(1000)) };
    let mut statsd = Statsd::new(&target, &"p".repeat(200), true, &long).expect("resolves");
    // As many as a socket's buffer holds.
    let routes = (0..12).map(|n| (format!("GET /{}/{n:03}", "ü".repeat(n * 25)), latency())).collect();
    let last = Sample { metric: metric("latency"), value: Value::Latency(Box::new(latency())) };
    statsd.flush(&[Sample { metric: metric("route_latency"), value: Value::Latencies(routes) }, last]);
    let (mut packets, mut lines) = (0, Vec::new());
    while !lines.iter().any(|line: &String| line.contains("p.latency.count")) {
        let packet = daemon.packet();
        assert!(packet.len() <= PACKET_BYTES_MAX, "{} bytes", packet.len());
        assert!(packet.ends_with('\n'), "a line was cut: {packet:?}");
        packets += 1;
        lines.extend(packet.lines().map(str::to_owned));
    }
    assert_eq!(lines.len(), 13 * 5);
    assert!(packets > 1 && packets <= lines.len(), "{packets} packets");
}

#[test]
fn unusable_target_and_prefix_are_named() {
    for target in ["no-port", "127.0.0.1:99999", "127.0.0.1"] {
        let error = Statsd::new(target, "role", false, &identity("a")).expect_err("is unusable");
        assert!(error.contains(target) && error.contains("HOST:PORT"), "{error}");
    }
    for (prefix, named) in [("x".repeat(201), "200"), ("{pid}".to_owned(), "{instance}")] {
        let error = Statsd::new("127.0.0.1:8125", &prefix, false, &identity("a")).expect_err("is unusable");
        assert!(error.contains(named) && error.contains(&prefix), "{error}");
    }
}

/// A daemon that is not there yet is no reason not to serve.
#[test]
fn a_name_without_an_address_is_no_error() {
    let mut statsd = Statsd::new("nobody.invalid:8125", "role", false, &identity("a")).expect("starts");
    statsd.flush(&[number("requests", 3)]);
}

#[test]
fn refused_packets_are_counted_and_nothing_fails() {
    // The system refuses to send to port 0.
    let mut statsd = Statsd::new("127.0.0.1:0", "role", false, &identity("a")).expect("resolves");
    statsd.flush(&[number("requests", 3)]);
    assert_eq!(statsd.packets_dropped(), 1);
}
