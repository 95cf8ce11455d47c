//! The paths of the admin listener.
//!
//! Owns: which question has which answer. Leaves the shapes to `report` and `metrics`. Invariant:
//! the same paths with the same schema in every role.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use serde_json::{Value, json};

use super::answer::{self, Answer};
use super::extension::{self, BODY_BYTES, Extension, Question};
use super::rates::Rates;
use super::report;
use crate::metrics::{Latencies, by_worker, to_json, to_prometheus};
use crate::observer::{Observer, READY_TIMEOUT};
use crate::problem::{Problem, ProblemType};
use crate::{settings, telemetry};

const PATHS: [(&str, &str); 8] = [
    ("/live", "200 while the process runs"),
    ("/ready", "200 when requests are taken, else 503 with every reason"),
    ("/stats", "every metric since the start, all workers together and one by one (docs/metrics.md)"),
    ("/metrics", "the same in Prometheus's text format"),
    ("/peers", "connections of the bus, and who is behind them"),
    ("/routes", "routes that are claimed, with rate, errors and latency"),
    ("/config", "every setting with its value and its source"),
    ("/log", "the log level; POST /log?level=LEVEL changes it"),
];

/// The media type of Prometheus's text format.
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

const NO_ROUTE: ProblemType =
    ProblemType::new("no_route", 404, "No such route").remedy("GET / lists the paths");
const METHOD: ProblemType =
    ProblemType::new("method", 405, "Method not allowed").remedy("use a method that Allow lists");
const LOG_LEVEL: ProblemType =
    ProblemType::new("log_level", 400, "Bad log level").remedy("POST /log?level=info");
const BODY_TOO_LARGE: ProblemType =
    ProblemType::new("body_too_large", 413, "Body too large").remedy("send a shorter body");
const NOT_READY: ProblemType = ProblemType::new("not_ready", 503, "Not ready");

/// What a client is told to wait after a 503.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// What the answers need.
pub(super) struct Desk<S> {
    observer: Rc<Observer<S>>,
    extension: Option<Extension>,
    rates: RefCell<Rates>,
}

impl<S: 'static> Desk<S> {
    pub(super) fn new(observer: Rc<Observer<S>>, extension: Option<Extension>) -> Self {
        let rates = RefCell::new(Rates::new(observer.process.started));
        Self { observer, extension, rates }
    }

    /// Remembers the numbers of requests, for the rates. A worker that does not answer in time
    /// costs one look.
    pub(super) async fn look(&self) {
        let asked = self.observer.pictures(Latencies::Omitted);
        if let Ok(pictures) = tokio::time::timeout(READY_TIMEOUT, asked).await {
            self.rates.borrow_mut().look(Instant::now(), &pictures);
        }
    }

    pub(super) async fn answer(&self, request: Request<Incoming>) -> Answer {
        let (method, path) = (request.method(), request.uri().path());
        if self.extension.is_some() && path != "/" && PATHS.iter().all(|(own, _)| *own != path) {
            return self.extended(request).await;
        }
        let changes = method == Method::POST && path == "/log";
        if !changes && !matches!(*method, Method::GET | Method::HEAD) {
            return wrong_method(path);
        }
        match path {
            "/" => answer::json(&self.paths()),
            "/live" => answer::json(&self.live()),
            "/ready" => self.ready().await,
            "/stats" => self.stats().await,
            "/metrics" => self.metrics().await,
            "/peers" => answer::json(&report::peers(&self.pictures(Latencies::Omitted).await)),
            "/routes" => {
                let pictures = self.pictures(Latencies::SinceStart).await;
                answer::json(&report::routes(&pictures, &self.rates.borrow(), Instant::now()))
            }
            "/config" => answer::json(&self.config()),
            "/log" if changes => self.set_level(request.uri().query().unwrap_or_default()),
            "/log" => answer::json(&json!({ "level": telemetry::level() })),
            path => no_route(path),
        }
    }

    fn paths(&self) -> BTreeMap<&str, &str> {
        let more = self.extension.iter().flat_map(|extension| extension.paths);
        PATHS.iter().chain(more).copied().collect()
    }

    /// Answers a path that not every role has.
    async fn extended(&self, request: Request<Incoming>) -> Answer {
        let (head, body) = request.into_parts();
        let path = head.uri.path().to_owned();
        let Some(extension) = &self.extension else { return no_route(&path) };
        let Ok(body) = Limited::new(body, BODY_BYTES).collect().await else {
            let problem = Problem::new(BODY_TOO_LARGE, format!("The limit is {BODY_BYTES} bytes."));
            return answer::problem(&problem, Value::Null);
        };
        let method = if head.method == Method::HEAD { Method::GET } else { head.method };
        let question = Question { method, path: path.clone(), headers: head.headers, body: body.to_bytes() };
        match (extension.answer)(question).await {
            Some(extension::Answer::Json(status, headers, body)) => {
                let status = StatusCode::from_u16(status).expect("the statuses of answers are valid");
                answer::respond(status, "application/json", headers, body)
            }
            Some(extension::Answer::File(media_type, headers, body)) => {
                answer::respond(StatusCode::OK, media_type, headers, body)
            }
            Some(extension::Answer::Problem(problem, headers)) => {
                let mut response = answer::problem(&problem, Value::Null);
                answer::extend(&mut response, headers);
                response
            }
            Some(extension::Answer::Method(allow)) => {
                let problem = Problem::new(METHOD, "This path has another method.").allow(allow);
                answer::problem(&problem, Value::Null)
            }
            None => no_route(&path),
        }
    }

    fn live(&self) -> Value {
        let identity = &self.observer.process.identity;
        json!({ "live": true, "service": identity.service, "version": identity.version, "instance": identity.instance })
    }

    async fn ready(&self) -> Answer {
        let readiness = self.observer.readiness().await;
        if !readiness.unready.is_empty() {
            let details: Vec<&str> = readiness.unready.iter().map(|one| one.detail.as_str()).collect();
            let problem = Problem::because(NOT_READY, details.join("; "))
                .remedy(readiness.unready[0].remedy)
                .retry_after(RETRY_AFTER);
            let more = json!({ "reasons": readiness.unready, "failing_dials": readiness.failing });
            return answer::problem(&problem, more);
        }
        answer::json(&json!({
            "ready": true,
            "workers": self.observer.workers(),
            "services_connected": readiness.services,
            "failing_dials": readiness.failing,
        }))
    }

    async fn stats(&self) -> Answer {
        let pictures = self.pictures(Latencies::SinceStart).await;
        let process = &self.observer.process;
        let samples = self.observer.samples(&pictures);
        answer::json(&to_json(&process.identity, &samples, &by_worker(process.groups, &pictures)))
    }

    async fn metrics(&self) -> Answer {
        let pictures = self.pictures(Latencies::SinceStart).await;
        let samples = self.observer.samples(&pictures);
        answer::text(PROMETHEUS, to_prometheus(&self.observer.process.identity, &samples))
    }

    fn config(&self) -> Value {
        let identity = &self.observer.process.identity;
        json!({ "service": identity.service, "version": identity.version, "settings": settings::effective() })
    }

    fn set_level(&self, query: &str) -> Answer {
        let level = form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == "level");
        let level = level.map(|(_, value)| value).unwrap_or_default();
        match telemetry::set_level(&level) {
            Ok(()) => {
                tracing::info!(%level, "admin: the log level is changed");
                answer::json(&json!({ "level": level }))
            }
            Err(error) => answer::problem(&Problem::because(LOG_LEVEL, error).field("level"), Value::Null),
        }
    }

    async fn pictures(&self, latencies: Latencies) -> Vec<crate::metrics::Picture> {
        self.observer.pictures(latencies).await
    }
}

fn no_route(path: &str) -> Answer {
    answer::problem(&Problem::new(NO_ROUTE, format!("The admin listener has no {path}.")), Value::Null)
}

fn wrong_method(path: &str) -> Answer {
    let (allow, detail) = match path {
        "/log" => ("GET, HEAD, POST", "The log level is asked for or changed."),
        _ => ("GET, HEAD", "This path only answers questions."),
    };
    answer::problem(&Problem::new(METHOD, detail).allow(allow), Value::Null)
}
