//! A worker without a bus: requests in as messages, answers out.

use std::cell::Cell;
use std::future::{Future, pending};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bus::proto::{Header, PipeId};
use bus::{Envelope, HeadWriter, Incoming, Kind, Serve, Serving};
use bytes::{BufMut, BytesMut};
use tokio::sync::Notify;

use super::{Server, Worker};
use crate::gate::Gate;
use crate::problems::NOT_FOUND;
use crate::{Problem, Request, Response, Router};

fn message(method: &str, path: &str, fields: &[(&str, &str)], body: &[u8]) -> Incoming {
    let mut head = BytesMut::new();
    let mut writer = HeadWriter::new(&mut head);
    writer.field(":method", method);
    writer.field(":path", path);
    for (name, value) in fields {
        writer.field(name, value);
    }
    let head_len = u32::try_from(writer.finish().unwrap()).unwrap();
    let mut bytes = BytesMut::new();
    bytes.put_slice(&Header::new(Kind::Request).to_bytes(head_len));
    bytes.put_slice(&head);
    bytes.put_slice(body);
    let envelope = Envelope::decode(bytes.freeze()).unwrap();
    let pipe = PipeId { index: 0, generation: 0 };
    Incoming { envelope, received: Instant::now(), deadline: None, pipe }
}

fn get(path: &str) -> Incoming {
    message("GET", path, &[], b"")
}

fn server(router: Router, limit: u32, queue: u32) -> Server {
    Server(Worker::new(router.finish().unwrap(), Gate::new(limit, queue)))
}

fn now(serving: Serving) -> bus::Response {
    match serving {
        Serving::Now(response) => response,
        Serving::Later(_) => panic!("the answer was not ready at once"),
    }
}

type Work = Pin<Box<dyn Future<Output = bus::Response>>>;

fn later(serving: Serving) -> Work {
    match serving {
        Serving::Later(work) => work,
        Serving::Now(response) => panic!("answered {} at once", response.status),
    }
}

fn is_pending(work: &mut Work) -> bool {
    matches!(work.as_mut().poll(&mut Context::from_waker(Waker::noop())), Poll::Pending)
}

fn members(response: &bus::Response) -> serde_json::Value {
    serde_json::from_slice(&response.body).unwrap()
}

async fn echo(request: Request) -> Result<Response, Problem> {
    let text = format!("{} {}", request.param("name")?, request.query("q").unwrap_or_default());
    Ok(Response::text(text))
}

#[test]
fn parameters_and_query_are_decoded() {
    let server = server(Router::new().route("GET /echo/{name}/x", echo), 0, 0);
    let response = now(server.serve(get("/echo/a%2Fb%20%C3%A9/x?p=1&q=x+y%26")));
    assert_eq!((response.status, &response.body[..]), (200, "a/b é x y&".as_bytes()));
    let response = now(server.serve(get("/echo/%ff/x")));
    assert_eq!((response.status, members(&response)["field"].as_str()), (400, Some("name")));
}

#[test]
fn bad_percent_encoding_is_a_400_that_names_what_has_it() {
    let server = server(Router::new().route("GET /echo/{name}/x", echo), 0, 0);
    for (path, field) in [
        ("/echo/%zz/x", "name"),
        ("/echo/a%2/x", "name"),
        ("/echo/a%/x?q=1", "name"),
        ("/echo/a/x?p=1&q=%", "q"),
        ("/echo/a/x?q=%4", "q"),
        ("/echo/a/x?q=1&p=%g0", "p"),
        ("/echo/a/x?%=1", "%"),
    ] {
        let response = now(server.serve(get(path)));
        assert_eq!((response.status, members(&response)["field"].as_str()), (400, Some(field)), "{path}");
    }
    let response = now(server.serve(get("/echo/%25zz/x?q=%2525")));
    assert_eq!((response.status, &response.body[..]), (200, &b"%zz %25"[..]));
}

#[test]
fn unknown_paths_and_methods_are_answered_by_the_host() {
    let router = Router::new().route("GET /echo/{name}", echo).route("PUT /echo/{name}", echo);
    let server = server(router, 0, 0);
    assert_eq!(now(server.serve(get("/nothing"))).status, 404);
    let response = now(server.serve(message("DELETE", "/echo/a", &[], b"")));
    assert_eq!(response.status, 405);
    let allow = response.fields.iter().find(|(name, _)| name == "allow").unwrap();
    assert_eq!(allow.1, "GET, PUT, HEAD");
    assert_eq!(server.0.tally.stats.requests.value(), 2);
}

#[test]
fn head_is_get_without_its_body() {
    let server = server(Router::new().route("GET /echo/{name}", echo), 0, 0);
    let response = now(server.serve(message("HEAD", "/echo/abc?q=d", &[], b"")));
    assert_eq!((response.status, response.body.len()), (200, 0));
    assert!(response.fields.iter().any(|(name, value)| name == "content-length" && value == "5"));
    let claimed: Vec<String> = server.0.routes.patterns.iter().map(ToString::to_string).collect();
    assert_eq!(claimed, ["GET /echo/{name}", "HEAD /echo/{name}"]);
}

#[test]
fn problems_name_their_request() {
    async fn refuse(_: &(), _: &Request) -> Result<Response, Problem> {
        Err(Problem::new(NOT_FOUND, "There is none."))
    }
    let state = Rc::new(());
    let router = Router::new().route_with("GET /none", &state, refuse).route("GET /echo/{name}", echo);
    let server = server(router, 0, 0);
    for (path, reason) in [
        ("/none", "not_found"),
        ("/echo/%ff", "not_utf8"),
        ("/echo/%", "percent_encoding"),
        ("/", "no_route"),
    ] {
        let members =
            |fields: &[(&str, &str)]| members(&now(server.serve(message("GET", path, fields, b""))));
        let named = members(&[("x-request-id", "r1")]);
        assert_eq!((&named["reason"], &named["request_id"]), (&reason.into(), &"r1".into()));
        assert_eq!(members(&[]).get("request_id"), None);
    }
}

#[test]
fn json_errors_name_line_or_field() {
    #[derive(serde::Deserialize)]
    struct Order {
        _items: Vec<Item>,
    }
    #[derive(serde::Deserialize)]
    struct Item {
        _count: u8,
    }
    async fn order(request: Request) -> Result<Response, Problem> {
        request.json::<Order>().map(|_| Response::new(204))
    }
    let server = server(Router::new().route("POST /orders", order), 0, 0);
    let post = |body: &str| now(server.serve(message("POST", "/orders", &[], body.as_bytes())));
    assert_eq!(post(r#"{"_items":[{"_count":1}]}"#).status, 204);
    let response = post("{\n \"_items\": [,]}");
    assert_eq!(response.status, 400);
    assert!(members(&response)["detail"].as_str().unwrap().contains("line 2 column 13"));
    let response = post(r#"{"_items":[{"_count":1},{"_count":300}]}"#);
    assert_eq!((response.status, members(&response)["field"].as_str()), (422, Some("_items[1]._count")));
}

#[test]
fn numbers_in_the_query_are_held_to_their_range() {
    async fn list(request: Request) -> Result<Response, Problem> {
        Ok(Response::json(&request.query_number("limit", 50, 1..=1000)?))
    }
    let server = server(Router::new().route("GET /list", list), 0, 0);
    assert_eq!(now(server.serve(get("/list"))).body, "50");
    assert_eq!(now(server.serve(get("/list?limit=1000"))).body, "1000");
    for wrong in ["0", "1001", "x", "-1", ""] {
        let response = now(server.serve(get(&format!("/list?limit={wrong}"))));
        let members = members(&response);
        assert_eq!((response.status, members["field"].as_str()), (400, Some("limit")), "{wrong}");
        assert_eq!(members["limit"].as_u64(), Some(1000));
    }
}

#[test]
fn a_panic_is_a_500_and_the_worker_goes_on() {
    async fn fall(request: Request) -> Response {
        assert_ne!(request.raw_param("name"), "bad", "asked to fall");
        Response::new(204)
    }
    let never_async = |_: Request| -> std::future::Ready<Response> { panic!("before the future is made") };
    let router = Router::new().route("GET /fall/{name}", fall).route("GET /trip", never_async);
    let server = server(router, 1, 0);
    for (path, status) in [("/fall/bad", 500), ("/fall/good", 204), ("/trip", 500), ("/fall/good", 204)] {
        assert_eq!(now(server.serve(get(path))).status, status, "{path}");
    }
    assert_eq!((server.0.tally.stats.panics.value(), server.0.gate.running()), (2, 0));
}

/// A handler that waits until it is let go, and counts its calls.
fn turnstile() -> (Router, Rc<Notify>, Rc<Cell<usize>>) {
    let (go, calls) = (Rc::new(Notify::new()), Rc::new(Cell::new(0)));
    let handler = {
        let (go, calls) = (Rc::clone(&go), Rc::clone(&calls));
        move |_: Request| {
            let (go, calls) = (Rc::clone(&go), Rc::clone(&calls));
            async move {
                calls.set(calls.get() + 1);
                go.notified().await;
                Response::new(204)
            }
        }
    };
    (Router::new().route("GET /wait", handler), go, calls)
}

#[tokio::test]
async fn above_the_limit_requests_wait_and_above_the_queue_they_are_refused() {
    let (router, go, calls) = turnstile();
    let server = server(router, 2, 1);
    let mut served: Vec<Work> = (0..3).map(|_| later(server.serve(get("/wait")))).collect();
    assert!(served.iter_mut().all(is_pending));
    assert_eq!(calls.get(), 2, "the third waits outside");
    let response = now(server.serve(get("/wait")));
    assert_eq!((response.status, members(&response)["limit"].as_u64()), (503, Some(2)));
    assert_eq!(members(&response)["reason"], "full");
    assert!(response.fields.iter().any(|(name, value)| name == "retry-after" && value == "1"));
    for work in served {
        go.notify_one();
        assert_eq!(work.await.status, 204);
    }
    assert_eq!((calls.get(), server.0.gate.running(), server.0.tally.stats.refused.value()), (3, 0, 1));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_expires_in_the_queue_never_reaches_the_handler() {
    let (router, go, calls) = turnstile();
    let server = server(router, 1, 8);
    let mut first = later(server.serve(get("/wait")));
    assert!(is_pending(&mut first));
    let mut short = get("/wait");
    short.deadline = Some((tokio::time::Instant::now() + Duration::from_millis(5)).into_std());
    let (expired, patient) = (later(server.serve(short)), later(server.serve(get("/wait"))));
    let response = expired.await;
    assert_eq!((response.status, members(&response)["reason"].as_str()), (504, Some("expired")));
    go.notify_one();
    assert_eq!(first.await.status, 204);
    go.notify_one();
    assert_eq!(patient.await.status, 204);
    assert_eq!((calls.get(), server.0.tally.stats.expired.value(), server.0.gate.running()), (2, 1, 0));
}

#[tokio::test]
async fn a_cancelled_request_frees_its_place_and_is_counted() {
    let router = Router::new().route("GET /never", |_| pending::<Response>());
    let server = server(router, 1, 3);
    let mut first = later(server.serve(get("/never")));
    let mut second = later(server.serve(get("/never")));
    let mut waits = later(server.serve(get("/never")));
    let not_begun = later(server.serve(get("/never")));
    assert!(is_pending(&mut first) && is_pending(&mut second) && is_pending(&mut waits));
    let counted =
        || (server.0.tally.stats.cancelled.value(), server.0.gate.running(), server.0.gate.queued());
    assert_eq!(counted(), (0, 1, 3));
    drop(waits);
    drop(not_begun);
    assert_eq!(counted(), (2, 1, 1));
    drop(first);
    assert!(is_pending(&mut second));
    drop(second);
    assert_eq!(counted(), (4, 0, 0));
}

#[test]
fn wrong_and_repeated_routes_are_reported() {
    for (wrong, named) in [("GET", "GET"), ("GET x", "GET x"), ("GET /a/{b}/{", "/a/{b}/{")] {
        let error = Router::new().route(wrong, echo).finish().err().unwrap();
        assert!(error.to_string().contains(named), "{error}");
    }
    let twice = Router::new().route("GET /a", echo).route("get /a", echo).finish().err().unwrap();
    assert!(twice.to_string().contains("twice"), "{twice}");
}

#[test]
fn what_the_client_has_is_not_sent_again() {
    async fn page(request: Request) -> Response {
        Response::html("<p>").tagged(&request)
    }
    let server = server(Router::new().route("GET /page", page), 0, 0);
    let response = now(server.serve(get("/page")));
    let tag = response.fields.iter().find(|(name, _)| name == "etag").unwrap().1.clone();
    let tag = std::str::from_utf8(&tag).unwrap();
    let again = now(server.serve(message("GET", "/page", &[("if-none-match", tag)], b"")));
    assert_eq!((again.status, again.body.len()), (304, 0));
}

fn switches() -> Server {
    let answer = |request: Request| async move {
        let (a, variant) = (request.toggle("a"), request.variant("b").map(str::to_owned));
        let pin = request.pin("feed").map(str::to_owned);
        Response::text(format!("{a} {} {variant:?} {pin:?} {}", request.toggle("b"), request.is_shadow()))
    };
    server(Router::new().reads_toggle("a").reads_toggle("b").route("GET /a", answer), 0, 0)
}

#[test]
fn toggles_variants_and_pins_are_what_the_edge_decided() {
    let text = |fields: &[(&str, &str)]| {
        let response = now(switches().serve(message("GET", "/a", fields, b"")));
        String::from_utf8(response.body.to_vec()).unwrap()
    };
    assert_eq!(text(&[]), "false false None None false");
    assert_eq!(text(&[(":toggle", "a"), (":toggle", "b=x=y")]), "true true Some(\"x=y\") None false");
    assert_eq!(text(&[(":toggle", "b"), (":pin", "feed=2")]), "false true None Some(\"2\") false");
    assert_eq!(text(&[(":toggle", "b="), (":pin", "feed=")]), "false true Some(\"\") Some(\"\") false");
    assert_eq!(text(&[(":toggle", "ab"), (":toggle", "=a"), (":pin", "feed")]), text(&[]), "other names");
    assert_eq!(text(&[(":pin", "feed=1"), (":pin", "feed=2")]), "false false None Some(\"1\") false");
    assert_eq!(text(&[("toggle", "a"), ("pin", "feed=2")]), text(&[]), "a client may send these");
    assert_eq!(text(&[("accept", "*/*"), (":toggle", "a")]), text(&[]), "behind an ordinary field");
    assert_eq!(text(&[(":toggle", "a\u{e9}=1"), (":toggle", "a")]), "true false None None false");
}

#[cfg(debug_assertions)]
#[test]
fn an_undeclared_toggle_is_an_error_of_the_service() {
    let answer = |request: Request| async move { Response::text(request.toggle("c").to_string()) };
    let server = server(Router::new().reads_toggle("a").route("GET /a", answer), 0, 0);
    assert_eq!(now(server.serve(message("GET", "/a", &[(":toggle", "c")], b""))).status, 500);
}

#[test]
fn a_toggle_that_no_field_could_name_is_refused_at_the_start() {
    for name in ["", "a=b", "a\nb", &"a".repeat(256)] {
        let Err(error) = Router::new().reads_toggle(name).finish() else { panic!("{name:?} is accepted") };
        assert!(error.to_string().contains("1 to 255 bytes"), "{error}");
    }
    let many = (0..257).fold(Router::new(), |router, n| router.reads_toggle(&n.to_string()));
    assert!(many.finish().is_err_and(|error| error.to_string().contains("limit of a service is 256")));
}
