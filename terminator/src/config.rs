//! The checked configuration ([`Config`]), made from the settings as typed ([`Settings`]).
//!
//! Owns the checks that need more than one setting, and the conversion to the types of the other
//! modules. Leaves reading files and the environment to crate `role`, and binding to `listen`.
//! Invariant: every setting of a [`Config`] has been checked; only the system can still refuse one.

mod change;
mod settings;
mod trusted_proxy;
mod write_token;

use std::time::Duration;

use role::identity::Identity;
use role::telemetry::Destination;

pub use change::ChangeSettings;
pub use role::address::Address;
pub use settings::{AccessLogTarget, Congestion, Forwarded, LimitSettings, Settings};
pub use trusted_proxy::TrustedProxy;
pub use write_token::WriteToken;

use crate::limits;
use crate::live::Identities;
use ::change::source::PlanSettings;

/// The configuration of a terminator, checked as a whole.
#[derive(Clone, Debug)]
pub struct Config {
    /// Addresses where HTTP is served.
    pub http: Vec<Address>,
    /// The congestion control of client connections.
    pub congestion: Congestion,
    /// Address of the admin listener.
    pub admin: Address,
    /// Who this process is.
    pub identity: Identity,
    /// Endpoints and limits of the bus.
    pub bus: bus::Config,
    /// Worker threads.
    pub workers: usize,
    /// Scheduling policy of the worker threads.
    pub scheduling: role::Scheduling,
    /// Deadline of a route that is not in `route_deadlines`.
    pub deadline: Duration,
    /// Time after the start in which services may still be dialling.
    pub settle: Duration,
    /// Longest time that a request waits for an instance.
    pub hold: Duration,
    /// Services that must join before the terminator is ready.
    pub expect: Vec<String>,
    /// Deadlines by route pattern.
    pub route_deadlines: Vec<(String, Duration)>,
    /// The statsd daemon; `None` when metrics are not sent.
    pub statsd: Option<Destination>,
    /// Log filter.
    pub log: String,
    /// Where the access log goes.
    pub access_log: AccessLogTarget,
    /// What is done with a trusted proxy's `x-forwarded-*` headers.
    pub forwarded: Forwarded,
    /// Proxies whose `x-forwarded-*` headers are trusted.
    pub trusted_proxies: Vec<TrustedProxy>,
    /// The names of the bus, and of those that it joins.
    pub discovery: role::discovery::Options,
    /// How to take over from a predecessor, and to hand over to a successor.
    pub handover: role::handover::Options,
    /// Where the plan comes from; `None` when there is none.
    pub plan: Option<PlanSettings>,
    /// What operators need to write through the admin listener; `None` when writing is off.
    pub write_token: Option<WriteToken>,
    /// Where the identity of a request is.
    pub identities: Identities,
    /// The environment for which toggles are evaluated.
    pub environment: Option<String>,
    /// Time from the signal to stop to the drain, in which requests are still served.
    pub drain_delay: Duration,
    /// Longest time of a drain.
    pub drain_deadline: Duration,
    /// The bounds of every worker.
    pub limits: Limits,
}

/// The bounds of every worker.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Sizes of a request.
    pub http: http1::Limits,
    /// Time-outs of a client.
    pub timeouts: http1::Timeouts,
    /// Open connections.
    pub connections: usize,
    /// Requests in flight.
    pub in_flight: usize,
}

/// Settings that contradict each other or are out of bounds; all are errors of the operator.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// No service could connect.
    #[error(
        "no bus endpoint: give --bus-listen URL (services dial in), --bus-dial URL (services listen), or \
         --bus-join NAME with --etcd URL (services are found)"
    )]
    NoBus,
    /// A rule for a listener that is not configured.
    #[error("--bus-allow names {0}, which is not given as --bus-listen")]
    BusAllow(bus::Endpoint),
    /// A number out of bounds.
    #[error("--{flag} {value} is not within {min} to {max}")]
    Range {
        /// The flag.
        flag: &'static str,
        /// As given.
        value: usize,
        /// Smallest allowed.
        min: usize,
        /// Largest allowed.
        max: usize,
    },
    /// The longest body does not fit the longest message.
    #[error(
        "--body-limit {body} leaves no room for the head in a message of --message-limit {message} bytes; \
         lower the first to {max} or raise the second, here and at the services"
    )]
    Body {
        /// As given.
        body: usize,
        /// As given.
        message: usize,
        /// What would fit.
        max: usize,
    },
    /// Polling so long that a worker would hardly ever sleep.
    #[error(
        "--busy-poll {}: a worker would poll that long without a result; give {} or less, or 0s for none",
        humantime::format_duration(*.0),
        humantime::format_duration(limits::BUSY_POLL_MAX)
    )]
    BusyPoll(Duration),
    /// Settings of the plan's source that do not fit together.
    #[error("{0}")]
    Plan(String),
    /// Settings of discovery that do not fit together.
    #[error(transparent)]
    Discovery(#[from] role::discovery::DiscoveryError),
    /// A time of zero where it would end everything at once.
    #[error("--{flag} 0s would end everything at once; give a time above zero")]
    Zero {
        /// The flag.
        flag: &'static str,
    },
}

impl Config {
    /// Checks the settings as a whole.
    ///
    /// # Errors
    /// For the first setting that is out of bounds or contradicts another; the message names the
    /// flag, the value and a remedy.
    pub fn new(settings: Settings) -> Result<Self, ConfigError> {
        let discovered = settings.discovery.bus();
        if settings.bus_listen.is_empty() && settings.bus_dial.is_empty() && !discovered.joins() {
            return Err(ConfigError::NoBus);
        }
        for (flag, time) in [("deadline", settings.deadline), ("statsd-interval", settings.statsd_interval)] {
            if time.is_zero() {
                return Err(ConfigError::Zero { flag });
            }
        }
        if settings.busy_poll > limits::BUSY_POLL_MAX {
            return Err(ConfigError::BusyPoll(settings.busy_poll));
        }
        let plan = settings.change.plan();
        if let Some(plan) = &plan {
            plan.check().map_err(|error| ConfigError::Plan(error.to_string()))?;
        }
        let has_etcd = plan.as_ref().is_some_and(|plan| !plan.etcd.is_empty());
        let listen: Vec<_> = settings.bus_listen.iter().map(|listen| listen.endpoint.clone()).collect();
        discovered.check(has_etcd, &listen)?;
        let limits = Limits::new(&settings.limits)?;
        let mut listen = settings.bus_listen;
        bus::Allow::apply(&settings.bus_allow, &mut listen).map_err(ConfigError::BusAllow)?;
        let bus = bus::Config {
            listen,
            dial: settings.bus_dial,
            limits: bus::Limits {
                message_len_max: settings.limits.message_limit,
                pending_max: settings.limits.pending_limit,
                queue_messages_max: settings.limits.queue_limit,
                queue_bytes_max: settings.limits.queue_bytes_limit,
            },
            hello: None,
            relay_events: true,
            busy_poll: settings.busy_poll,
            ..bus::Config::default()
        };
        let statsd = settings.statsd.map(|target| Destination {
            target,
            prefix: settings.statsd_prefix,
            dogstatsd: settings.dogstatsd,
            interval: settings.statsd_interval,
        });
        Ok(Self {
            http: settings.http,
            congestion: settings.congestion_control,
            admin: settings.admin,
            identity: Identity::new("terminator", env!("CARGO_PKG_VERSION"), settings.instance),
            bus,
            workers: settings.workers,
            scheduling: settings.scheduling,
            deadline: settings.deadline,
            settle: settings.settle,
            hold: settings.hold,
            expect: settings.expect,
            route_deadlines: settings.route_deadline,
            statsd,
            log: settings.log,
            access_log: settings.access_log,
            forwarded: settings.forwarded,
            trusted_proxies: settings.trusted_proxy,
            discovery: settings.discovery,
            handover: settings.handover,
            plan,
            write_token: settings.change.admin_write_token.clone(),
            identities: settings.change.identities(),
            environment: settings.change.environment,
            drain_delay: settings.drain_delay,
            drain_deadline: settings.drain_deadline,
            limits,
        })
    }

    /// The deadline of the route with this pattern, such as `GET /members/{id}`.
    #[must_use]
    pub fn deadline_of(&self, pattern: &str) -> Duration {
        let own = self.route_deadlines.iter().find(|(of, _)| of == pattern);
        own.map_or(self.deadline, |(_, deadline)| *deadline)
    }
}

impl Limits {
    fn new(typed: &LimitSettings) -> Result<Self, ConfigError> {
        let range = |flag, value, min, max| {
            if (min..=max).contains(&value) {
                Ok(value)
            } else {
                Err(ConfigError::Range { flag, value, min, max })
            }
        };
        let header_bytes =
            range("header-limit", typed.header_limit, limits::HEADER_BYTES_MIN, limits::HEADER_BYTES_MAX)?;
        // Twice, because the host may be nearly the whole head and is sent as `:authority` and as
        // `x-forwarded-host`.
        let head = bus::proto::envelope::HEADER_LEN + 2 * header_bytes + limits::HEAD_EXTRA_BYTES;
        range("message-limit", typed.message_limit, head + 1, u32::MAX as usize)?;
        range("queue-bytes-limit", typed.queue_bytes_limit, typed.message_limit, usize::MAX)?;
        range("queue-limit", typed.queue_limit, 1, usize::MAX)?;
        range("pending-limit", typed.pending_limit, 1, bus::proto::pending::SLOTS_MAX)?;
        let room = typed.message_limit - head;
        let body_bytes = typed.body_limit.unwrap_or(room);
        if body_bytes > room {
            return Err(ConfigError::Body { body: body_bytes, message: typed.message_limit, max: room });
        }
        for (flag, time) in [
            ("header-timeout", typed.header_timeout),
            ("idle-timeout", typed.idle_timeout),
            ("body-timeout", typed.body_timeout),
            ("write-timeout", typed.write_timeout),
        ] {
            if time.is_zero() {
                return Err(ConfigError::Zero { flag });
            }
        }
        Ok(Self {
            http: http1::Limits {
                head_len_max: header_bytes,
                fields_max: range("header-count", typed.header_count, 1, 10_000)?,
                body_len_max: body_bytes as u64,
            },
            timeouts: http1::Timeouts {
                head: typed.header_timeout,
                body: typed.body_timeout,
                write: typed.write_timeout,
                idle: typed.idle_timeout,
                linger: limits::LINGER_TIMEOUT,
            },
            connections: range("connection-limit", typed.connection_limit, 1, 1 << 20)?,
            in_flight: range("in-flight-limit", typed.in_flight_limit, 1, 1 << 24)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    fn parse(flags: &[&str]) -> Result<Config, String> {
        let settings =
            Settings::try_parse_from([&["terminator"], flags].concat()).map_err(|e| e.to_string())?;
        Config::new(settings).map_err(|error| error.to_string())
    }

    const BUS: [&str; 2] = ["--bus-listen", "inproc://a"];

    #[test]
    fn the_defaults_are_those_of_limits() {
        let config = parse(&BUS).unwrap();
        assert_eq!(config.http, ["127.0.0.1:8080".parse().unwrap()]);
        assert_eq!(config.admin, "127.0.0.1:8081".parse().unwrap());
        assert_eq!((config.workers, config.deadline), (1, limits::DEADLINE));
        assert_eq!((config.hold, config.expect.len()), (limits::HOLD, 0));
        assert_eq!(config.drain_deadline, limits::DRAIN_DEADLINE);
        let timeouts = config.limits.timeouts;
        assert_eq!((timeouts.head, timeouts.idle), (limits::HEADER_TIMEOUT, limits::IDLE_TIMEOUT));
        assert_eq!((timeouts.body, timeouts.write), (limits::BODY_TIMEOUT, limits::WRITE_TIMEOUT));
        let trusts = |ip: &str| config.trusted_proxies.iter().any(|proxy| proxy.is(ip.parse().ok()));
        assert!(trusts("127.0.0.1") && trusts("::1") && trusts("") && !trusts("192.0.2.1"));
        assert!(config.bus.relay_events && config.bus.hello.is_none());
    }

    #[test]
    fn the_longest_body_and_head_fit_one_message() {
        let config = parse(&BUS).unwrap();
        let http = config.limits.http;
        let head = 2 * http.head_len_max + limits::HEAD_EXTRA_BYTES;
        assert_eq!(http.body_len_max, (config.bus.limits.message_len_max - head - 32) as u64);
    }

    #[test]
    fn repeated_flags_and_route_deadlines_are_read() {
        let flags = [
            &BUS[..],
            &["--http", "[::1]:0", "--http", "unix:/tmp/h", "--route-deadline", "GET /members/{id}=250ms"],
        ];
        let config = parse(&flags.concat()).unwrap();
        assert_eq!(config.http[1], Address::Unix("/tmp/h".into()));
        assert_eq!(config.deadline_of("GET /members/{id}"), Duration::from_millis(250));
        assert_eq!(config.deadline_of("GET /"), limits::DEADLINE);
    }

    #[test]
    fn a_bad_value_is_named_with_its_remedy() {
        for (flags, wanted) in [
            (&["--http", "nowhere"][..], "nowhere"),
            (&["--http", "unix:"], "unix:PATH"),
            (&["--admin", "1.2.3.4"], "1.2.3.4"),
            (&["--workers", "0"], "1 to 256"),
            (&["--deadline", "soon"], "250ms"),
            (&["--deadline", "0s"], "--deadline"),
            (&["--idle-timeout", "0s"], "--idle-timeout"),
            (
                &["--busy-poll", "1h"],
                "--busy-poll 1h: a worker would poll that long without a result; give 10ms or less",
            ),
            (&["--route-deadline", "GET /a"], "GET /members/{id}=250ms"),
            (&["--header-limit", "100"], "8192 to 65535"),
            (&["--pending-limit", "9999999"], "1 to 1048576"),
            (&["--statsd", "localhost"], "give HOST:PORT"),
            (&["--statsd-prefix", "{pid}"], "the placeholders are {service}, {host} and {instance}"),
            (&["--deadline", "500000000000y"], "more than 1day"),
            (&["--body-limit", "1048576"], "--message-limit 1048576"),
            (&["--message-limit", "10"], "--message-limit 10"),
            (&["--queue-bytes-limit", "10"], "--queue-bytes-limit 10"),
            (&["--forwarded", "maybe"], "append"),
            (&["--trusted-proxy", "localhost"], "10.0.0.0/8"),
            (&["--congestion-control", ""], "such as cubic"),
            (&["--congestion-control", "a-name-of-16-byte"], "up to 15 bytes"),
        ] {
            let error = parse(&[&BUS[..], flags].concat()).unwrap_err();
            assert!(error.contains(wanted), "{flags:?}: {error}");
        }
        assert_eq!(parse(&[]).unwrap_err(), ConfigError::NoBus.to_string());
    }
}
