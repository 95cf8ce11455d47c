//! What is known about a request when its toggles are evaluated.
//!
//! Owns the context's fields, their names in documents, and which of them an outcome depends on.
//! Leaves filling a context to the terminator and to [`crate::ofrep`]. Invariant: an outcome
//! depends on nothing that its [`Dependence`] does not name.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::time::SystemTime;

/// The fields of one request. A field that is `None` is unknown: conditions on it do not hold.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// The id of the user.
    pub user_id: Option<&'a str>,
    /// The id of the session.
    pub session_id: Option<&'a str>,
    /// The client's IP address as text.
    pub remote_address: Option<&'a str>,
    /// `production`, `staging`, ...
    pub environment: Option<&'a str>,
    /// The service for which the toggles are evaluated.
    pub app_name: Option<&'a str>,
    /// RFC 3339; without it the time is the `now` of the evaluation.
    pub current_time: Option<&'a str>,
    /// Every other field.
    pub properties: &'a dyn Properties,
}

impl Default for Context<'_> {
    fn default() -> Self {
        Self {
            user_id: None,
            session_id: None,
            remote_address: None,
            environment: None,
            app_name: None,
            current_time: None,
            properties: &(),
        }
    }
}

/// Fields by name.
pub trait Properties {
    /// The value of one property, `None` if it is unknown.
    fn property(&self, name: &str) -> Option<&str>;
}

/// No properties.
impl Properties for () {
    fn property(&self, _: &str) -> Option<&str> {
        None
    }
}

impl Properties for HashMap<String, String> {
    fn property(&self, name: &str) -> Option<&str> {
        self.get(name).map(String::as_str)
    }
}

/// Few properties, in any order.
impl Properties for Vec<(&str, &str)> {
    fn property(&self, name: &str) -> Option<&str> {
        self.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
    }
}

/// All that one evaluation reads.
pub(super) struct Input<'a> {
    pub(super) context: Context<'a>,
    pub(super) now: SystemTime,
    pub(super) random: &'a mut fastrand::Rng,
}

/// One field of the context.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Field {
    UserId,
    SessionId,
    RemoteAddress,
    Environment,
    AppName,
    CurrentTime,
    Property(Box<str>),
}

impl Field {
    /// The field that documents call `name`.
    pub(super) fn named(name: &str) -> Self {
        match name {
            "userId" => Self::UserId,
            "sessionId" => Self::SessionId,
            "remoteAddress" => Self::RemoteAddress,
            "environment" => Self::Environment,
            "appName" => Self::AppName,
            "currentTime" => Self::CurrentTime,
            property => Self::Property(property.into()),
        }
    }

    /// The value that the context has. Of `currentTime` only what the asker said, not the clock.
    pub(super) fn of<'a>(&self, context: &Context<'a>) -> Option<&'a str> {
        match self {
            Self::UserId => context.user_id,
            Self::SessionId => context.session_id,
            Self::RemoteAddress => context.remote_address,
            Self::Environment => context.environment,
            Self::AppName => context.app_name,
            Self::CurrentTime => context.current_time,
            Self::Property(name) => context.properties.property(name),
        }
    }
}

/// What outcomes depend on: two requests that agree in all of it get the same ones.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dependence {
    /// The user's id.
    pub user_id: bool,
    /// The session's id.
    pub session_id: bool,
    /// The client's address.
    pub remote_address: bool,
    /// The environment.
    pub environment: bool,
    /// The service that asks.
    pub app_name: bool,
    /// The time.
    pub time: bool,
    /// A random number that is drawn for each request.
    pub random: bool,
    /// A random number when userId is unknown.
    pub random_without_user: bool,
    /// A random number when sessionId is unknown.
    pub random_without_session: bool,
    /// A random number when neither userId nor sessionId is known.
    pub random_if_anonymous: bool,
    /// Properties by these names.
    pub properties: BTreeSet<Box<str>>,
}

impl Dependence {
    /// True when every request gets the same outcomes.
    #[must_use]
    pub fn is_constant(&self) -> bool {
        *self == Self::default()
    }

    /// True when nothing but environment and service matters: what one process knows at its start.
    #[must_use]
    pub fn is_fixed(&self) -> bool {
        Self { environment: false, app_name: false, ..self.clone() }.is_constant()
    }

    /// True when the outcomes depend only on user, session, environment and service.
    #[must_use]
    pub fn is_identity(&self) -> bool {
        !(self.remote_address || self.time || self.random) && self.properties.is_empty()
    }

    /// True when a random number decides for a request with this userId and sessionId.
    #[must_use]
    pub fn draws_for(&self, user_id: Option<&str>, session_id: Option<&str>) -> bool {
        self.random
            || (self.random_without_user && user_id.is_none())
            || (self.random_without_session && session_id.is_none())
            || (self.random_if_anonymous && user_id.is_none() && session_id.is_none())
    }

    /// Adds what `other` depends on.
    pub fn add(&mut self, other: &Self) {
        self.user_id |= other.user_id;
        self.session_id |= other.session_id;
        self.remote_address |= other.remote_address;
        self.environment |= other.environment;
        self.app_name |= other.app_name;
        self.time |= other.time;
        self.random |= other.random;
        self.random_without_user |= other.random_without_user;
        self.random_without_session |= other.random_without_session;
        self.random_if_anonymous |= other.random_if_anonymous;
        self.properties.extend(other.properties.iter().cloned());
    }

    pub(super) fn add_field(&mut self, field: &Field) {
        match field {
            Field::UserId => self.user_id = true,
            Field::SessionId => self.session_id = true,
            Field::RemoteAddress => self.remote_address = true,
            Field::Environment => self.environment = true,
            Field::AppName => self.app_name = true,
            Field::CurrentTime => self.time = true,
            Field::Property(name) => _ = self.properties.insert(name.clone()),
        }
    }
}

/// The names that documents use, separated by commas; `nothing` if it is constant.
impl fmt::Display for Dependence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let random = self.random_without_user || self.random_without_session || self.random_if_anonymous;
        let fields = [
            (self.user_id, "userId"),
            (self.session_id, "sessionId"),
            (self.remote_address, "remoteAddress"),
            (self.environment, "environment"),
            (self.app_name, "appName"),
            (self.time, "time"),
            (self.random, "randomness"),
            (random && !self.random, "randomness for requests without identity"),
        ];
        let fields = fields.iter().filter(|(depends, _)| *depends).map(|(_, name)| *name);
        let names: Vec<&str> = fields.chain(self.properties.iter().map(|name| &**name)).collect();
        f.write_str(if names.is_empty() { "nothing" } else { "" })?;
        f.write_str(&names.join(", "))
    }
}
