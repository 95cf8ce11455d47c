//! Sending samples to a statsd daemon.
//!
//! Owns: the prefix, the differences of the counters, the form of labels. Leaves the socket and the
//! daemon's address to `target`, and the timer to `flush`. Invariant: a flush never blocks and
//! never waits for a name; no packet is larger than [`PACKET_BYTES_MAX`]; an increment of a counter
//! is sent once, later rather than never when the socket refuses it.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use cadence::{
    BufferedUdpMetricSink, Counted, Gauged, Metric, MetricBuilder, MetricResult, MetricSink, StatsdClient,
};

use super::names::{as_level, as_name, as_short_tag, as_tag};
use super::target::Target;
use crate::identity::Identity;
use crate::metrics::{Kind, Latency, Sample, Value};

/// A packet stays under 1432 bytes: an Ethernet frame less the headers of IPv6, VLAN and tunnels.
pub const PACKET_BYTES_MAX: usize = 1431;

/// With the longest tags and a name it leaves room in a packet.
const PREFIX_BYTES_MAX: usize = 200;

/// How often the daemon's name is looked up again, on cadence's own thread: daemons move.
const RESOLVE_PERIOD: Duration = Duration::from_secs(60);

/// A client of one statsd daemon.
pub struct Statsd {
    client: StatsdClient,
    sink: Arc<BufferedUdpMetricSink>,
    dogstatsd: bool,
    /// The total of each counter up to which it was sent, by name and by the label's value, which
    /// is empty without a label. A name that is missing was never sent, not even as 0.
    sent: HashMap<&'static str, HashMap<String, u64>>,
}

impl Statsd {
    /// `target` is HOST:PORT. In `prefix`, `{service}`, `{host}` and `{instance}` stand for the
    /// parts of `identity`. `dogstatsd` writes labels and the identity as tags, `|#route:...`;
    /// else a label's value is the last part of the name. Resolves the name, so it may block: call
    /// it before anything is served. A name without an address is looked up again every 60 s, and
    /// nothing is sent until it has one.
    ///
    /// # Errors
    /// Names the target that is not HOST:PORT, or what is wrong with the prefix.
    pub fn new(target: &str, prefix: &str, dogstatsd: bool, identity: &Identity) -> Result<Self, String> {
        let prefix = expand(prefix, identity)?;
        let unusable = |reason: &dyn std::fmt::Display| format!("statsd `{target}`: {reason}");
        check_target(target).map_err(|error| unusable(&error))?;
        let (target_now, socket) = Target::resolve(target).map_err(|error| unusable(&error))?;
        let mut builder = BufferedUdpMetricSink::builder().with_capacity(PACKET_BYTES_MAX);
        if target.parse::<SocketAddr>().is_err() {
            builder = builder.with_resolver_period(RESOLVE_PERIOD);
        }
        let sink = Arc::new(builder.build(target_now, socket).map_err(|error| unusable(&error))?);
        let mut client = StatsdClient::builder(&prefix, Shared(Arc::clone(&sink)));
        if dogstatsd {
            client = client
                .with_tag("service", as_short_tag(&identity.service))
                .with_tag("instance", as_short_tag(&identity.instance))
                .with_tag("host", as_short_tag(&identity.host));
        }
        Ok(Self { client: client.build(), sink, dogstatsd, sent: HashMap::new() })
    }

    /// Sends one flush: never blocks, packets under 1432 bytes; packets that the socket does not
    /// take are dropped and counted ([`Statsd::packets_dropped`]). Every metric is sent the first
    /// time, then a counter or a histogram only when it has something new. When the socket refuses,
    /// the rest is not formatted; the counters' differences then go with the next flush.
    pub fn flush(&mut self, samples: &[Sample]) {
        let sent = samples.iter().try_for_each(|sample| self.send(sample));
        if let Err(error) = sent.and_then(|()| self.client.flush()) {
            tracing::debug!(%error, "statsd: a flush was cut short");
        }
    }

    /// Packets that the socket did not take, since the start.
    #[must_use]
    pub fn packets_dropped(&self) -> u64 {
        self.sink.stats().packets_dropped
    }

    fn send(&mut self, sample: &Sample) -> MetricResult<()> {
        let (name, label) = (sample.metric.name, sample.metric.label.unwrap_or("value"));
        match &sample.value {
            Value::Number(value) if sample.metric.kind == Kind::Gauge => {
                self.client.gauge(&as_name(name), *value).map(drop)
            }
            Value::Number(total) => self.count(name, None, *total),
            Value::Numbers(totals) => {
                totals.iter().try_for_each(|(value, total)| self.count(name, Some((label, value)), *total))
            }
            Value::Latency(latency) => self.latency(name, None, latency),
            Value::Latencies(latencies) => latencies
                .iter()
                .try_for_each(|(value, latency)| self.latency(name, Some((label, value)), latency)),
        }
    }

    fn count(&mut self, name: &'static str, label: Option<(&str, &str)>, total: u64) -> MetricResult<()> {
        let sent = self.sent(name, label);
        // A total that fell is that of a worker that started anew.
        let new = sent.map_or(total, |sent| total.checked_sub(sent).unwrap_or(total));
        if new > 0 || sent.is_none() {
            let (key, tag) = self.key(name, label, "");
            tagged(self.client.count_with_tags(&key, new), tag.as_ref())?;
        }
        if sent != Some(total) {
            self.set_sent(name, label, total);
        }
        Ok(())
    }

    fn latency(
        &mut self,
        name: &'static str,
        label: Option<(&str, &str)>,
        latency: &Latency,
    ) -> MetricResult<()> {
        if latency.count() == 0 && self.sent(name, label).is_some() {
            return Ok(());
        }
        for (end, value) in
            [(".p50", latency.quantile(0.5)), (".p99", latency.quantile(0.99)), (".max", latency.max())]
        {
            let (key, tag) = self.key(name, label, end);
            let ms = value.as_secs_f64() * 1e3;
            tagged(self.client.gauge_with_tags(&key, ms), tag.as_ref())?;
        }
        for (end, count) in [(".under_25ms", latency.under_target()), (".count", latency.count())] {
            let (key, tag) = self.key(name, label, end);
            tagged(self.client.count_with_tags(&key, count), tag.as_ref())?;
        }
        if self.sent(name, label).is_none() {
            self.set_sent(name, label, 0);
        }
        Ok(())
    }

    fn sent(&self, name: &str, label: Option<(&str, &str)>) -> Option<u64> {
        self.sent.get(name)?.get(label.map_or("", |(_, value)| value)).copied()
    }

    fn set_sent(&mut self, name: &'static str, label: Option<(&str, &str)>, total: u64) {
        let value = label.map_or("", |(_, value)| value);
        let of_name = self.sent.entry(name).or_default();
        match of_name.get_mut(value) {
            Some(sent) => *sent = total,
            None => drop(of_name.insert(value.to_owned(), total)),
        }
    }

    /// The name with the label's value and `end` in it, or with the label as a tag.
    fn key<'a>(
        &self,
        name: &str,
        label: Option<(&'a str, &str)>,
        end: &str,
    ) -> (String, Option<(&'a str, String)>) {
        let name = as_name(name);
        match label {
            None => (format!("{name}{end}"), None),
            Some((key, value)) if self.dogstatsd => (format!("{name}{end}"), Some((key, as_tag(value)))),
            Some((_, value)) => (format!("{name}.{}{end}", as_level(value)), None),
        }
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

fn tagged<T: Metric + From<String>>(
    builder: MetricBuilder<'_, '_, T>,
    tag: Option<&(&str, String)>,
) -> MetricResult<()> {
    match tag {
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
            // cadence would send it as one packet of its own, whatever its size. The bounds on
            // prefixes and tags leave only a name of some 200 characters in our own source.
            tracing::warn!(metric, "statsd: longer than a packet, not sent");
            return Ok(0);
        }
        self.0.emit(metric)
    }

    fn flush(&self) -> io::Result<()> {
        self.0.flush()
    }
}

/// `target` if it is HOST:PORT, as far as can be said without a look-up: for a flag.
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

/// `prefix` if its placeholders exist: for a flag.
///
/// # Errors
/// What is wrong with it.
pub fn check_prefix(prefix: &str) -> Result<String, String> {
    let plain = prefix.replace("{service}", "").replace("{host}", "").replace("{instance}", "");
    if plain.contains(['{', '}']) {
        return Err(format!(
            "statsd prefix `{prefix}`: the placeholders are {{service}}, {{host}} and {{instance}}"
        ));
    }
    Ok(prefix.to_owned())
}

/// The prefix with the names of the process in it.
fn expand(prefix: &str, identity: &Identity) -> Result<String, String> {
    check_prefix(prefix)?;
    let full = prefix
        .replace("{service}", &as_level(&identity.service))
        .replace("{host}", &as_level(&identity.host))
        .replace("{instance}", &as_level(&identity.instance));
    if full.len() > PREFIX_BYTES_MAX {
        return Err(format!("statsd prefix `{full}`: {} bytes, the limit is {PREFIX_BYTES_MAX}", full.len()));
    }
    Ok(as_name(&full).into_owned())
}
