//! HTTP over NATS request/reply, with NATS' own Rust client.
//!
//! Owns a gateway and a responder. Invariant: each runs on one thread, as the stack's roles do.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use bytes::Bytes;
use futures_util::StreamExt;
use tokio::task::spawn_local;

use super::gateway::{self, REPLY};

/// The gateway's subject.
const FIRST: &str = "first";

/// Sends every HTTP request to [`FIRST`].
pub(crate) async fn gateway(listen: SocketAddr, server: &str) -> Result<()> {
    let client = connect(server).await?;
    gateway::serve(listen, move |path| {
        let client = client.clone();
        async move { client.request(FIRST, path).await.ok().map(|reply| reply.payload) }
    })
    .await
}

/// Answers `subject`, with the reply of `next` when it is given.
pub(crate) async fn responder(server: &str, subject: &str, next: Option<&str>) -> Result<()> {
    let client = connect(server).await?;
    let mut requests = client.subscribe(subject.to_owned()).await?;
    while let Some(request) = requests.next().await {
        let Some(reply_to) = request.reply else { continue };
        let Some(next) = next else {
            client.publish(reply_to, Bytes::from_static(&REPLY)).await?;
            continue;
        };
        let (client, next) = (client.clone(), next.to_owned());
        spawn_local(async move {
            if let Ok(reply) = client.request(next, request.payload).await {
                let _ = client.publish(reply_to, reply.payload).await;
            }
        });
    }
    Ok(())
}

async fn connect(server: &str) -> Result<async_nats::Client> {
    async_nats::ConnectOptions::new()
        .retry_on_initial_connect()
        .connect(server)
        .await
        .with_context(|| format!("{server}: cannot connect"))
}
