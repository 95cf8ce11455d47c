//! Processes of the peers: minimal gateways and services in Rust.
//!
//! Owns the hidden subcommand that starts one.

mod bus_service;
mod gateway;
mod nats;
#[cfg(feature = "nng")]
mod nng_bus;
#[cfg(feature = "nng")]
mod nng_end;

use std::net::SocketAddr;

use anyhow::Result;
use clap::{Args, Subcommand};
use tokio::runtime::{Builder, LocalOptions};

use crate::interrupt;

/// The process to run.
#[derive(Debug, Args)]
pub struct Options {
    #[command(subcommand)]
    role: Role,
}

#[derive(Debug, Subcommand)]
enum Role {
    /// HTTP to a NATS request
    NatsGateway {
        #[arg(long)]
        listen: SocketAddr,
        #[arg(long)]
        server: String,
    },
    /// Answers NATS requests, by itself or by asking the next responder
    NatsResponder {
        #[arg(long)]
        server: String,
        #[arg(long)]
        subject: String,
        #[arg(long)]
        next: Option<String>,
    },
    /// A service of our bus with fixed replies
    BusService(bus_service::Options),
    /// HTTP to an nng BUS message
    #[cfg(feature = "nng")]
    NngGateway {
        #[arg(long)]
        listen: SocketAddr,
        #[arg(long)]
        bus: String,
    },
    /// Answers nng BUS messages, by itself or by asking the next service
    #[cfg(feature = "nng")]
    NngService {
        #[arg(long)]
        dial: String,
        #[arg(long)]
        next: Option<String>,
    },
    /// One end of an nng BUS pair, for `bench bus`
    #[cfg(feature = "nng")]
    NngEnd(nng_end::Options),
}

/// Runs the process until Ctrl-C or SIGTERM.
///
/// # Errors
/// It cannot listen or connect.
pub fn main(options: &Options) -> Result<()> {
    #[cfg(feature = "nng")]
    if let Role::NngEnd(options) = &options.role {
        return nng_end::run(options);
    }
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default())?;
    runtime.block_on(async {
        tokio::select! {
            ended = run(&options.role) => ended,
            () = interrupt::requested() => Ok(()),
        }
    })
}

async fn run(role: &Role) -> Result<()> {
    match role {
        Role::NatsGateway { listen, server } => nats::gateway(*listen, server).await,
        Role::NatsResponder { server, subject, next } => {
            nats::responder(server, subject, next.as_deref()).await
        }
        Role::BusService(options) => bus_service::run(options).await,
        #[cfg(feature = "nng")]
        Role::NngGateway { listen, bus } => nng_bus::gateway(*listen, bus).await,
        #[cfg(feature = "nng")]
        Role::NngService { dial, next } => nng_bus::service(dial, next.as_deref()).await,
        #[cfg(feature = "nng")]
        Role::NngEnd(_) => Ok(()),
    }
}
