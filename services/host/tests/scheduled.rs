//! A service with scheduled tasks, from outside: its metrics, its end, and what is wrong with it.
//!
//! The service is this test binary started with the argument `service`; `main` tells the two apart.

#![allow(clippy::unwrap_used, reason = "tests fail by panic")]

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use libtest_mimic::{Arguments, Trial};
use service_host::data::{StoreOptions, StoreSettings};
use service_host::testing::{Process, socket};
use service_host::{Options, Router, Settings};
use store::Owner;

/// Runs two tasks.
#[derive(Clone, clap::Parser)]
#[command(name = "scheduled", version)]
struct Args {
    /// `service`.
    mode: String,
    /// The period of the tasks.
    #[arg(long, default_value = "100ms")]
    period: String,
    /// The slow task ends when this file is there.
    #[arg(long)]
    go: PathBuf,
    #[command(flatten)]
    host: Options,
    #[command(flatten)]
    store: StoreOptions,
}

impl Settings for Args {
    fn options(&self) -> &Options {
        &self.host
    }
}

impl StoreSettings for Args {
    const OWNER: Owner = Owner { service: "scheduled", layout: 1 };

    fn store(&self) -> &StoreOptions {
        &self.store
    }
}

fn service() -> ExitCode {
    service_host::data::main(|args: &Args, _| {
        let (period, go) = (args.period.clone(), args.go.clone());
        move |_| {
            let go = go.clone();
            let router = Router::new().every(&period, "quick", |_| async { Ok::<_, std::io::Error>(()) });
            Ok(router.every(&period, "slow", move |_| {
                let go = go.clone();
                async move {
                    tracing::info!("the slow task begins");
                    let mut look = tokio::time::interval(Duration::from_millis(5));
                    while !go.exists() {
                        look.tick().await;
                    }
                    tracing::info!("the slow task ends");
                    Ok::<_, std::io::Error>(())
                }
            }))
        }
    })
}

fn start(dir: &Path, more: &[&str]) -> Process {
    let path = |name: &str| dir.join(name).display().to_string();
    let (bus, store) = (socket(dir, "bus.sock"), format!("embedded:{}", path("store")));
    let (admin, go) = (format!("unix:{}", path("admin.sock")), path("go"));
    let mut args = vec!["service", "--bus-listen", &bus, "--store", &store, "--admin", &admin, "--go", &go];
    args.extend(["--workers", "2"]);
    args.extend(more);
    Process::start(std::env::current_exe().unwrap().to_str().unwrap(), &args)
}

fn stats(dir: &Path) -> serde_json::Value {
    let mut stream = UnixStream::connect(dir.join("admin.sock")).unwrap();
    stream.write_all(b"GET /stats HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
}

fn a_run_that_lasts_ends_before_the_service_and_shows_in_its_stats() {
    let dir = tempfile::tempdir().unwrap();
    let mut service = start(dir.path(), &[]);
    let _ = service.logged("the slow task begins");
    let stats = stats(dir.path());
    assert_eq!(
        (&stats["schedule.runs"]["slow"], &stats["schedule.running"]),
        (&1.into(), &1.into()),
        "{stats}"
    );
    assert!(stats["schedule.runs"]["quick"].is_u64() && stats["schedule.failures"]["slow"] == 0, "{stats}");
    service.terminate();
    let _ = service.logged("draining");
    std::fs::write(dir.path().join("go"), "").unwrap();
    let _ = service.logged("the slow task ends");
    let _ = service.logged("stopped; every request in hand was answered");
    assert!(service.ended().success());
}

fn a_run_that_outlasts_the_drain_deadline_is_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let mut service = start(dir.path(), &["--drain-deadline", "200ms"]);
    let _ = service.logged("the slow task begins");
    service.terminate();
    let _ = service.logged("stopped at the drain deadline");
    assert!(service.ended().success());
    // Another instance runs the task again when the lease has ended.
    std::fs::write(dir.path().join("go"), "").unwrap();
    let mut next = start(dir.path(), &[]);
    let _ = next.logged("the slow task ends");
    next.terminate();
    assert!(next.ended().success());
}

fn a_wrong_period_ends_the_service_with_an_error_that_names_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut service = start(dir.path(), &["--period", "soon"]);
    let _ = service.logged("a scheduled task runs every \"soon\"");
    assert_eq!(service.ended().code(), Some(1));
}

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some("service") {
        return service();
    }
    let trial = |name: &str, test: fn()| {
        Trial::test(name, move || {
            test();
            Ok(())
        })
    };
    let tests = vec![
        trial(
            "a_run_that_lasts_ends_before_the_service_and_shows_in_its_stats",
            a_run_that_lasts_ends_before_the_service_and_shows_in_its_stats,
        ),
        trial(
            "a_run_that_outlasts_the_drain_deadline_is_dropped",
            a_run_that_outlasts_the_drain_deadline_is_dropped,
        ),
        trial(
            "a_wrong_period_ends_the_service_with_an_error_that_names_it",
            a_wrong_period_ends_the_service_with_an_error_that_names_it,
        ),
    ];
    libtest_mimic::run(&Arguments::from_args(), tests).exit_code()
}
