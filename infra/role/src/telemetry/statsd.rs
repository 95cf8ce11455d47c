//! Sending a snapshot to a statsd daemon.
//!
//! Owns: the socket, the differences of the counters, the tags' form. Does not own: the timer, nor the histograms.
//! Invariant: a flush never blocks and never waits for a name; no packet is larger than [`PACKET_BYTES_MAX`]; a
//! counter's increments are sent once, later rather than never when the socket refuses them.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cadence::{
    BufferedUdpMetricSink, Counted, Gauged, Metric, MetricBuilder, MetricResult, MetricSink, StatsdClient,
};

use super::Latency;
use super::names::{as_level, as_name, as_tag};

/// A packet stays under 1432 bytes: what an Ethernet frame carries with room for IPv6, VLAN and tunnel headers.
pub const PACKET_BYTES_MAX: usize = 1431;

/// With the longest tag and a name it leaves room in a packet.
const PREFIX_BYTES_MAX: usize = 200;

/// How often the daemon's name is looked up again, on cadence's own thread: daemons move.
const RESOLVE_PERIOD: Duration = Duration::from_secs(60);

/// What a role reports at one flush, summed over its workers.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Totals since start; the sender sends the differences.
    pub counters: Vec<(&'static str, u64)>,
    /// Values now.
    pub gauges: Vec<(&'static str, f64)>,
    /// Histograms since the last flush, with an optional (tag, value), e.g. ("route", "GET /members/{id}"). Sent as the
    /// gauges `.p50`, `.p99` and `.max` in milliseconds and the counters `.count` and `.under_25ms`.
    pub latencies: Vec<TaggedLatency>,
}

/// A name, an optional (tag, value), and the samples.
pub type TaggedLatency = (&'static str, Option<(&'static str, String)>, Latency);

/// A statsd daemon's address, the prefix, and how tags are written.
pub struct Statsd {
    client: StatsdClient,
    sink: Arc<BufferedUdpMetricSink>,
    dogstatsd: bool,
    /// The total of each counter up to which it was sent.
    sent: HashMap<&'static str, u64>,
    /// Packets dropped up to the last flush.
    dropped_sent: u64,
}

impl Statsd {
    /// `target` is HOST:PORT; `prefix` e.g. `terminator`; `dogstatsd` writes tags as `|#k:v`, else they become part of the name.
    /// Resolves the name, so it may block: call it before anything is served. A name that has no address now is asked for again every
    /// 60 s; nothing is sent until then.
    ///
    /// # Errors
    /// Names the target that is not HOST:PORT, or the prefix that is longer than 200 bytes.
    pub fn new(target: &str, prefix: &str, dogstatsd: bool) -> Result<Self, String> {
        if prefix.len() > PREFIX_BYTES_MAX {
            return Err(format!(
                "statsd prefix `{prefix}`: {} bytes, the limit is {PREFIX_BYTES_MAX}",
                prefix.len()
            ));
        }
        let unusable = |reason: &dyn std::fmt::Display| format!("statsd `{target}`: {reason}");
        check_target(target).map_err(|error| unusable(&error))?;
        let target_now = Target::resolve(target);
        let socket = target_now.socket().map_err(|error| unusable(&error))?;
        let mut builder = BufferedUdpMetricSink::builder().with_capacity(PACKET_BYTES_MAX);
        if target.parse::<SocketAddr>().is_err() {
            builder = builder.with_resolver_period(RESOLVE_PERIOD);
        }
        let sink = builder.build(target_now, socket).map_err(|error| unusable(&error))?;
        let sink = Arc::new(sink);
        let client = StatsdClient::from_sink(&as_name(prefix), Shared(Arc::clone(&sink)));
        Ok(Self { client, sink, dogstatsd, sent: HashMap::new(), dropped_sent: 0 })
    }

    /// Sends one flush: never blocks, packets under 1432 bytes; what the socket does not take is dropped and counted
    /// (`statsd.packets_dropped`). Counters and histograms without anything new are not formatted, and nothing more
    /// is once the socket refuses; the counters' differences then go with the next flush.
    pub fn flush(&mut self, snapshot: &Snapshot) {
        if let Err(error) = self.send(snapshot).and_then(|()| self.client.flush()) {
            tracing::debug!(%error, "statsd: a flush was cut short");
        }
    }

    /// Packets that the socket did not take, since the start.
    #[must_use]
    pub fn packets_dropped(&self) -> u64 {
        self.sink.stats().packets_dropped
    }

    fn send(&mut self, snapshot: &Snapshot) -> MetricResult<()> {
        let dropped = self.packets_dropped();
        if dropped > self.dropped_sent {
            self.client.count("statsd.packets_dropped", dropped - self.dropped_sent)?;
            self.dropped_sent = dropped;
        }
        for (name, total) in &snapshot.counters {
            let sent = self.sent.entry(name).or_insert(0);
            // A total that fell is that of a worker that started anew.
            let new = total.checked_sub(*sent).unwrap_or(*total);
            if new > 0 {
                self.client.count(&as_name(name), new)?;
            }
            *sent = *total;
        }
        for (name, value) in &snapshot.gauges {
            self.gauge(name, *value)?;
        }
        for (name, tag, latency) in snapshot.latencies.iter().filter(|(_, _, latency)| latency.count() > 0) {
            self.latency(name, tag.as_ref(), latency)?;
        }
        Ok(())
    }

    fn gauge(&self, name: &str, value: f64) -> MetricResult<()> {
        if !value.is_finite() {
            return Ok(());
        }
        let name = as_name(name);
        if value < 0.0 && !self.dogstatsd {
            // Plain statsd reads a sign as a change of the gauge.
            self.client.gauge(&name, 0_u64)?;
        }
        self.client.gauge(&name, value)?;
        Ok(())
    }

    fn latency(
        &self,
        name: &str,
        tag: Option<&(&'static str, String)>,
        latency: &Latency,
    ) -> MetricResult<()> {
        let mut name = as_name(name).into_owned();
        let mut tags = None;
        if let Some((key, value)) = tag {
            if self.dogstatsd {
                tags = Some((*key, as_tag(value)));
            } else {
                name.push('.');
                name.push_str(&as_level(value));
            }
        }
        let tags = tags.as_ref().map(|(key, value)| (*key, value.as_str()));
        for (end, value) in
            [("p50", latency.quantile(0.5)), ("p99", latency.quantile(0.99)), ("max", latency.max())]
        {
            let key = format!("{name}.{end}");
            let ms = value.as_secs_f64() * 1e3;
            tagged(self.client.gauge_with_tags(&key, ms), tags)?;
        }
        for (end, count) in [("under_25ms", latency.under_target()), ("count", latency.count())] {
            let key = format!("{name}.{end}");
            tagged(self.client.count_with_tags(&key, count), tags)?;
        }
        Ok(())
    }
}

impl std::fmt::Debug for Statsd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Statsd")
            .field("sink", &self.sink)
            .field("dogstatsd", &self.dogstatsd)
            .finish_non_exhaustive()
    }
}

fn tagged<'a, T: Metric + From<String>>(
    builder: MetricBuilder<'a, '_, T>,
    tags: Option<(&'a str, &'a str)>,
) -> MetricResult<()> {
    match tags {
        Some((key, value)) => builder.with_tag(key, value).try_send()?,
        None => builder.try_send()?,
    };
    Ok(())
}

/// Shares the sink between the client, which owns one, and [`Statsd`], which reads its statistics.
struct Shared(Arc<BufferedUdpMetricSink>);

impl MetricSink for Shared {
    fn emit(&self, metric: &str) -> io::Result<usize> {
        if metric.len() >= PACKET_BYTES_MAX {
            // cadence would send it as one packet of its own, whatever its size. The bounds on prefixes and tags
            // leave only a name of some 400 characters in our own source.
            tracing::warn!(metric, "statsd: longer than a packet, not sent");
            return Ok(0);
        }
        self.0.emit(metric)
    }

    fn flush(&self) -> io::Result<()> {
        self.0.flush()
    }
}

/// `target` if it is HOST:PORT, as far as can be said without asking for the name: for a flag.
///
/// # Errors
/// What is wrong with it.
pub fn check_target(target: &str) -> Result<String, String> {
    let wrong = |what: &str| format!("{what}; give HOST:PORT");
    let (host, port) = target.rsplit_once(':').ok_or_else(|| wrong("the port is missing"))?;
    if host.is_empty() || host.contains(char::is_whitespace) {
        return Err(wrong("the host is missing"));
    }
    match port.parse::<u16>() {
        Ok(_) => Ok(target.to_owned()),
        Err(_) => Err(wrong("the port is not a number from 0 to 65535")),
    }
}

/// Where packets go as long as the name has no address: nobody listens there, and nothing leaves the machine (RFC 863).
const NOWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9);

/// HOST:PORT, always resolved to addresses of the family that the socket has.
#[derive(Debug)]
struct Target {
    text: String,
    ipv4: bool,
    /// It has had an address.
    found: AtomicBool,
}

impl Target {
    /// IPv4 goes first: statsd listens there by default, while `localhost` is `::1` first on many systems.
    fn resolve(text: &str) -> Self {
        let addresses: Vec<SocketAddr> = match text.to_socket_addrs() {
            Ok(addresses) => addresses.collect(),
            Err(error) => {
                tracing::warn!(target = text, %error, "statsd: nothing is sent until the name has an address");
                Vec::new()
            }
        };
        let ipv4 = addresses.is_empty() || addresses.iter().any(SocketAddr::is_ipv4);
        Self { text: text.to_owned(), ipv4, found: AtomicBool::new(!addresses.is_empty()) }
    }

    fn socket(&self) -> io::Result<UdpSocket> {
        let socket = match self.ipv4 {
            true => UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?,
            false => UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0))?,
        };
        socket.set_nonblocking(true)?;
        Ok(socket)
    }
}

impl ToSocketAddrs for Target {
    type Iter = std::vec::IntoIter<SocketAddr>;

    fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
        let addresses = self
            .text
            .to_socket_addrs()
            .map(|addresses| addresses.filter(|address| address.is_ipv4() == self.ipv4).collect::<Vec<_>>());
        match addresses {
            Ok(addresses) if !addresses.is_empty() => {
                self.found.store(true, Ordering::Relaxed);
                Ok(addresses.into_iter())
            }
            _ if !self.found.load(Ordering::Relaxed) => Ok(vec![NOWHERE].into_iter()),
            none => none.map(Vec::into_iter),
        }
    }
}
