//! A service of our bus that answers at once: the cost of the terminator and the bus without a
//! store.
//!
//! Owns `GET /bench/{id}` (a fixed reply), `POST /bench` (discards the body), and any number of
//! further routes.

use std::rc::Rc;

use anyhow::Result;
use bus::{Config, Hello, Incoming, Limits, Pattern, Response, Serve, Serving};
use bytes::Bytes;
use clap::Args;

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Bus address of the terminator.
    #[arg(long)]
    dial: bus::Endpoint,
    #[arg(long, default_value = "1")]
    instance: String,
    /// Number of routes to claim; only the first is requested.
    #[arg(long, default_value_t = 1)]
    routes: usize,
    /// Bytes of every reply.
    #[arg(long, default_value_t = 200)]
    reply: usize,
    #[arg(long, default_value_t = bus::proto::limits::MESSAGE_LEN_MAX)]
    message_limit: usize,
}

struct Fixed(Bytes);

impl Serve for Fixed {
    fn serve(&self, request: Incoming) -> Serving {
        let is_upload = request.method() == "POST";
        let body = if is_upload { Bytes::from_static(&super::gateway::REPLY) } else { self.0.clone() };
        Serving::Now(Response::new(200).body(body))
    }
}

pub(crate) async fn run(options: &Options) -> Result<()> {
    let mut hello = Hello::new("bench", env!("CARGO_PKG_VERSION"), &options.instance);
    let routes = ["GET /bench/{id}".to_owned(), "POST /bench".to_owned()]
        .into_iter()
        .chain((1..options.routes).map(|number| format!("GET /bench-{number}/{{id}}/part")));
    hello.routes = routes.map(|route| route.parse::<Pattern>()).collect::<Result<_, _>>()?;
    let limits = Limits { message_len_max: options.message_limit, ..Limits::default() };
    let config = Config {
        dial: vec![options.dial.clone()],
        hello: Some(hello),
        limits,
        // As in all our services.
        ..Config::default()
    };
    let reply = options.reply;
    let _workers =
        role::worker::start("service", role::Scheduling::Batch, bus::bind(&config, 1)?, move |_, bus| {
            bus.serve(Rc::new(Fixed(Bytes::from(vec![b'x'; reply]))));
            Ok(bus)
        })?;
    std::future::pending::<()>().await;
    Ok(())
}
