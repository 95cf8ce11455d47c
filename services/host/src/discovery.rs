//! A service that finds its peers in etcd, and is found there.
//!
//! Owns the driver of the source, and which bus of a worker joins what. Leaves the flags and the
//! task to `role::discovery`. Invariant: a service without `--bus-name`, `--bus-join` and those of
//! the upstream connects to no etcd.

use std::rc::Rc;
use std::time::Duration;

use change::source::Source;
use role::discovery::Discovery;
use role::identity::Identity;
use role::worker::Workers;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::announce::Places;
use crate::options::{Options, Settings, Upstream};
use crate::site::Site;

/// Longest wait of a process that replaces another one for what is published.
const LOAD_TIMEOUT: Duration = Duration::from_secs(3);

/// Checks the flags.
///
/// # Errors
/// With the remedy.
pub(crate) fn check<A: Settings>(args: &A) -> anyhow::Result<()> {
    let options = args.options();
    let etcd = options.etcd();
    let endpoints =
        |listen: &[bus::Listen]| listen.iter().map(|one| one.endpoint.clone()).collect::<Vec<_>>();
    options.discovery.bus().check(etcd.is_some(), &endpoints(&options.bus_listen))?;
    if let Some(upstream) = args.upstream() {
        upstream.bus().check(etcd.is_some(), &endpoints(&upstream.upstream_listen))?;
    }
    if let Some(etcd) = etcd {
        etcd.check()?;
    }
    Ok(())
}

/// Discovery at work.
pub(crate) struct Finding {
    source: Source,
    discovery: Discovery,
    stop: oneshot::Sender<()>,
    driver: JoinHandle<()>,
}

impl Finding {
    /// Joins the buses that the settings name; `None` when they name none.
    pub(crate) fn start(
        options: &Options,
        upstream: Option<&Upstream>,
        identity: &Identity,
        workers: &Rc<Workers<Site>>,
    ) -> anyhow::Result<Option<Self>> {
        let upstream = upstream.map(Upstream::bus);
        let own = options.discovery.bus();
        let is_needed = own.is_discovered() || upstream.is_some_and(|bus| bus.is_discovered());
        let Some(settings) = options.etcd().filter(|_| is_needed) else { return Ok(None) };
        let (source, driver) = Source::open(&settings)?;
        let (stop, stopped) = oneshot::channel::<()>();
        let driver = tokio::task::spawn_local(driver.run(async {
            // A dropped sender stops it as well.
            let _ = stopped.await;
        }));
        let mut discovery = Discovery::default();
        discovery.join(own, &source, identity, workers, Site::serving);
        if let Some(bus) = upstream {
            discovery.join(bus, &source, identity, workers, |site| site.upstream.iter().cloned().collect());
        }
        Ok(Some(Self { source, discovery, stop, driver }))
    }

    /// Waits until it is known who is published, but not for an etcd that is away.
    pub(crate) async fn loaded(&self) {
        if tokio::time::timeout(LOAD_TIMEOUT, self.source.loaded()).await.is_err() {
            tracing::warn!("etcd does not answer: the peers that it lists are dialled when it does");
        }
    }

    /// Publishes the listeners that are to be found.
    pub(crate) fn publish(
        &mut self,
        options: &Options,
        upstream: Option<&Upstream>,
        identity: &Identity,
        places: &Places,
    ) -> anyhow::Result<()> {
        self.discovery.publish(options.discovery.bus(), &self.source, identity, &places.listening)?;
        if let Some(upstream) = upstream {
            self.discovery.publish(upstream.bus(), &self.source, identity, &places.upstream_listening)?;
        }
        Ok(())
    }

    /// Withdraws what is published.
    pub(crate) fn withdraw(&mut self) {
        self.discovery.withdraw();
    }

    /// Ends it, and gives the lease back.
    pub(crate) async fn stop(self) {
        drop((self.discovery, self.stop));
        if self.driver.await.is_err() {
            tracing::error!("the source of discovery panicked");
        }
    }
}
