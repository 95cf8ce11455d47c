//! Routes: which handler a method and a path belong to.
//!
//! Owns patterns and lookup. `endpoint` calls handlers, `serve` owns limits, `visit` counting.

use std::future::Future;
use std::rc::Rc;

use bus::proto::limits::HELLO_TOGGLES_MAX;
use bus::{Incoming, Pattern};
use bytes::Bytes;
use role::problem::{Problem, ProblemType};
use role::readiness::Unready;

use crate::background::Start;
use crate::endpoint::{Endpoint, Typed};
use crate::failure::Failure;
use crate::problems::{MALFORMED, METHOD, NO_ROUTE, NOT_UTF8};
use crate::request::{self, Request, Shape, Span};
use crate::response::{IntoResponse, Response};
use crate::toggles::{TOGGLE_BYTES_MAX, Toggles};

/// The routes of a service, collected.
#[derive(Default)]
pub struct Router {
    routes: Vec<(String, Box<dyn Endpoint>)>,
    toggles: Vec<String>,
    ready: Option<Ready>,
    counters: Option<Figures>,
    gauges: Option<Figures>,
    unready: Option<Reason>,
    /// What `every` and `cron` added.
    #[cfg(feature = "store")]
    pub(crate) tasks: crate::schedule::Tasks,
}

/// True when a service can answer what it claims.
pub(crate) type Ready = Box<dyn Fn() -> bool>;

/// Lists a worker's counters or gauges of the service's own.
pub(crate) type Figures = Box<dyn Fn() -> Vec<(&'static str, u64)>>;

/// The reason for which a service is not ready, while there is one.
pub(crate) type Reason = Box<dyn Fn() -> Option<Unready>>;

impl Router {
    /// No routes yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a route: `METHOD /pattern` or `* /pattern`, where a pattern is literal segments,
    /// `{name}` for one segment and `{*rest}` for the rest; more specific patterns win. HEAD is
    /// answered by GET's handler. A wrong or repeated pattern is reported when the service starts.
    #[must_use]
    pub fn route<H, F>(mut self, pattern: &str, handler: H) -> Self
    where
        H: Fn(Request) -> F + 'static,
        F: Future<Output: IntoResponse> + 'static,
    {
        self.routes.push((pattern.to_owned(), Box::new(Typed::new(handler))));
        self
    }

    /// Adds a route, as [`Router::route`] does, whose handler shares `state` with other handlers
    /// and borrows the request. Its problems carry the id of the request.
    #[must_use]
    pub fn route_with<S, H, E>(self, pattern: &str, state: &Rc<S>, handler: H) -> Self
    where
        S: 'static,
        H: AsyncFn(&S, &Request) -> Result<Response, E> + 'static,
        E: Into<Failure> + 'static,
    {
        let shared = Rc::new((Rc::clone(state), handler));
        self.route(pattern, move |request: Request| {
            let shared = Rc::clone(&shared);
            async move {
                let (state, handler) = &*shared;
                match handler(state, &request).await {
                    Ok(response) => response,
                    Err(error) => error.into().into_problem().request_id(request.id()).into_response(),
                }
            }
        })
    }

    /// Declares that handlers read the toggle `name`, with [`Request::toggle`] or
    /// [`Request::variant`]: its outcome then comes with every request. A name has 1 to 255 bytes,
    /// without `=` and control characters; a wrong one is reported when the service starts.
    #[must_use]
    pub fn reads_toggle(mut self, name: &str) -> Self {
        if !self.toggles.iter().any(|known| known == name) {
            self.toggles.push(name.to_owned());
        }
        self
    }

    /// The worker takes requests when `ready` returns true, and after `--join-wait` in any case;
    /// until then its weight is 0. A worker that asks services which have not dialled it yet would
    /// take its share of the requests and fail them.
    #[must_use]
    pub fn ready_when(mut self, ready: impl Fn() -> bool + 'static) -> Self {
        self.ready = Some(Box::new(ready));
        self
    }

    /// Adds counters of the service's own to its metrics, named such as `store.commits`: counts
    /// since the start, always the same names. `list` is called on the worker's thread whenever
    /// metrics are asked for, and the workers are summed: a count of the whole process is listed by
    /// worker 0 alone.
    #[must_use]
    pub fn counters(mut self, list: impl Fn() -> Vec<(&'static str, u64)> + 'static) -> Self {
        self.counters = Some(Box::new(list));
        self
    }

    /// Runs `handler` every `period`, such as `1m`, in one of all instances; see
    /// [`crate::schedule`]. A wrong period or name is reported when the service starts.
    #[cfg(feature = "store")]
    #[must_use]
    pub fn every<H, F, E>(mut self, period: &str, name: &str, handler: H) -> Self
    where
        H: Fn(crate::schedule::Run) -> F + 'static,
        F: Future<Output = Result<(), E>> + 'static,
        E: Into<Box<dyn std::error::Error>> + 'static,
    {
        self.tasks.every(period, name, handler);
        self
    }

    /// As [`Router::every`], at the times of a cron pattern in UTC, such as `0 3 * * *`.
    #[cfg(feature = "store")]
    #[must_use]
    pub fn cron<H, F, E>(mut self, pattern: &str, name: &str, handler: H) -> Self
    where
        H: Fn(crate::schedule::Run) -> F + 'static,
        F: Future<Output = Result<(), E>> + 'static,
        E: Into<Box<dyn std::error::Error>> + 'static,
    {
        self.tasks.cron(pattern, name, handler);
        self
    }

    /// Adds gauges, as [`Router::counters`] adds counters.
    #[cfg(feature = "store")]
    pub(crate) fn gauges(mut self, list: impl Fn() -> Vec<(&'static str, u64)> + 'static) -> Self {
        self.gauges = Some(Box::new(list));
        self
    }

    /// `/ready` is 503 while `reason` returns one. The worker still takes requests.
    #[cfg(any(feature = "store", test))]
    pub(crate) fn unready(mut self, reason: impl Fn() -> Option<Unready> + 'static) -> Self {
        self.unready = Some(Box::new(reason));
        self
    }

    pub(crate) fn finish(self) -> Result<Routes, RouteError> {
        if let Some(wrong) = self.toggles.iter().find(|name| !is_toggle(name)) {
            return Err(RouteError::Toggle(wrong.clone()));
        }
        if self.toggles.len() > HELLO_TOGGLES_MAX {
            return Err(RouteError::Toggles(self.toggles.len()));
        }
        let mut routes = Routes {
            toggles: Toggles::new(self.toggles),
            handlers: Vec::new(),
            patterns: Vec::new(),
            paths: matchit::Router::new(),
            ready: self.ready,
            counters: self.counters,
            gauges: self.gauges,
            unready: self.unready,
            #[cfg(feature = "store")]
            background: self.tasks.finish()?,
            #[cfg(not(feature = "store"))]
            background: None,
        };
        let mut paths: Vec<(String, Methods)> = Vec::new();
        for (text, endpoint) in self.routes {
            let pattern: Pattern = text.parse()?;
            let at = paths.iter().position(|(path, _)| *path == pattern.path).unwrap_or_else(|| {
                paths.push((pattern.path.clone(), Methods::default()));
                paths.len() - 1
            });
            let methods = &mut paths[at].1;
            if methods.handlers.iter().any(|(method, _)| *method == pattern.method) {
                return Err(RouteError::Twice(text));
            }
            methods.handlers.push((pattern.method.clone(), routes.handlers.len()));
            let names = parameters(&pattern.path).collect();
            let shape = Rc::new(Shape { names, toggles: Rc::clone(&routes.toggles) });
            routes.handlers.push(Handler { pattern: pattern.to_string(), shape, endpoint });
            routes.patterns.push(pattern);
        }
        for (path, mut methods) in paths {
            if let Some(pattern) = methods.finish(&path) {
                routes.patterns.push(pattern);
            }
            routes
                .paths
                .insert(path.as_str(), methods)
                .map_err(|source| RouteError::Path { path, source })?;
        }
        Ok(routes)
    }
}

/// A pattern that cannot be served: the service's own fault.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RouteError {
    #[error(transparent)]
    Pattern(#[from] bus::proto::HelloError),
    #[error("the route {0:?} is there twice")]
    Twice(String),
    #[error("the path {path:?} cannot be routed")]
    Path { path: String, source: matchit::InsertError },
    #[error(
        "the toggle {0:?} cannot be read: a name has 1 to {TOGGLE_BYTES_MAX} bytes without `=` and control characters"
    )]
    Toggle(String),
    #[error("{0} toggles are read; the limit of a service is {HELLO_TOGGLES_MAX}")]
    Toggles(usize),
    #[cfg(feature = "store")]
    #[error(transparent)]
    Task(#[from] crate::schedule::TaskError),
}

fn is_toggle(name: &str) -> bool {
    (1..=TOGGLE_BYTES_MAX).contains(&name.len()) && !name.contains(|c: char| c == '=' || c.is_control())
}

/// The routes of a service, ready for lookup.
pub(crate) struct Routes {
    pub(crate) handlers: Vec<Handler>,
    /// What the hello claims.
    pub(crate) patterns: Vec<Pattern>,
    pub(crate) toggles: Rc<Toggles>,
    paths: matchit::Router<Methods>,
    /// When they are claimed; `None` means at once.
    pub(crate) ready: Option<Ready>,
    pub(crate) counters: Option<Figures>,
    pub(crate) gauges: Option<Figures>,
    pub(crate) unready: Option<Reason>,
    /// What the worker does besides its requests.
    pub(crate) background: Option<Start>,
}

/// A route and its handler.
pub(crate) struct Handler {
    /// As in the hello.
    pub(crate) pattern: String,
    shape: Rc<Shape>,
    pub(crate) endpoint: Box<dyn Endpoint>,
}

/// The handlers of one path.
#[derive(Default)]
struct Methods {
    /// `None` takes any method.
    handlers: Vec<(Option<String>, usize)>,
    allow: Bytes,
}

impl Routes {
    /// The index of the handler that a request belongs to, and the request as its handler sees it.
    ///
    /// # Errors
    /// 400 for a path that is not UTF-8, missing or badly percent-encoded, 404 for an unknown path,
    /// 405 for an unknown method.
    pub(crate) fn find(&self, incoming: Incoming) -> Result<(usize, Request), Problem> {
        let (method, target) = method_and_target(&incoming)?;
        let path = target.split_once('?').map_or(target, |(path, _)| path);
        let Ok(found) = self.paths.at(path) else {
            return Err(problem(&incoming, NO_ROUTE, format!("This service has nothing at {path:?}.")));
        };
        let Some(at) = found.value.find(method) else {
            let detail = format!("{method:?} is not a method of {path:?}.");
            return Err(problem(&incoming, METHOD, detail).allow(found.value.allow.clone()));
        };
        let message = incoming.envelope.message();
        let span = |part: &str| -> Span {
            let start = part.as_ptr() as usize - message.as_ptr() as usize;
            index(start)..index(start + part.len())
        };
        let values = found.params.iter().map(|(_, value)| span(value)).collect();
        let (target, path_len) = (span(target), index(path.len()));
        let shape = Rc::clone(&self.handlers[at].shape);
        let request = Request::new(incoming, target, path_len, shape, values);
        request.check_encoding()?;
        Ok((at, request))
    }
}

impl Methods {
    /// Fixes `allow`; the route to claim for HEAD when GET is served and HEAD is not.
    fn finish(&mut self, path: &str) -> Option<Pattern> {
        let has = |wanted: &str| self.handlers.iter().any(|(method, _)| method.as_deref() == Some(wanted));
        let any = self.handlers.iter().any(|(method, _)| method.is_none());
        let head = has("GET") && !has("HEAD") && !any;
        let mut names: Vec<&str> = self.handlers.iter().filter_map(|(method, _)| method.as_deref()).collect();
        names.extend(head.then_some("HEAD"));
        self.allow = Bytes::from(names.join(", "));
        head.then(|| Pattern { method: Some("HEAD".to_owned()), path: path.to_owned() })
    }

    fn find(&self, method: &str) -> Option<usize> {
        let named = |wanted: &str| self.handlers.iter().find(|(name, _)| name.as_deref() == Some(wanted));
        let any = || self.handlers.iter().find(|(name, _)| name.is_none());
        let get = || if method == "HEAD" { named("GET") } else { None };
        named(method).or_else(get).or_else(any).map(|&(_, at)| at)
    }
}

/// One pass over the head: the pseudo-fields come first.
fn method_and_target(incoming: &Incoming) -> Result<(&str, &str), Problem> {
    let text = |field: &'static str, value| {
        let error =
            |_| problem(incoming, NOT_UTF8, format!("The field `{field}` is not UTF-8.")).field(field);
        std::str::from_utf8(value).map_err(error)
    };
    let (mut method, mut target) = (None, None);
    for (name, value) in incoming.envelope.fields() {
        match name {
            b":method" => method = Some(value),
            b":path" => target = Some(value),
            _ => continue,
        }
        if let (Some(method), Some(target)) = (method, target) {
            return Ok((text(":method", method)?, text(":path", target)?));
        }
    }
    let missing = if method.is_none() { ":method" } else { ":path" };
    Err(problem(incoming, MALFORMED, format!("The request has no field `{missing}`.")).field(missing))
}

/// A problem of a request that has no handler yet.
fn problem(incoming: &Incoming, kind: ProblemType, detail: String) -> Problem {
    Problem::new(kind, detail).request_id(request::id_of(&incoming.envelope))
}

fn index(at: usize) -> u32 {
    u32::try_from(at).expect("the bus refuses messages of 4 GiB")
}

/// The names in a pattern, in order.
fn parameters(path: &str) -> impl Iterator<Item = String> {
    path.split('/').filter_map(|segment| {
        let (_, rest) = segment.split_once('{')?;
        let (name, _) = rest.split_once('}')?;
        Some(name.trim_start_matches('*').to_owned())
    })
}
