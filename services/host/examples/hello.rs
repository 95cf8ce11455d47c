//! A service in ten lines, and its command line: `cargo run -p service-host --example hello --
//! --bus-dial tcp://127.0.0.1:5555` joins the stack, then `curl 127.0.0.1:8080/hello/ada`.

use service_host::{Options, Problem, Request, Response, Router, Settings};

/// Greets whoever is named in the path.
#[derive(Clone, clap::Parser)]
#[command(name = "hello", version)]
struct Args {
    #[command(flatten)]
    host: Options,
}

impl Settings for Args {
    fn options(&self) -> &Options {
        &self.host
    }
}

async fn greet(request: Request) -> Result<Response, Problem> {
    Ok(Response::text(format!("Hello, {}!\n", request.param("name")?)))
}

fn main() -> std::process::ExitCode {
    service_host::main::<Args>(|_| Ok(Router::new().route("GET /hello/{name}", greet)))
}
