//! The flags that every service has, and those of a service that asks others.
//!
//! Owns names, defaults and help texts. `role` reads the file and the environment; a service adds
//! flags of its own.

use std::path::PathBuf;
use std::time::Duration;

use bus::proto::limits::{HELLO_VALUE_LEN_MAX, MESSAGE_LEN_MAX};
use bus::{Endpoint, Limits, Listen};
use change::source::{EtcdFlags, PlanSettings, User};
use clap::Args;
use role::Scheduling;
use role::address::Address;
use role::discovery::{self, Named};
use role::telemetry::Destination;

/// What [`crate::run`] needs to know of a service's clap struct.
pub trait Settings: clap::Parser + Clone + Send + Sync + 'static {
    /// The flags that every service has.
    fn options(&self) -> &Options;

    /// Where this service finds the services that it asks; `None` when it asks on the bus that it
    /// serves.
    fn upstream(&self) -> Option<&Upstream> {
        None
    }

    /// The versions that this process serves at once: each has a hello of its own on the buses that
    /// are dialled or joined, and all of them share the limits and the counters. By default the
    /// version of the clap command. The set-up closure runs for each of them, and all must have the
    /// same routes.
    fn versions(&self) -> Vec<String> {
        Vec::new()
    }
}

/// The flags that every service has; flatten them into the service's own struct.
///
/// Rationale for defaults: one worker serves some 100 000 requests a second, more than a worker of
/// a terminator forwards; docs/adr/0016 measured `scheduling`; `limit` is the bus's own queue
/// length, so that it is reached only when handlers wait; `queue` is a second's work at most for
/// handlers of a millisecond.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Service")]
pub struct Options {
    /// Listen for peers here, e.g. tcp://0.0.0.0:5555, ipc:///run/profile.sock or
    /// ipc:///run/profile.sock?mode=0660&user=UID&group=GID; may be repeated.
    #[arg(long, value_name = "URL")]
    pub bus_listen: Vec<Listen>,

    /// Dial a peer here, e.g. a terminator's --bus-listen; may be repeated.
    #[arg(long, value_name = "URL")]
    pub bus_dial: Vec<Endpoint>,

    /// Finding peers by the name of a bus.
    #[command(flatten)]
    pub discovery: discovery::Options,

    /// Where the listeners of buses are published.
    #[command(flatten)]
    pub etcd: EtcdFlags,

    /// The user of etcd, where authentication is on.
    #[arg(long, value_name = "NAME:PASSWORD")]
    pub etcd_user: Option<User>,

    /// Worker threads, each with its own pipes.
    #[arg(long, value_name = "N", default_value_t = 1,
        value_parser = clap::value_parser!(u16).range(1..=256))]
    pub workers: u16,

    /// How worker threads are scheduled: batch (they wait longer for their turn and then do more at
    /// once, which costs less CPU a request), or inherit.
    #[arg(long, value_name = "POLICY", default_value_t = Scheduling::Batch)]
    pub scheduling: Scheduling,

    /// Requests that this instance works on at once, divided among its workers; part of the hello.
    /// 0 = no limit.
    #[arg(long, value_name = "N", default_value_t = 8192)]
    pub limit: u32,

    /// Requests that may wait when the limit is reached; above it the answer is 503.
    #[arg(long, value_name = "N", default_value_t = 1024)]
    pub queue: u32,

    /// Share of the traffic, relative to the other instances; 0 = no new requests.
    #[arg(long, value_name = "N", default_value_t = bus::proto::hello::WEIGHT_DEFAULT)]
    pub weight: u32,

    /// Tells this instance from the others [default: HOST-PID-RANDOM].
    #[arg(long, value_name = "ID", value_parser = instance)]
    pub instance: Option<String>,

    /// Longest bus message, in bytes, on every bus of this service. Must equal the --message-limit
    /// of its peers.
    #[arg(long, value_name = "BYTES", default_value_t = MESSAGE_LEN_MAX as u32, value_parser = clap::value_parser!(u32).range(65_536..))]
    pub message_limit: u32,

    /// How long everything is still served after SIGTERM before the peers are told; give it the
    /// time that the next instance takes to start, when there is no other one.
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = duration)]
    pub drain_delay: Duration,

    /// How long requests in hand may take after that.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    pub drain_deadline: Duration,

    /// Being replaced by a new process.
    #[command(flatten)]
    pub handover: role::handover::Options,

    /// Answer operators here: /live, /ready, /stats, /metrics, /peers, /routes, /config and /log at
    /// IP:PORT or unix:PATH; without it they are not answered.
    #[arg(long, value_name = "ADDR|unix:PATH")]
    pub admin: Option<Address>,

    /// Send metrics to this statsd daemon.
    #[arg(long, value_name = "HOST:PORT", value_parser = role::telemetry::check_target)]
    pub statsd: Option<String>,

    /// Time between two flushes to statsd; by default the terminator's, so that their figures can
    /// be compared.
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = interval)]
    pub statsd_interval: Duration,

    /// What every metric's name starts with; {service}, {host} and {instance} are replaced: with
    /// several instances on one daemon write '{service}.{instance}', and give each an --instance.
    #[arg(long, value_name = "PREFIX", default_value = "{service}", value_parser = role::telemetry::check_prefix)]
    pub statsd_prefix: String,

    /// Write labels, and service, instance and host, as DogStatsD's tags rather than labels into
    /// the metrics' names.
    #[arg(long)]
    pub dogstatsd: bool,

    /// What is logged on stderr: error, warn, info, debug, trace, or a filter such as bus=debug.
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    pub log: String,

    /// Settings from this TOML file; its keys are the long flags' names.
    #[arg(long, value_name = "FILE", id = "config")]
    pub config: Option<PathBuf>,
}

/// The flags of a service that asks others on a bus of their own.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Upstream")]
pub struct Upstream {
    /// Dial a service to ask here; may be repeated. Without an upstream the service asks on its own
    /// bus.
    #[arg(long, value_name = "URL")]
    pub upstream_dial: Vec<Endpoint>,

    /// Listen here for services to ask; may be repeated.
    #[arg(long, value_name = "URL")]
    pub upstream_listen: Vec<Listen>,

    /// Publish the --upstream-listen in etcd as a listener of the bus NAME, for services with
    /// --bus-join NAME; needs --etcd.
    #[arg(long, value_name = "NAME", value_parser = discovery::name)]
    pub upstream_name: Option<String>,

    /// Where services reach the listener that --upstream-name publishes; may be repeated [default:
    /// --upstream-listen, when it names one address].
    #[arg(long, value_name = "URL", requires = "upstream_name")]
    pub upstream_advertise: Vec<Endpoint>,

    /// Dial every listener of the bus NAME to ask it, as they come and go; may be repeated; needs
    /// --etcd.
    #[arg(long, value_name = "NAME", value_parser = discovery::name)]
    pub upstream_join: Vec<String>,

    /// How long after the start it waits for the services that it needs before it takes requests.
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = duration)]
    pub join_wait: Duration,
}

impl Options {
    /// Where metrics are sent.
    pub(crate) fn destination(&self) -> Option<Destination> {
        let to = |target: &String| Destination {
            target: target.clone(),
            prefix: self.statsd_prefix.clone(),
            dogstatsd: self.dogstatsd,
            interval: self.statsd_interval,
        };
        self.statsd.as_ref().map(to)
    }

    /// The etcd with the listeners of buses; `None` when none is given.
    pub(crate) fn etcd(&self) -> Option<PlanSettings> {
        let settings = self.etcd.settings(self.etcd_user.clone());
        (!settings.etcd.is_empty()).then_some(settings)
    }

    /// The bounds of a bus.
    pub(crate) fn limits(&self) -> Limits {
        let default = Limits::default();
        let message_len_max = self.message_limit as usize;
        Limits { message_len_max, queue_bytes_max: default.queue_bytes_max.max(message_len_max), ..default }
    }

    /// One worker's share of `--limit`, rounded up so that every worker has one; 0 = no limit.
    pub(crate) fn limit_per_worker(&self) -> u32 {
        self.limit.div_ceil(u32::from(self.workers))
    }

    /// One worker's share of `--queue`.
    pub(crate) fn queue_per_worker(&self) -> u32 {
        self.queue.div_ceil(u32::from(self.workers))
    }
}

impl Upstream {
    /// True when the service has a bus of its own for the services that it asks.
    pub(crate) fn is_given(&self) -> bool {
        !self.upstream_listen.is_empty() || !self.upstream_dial.is_empty() || self.bus().joins()
    }

    /// The bus as discovery sees it.
    pub(crate) fn bus(&self) -> Named<'_> {
        let flags = ["upstream-name", "upstream-listen", "upstream-advertise", "upstream-join"];
        Named::new(flags, self.upstream_name.as_ref(), &self.upstream_advertise, &self.upstream_join)
    }
}

/// The longest time that a setting may name.
const TIME_MAX: Duration = Duration::from_secs(24 * 60 * 60);

fn duration(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(time) if time <= TIME_MAX => Ok(time),
        Ok(_) => Err(format!("more than {}", humantime::format_duration(TIME_MAX))),
        Err(error) => Err(format!("{error}; write a number and a unit, such as 250ms or 1s")),
    }
}

/// Checks the length: peers refuse a hello with a longer value.
fn instance(text: &str) -> Result<String, String> {
    match text.len() {
        1..=HELLO_VALUE_LEN_MAX => Ok(text.to_owned()),
        len => Err(format!("it has {len} bytes; write 1 to {HELLO_VALUE_LEN_MAX}")),
    }
}

fn interval(text: &str) -> Result<Duration, String> {
    let time = duration(text)?;
    if time < Duration::from_millis(100) {
        return Err("less than 100ms between flushes costs more than it shows".to_owned());
    }
    Ok(time)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Service {
        #[command(flatten)]
        options: Options,
    }

    #[test]
    fn values_that_peers_would_refuse_are_usage_errors() {
        let long = "x".repeat(HELLO_VALUE_LEN_MAX + 1);
        for (flag, value, named) in [
            ("--instance", &long[..], "1025 bytes"),
            ("--instance", "", "0 bytes"),
            ("--drain-deadline", "500000000000y", "more than 1day"),
            ("--drain-deadline", "5", "250ms"),
            ("--message-limit", "100", "65536"),
            ("--statsd", "localhost", "give HOST:PORT"),
        ] {
            let error = Service::try_parse_from(["service", flag, value]).err().unwrap().to_string();
            assert!(error.contains(named), "{error}");
        }
    }

    #[test]
    fn figures_are_sent_as_often_as_the_terminator_sends_its_own() {
        assert_eq!(Service::parse_from(["service"]).options.statsd_interval, Duration::from_secs(1));
    }
}
