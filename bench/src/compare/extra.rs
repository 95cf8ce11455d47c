//! Measurements beside the rates: a fixed rate, large bodies, and how the cost of a request grows.
//!
//! Owns their procedures and the names of their figures. Invariant: compared variants run in turn,
//! and their medians are compared.

use std::cell::RefCell;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use tokio::process::Command;

use super::appends;
use super::options::Options;
use super::rows::Rows;
use crate::figures::{float, median};
use crate::load::outcome::{Latency, Outcome};
use crate::load::plot;
use crate::peers::ground::Ground;
use crate::peers::running::Running;
use crate::peers::systems::{self, System};
use crate::store_alone::{self, Work};

const MIB: usize = 1 << 20;
/// A body of 1 MiB with its head exceeds the default limit of a message.
const MESSAGE_LIMIT: &str = "2097152";
/// Enough connections to keep both sides busy, few enough that bodies and not connections are
/// measured.
const BODY_CONNECTIONS: u32 = 16;

/// A further measurement.
#[derive(Clone, Copy, Debug)]
pub(super) enum Extra {
    /// Two hops at a fixed rate.
    Open,
    /// 1 MiB in each direction.
    Bodies,
    /// CPU per request by number of connections, instances and routes.
    Growth,
    /// `POST /events`.
    Events,
    /// FoundationDB's own client, on the cluster of the run.
    Client,
}

impl Extra {
    pub(super) const ALL: [Self; 5] = [Self::Open, Self::Bodies, Self::Growth, Self::Events, Self::Client];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Bodies => "bodies",
            Self::Growth => "growth",
            Self::Events => "events",
            Self::Client => "client",
        }
    }

    /// True when it was asked for, or all were and the store has it.
    pub(super) fn is_wanted(self, options: &Options) -> bool {
        let is_possible = options.store.kind.is_cluster() || !matches!(self, Self::Client);
        options.wants(self.name()) && (is_possible || !options.only.is_empty())
    }

    pub(super) async fn measure(
        self,
        options: &Options,
        ground: &Ground,
        rows: &RefCell<Rows>,
    ) -> Result<()> {
        ground.roles().await?;
        let run = Run { options, ground, rows };
        match self {
            Self::Open => run.open().await,
            Self::Bodies => run.bodies().await,
            Self::Growth => run.growth().await,
            Self::Events => run.events().await,
            Self::Client => run.client().await,
        }
    }
}

struct Run<'a> {
    options: &'a Options,
    ground: &'a Ground,
    rows: &'a RefCell<Rows>,
}

impl Run<'_> {
    fn keep(&self, name: &str, value: f64) {
        println!("{name} {value:.2}");
        self.rows.borrow_mut().extras.insert(name.to_owned(), value);
    }

    async fn open(&self) -> Result<()> {
        let rate = self.options.rate.to_string();
        let seconds = format!("{}s", self.options.seconds);
        let flags = ["--rate", &rate, "--connections", "256", "--duration", &seconds, "--warmup", "1s"];
        let bare = System::Bare.start(self.ground).await?;
        let beside = self.load("open-bare", &bare.url(), &flags).await?;
        bare.stop().await;
        let stack = System::StackTwo.start(self.ground).await?;
        let outcome = self.load("open-stack-2", &stack.url(), &flags).await?;
        stack.stop().await;
        plot::write(&[("bare hyper", &beside), ("two hops", &outcome)], &self.ground.runs)?;
        self.keep("open_rate", outcome.responses_per_second);
        for (suffix, outcome) in [("", &outcome), ("_bare", &beside)] {
            let Latency { p50_us, p99_us, p999_us, .. } = outcome.latency;
            for (figure, us) in [("open_p50_ms", p50_us), ("open_p99_ms", p99_us), ("open_p999_ms", p999_us)]
            {
                self.keep(&format!("{figure}{suffix}"), float(us) / 1000.0);
            }
        }
        let refused = outcome.responses - outcome.successes();
        self.keep("open_errors", float(outcome.errors.total() + refused));
        Ok(())
    }

    async fn bodies(&self) -> Result<()> {
        let body = self.ground.scratch.path().join("body");
        std::fs::write(&body, vec![b'x'; MIB])?;
        let body = body.to_string_lossy().into_owned();
        let (mut up, mut down) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
        // Where the system paces connections, the terminator does not pace these, but hyper does.
        let mut unpaced = Vec::new();
        let size = MIB.to_string();
        for _ in 0..self.options.rounds {
            for (side, is_stack) in [false, true].into_iter().enumerate() {
                let running = self.body_server(is_stack, &[]).await?;
                let url = format!("http://127.0.0.1:{}/bench", running.port);
                up[side].push(self.bytes("written", "bodies-up", &url, &["--body", &body]).await?);
                running.stop().await;
                let running = self.body_server(is_stack, &["--reply", &size]).await?;
                let url = format!("http://127.0.0.1:{}/bench/1", running.port);
                down[side].push(self.bytes("read", "bodies-down", &url, &[]).await?);
                running.stop().await;
            }
            let running = systems::bare(self.ground, &["--reply", &size, "--unpaced"]).await?;
            let url = format!("http://127.0.0.1:{}/bench/1", running.port);
            unpaced.push(self.bytes("read", "bodies-down-unpaced", &url, &[]).await?);
            running.stop().await;
        }
        let unpaced = median(unpaced);
        self.keep("bodies_down_bare_unpaced_mb_per_s", unpaced / 1e6);
        self.keep("bodies_down_of_unpaced", median(down[1].clone()) / unpaced.max(1.0));
        for (way, [bare, stack]) in [("up", up), ("down", down)] {
            let (bare, stack) = (median(bare), median(stack));
            self.keep(&format!("bodies_{way}_bare_mb_per_s"), bare / 1e6);
            self.keep(&format!("bodies_{way}_stack_mb_per_s"), stack / 1e6);
            self.keep(&format!("bodies_{way}"), stack / bare.max(1.0));
        }
        Ok(())
    }

    async fn body_server(&self, is_stack: bool, flags: &[&str]) -> Result<Running> {
        if !is_stack {
            return systems::bare(self.ground, flags).await;
        }
        let flags = [flags, &["--message-limit", MESSAGE_LIMIT]].concat();
        systems::services(self.ground, 1, &flags, &["--message-limit", MESSAGE_LIMIT]).await
    }

    async fn growth(&self) -> Result<()> {
        let [mut few, mut many] = [Vec::new(), Vec::new()];
        let [mut few_bare, mut many_bare] = [Vec::new(), Vec::new()];
        let [mut one_instance, mut instances] = [Vec::new(), Vec::new()];
        let [mut one_route, mut routes] = [Vec::new(), Vec::new()];
        for _ in 0..self.options.rounds {
            // Bare hyper beside it shows the share of the kernel's sockets and of the caches.
            for (system, few, many) in
                [(System::Bare, &mut few_bare, &mut many_bare), (System::StackTwo, &mut few, &mut many)]
            {
                let running = system.start(self.ground).await?;
                few.push(self.cpu_us(&running, 256).await?);
                many.push(self.cpu_us(&running, 4096).await?);
                running.stop().await;
            }
            for (count, costs) in [(1, &mut one_instance), (16, &mut instances)] {
                let running = systems::services(self.ground, count, &[], &[]).await?;
                costs.push(self.cpu_us(&running, 256).await?);
                running.stop().await;
            }
            for (count, costs) in [("1", &mut one_route), ("200", &mut routes)] {
                let running = systems::services(self.ground, 1, &["--routes", count], &[]).await?;
                costs.push(self.cpu_us(&running, 256).await?);
                running.stop().await;
            }
        }
        for (name, before, after) in [
            ("growth_connections", few, many),
            ("growth_connections_bare", few_bare, many_bare),
            ("growth_instances", one_instance, instances),
            ("growth_routes", one_route, routes),
        ] {
            let (before, after) = (median(before), median(after));
            self.keep(&format!("{name}_from_us"), before);
            self.keep(&format!("{name}_to_us"), after);
            self.keep(name, after / before.max(1e-9));
        }
        Ok(())
    }

    async fn events(&self) -> Result<()> {
        let mut singles = appends::WRITERS.map(|writers| (writers, Vec::new(), Vec::new()));
        let (mut batches, mut errors) = (Vec::new(), 0);
        for _ in 0..self.options.rounds {
            let running = systems::events(self.ground).await?;
            let url = format!("http://127.0.0.1:{}", running.port);
            for (writers, rates, p99s) in &mut singles {
                let outcome = appends::append(&url, *writers, false, self.options.seconds).await?;
                rates.push(appends::per_second(&outcome));
                p99s.push(appends::p99_ms(&outcome));
                errors += appends::errors(&outcome);
            }
            let outcome = appends::append(&url, appends::BATCH_WRITERS, true, self.options.seconds).await?;
            batches.push(appends::per_second(&outcome) * float(appends::BATCH as u64));
            errors += appends::errors(&outcome);
            running.stop().await;
        }
        for (writers, rates, p99s) in singles {
            self.keep(&format!("events_{writers}_per_s"), median(rates));
            self.keep(&format!("events_{writers}_p99_ms"), median(p99s));
        }
        self.keep("events_batches_per_s", median(batches));
        self.keep("events_errors", float(errors));
        Ok(())
    }

    /// Point reads and commits of FoundationDB's own client, 256 in flight.
    async fn client(&self) -> Result<()> {
        let Some(store) = self.ground.cluster() else {
            bail!("an embedded store has no client of its own; give --store fdb:CLUSTER_FILE")
        };
        store_alone::fill(store).await?;
        for (name, work) in [("client_reads_per_s", Work::Get), ("client_commits_per_s", Work::Set)] {
            let mut rates = Vec::new();
            for _ in 0..self.options.rounds {
                let duration = Duration::from_secs(self.options.seconds.into());
                let measured = store_alone::beside(&self.options.store.kind, work, 256, duration).await?;
                rates.extend(measured.map(|measured| measured.per_second));
            }
            self.keep(name, median(rates));
        }
        Ok(())
    }

    /// Microseconds of CPU per request, all processes together.
    async fn cpu_us(&self, running: &Running, connections: u32) -> Result<f64> {
        running.drive(self.ground, connections, self.options.warmup, "warm-up").await?;
        let sum = |cpu: crate::process::Cpu| cpu.values().map(std::time::Duration::as_secs_f64).sum::<f64>();
        let before = sum(running.cpu()?);
        let measured = running.drive(self.ground, connections, self.options.seconds, "warm-up").await?;
        ensure!(measured.requests > 0, "no request was answered at {connections} connections");
        Ok((sum(running.cpu()?) - before) * 1e6 / float(measured.requests))
    }

    /// Bytes per second in the direction `way` (read or written).
    async fn bytes(&self, way: &str, name: &str, url: &str, flags: &[&str]) -> Result<f64> {
        let connections = BODY_CONNECTIONS.to_string();
        let seconds = format!("{}s", self.options.seconds);
        let always = ["--connections", &connections, "--duration", &seconds, "--warmup", "500ms"];
        let outcome = self.load(name, url, &[&always, flags].concat()).await?;
        ensure!(outcome.successes() == outcome.responses, "{url}: {outcome}");
        let bytes = if way == "read" { outcome.bytes_read } else { outcome.bytes_written };
        Ok(float(bytes) / outcome.seconds)
    }

    /// Runs `bench load` in its own process and returns its JSON result.
    async fn load(&self, name: &str, url: &str, flags: &[&str]) -> Result<Outcome> {
        let json = self.ground.runs.join(format!("{name}.json"));
        let output = Command::new(&self.ground.own)
            .args(["load", "--quiet", "--json"])
            .arg(&json)
            .args(flags)
            .arg(url)
            .stdin(Stdio::null())
            .process_group(0)
            .kill_on_drop(true)
            .output()
            .await?;
        ensure!(output.status.success(), "bench load {url}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(serde_json::from_str(&std::fs::read_to_string(&json)?)?)
    }
}
