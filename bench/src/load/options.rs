//! The options of `bench load`, as typed.
//!
//! Owns the flags and their help. `plan` combines them.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

pub(super) const EXAMPLES: &str = "\
Examples:
  bench load http://127.0.0.1:8080/members/1                         10 s, 64 connections, as fast as they go
  bench load -c 256 -t 2 -d 10m http://127.0.0.1:8080/members/1      the classic run
  bench load -n 1000000 -c 256 -k http://127.0.0.1:8080/             a million requests, as weighttp and ab count
  bench load --rate 50000 -c 256 -d 30s --json r.json --plot plots http://127.0.0.1:8080/members/1
  bench load -X PUT -H 'content-type: application/json' --body member.json http://127.0.0.1:8080/profiles/1
  bench load unix:/run/http.sock:/members/1                          over a Unix socket

Ctrl-C ends the run early and reports what was measured. Exit code: 0, 1 on failure, 2 on usage.";

/// HTTP/1.1 load: at a fixed rate (--rate) or closed loop, with the options of wrk and weighttp.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Options {
    /// `http://HOST[:PORT]/PATH` or `unix:SOCKET:/PATH`
    pub url: String,
    /// Connections, all threads together
    #[arg(short, long, value_name = "N", default_value_t = 64)]
    pub connections: usize,
    /// Threads; one thread sends more than 100 000 requests/s
    #[arg(short, long, value_name = "N", default_value_t = 1)]
    pub threads: usize,
    /// Duration [default: 10s, unlimited when -n is given]
    #[arg(short, long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub duration: Option<Duration>,
    /// Number of requests, all connections together
    #[arg(short = 'n', long, value_name = "N")]
    pub requests: Option<u64>,
    /// Open loop: requests per second, all threads together; latency counts from each request's due
    /// time
    #[arg(short, long, value_name = "N")]
    pub rate: Option<f64>,
    /// Seed of the requests, printed with the result [default: random]
    #[arg(long)]
    pub seed: Option<u64>,
    /// Keep connections alive; -k=false opens one per request
    #[arg(short, long, num_args = 0..=1, require_equals = true, default_value_t = true, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub keepalive: bool,
    /// Method [default: GET, POST with --body]
    #[arg(short = 'X', long, value_name = "METHOD")]
    pub method: Option<String>,
    /// A header, `NAME: VALUE`; may be repeated
    #[arg(short = 'H', long = "header", value_name = "HEADER")]
    pub headers: Vec<String>,
    /// File with the body of every request
    #[arg(short, long, value_name = "FILE")]
    pub body: Option<PathBuf>,
    /// Time after which an unanswered request is given up, its connection closed and the time
    /// counted as its latency
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = humantime::parse_duration)]
    pub timeout: Duration,
    /// Load before anything is counted
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = humantime::parse_duration)]
    pub warmup: Duration,
    /// File for the result as JSON
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Directory for latency-by-percentile.svg and latency-over-time.svg
    #[arg(long, value_name = "DIR")]
    pub plot: Option<PathBuf>,
    /// No progress line
    #[arg(short, long)]
    pub quiet: bool,
}

impl Options {
    /// The defaults for `url`, without a progress line.
    pub(crate) fn of(url: String) -> Self {
        Self {
            url,
            connections: 64,
            threads: 1,
            duration: None,
            requests: None,
            rate: None,
            seed: None,
            keepalive: true,
            method: None,
            headers: Vec::new(),
            body: None,
            timeout: Duration::from_secs(10),
            warmup: Duration::ZERO,
            json: None,
            plot: None,
            quiet: true,
        }
    }
}
