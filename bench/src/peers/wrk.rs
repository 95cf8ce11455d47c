//! wrk, which loads every system.
//!
//! Owns starting it and parsing its output.

use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use tokio::process::Command;

/// What wrk measured.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Measured {
    pub(crate) requests: u64,
    pub(crate) requests_per_second: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    /// Socket errors and timeouts.
    pub(crate) errors: u64,
    /// Responses with a status other than 2xx and 3xx.
    pub(crate) refused: u64,
}

/// Runs `wrk -t1` against `url`; stores its output in `raw`.
pub(crate) async fn run(url: &str, connections: u32, seconds: u32, raw: Option<&Path>) -> Result<Measured> {
    let args =
        ["-t1", &format!("-c{connections}"), &format!("-d{seconds}s"), "--latency", url].map(str::to_owned);
    let output = Command::new("wrk")
        .args(&args)
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .output()
        .await?;
    let text = String::from_utf8_lossy(&output.stdout);
    if let Some(raw) = raw {
        std::fs::write(raw, format!("$ wrk {}\n{text}", args.join(" ")))?;
    }
    ensure!(output.status.success(), "wrk failed: {}", String::from_utf8_lossy(&output.stderr));
    parse(&text).with_context(|| format!("wrk's output has another form: {text}"))
}

fn parse(text: &str) -> Option<Measured> {
    let mut measured = Measured::default();
    for line in text.lines().map(str::trim) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            [requests, "requests", "in", ..] => measured.requests = requests.parse().ok()?,
            ["Requests/sec:", rate] => measured.requests_per_second = rate.parse().ok()?,
            ["50%", time] => measured.p50_ms = milliseconds(time)?,
            ["99%", time] => measured.p99_ms = milliseconds(time)?,
            ["Non-2xx", .., count] => measured.refused = count.parse().ok()?,
            ["Socket", "errors:", ..] => {
                let counts = words.iter().filter_map(|word| word.trim_end_matches(',').parse::<u64>().ok());
                measured.errors = counts.sum();
            }
            _ => {}
        }
    }
    (measured.requests_per_second > 0.0).then_some(measured)
}

fn milliseconds(time: &str) -> Option<f64> {
    let unit = time.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
    let number: f64 = time.strip_suffix(unit)?.parse().ok()?;
    Some(
        number
            * match unit {
                "us" => 1e-3,
                "ms" => 1.0,
                "s" => 1e3,
                "m" => 6e4,
                _ => return None,
            },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrks_output_is_read() {
        let text = "Running 5s test @ http://127.0.0.1:9000/\n  1 threads and 256 connections\n  Thread Stats   Avg      Stdev     Max   +/- Stdev\n    Latency     2.28ms    1.02ms  14.20ms   86.14%\n    Req/Sec   114.06k     9.02k  124.00k    80.00%\n  Latency Distribution\n     50%    2.11ms\n     75%    2.53ms\n     90%    3.41ms\n     99%    1.20s\n  567610 requests in 5.00s, 157.53MB read\n  Socket errors: connect 0, read 3, write 0, timeout 4\n  Non-2xx or 3xx responses: 12\nRequests/sec: 113458.21\nTransfer/sec:     31.49MB\n";
        let expected = Measured {
            requests: 567_610,
            requests_per_second: 113_458.21,
            p50_ms: 2.11,
            p99_ms: 1200.0,
            errors: 7,
            refused: 12,
        };
        assert_eq!(parse(text), Some(expected));
        assert_eq!(parse("unable to connect"), None);
    }
}
