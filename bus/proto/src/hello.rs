//! The hello: what a peer announces about itself, its routes and its topics.
//!
//! A missing field gets the default of PROTOCOL.md. A value that would send requests to the wrong
//! place is an error.

use crate::envelope::{Envelope, Fields, HeadWriter};
use crate::limits::{
    HELLO_ROUTES_MAX, HELLO_TOGGLES_MAX, HELLO_TOPICS_MAX, HELLO_VALUE_LEN_MAX, ROUTES_MAX, SERVICES_MAX,
};

/// What a peer announces on every new pipe, and again when it changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The service's name. Instances of one service share its routes.
    pub service: String,
    /// The service's version, in any form.
    pub version: String,
    /// The name of this instance within its service; empty when it has none.
    pub instance: String,
    /// Share of the requests relative to the other instances, up to [`WEIGHT_MAX`]; 0 means no new
    /// requests.
    pub weight: u32,
    /// Requests that the peer takes at once; 0 means no limit.
    pub limit: u32,
    /// True when the hello has a `limit` field, including 0. A peer without it may be a stock peer
    /// with a short queue.
    pub announces_limit: bool,
    /// The routes claimed.
    pub routes: Vec<Pattern>,
    /// The topics of the events that the peer wants.
    pub topics: Vec<String>,
    /// The names of the toggles that the service reads. Only these are decided for its requests.
    pub toggles: Vec<String>,
}

/// A route that a service claims: `METHOD /pattern`, or `* /pattern` for any method.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pattern {
    /// The method in upper case; `None` for any method.
    pub method: Option<String>,
    /// The path pattern: literal segments, `{name}` for one segment, and `{*rest}` for all
    /// remaining ones.
    pub path: String,
}

/// The weight of a peer whose hello has no `weight`.
pub const WEIGHT_DEFAULT: u32 = 100;
/// A higher weight counts as this one, ten times the default. It bounds the share that an instance
/// can claim for itself.
pub const WEIGHT_MAX: u32 = 1000;

impl Hello {
    /// A hello of `service` with the default values of PROTOCOL.md, without routes and topics.
    #[must_use]
    pub fn new(service: impl Into<String>, version: impl Into<String>, instance: impl Into<String>) -> Self {
        Self {
            service: service.into(),
            version: version.into(),
            instance: instance.into(),
            weight: WEIGHT_DEFAULT,
            limit: 0,
            announces_limit: true,
            routes: Vec::new(),
            topics: Vec::new(),
            toggles: Vec::new(),
        }
    }

    /// Reads the fields of a hello envelope.
    ///
    /// # Errors
    /// [`HelloError`] names the field and the value.
    pub fn decode(envelope: &Envelope) -> Result<Self, HelloError> {
        Self::from_fields(envelope.fields())
    }

    fn from_fields(fields: Fields<'_>) -> Result<Self, HelloError> {
        let mut hello = Self { announces_limit: false, ..Self::new("", "", "") };
        for (name, value) in fields {
            let text = || text(name, value);
            match name {
                b"service" => hello.service = text()?.to_owned(),
                b"version" => hello.version = text()?.to_owned(),
                b"instance" => hello.instance = text()?.to_owned(),
                b"weight" => hello.weight = number("weight", text()?)?.min(WEIGHT_MAX),
                b"limit" => {
                    hello.limit = number("limit", text()?)?;
                    hello.announces_limit = true;
                }
                b"route" => {
                    has_room("route", hello.routes.len(), HELLO_ROUTES_MAX)?;
                    hello.routes.push(text()?.parse()?);
                }
                b"topic" => {
                    has_room("topic", hello.topics.len(), HELLO_TOPICS_MAX)?;
                    hello.topics.push(text()?.to_owned());
                }
                b"toggle" => {
                    has_room("toggle", hello.toggles.len(), HELLO_TOGGLES_MAX)?;
                    hello.toggles.push(text()?.to_owned());
                }
                _ => {} // Unknown fields are ignored, as unknown flags are: a later version may define them.
            }
        }
        if hello.service.is_empty() {
            return Err(HelloError::NoService);
        }
        Ok(hello)
    }

    /// Writes the fields of a hello.
    pub fn encode(&self, head: &mut HeadWriter<'_>) {
        head.field("service", &self.service);
        head.field("version", &self.version);
        head.field("instance", &self.instance);
        head.field("weight", self.weight.to_string());
        if self.announces_limit {
            head.field("limit", self.limit.to_string());
        }
        for route in &self.routes {
            head.field("route", route.to_string());
        }
        for topic in &self.topics {
            head.field("topic", topic);
        }
        for toggle in &self.toggles {
            head.field("toggle", toggle);
        }
    }
}

impl Pattern {
    /// True when this pattern takes precedence over `other` for a path that both match. The first
    /// segments of different kinds decide: a literal precedes a parameter, and a parameter precedes
    /// a wildcard.
    pub(crate) fn is_more_specific(&self, other: &Self) -> bool {
        let kind =
            |segment: &str| if segment.starts_with("{*") { 2 } else { u8::from(segment.starts_with('{')) };
        self.path.split('/').map(kind).lt(other.path.split('/').map(kind))
    }
}

impl std::str::FromStr for Pattern {
    type Err = HelloError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || HelloError::Route(text.to_owned());
        let (method, path) = text.split_once(' ').ok_or_else(bad)?;
        if !path.starts_with('/') || path.contains([' ', '?', '#']) || !segments_are_sound(path) {
            return Err(bad());
        }
        let method = match method {
            "*" => None,
            "" => return Err(bad()),
            name if name.bytes().all(|byte| byte.is_ascii_alphabetic() || byte == b'-') => {
                Some(name.to_ascii_uppercase())
            }
            _ => return Err(bad()),
        };
        Ok(Self { method, path: path.to_owned() })
    }
}

impl std::fmt::Display for Pattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.method.as_deref().unwrap_or("*"), self.path)
    }
}

/// True when each segment is a literal or `{name}`, and only the last one may be `{*rest}`.
fn segments_are_sound(path: &str) -> bool {
    let mut segments = path[1..].split('/').peekable();
    while let Some(segment) = segments.next() {
        let inner = segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
        let sound = match inner {
            None => !segment.contains(['{', '}', '*']),
            Some(name) => {
                let (name, is_rest) = name.strip_prefix('*').map_or((name, false), |name| (name, true));
                !name.is_empty() && !name.contains(['{', '}', '*']) && (!is_rest || segments.peek().is_none())
            }
        };
        if !sound {
            return false;
        }
    }
    true
}

fn has_room(field: &'static str, len: usize, limit: usize) -> Result<(), HelloError> {
    if len < limit { Ok(()) } else { Err(HelloError::TooMany { field, limit }) }
}

fn text<'a>(name: &[u8], value: &'a [u8]) -> Result<&'a str, HelloError> {
    if value.len() > HELLO_VALUE_LEN_MAX {
        return Err(HelloError::Length { field: lossy(name), len: value.len() });
    }
    std::str::from_utf8(value).map_err(|_| HelloError::Utf8(lossy(name)))
}

fn number(field: &'static str, text: &str) -> Result<u32, HelloError> {
    text.parse().map_err(|_| HelloError::Number { field, value: text.to_owned() })
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Why a hello is refused. The peer is at fault; the error is logged with its address and counted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HelloError {
    /// `service` is missing or empty.
    #[error("the field `service` is missing or empty")]
    NoService,
    /// A value is not UTF-8.
    #[error("the field `{0}` is not UTF-8")]
    Utf8(String),
    /// `weight` or `limit` is not a decimal u32.
    #[error("`{field}` is {value:?}, not a decimal number up to {}", u32::MAX)]
    Number {
        /// The field.
        field: &'static str,
        /// The field's value.
        value: String,
    },
    /// A route that is not `METHOD /pattern`.
    #[error("route {0:?} is not `METHOD /pattern` or `* /pattern`")]
    Route(String),
    /// The table of services is full.
    #[error("{SERVICES_MAX} services are connected, which is the limit of one worker")]
    Services,
    /// The route table is full.
    #[error("no room for {0} more routes: the limit of one worker is {ROUTES_MAX}")]
    Routes(usize),
    /// A value is too long.
    #[error("the field `{field}` has {len} bytes; the limit is {HELLO_VALUE_LEN_MAX}")]
    Length {
        /// The field.
        field: String,
        /// Length of the value in bytes.
        len: usize,
    },
    /// A field is repeated more often than the limit allows.
    #[error("more than {limit} fields `{field}`")]
    TooMany {
        /// The field.
        field: &'static str,
        /// The limit.
        limit: usize,
    },
}
