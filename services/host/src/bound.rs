//! The buses of a service, bound: its own, that of its upstream, and one for each further version
//! that the process serves.
//!
//! Owns what a hello says before the routes are known. Leaves the threads to `run`. Invariant: each
//! list has a seed for every worker, or none.

use anyhow::Context as _;
use bus::{Hello, Seed};
use role::identity::Identity;

use crate::announce::Places;
use crate::options::{Options, Settings, Upstream};
use crate::sockets::OfBus;

/// The buses.
pub(crate) struct Bound {
    pub(crate) own: Vec<Seed>,
    /// Empty when the service asks on its own bus.
    pub(crate) upstream: Vec<Seed>,
    /// For each version after the first.
    pub(crate) others: Vec<Vec<Seed>>,
    pub(crate) versions: Vec<String>,
}

impl Bound {
    pub(crate) fn new<A: Settings>(
        args: &A,
        identity: &Identity,
        own: OfBus,
        of_upstream: OfBus,
    ) -> anyhow::Result<Self> {
        let options = args.options();
        let workers = usize::from(options.workers);
        let hello = hello(identity, options);
        let config = bus::Config {
            listen: options.bus_listen.clone(),
            dial: options.bus_dial.clone(),
            hello: Some(hello.clone()),
            limits: options.limits(),
            ..bus::Config::default()
        };
        let own = bus::bind_with(&config, workers, own).context("the service's bus")?;
        let upstream = upstream_seeds(args.upstream(), options, workers, of_upstream)?;
        let versions = versions(args);
        let other = |version: &String| {
            let instance = format!("{}-{version}", hello.instance);
            let hello = Hello { version: version.clone(), instance, ..hello.clone() };
            let config = bus::Config { listen: Vec::new(), hello: Some(hello), ..config.clone() };
            bus::bind(&config, workers)
        };
        let others = versions[1..].iter().map(other).collect::<Result<_, _>>()?;
        Ok(Self { own, upstream, others, versions })
    }

    pub(crate) fn places<A: Settings>(&self, args: &A) -> Places {
        let upstream_dialling = args.upstream().map(|upstream| upstream.upstream_dial.clone());
        Places {
            listening: self.own.first().map(Seed::listening).unwrap_or_default(),
            dialling: args.options().bus_dial.clone(),
            upstream_listening: self.upstream.first().map(Seed::listening).unwrap_or_default(),
            upstream_dialling: upstream_dialling.unwrap_or_default(),
        }
    }
}

/// The versions that the process serves, at least one.
pub(crate) fn versions<A: Settings>(args: &A) -> Vec<String> {
    let given = args.versions();
    if given.is_empty() { vec![A::command().get_version().unwrap_or("0").to_owned()] } else { given }
}

/// The hello before the routes are known.
pub(crate) fn hello(identity: &Identity, options: &Options) -> Hello {
    let mut hello = Hello::new(&identity.service, &identity.version, &identity.instance);
    hello.weight = options.weight;
    hello.limit = options.limit_per_worker();
    hello
}

/// One seed per worker, or none when the service asks on its own bus.
fn upstream_seeds(
    upstream: Option<&Upstream>,
    options: &Options,
    workers: usize,
    inherited: OfBus,
) -> anyhow::Result<Vec<Seed>> {
    let Some(upstream) = upstream else { return Ok(Vec::new()) };
    if !upstream.is_given() {
        return Ok(Vec::new());
    }
    let config = bus::Config {
        listen: upstream.upstream_listen.clone(),
        dial: upstream.upstream_dial.clone(),
        limits: options.limits(),
        ..bus::Config::default()
    };
    bus::bind_with(&config, workers, inherited).context("the upstream bus")
}
