//! The settings as typed: the name, default and form of each.
//!
//! Owns the flags, which are also the keys of the TOML file and, in upper case, the environment
//! variables; their doc comments are the text of `--help`. Leaves checks of several settings
//! together to `config`. Invariant: every value that parses has the right form and unit.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use bus::{Allow, Endpoint, Listen};
use clap::{Parser, ValueEnum};
use role::Scheduling;
use role::address::Address;

use super::change::ChangeSettings;
use super::trusted_proxy::TrustedProxy;
use crate::limits;

const EXAMPLES: &str = "\
Examples:
  terminator --bus-listen ipc:///run/bus.sock
  terminator --http 0.0.0.0:8080 --http unix:/run/http.sock --bus-listen tcp://0.0.0.0:5555 --workers 2
  terminator --bus-dial tcp://profile:6000 --deadline 1s --route-deadline 'GET /members/{id}=250ms'
  terminator --handover /run/handover.sock ...  (started once more: takes over from the first, which drains)
  terminator --config terminator.toml        (keys are the flags' names; TERMINATOR_HTTP=... overrides the file)

SIGTERM or Ctrl-C: after --drain-delay no new connections, requests in flight finish, exit 0; a second one exits at once with 1.
SIGHUP reopens the access log. Exit codes: 0 ok, 1 failure, 2 usage.";

/// The command line, as typed.
#[derive(Clone, Debug, Parser)]
#[command(name = "terminator", version, about = "The HTTP edge: every request becomes a message on the bus", after_help = EXAMPLES)]
pub struct Settings {
    /// Where to serve HTTP/1.1: IP:PORT or unix:PATH; may be repeated; port 0 lets the system
    /// choose
    #[arg(long, value_name = "ADDR|unix:PATH", default_value = "127.0.0.1:8080")]
    pub http: Vec<Address>,
    /// Where operators ask for /live, /ready, /stats, /metrics, /peers, /routes, /config and /log:
    /// IP:PORT or unix:PATH; keep it away from clients
    #[arg(long, value_name = "ADDR|unix:PATH", default_value = "127.0.0.1:8081")]
    pub admin: Address,
    /// Where services dial in: tcp://HOST:PORT, ipc:///PATH,
    /// ipc:///PATH?mode=0660&user=UID&group=GID; may be repeated
    #[arg(long, value_name = "URL")]
    pub bus_listen: Vec<Listen>,
    /// Routes that services may claim, for one --bus-listen or, without URL, for all: such as
    /// 'tcp://0.0.0.0:5555 hello=GET /hello/{name}', or '*=*,!* /profiles/{*rest}' (everything
    /// else); may be repeated; a listener without a rule allows everything
    #[arg(long, value_name = "[URL ]SERVICE=ROUTE,...")]
    pub bus_allow: Vec<Allow>,
    /// Services to dial: tcp://HOST:PORT, ipc:///PATH; may be repeated
    #[arg(long, value_name = "URL")]
    pub bus_dial: Vec<Endpoint>,
    /// Worker threads, each with its own listeners and pipes
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = workers)]
    pub workers: usize,
    /// Scheduling policy of worker threads: inherit, or batch (fewer wake-ups: less CPU per
    /// request, longer tails when all cores are busy)
    #[arg(long, value_name = "POLICY", default_value_t = Scheduling::Inherit)]
    pub scheduling: Scheduling,
    /// How long a worker with 4 to 24 requests on the bus polls its sockets before it sleeps; 0s:
    /// not at all
    #[arg(long, value_name = "TIME", default_value = "200us", value_parser = duration)]
    pub busy_poll: Duration,
    /// The congestion control of client connections on TCP (tcp(7), TCP_CONGESTION): auto (the
    /// system's, but reno for an --http on a loopback address where the system has bbr, whose
    /// timers only cost there), system, or the name of an algorithm
    #[arg(long, value_name = "auto|system|NAME", default_value = "auto")]
    pub congestion_control: Congestion,
    /// How long a request may take before 504
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = duration)]
    pub deadline: Duration,
    /// How long after the start services may still be dialling: until then a path that no service
    /// claims is 503, not 404, and /ready is 503
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = duration)]
    pub settle: Duration,
    /// How long a request whose route has no instance at the moment waits for one before 503,
    /// within its deadline; 0s: not at all
    #[arg(long, value_name = "TIME", default_value = "500ms", value_parser = duration)]
    pub hold: Duration,
    /// Services without which the terminator is not ready, comma-separated: until each has joined
    /// once, /ready is 503 and names the missing ones, and a path that no service claims is 503,
    /// not 404
    #[arg(long, value_name = "SERVICE,...", value_delimiter = ',')]
    pub expect: Vec<String>,
    /// The deadline of one route, by its pattern as in /routes; may be repeated
    #[arg(long, value_name = "PATTERN=TIME", value_parser = route_deadline)]
    pub route_deadline: Vec<(String, Duration)>,
    /// The statsd daemon to send metrics to, by UDP
    #[arg(long, value_name = "HOST:PORT", value_parser = role::telemetry::check_target)]
    pub statsd: Option<String>,
    /// Time between two flushes to statsd
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = duration)]
    pub statsd_interval: Duration,
    /// What every metric's name starts with; {service}, {host} and {instance} are replaced: with
    /// several instances on one daemon write '{service}.{instance}', and give each an --instance
    #[arg(long, value_name = "PREFIX", default_value = "{service}", value_parser = role::telemetry::check_prefix)]
    pub statsd_prefix: String,
    /// Write labels, and service, instance and host, as DogStatsD's tags (|#route:...), else labels
    /// are part of the name
    #[arg(long)]
    pub dogstatsd: bool,
    /// Distinguishes this instance from others, in metrics and admin answers [default:
    /// HOST-PID-RANDOM]
    #[arg(long, value_name = "ID")]
    pub instance: Option<String>,
    /// A TOML file with any of these settings
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// What to log to stderr: error, warn, info, debug, trace, or a filter such as bus=debug
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    pub log: String,
    /// Where to write one JSON line per request: off, stderr, or a file
    #[arg(long, value_name = "off|stderr|PATH", default_value = "off")]
    pub access_log: AccessLogTarget,
    /// The X-Forwarded-*, Forwarded and X-Real-IP headers of a trusted proxy: append (keep them and
    /// add to them) or replace (drop them, as those of any other client)
    #[arg(long, value_name = "POLICY", default_value = "append")]
    pub forwarded: Forwarded,
    /// A proxy whose X-Forwarded-*, Forwarded and X-Real-IP headers are trusted: an address, a
    /// network, or unix for every client of a Unix socket; may be repeated
    #[arg(long, value_name = "CIDR|unix", default_values = ["127.0.0.0/8", "::1/128", "unix"])]
    pub trusted_proxy: Vec<TrustedProxy>,
    /// How long requests are still served after SIGTERM, with /ready 503 and every response closing
    /// its connection, so that load balancers switch to another instance first; twice the interval
    /// of their checks is enough
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = duration)]
    pub drain_delay: Duration,
    /// How long requests in flight may take after that
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    pub drain_deadline: Duration,
    /// Finding services by the name of a bus, and being found
    #[command(flatten)]
    pub discovery: role::discovery::Options,
    /// Being replaced
    #[command(flatten)]
    pub handover: role::handover::Options,
    /// Live change
    #[command(flatten)]
    pub change: ChangeSettings,
    /// The limits
    #[command(flatten)]
    pub limits: LimitSettings,
}

/// The limits as typed. [`limits`] has the reasons for the defaults.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Limits")]
pub struct LimitSettings {
    /// Longest bus message, in bytes; nanomsg and mangos peers close the connection at a message
    /// longer than the default
    #[arg(long, value_name = "BYTES", default_value_t = bus::proto::limits::MESSAGE_LEN_MAX)]
    pub message_limit: usize,
    /// Requests outstanding on the bus, per worker
    #[arg(long, value_name = "N", default_value_t = bus::proto::limits::PENDING_MAX)]
    pub pending_limit: usize,
    /// Messages that may be queued for one pipe
    #[arg(long, value_name = "N", default_value_t = bus::proto::limits::QUEUE_MESSAGES_MAX)]
    pub queue_limit: usize,
    /// Bytes that may be queued for one pipe
    #[arg(long, value_name = "BYTES", default_value_t = bus::proto::limits::QUEUE_BYTES_MAX)]
    pub queue_bytes_limit: usize,
    /// Bytes of a request's head, start line included; above: 431
    #[arg(long, value_name = "BYTES", default_value_t = limits::HEADER_BYTES)]
    pub header_limit: usize,
    /// Headers of a request; above: 431
    #[arg(long, value_name = "N", default_value_t = limits::HEADER_COUNT)]
    pub header_count: usize,
    /// Bytes of a request's body; above: 413 [default: --message-limit without room for the head]
    #[arg(long, value_name = "BYTES")]
    pub body_limit: Option<usize>,
    /// Connections per worker; above: 503 and close
    #[arg(long, value_name = "N", default_value_t = limits::CONNECTIONS)]
    pub connection_limit: usize,
    /// Requests in flight per worker; above: 503
    #[arg(long, value_name = "N", default_value_t = limits::IN_FLIGHT)]
    pub in_flight_limit: usize,
    /// Time from the accept, or from the first byte of a further request, to the end of the head;
    /// above: 408
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    pub header_timeout: Duration,
    /// Time that a connection may be without a request; above: closed
    #[arg(long, value_name = "TIME", default_value = "75s", value_parser = duration)]
    pub idle_timeout: Duration,
    /// Time from the end of the head to the end of the body; above: 408
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = duration)]
    pub body_timeout: Duration,
    /// Time that a client may read no byte of its response; above: closed
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = duration)]
    pub write_timeout: Duration,
}

/// Where the access log goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccessLogTarget {
    /// There is no access log.
    Off,
    /// To stderr, where the other log lines go.
    Stderr,
    /// Appended to a file, which SIGHUP reopens.
    File(PathBuf),
}

impl FromStr for AccessLogTarget {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "" => Err("write off, stderr or a path".to_owned()),
            "off" => Ok(Self::Off),
            "stderr" => Ok(Self::Stderr),
            path => Ok(Self::File(PathBuf::from(path))),
        }
    }
}

impl fmt::Display for AccessLogTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::Stderr => f.write_str("stderr"),
            Self::File(path) => write!(f, "{}", path.display()),
        }
    }
}

/// The congestion control of client connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Congestion {
    /// The system's, except that one that paces by timers is replaced on loopback addresses.
    Auto,
    /// The system's.
    System,
    /// The algorithm with this name.
    Named(String),
}

impl FromStr for Congestion {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "auto" => Ok(Self::Auto),
            "system" => Ok(Self::System),
            // TCP_CA_NAME_MAX is 16 with the closing NUL.
            name if (1..16).contains(&name.len()) => Ok(Self::Named(name.to_owned())),
            _ => Err("write auto, system, or a name of up to 15 bytes such as cubic".to_owned()),
        }
    }
}

/// What is done with the `x-forwarded-*` headers of a trusted proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Forwarded {
    /// The peer's address is appended to `x-forwarded-for`; `-proto` and `-host` are kept.
    Append,
    /// They are dropped and replaced.
    Replace,
}

fn duration(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(time) if time <= limits::TIME_MAX => Ok(time),
        Ok(_) => Err(format!("more than {}", humantime::format_duration(limits::TIME_MAX))),
        Err(error) => Err(format!("{error}; write a number and a unit, such as 250ms or 1s")),
    }
}

fn workers(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number) if (1..=limits::WORKERS).contains(&number) => Ok(number),
        _ => Err(format!("write a number from 1 to {}", limits::WORKERS)),
    }
}

fn route_deadline(text: &str) -> Result<(String, Duration), String> {
    let form = "write 'METHOD /pattern=TIME', such as 'GET /members/{id}=250ms'";
    let (pattern, time) = text.rsplit_once('=').ok_or(form)?;
    let pattern: bus::Pattern = pattern.trim().parse().map_err(|error| format!("{error}; {form}"))?;
    match duration(time.trim())? {
        Duration::ZERO => Err("a deadline of zero would refuse every request".to_owned()),
        time => Ok((pattern.to_string(), time)),
    }
}
