//! What makes a service ten lines: routes, hello, limits, drain, events.
//!
//! ```no_run
//! use service_host::{Options, Problem, Request, Response, Router, Settings};
//!
//! /// Greets whoever is named in the path.
//! #[derive(Clone, clap::Parser)]
//! #[command(name = "hello", version)]
//! struct Args {
//!     #[command(flatten)]
//!     host: Options,
//! }
//!
//! impl Settings for Args {
//!     fn options(&self) -> &Options {
//!         &self.host
//!     }
//! }
//!
//! async fn greet(request: Request) -> Result<Response, Problem> {
//!     Ok(Response::text(format!("Hello, {}!\n", request.param("name")?)))
//! }
//!
//! fn main() -> std::process::ExitCode {
//!     service_host::main::<Args>(|_| Ok(Router::new().route("GET /hello/{name}", greet)))
//! }
//! ```
//!
//! `hello --bus-dial tcp://127.0.0.1:5555` then joins a terminator, which forwards
//! `GET /hello/ada`. The name and version of the clap command are those of the hello; every flag is
//! also a key of `--config` and an environment variable (`HELLO_BUS_DIAL`). A service that keeps
//! data uses the module `data`, behind the feature `store`.
//!
//! Everything of a worker stays on its thread: the closure given to [`main`] runs once per worker,
//! and what it builds may be `Rc` and `RefCell`. A `RefCell` must not stay borrowed across an
//! `.await`.

mod announce;
mod ask;
mod background;
mod bound;
mod conditional;
mod context;
#[cfg(feature = "store")]
pub mod data;
mod discovery;
mod edge;
mod endpoint;
mod failure;
mod gate;
mod id;
#[cfg(feature = "store")]
mod lines;
mod options;
pub mod problems;
mod request;
mod response;
mod router;
mod run;
#[cfg(feature = "store")]
pub mod schedule;
mod serve;
mod site;
mod sockets;
mod stats;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod toggles;
mod views;
mod visit;

pub use ask::Ask;
pub use bus;
pub use bus::Finish;
pub use conditional::ETag;
pub use context::Context;
pub use failure::Failure;
pub use id::{BadId, ID_BYTES_MAX, check_id};
pub use options::{Options, Settings, Upstream};
pub use request::Request;
pub use response::{IntoResponse, Response};
pub use role::problem::{Problem, ProblemType};
pub use router::Router;
pub use run::{main, require_bus, run};
