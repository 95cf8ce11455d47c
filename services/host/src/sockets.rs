//! The listening sockets of a service: inherited from the service manager or from the process that
//! it replaces, or bound.
//!
//! Owns which socket is for which flag. Leaves the handover to `role::handover`. Invariant: what
//! was inherited for a flag is used for that flag.

use bus::Seed;
use role::admin::Admin;
use role::sockets::{self, Inherited, Kind, Wanted};

use crate::options::{Settings, Upstream};

/// For each flag of [`wanted`] the sockets that another process has passed.
pub(crate) type Passed = Vec<Vec<Inherited>>;

/// For each listener of a bus the socket that another process has passed.
pub(crate) type OfBus = Vec<Option<bus::Inherited>>;

/// The sockets by what they are for.
pub(crate) struct Sockets {
    pub(crate) own: OfBus,
    pub(crate) upstream: OfBus,
    pub(crate) admin: Option<Inherited>,
}

impl Sockets {
    /// Adds those of the service manager to `passed`.
    pub(crate) fn new<A: Settings>(args: &A, mut passed: Passed) -> anyhow::Result<Self> {
        sockets::add_activated(&wanted(args), &mut passed)?;
        let mut all = passed.into_iter().map(|mut sockets| sockets.pop());
        let of_bus = |socket: Option<Inherited>| socket.map(Inherited::into_bus);
        Ok(Self {
            own: all.by_ref().take(args.options().bus_listen.len()).map(of_bus).collect(),
            upstream: all.by_ref().take(upstream_listen(args).len()).map(of_bus).collect(),
            admin: all.next().flatten(),
        })
    }
}

/// The flags that a socket may be for: `--bus-listen`, `--upstream-listen`, `--admin`, in this
/// order.
pub(crate) fn wanted<A: Settings>(args: &A) -> Vec<Wanted> {
    let options = args.options();
    let buses = options.bus_listen.iter().chain(upstream_listen(args)).map(Wanted::bus);
    buses.chain(options.admin.as_ref().map(|admin| Wanted::at(Kind::Admin, admin))).collect()
}

/// Duplicates of everything that is bound, for a successor.
///
/// # Errors
/// When the process may not have more open files.
pub(crate) fn duplicates<A: Settings>(
    args: &A,
    own: &[Seed],
    upstream: &[Seed],
    admin: Option<&Admin>,
) -> std::io::Result<Vec<Inherited>> {
    let mut sockets = Vec::new();
    for seed in own.first().into_iter().chain(upstream.first()) {
        sockets.extend(seed.sockets()?);
    }
    let of_bus = wanted(args).into_iter().zip(sockets);
    let mut all: Vec<_> = of_bus
        .filter_map(|(wanted, socket)| socket.map(|socket| Inherited::from_bus(&wanted, socket)))
        .collect();
    if let (Some(admin), Some(flag)) = (admin, &args.options().admin) {
        all.push(admin.duplicate(flag)?);
    }
    Ok(all)
}

fn upstream_listen<A: Settings>(args: &A) -> &[bus::Listen] {
    args.upstream().map(|upstream: &Upstream| &upstream.upstream_listen[..]).unwrap_or_default()
}
