//! Finding the peers of a bus by its name, and being found: what `--bus-name` and `--bus-join` do.
//!
//! Owns the flags, the check that they fit together, and the task that has every worker dial what
//! is published. Leaves the rule of who is dialled to `change::discovery`, records to
//! `change::source`, dialling to crate `bus`. Invariant: losing etcd closes no connection and ends
//! no dial.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bus::{Bus, Endpoint};
use change::discovery::{Action, Membership, publish};
use change::document::{Key, Kind, Listener};
use change::source::{Hold, Source, SourceError};
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use crate::identity::Identity;
use crate::worker::Workers;

/// How often the workers are asked to which peers they are connected.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// The flags of a bus that others find by its name, and whose listeners are found.
#[derive(Clone, Debug, Default, clap::Args)]
#[group(skip)]
pub struct Options {
    /// Publish the --bus-listen in etcd as a listener of the bus NAME, under a lease of 10 s, for
    /// peers with --bus-join NAME; needs --etcd
    #[arg(long, value_name = "NAME", value_parser = name)]
    pub bus_name: Option<String>,
    /// Where peers reach the listener that --bus-name publishes, e.g. tcp://10.0.0.5:5555; may be
    /// repeated, peers dial the first that they can [default: --bus-listen, when it names one
    /// address]
    #[arg(long, value_name = "URL", requires = "bus_name")]
    pub bus_advertise: Vec<Endpoint>,
    /// Dial every listener of the bus NAME, as they come and go; may be repeated; needs --etcd
    #[arg(long, value_name = "NAME", value_parser = name)]
    pub bus_join: Vec<String>,
}

/// Settings of discovery that do not fit together; the operator's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DiscoveryError {
    /// Records are in etcd.
    #[error(
        "--{flag} {name}: the listeners of a bus are in etcd; give --etcd http://HOST:2379, or the \
         addresses themselves: --bus-listen URL here, --bus-dial URL at the peers"
    )]
    NoEtcd {
        /// `bus-name`, `bus-join` or that of an upstream.
        flag: &'static str,
        /// The value.
        name: String,
    },
    /// There is nothing to publish.
    #[error("--{flag} {name}: there is no listener to publish; give --{listen} URL")]
    NoListener {
        /// `bus-name` or `upstream-name`.
        flag: &'static str,
        /// The value.
        name: String,
        /// The flag that is missing.
        listen: &'static str,
    },
    /// Peers cannot reach what would be published.
    #[error(
        "--{flag} {name}: peers on other hosts cannot dial {endpoint}; give --{advertise} URL with this host's address"
    )]
    NotReachable {
        /// `bus-name` or `upstream-name`.
        flag: &'static str,
        /// The value.
        name: String,
        /// What is listened on.
        endpoint: Endpoint,
        /// The flag that is missing.
        advertise: &'static str,
    },
}

/// One bus of a role, as its flags say.
#[derive(Clone, Copy, Debug)]
pub struct Named<'a> {
    /// The beginning of the flags' names: `bus` or `upstream`.
    flags: Flags,
    name: Option<&'a String>,
    advertise: &'a [Endpoint],
    join: &'a [String],
}

/// The names of a bus's flags.
#[derive(Clone, Copy, Debug)]
struct Flags {
    name: &'static str,
    listen: &'static str,
    advertise: &'static str,
    join: &'static str,
}

impl Options {
    /// The bus that the flags describe.
    #[must_use]
    pub fn bus(&self) -> Named<'_> {
        Named::new(
            ["bus-name", "bus-listen", "bus-advertise", "bus-join"],
            self.bus_name.as_ref(),
            &self.bus_advertise,
            &self.bus_join,
        )
    }
}

impl<'a> Named<'a> {
    /// A bus with flags of these names: those of [`Options`], in the order name, listen, advertise,
    /// join.
    #[must_use]
    pub fn new(
        [flag, listen, advertise_flag, join_flag]: [&'static str; 4],
        name: Option<&'a String>,
        advertise: &'a [Endpoint],
        join: &'a [String],
    ) -> Self {
        let flags = Flags { name: flag, listen, advertise: advertise_flag, join: join_flag };
        Self { flags, name, advertise, join }
    }

    /// True when the bus needs etcd.
    #[must_use]
    pub fn is_discovered(&self) -> bool {
        self.name.is_some() || !self.join.is_empty()
    }

    /// True when the bus dials what is published.
    #[must_use]
    pub fn joins(&self) -> bool {
        !self.join.is_empty()
    }

    /// Checks the flags, where `listen` are the endpoints as given.
    ///
    /// # Errors
    /// [`DiscoveryError`] with the remedy.
    pub fn check(&self, has_etcd: bool, listen: &[Endpoint]) -> Result<(), DiscoveryError> {
        if let (false, Some(name)) = (has_etcd, self.name) {
            return Err(DiscoveryError::NoEtcd { flag: self.flags.name, name: name.clone() });
        }
        if let (false, Some(name)) = (has_etcd, self.join.first()) {
            return Err(DiscoveryError::NoEtcd { flag: self.flags.join, name: name.clone() });
        }
        if self.name.is_some() { self.urls(listen).map(drop) } else { Ok(()) }
    }

    /// What is published of a bus that listens at `listen`.
    fn urls(&self, listen: &[Endpoint]) -> Result<Vec<String>, DiscoveryError> {
        let (flags, name) = (self.flags, self.name.cloned().unwrap_or_default());
        if listen.is_empty() {
            return Err(DiscoveryError::NoListener { flag: flags.name, name, listen: flags.listen });
        }
        if !self.advertise.is_empty() {
            return Ok(self.advertise.iter().map(ToString::to_string).collect());
        }
        // A peer on another host cannot dial a Unix socket, and cannot tell.
        let tcp: Vec<&Endpoint> =
            listen.iter().filter(|endpoint| matches!(endpoint, Endpoint::Tcp { .. })).collect();
        let published = if tcp.is_empty() { listen.iter().collect() } else { tcp };
        match published.iter().find(|endpoint| !is_one_address(endpoint)) {
            Some(&endpoint) => Err(DiscoveryError::NotReachable {
                flag: flags.name,
                name,
                endpoint: endpoint.clone(),
                advertise: flags.advertise,
            }),
            None => Ok(published.into_iter().map(ToString::to_string).collect()),
        }
    }
}

/// True when a peer can dial what is listened on.
fn is_one_address(endpoint: &Endpoint) -> bool {
    match endpoint {
        Endpoint::Tcp { host, .. } => !matches!(host.as_str(), "*" | "0.0.0.0" | "::"),
        Endpoint::Ipc(_) => true,
        Endpoint::Inproc(_) => false,
    }
}

/// Checks the name of a bus, as the flags do.
///
/// # Errors
/// What is wrong with it.
pub fn name(text: &str) -> Result<String, String> {
    // The second name is an instance's.
    Key::new(Kind::Bus, &[text, "x"]).map(|_| text.to_owned()).map_err(|error| error.to_string())
}

/// True for a published URL that this process can dial.
fn accepts(url: &str) -> bool {
    url.parse().is_ok_and(|endpoint| !matches!(endpoint, Endpoint::Inproc(_)))
}

/// The buses of a role that are found, and find, by name. Dropping it ends both: peers dial this
/// process no more, and it dials no newcomers.
#[derive(Default)]
pub struct Discovery {
    published: Vec<Hold>,
    joins: Vec<JoinHandle<()>>,
}

impl Discovery {
    /// Has every worker dial the listeners of the buses that `bus` joins, on the worker's buses
    /// that `of` picks; inside a `LocalRuntime`, where `source` is driven.
    pub fn join<S: 'static>(
        &mut self,
        bus: Named<'_>,
        source: &Source,
        identity: &Identity,
        workers: &Rc<Workers<S>>,
        of: fn(&S) -> Vec<Bus>,
    ) {
        for name in bus.join {
            let membership = Membership::new(name, Some(&identity.instance), accepts);
            let joining = Joining {
                name: name.clone(),
                membership,
                source: source.clone(),
                workers: Rc::clone(workers),
                of,
            };
            self.joins.push(tokio::task::spawn_local(joining.run()));
        }
    }

    /// Publishes the listener of `bus`, which listens at `listening`.
    ///
    /// # Errors
    /// [`SourceError`] when the source keeps no records, and for URLs that make no record.
    pub fn publish(
        &mut self,
        bus: Named<'_>,
        source: &Source,
        identity: &Identity,
        listening: &[Endpoint],
    ) -> Result<(), SourceError> {
        let Some(name) = bus.name else { return Ok(()) };
        let urls = bus.urls(listening).map_err(|error| SourceError::Settings(error.to_string()))?;
        tracing::info!(bus = name, urls = urls.join(","), "publishes its listener");
        let (role, version) = (identity.service.clone(), identity.version.clone());
        let listener = Listener { urls, role, version };
        self.published.push(publish(source, name, &identity.instance, &listener)?);
        Ok(())
    }

    /// Withdraws what is published: the process is about to leave.
    pub fn withdraw(&mut self) {
        self.published.clear();
    }
}

impl Drop for Discovery {
    fn drop(&mut self) {
        self.joins.iter().for_each(JoinHandle::abort);
    }
}

impl std::fmt::Debug for Discovery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Discovery").field("published", &self.published.len()).finish_non_exhaustive()
    }
}

/// The task that follows one bus.
struct Joining<S> {
    name: String,
    membership: Membership,
    source: Source,
    workers: Rc<Workers<S>>,
    of: fn(&S) -> Vec<Bus>,
}

impl<S: 'static> Joining<S> {
    async fn run(mut self) {
        let mut records = self.source.records();
        let mut looks = tokio::time::interval(LOOK_INTERVAL);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut ignored = 0;
        loop {
            let present = Arc::clone(&records.borrow_and_update());
            let actions = self.membership.update(&present, Instant::now());
            if self.membership.ignored() > ignored {
                tracing::warn!(
                    bus = self.name,
                    listeners = self.membership.ignored(),
                    "listeners are not dialled: too many, or without a URL that can be dialled"
                );
            }
            ignored = self.membership.ignored();
            self.act(actions).await;
            tokio::select! {
                changed = records.changed() => if changed.is_err() { return },
                _ = looks.tick() => self.look().await,
            }
        }
    }

    /// Tells the membership which endpoints are connected on some worker.
    async fn look(&mut self) {
        let of = self.of;
        let missing = move |worker: &S| {
            let dials = of(worker).into_iter().flat_map(|bus| bus.unconnected());
            dials.map(|dial| dial.endpoint.to_string()).collect::<BTreeSet<_>>()
        };
        let workers = self.workers.ask(missing).await;
        let dialled: Vec<String> = self.membership.dialled().map(|(url, _)| url.to_owned()).collect();
        let now = Instant::now();
        for url in dialled {
            let is_connected = workers.iter().any(|missing| !missing.contains(&canonical(&url)));
            self.membership.handle_connection(&url, is_connected, now);
        }
    }

    async fn act(&self, actions: Vec<Action>) {
        for action in actions {
            let (is_new, url) = match action {
                Action::Dial(url) => (true, url),
                Action::Undial(url) => (false, url),
            };
            let Ok(endpoint) = url.parse::<Endpoint>() else { continue };
            match is_new {
                true => tracing::info!(bus = self.name, url, "dials a listener of the bus"),
                false => tracing::info!(bus = self.name, url, "the listener has left the bus"),
            }
            let of = self.of;
            let act = move |worker: &S| {
                of(worker).iter().for_each(|bus| match is_new {
                    true => bus.dial(&endpoint),
                    false => drop(bus.undial(&endpoint)),
                });
            };
            self.workers.ask(act).await;
        }
    }
}

/// The URL as an endpoint prints it.
fn canonical(url: &str) -> String {
    url.parse::<Endpoint>().map_or_else(|_| url.to_owned(), |endpoint| endpoint.to_string())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Flags {
        #[command(flatten)]
        discovery: Options,
    }

    fn check(flags: &str, etcd: bool, listen: &str) -> Result<(), String> {
        let flags = std::iter::once("role").chain(flags.split_whitespace());
        let flags = Flags::try_parse_from(flags).map_err(|error| error.to_string())?;
        let listen: Vec<Endpoint> = listen.split_whitespace().map(|url| url.parse().unwrap()).collect();
        flags.discovery.bus().check(etcd, &listen).map_err(|error| error.to_string())
    }

    #[test]
    fn flags_that_do_not_fit_together_name_the_remedy() {
        let [joins, named, wrong] = ["--bus-join front", "--bus-name front", "--bus-name a/b"];
        let advertised = "--bus-name front --bus-advertise tcp://10.0.0.1:5555";
        for (flags, etcd, listen, remedy) in [
            (joins, false, "", "--bus-join front: the listeners of a bus are in etcd; give --etcd"),
            (named, false, "tcp://10.0.0.1:1", "--bus-name front: the listeners"),
            (named, true, "", "give --bus-listen URL"),
            (named, true, "tcp://*:5555", "cannot dial tcp://*:5555; give --bus-advertise"),
            (wrong, true, "tcp://10.0.0.1:1", "a/b"),
            ("--bus-advertise tcp://10.0.0.1:1", true, "tcp://*:1", "--bus-name"),
        ] {
            let error = check(flags, etcd, listen).expect_err("does not fit");
            assert!(error.contains(remedy), "{flags:?}: {error}");
        }
        check(advertised, true, "tcp://*:5555").expect("fits");
        check("", false, "").expect("there is nothing to find");
    }

    #[test]
    fn what_peers_on_other_hosts_can_dial_is_published_first() {
        let flags = Flags::parse_from(["role", "--bus-name", "front"]);
        let listen = ["ipc:///run/t.sock", "tcp://10.0.0.1:5555"].map(|url| url.parse().unwrap());
        assert_eq!(flags.discovery.bus().urls(&listen).unwrap(), ["tcp://10.0.0.1:5555"]);
        assert_eq!(flags.discovery.bus().urls(&listen[..1]).unwrap(), ["ipc:///run/t.sock"]);
    }
}
