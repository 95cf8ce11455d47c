//! What one worker decides about requests: their toggles, and the version of each service.
//!
//! Owns the snapshot in force on the worker, the toggles that each service reads, and the decisions
//! that were made for identities. Leaves evaluation to crate `change`, and writing the decision
//! into the envelope to `request`. Invariant: a decision is reused only for the same service, user,
//! session, snapshot and hellos, and never when anything else matters.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bus::{Bus, HeadWriter, Route, To, VersionId};
use bytes::BytesMut;
use change::rollout::{Recorder, Sticky};
use change::split::{BUCKETS, Group};
use change::toggle::{Context, Outcome, Selection};
use http1::Request;

use super::ghosts::{Ghosts, Shadowed};
use super::identities::{Identities, Identity};
use super::snapshot::Snapshot;

/// Services for which the selected toggles are kept. A bus has few; this bounds hostile hellos.
const SERVICES_MAX: usize = 64;

/// Decisions that are kept per service, a few hundred bytes each: those of the clients of the last
/// moments.
const KEPT: u32 = 1024;

/// Longest user and session, together, for which a decision is kept.
const KEPT_IDENTITY_LEN_MAX: usize = 128;

/// What is decided for one request.
#[derive(Debug, Default)]
pub struct Decision {
    /// The fields `:toggle` and `:pin`, in the envelope's encoding.
    pub fields: Box<[u8]>,
    /// One for each rollout, in the snapshot's order.
    pub pins: Box<[Pin]>,
    /// The services of which requests are copied to a candidate.
    pub ghosts: Rc<[Rc<Shadowed>]>,
    /// The value of `set-cookie` for a client without a session; `None` for any other.
    pub set_cookie: Option<Box<str>>,
}

/// The version of one service that a request meets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pin {
    /// The service.
    pub service: Box<str>,
    /// Its version.
    pub version: VersionId,
    /// The group in which the request is counted.
    pub group: Group,
}

impl Decision {
    /// The instances of the service that `route` belongs to that may get the request.
    #[must_use]
    pub fn to(&self, bus: &Bus, route: Route) -> To {
        if let Some(hidden) = self.shadowed(bus, route).filter(|shadowed| shadowed.is_hidden()) {
            return To::Except(hidden.candidate);
        }
        if self.pins.is_empty() {
            return To::Any;
        }
        let pin = bus.with_service(route, |service| self.pins.iter().find(|pin| *pin.service == *service));
        pin.map_or(To::Any, |pin| To::Prefer(pin.version))
    }

    /// The ghost traffic of the service that `route` belongs to.
    #[inline]
    #[must_use]
    pub fn shadowed(&self, bus: &Bus, route: Route) -> Option<&Rc<Shadowed>> {
        if self.ghosts.is_empty() {
            return None;
        }
        bus.with_service(route, |service| self.ghosts.iter().find(|ghost| ghost.service() == service))
    }
}

/// The decisions of one worker.
pub struct Decisions {
    /// The services of which requests are copied.
    pub ghosts: Ghosts,
    identities: Identities,
    environment: Option<Box<str>>,
    snapshot: RefCell<Arc<Snapshot>>,
    /// True when nothing is decided: the plan is empty, and no client gets a session.
    is_idle: Cell<bool>,
    services: RefCell<Services>,
    random: RefCell<fastrand::Rng>,
    /// What requests of each rollout became, since it was last taken.
    counts: RefCell<Vec<(Box<str>, Recorder)>>,
}

/// The services that requests have asked.
#[derive(Default)]
struct Services {
    /// [`Bus::routes_version`] when `views` was begun: hellos say which toggles a service reads.
    version: u64,
    views: HashMap<u32, Rc<View>>,
}

/// One service, as decisions see it.
struct View {
    service: Box<str>,
    selection: Selection,
    /// The encoded fields that every request has.
    fixed: Box<[u8]>,
    /// True when user and session determine the decision.
    is_kept: bool,
    /// True when a rollout draws for each request that has no session.
    needs_session: bool,
    /// Empty until the first decision is kept.
    kept: RefCell<Vec<Option<Kept>>>,
}

/// A decision for one user and session.
struct Kept {
    user: Option<Box<str>>,
    session: Option<Box<str>>,
    decision: Rc<Decision>,
}

impl Decisions {
    /// Decides nothing until [`set`](Self::set) is called.
    #[must_use]
    pub fn new(identities: Identities, environment: Option<&str>) -> Self {
        let is_idle = Cell::new(identities.session.is_none());
        Self {
            ghosts: Ghosts::default(),
            identities,
            environment: environment.map(Into::into),
            snapshot: RefCell::default(),
            is_idle,
            services: RefCell::default(),
            random: RefCell::new(fastrand::Rng::new()),
            counts: RefCell::default(),
        }
    }

    /// Decides by `snapshot` from now on.
    pub fn set(&self, snapshot: Arc<Snapshot>) {
        self.is_idle.set(snapshot.is_empty() && self.identities.session.is_none());
        *self.counts.borrow_mut() = begin_counts(&snapshot);
        self.ghosts.set(&snapshot.ghosts);
        *self.snapshot.borrow_mut() = snapshot;
        *self.services.borrow_mut() = Services::default();
    }

    /// Decides about a request; `None` when nothing is decided for any request. `route` is
    /// `None` while no service claims the path: then all toggles are decided, for whichever
    /// service it will be.
    #[inline]
    pub fn decide(
        &self,
        bus: &Bus,
        route: Option<Route>,
        request: Request<'_>,
        client: impl FnOnce() -> Option<IpAddr>,
    ) -> Option<Rc<Decision>> {
        if self.is_idle.get() {
            return None;
        }
        Some(self.decide_by_plan(bus, route, request, client))
    }

    /// Counts a request in the group of each rollout; `failed` is true for a status of 500 and
    /// above.
    pub fn record(&self, decision: &Decision, elapsed: Duration, failed: bool) {
        for pin in decision.pins.iter().filter(|pin| pin.group != Group::Stable) {
            self.record_in(&pin.service, pin.group, elapsed, failed);
        }
    }

    /// Counts a request in one group of the rollout of `service`, if there is one.
    pub fn record_in(&self, service: &str, group: Group, elapsed: Duration, failed: bool) {
        let latency_us = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX);
        if let Some((_, recorder)) =
            self.counts.borrow_mut().iter_mut().find(|(rollout, _)| **rollout == *service)
        {
            recorder.record(group, latency_us, failed);
        }
    }

    /// Takes what was counted since the last time, by service.
    pub fn take_counts(&self) -> Vec<(Box<str>, Recorder)> {
        let fresh = begin_counts(&self.snapshot.borrow());
        self.counts.replace(fresh)
    }

    fn decide_by_plan(
        &self,
        bus: &Bus,
        route: Option<Route>,
        request: Request<'_>,
        client: impl FnOnce() -> Option<IpAddr>,
    ) -> Rc<Decision> {
        let view = match route {
            Some(route) => self.view(bus, route),
            None => Rc::new(self.view_of_all(bus)),
        };
        self.decide_for(&view, request, client)
    }

    fn decide_for(
        &self,
        view: &View,
        request: Request<'_>,
        client: impl FnOnce() -> Option<IpAddr>,
    ) -> Rc<Decision> {
        let mut identity = self.identities.of(request);
        let new = self.identities.new_session(identity, &mut self.random.borrow_mut());
        if let Some(new) = &new {
            identity.session = Some(&new.id);
        }
        let place = view.place(identity).filter(|_| new.is_none());
        if let Some(place) = place
            && let Some(Some(kept)) = view.kept.borrow().get(place)
            && kept.is_of(identity)
        {
            return Rc::clone(&kept.decision);
        }
        let snapshot = self.snapshot.borrow();
        let depends_on = view.selection.by_request().depends_on();
        let client = depends_on.remote_address.then(client).flatten();
        let mut decision = self.evaluate(&snapshot, view, identity, client, request);
        decision.set_cookie = new.as_ref().map(|new| new.set_cookie.clone());
        let decision = Rc::new(decision);
        if let Some(place) = place {
            let owned = |part: Option<&str>| part.map(Into::into);
            let (user, session) = (owned(identity.user), owned(identity.session));
            let mut places = view.kept.borrow_mut();
            places.resize_with(KEPT as usize, || None);
            places[place] = Some(Kept { user, session, decision: Rc::clone(&decision) });
        }
        decision
    }

    fn evaluate(
        &self,
        snapshot: &Snapshot,
        view: &View,
        identity: Identity<'_>,
        client: Option<IpAddr>,
        request: Request<'_>,
    ) -> Decision {
        let random = &mut *self.random.borrow_mut();
        let mut encoded = BytesMut::from(&view.fixed[..]);
        let mut head = HeadWriter::new(&mut encoded);
        let address = client.map(|address| address.to_string());
        let context = Context {
            user_id: identity.user,
            session_id: identity.session,
            remote_address: address.as_deref(),
            environment: self.environment.as_deref(),
            app_name: Some(&view.service),
            current_time: None,
            properties: &Headers(request),
        };
        let now = SystemTime::now();
        for group in [view.selection.by_identity(), view.selection.by_request()] {
            group.evaluate(&context, now, random, |outcome| write(&mut head, outcome));
        }
        let mut pins = Vec::with_capacity(snapshot.rollouts.len());
        for rollout in &snapshot.rollouts {
            let sticky = match rollout.sticky {
                Sticky::User => identity.sticky(),
                Sticky::Session => identity.session,
                Sticky::Random => None,
            };
            let group = match sticky {
                Some(identity) => rollout.split.group(identity),
                None => rollout.split.group_of(random.u32(1..=BUCKETS)),
            };
            let (version, pin) = rollout.pin(group);
            head.field(":pin", pin);
            pins.push(Pin { service: rollout.service.clone(), version, group });
        }
        // A name or a version is at most 255 bytes, so no field is too long for the envelope.
        head.finish().expect("names of toggles and versions fit a field");
        Decision {
            fields: encoded[..].into(),
            pins: pins.into(),
            ghosts: self.ghosts.in_force(),
            set_cookie: None,
        }
    }

    /// The view of the service that `route` belongs to.
    fn view(&self, bus: &Bus, route: Route) -> Rc<View> {
        let version = bus.routes_version();
        let services = &mut *self.services.borrow_mut();
        if services.version != version || services.views.len() >= SERVICES_MAX {
            *services = Services { version, views: HashMap::new() };
        }
        let view = services.views.entry(route.service).or_insert_with(|| {
            let toggles = bus.toggles(route);
            let names: Vec<&str> = toggles.iter().map(String::as_str).collect();
            let pins = self.ghosts.pins(bus);
            Rc::new(bus.with_service(route, |service| self.view_of(service, &names, &pins)))
        });
        Rc::clone(view)
    }

    /// A view that selects every toggle.
    fn view_of_all(&self, bus: &Bus) -> View {
        let snapshot = Arc::clone(&self.snapshot.borrow());
        let names: Vec<&str> = snapshot.toggles.iter().map(change::toggle::Toggle::name).collect();
        self.view_of("", &names, &self.ghosts.pins(bus))
    }

    /// The view of a service that reads the toggles `names`. Every request of it has `pins`.
    fn view_of(&self, service: &str, names: &[&str], pins: &[String]) -> View {
        let snapshot = self.snapshot.borrow();
        let app_name = (!service.is_empty()).then_some(service);
        let selection = snapshot.toggles.select(names, self.environment.as_deref(), app_name);
        let mut encoded = BytesMut::new();
        let mut head = HeadWriter::new(&mut encoded);
        selection.fixed().for_each(|outcome| write(&mut head, outcome));
        pins.iter().for_each(|pin| head.field(":pin", pin));
        head.finish().expect("names of toggles and versions fit a field");
        let depends_on_identity = selection.by_request().is_empty()
            && snapshot.rollouts.iter().all(|rollout| rollout.sticky != Sticky::Random);
        View {
            service: service.into(),
            selection,
            fixed: encoded[..].into(),
            is_kept: depends_on_identity,
            needs_session: snapshot.rollouts.iter().any(|rollout| rollout.sticky == Sticky::Session),
            kept: RefCell::default(),
        }
    }
}

impl fmt::Debug for Decisions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decisions").field("snapshot", &self.snapshot).finish_non_exhaustive()
    }
}

/// No request of any rollout. The name and the incarnation are those of the process, which joins
/// the counts of its workers.
fn begin_counts(snapshot: &Snapshot) -> Vec<(Box<str>, Recorder)> {
    snapshot.rollouts.iter().map(|rollout| (rollout.service.clone(), Recorder::new("", 0))).collect()
}

fn write(head: &mut HeadWriter<'_>, outcome: Outcome<'_>) {
    if let Some(value) = outcome.on_wire() {
        head.field(":toggle", value);
    }
}

impl View {
    /// Where the decision for `identity` is kept; `None` when it must be made anew.
    fn place(&self, identity: Identity<'_>) -> Option<usize> {
        let sticky = identity.sticky()?;
        let len = sticky.len() + identity.session.map_or(0, str::len);
        let draws = || self.selection.by_identity().depends_on().draws_for(identity.user, identity.session);
        let unknown = self.needs_session && identity.session.is_none();
        if !self.is_kept || unknown || len > KEPT_IDENTITY_LEN_MAX || draws() {
            return None;
        }
        Some(change::hash::normalized("", sticky, KEPT) as usize - 1)
    }
}

impl Kept {
    fn is_of(&self, identity: Identity<'_>) -> bool {
        (self.user.as_deref(), self.session.as_deref()) == (identity.user, identity.session)
    }
}

/// The headers of a request as properties of a context: a property is the header of its name.
struct Headers<'a>(Request<'a>);

impl change::toggle::Properties for Headers<'_> {
    fn property(&self, name: &str) -> Option<&str> {
        let name = name.to_ascii_lowercase();
        self.0.called(name.as_bytes()).next().and_then(|value| std::str::from_utf8(value).ok())
    }
}

#[cfg(test)]
mod tests;
