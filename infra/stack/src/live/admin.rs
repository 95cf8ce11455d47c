//! Asks a terminator's admin listener.
//!
//! Owns one GET. Invariant: an answer is bounded in time and bytes.

use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http::header::HOST;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1::handshake;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

use super::error::Error;

/// Longest wait for an answer, which a terminator gives from memory.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// Longest answer: thousands of rollouts with their histories.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// What the admin listener at `admin` (`HOST:PORT`) answers to `GET path`.
///
/// # Errors
/// [`Error::Admin`] with what happened instead of an answer in JSON.
pub async fn get(admin: &str, path: &str) -> Result<Value, Error> {
    let answer = tokio::time::timeout(ANSWER_WITHIN, ask(admin, path)).await;
    let answer = answer.unwrap_or_else(|_| Err("no answer".into()));
    answer.map_err(|error| Error::Admin { admin: admin.to_owned(), reason: error.to_string() })
}

async fn ask(admin: &str, path: &str) -> Result<Value, Box<dyn std::error::Error + Send + Sync>> {
    let stream = TcpStream::connect(admin).await?;
    let (mut sender, connection) = handshake(TokioIo::new(stream)).await?;
    let request = http::Request::get(path).header(HOST, admin).body(Empty::<Bytes>::new())?;
    let answer = async move {
        let answer = sender.send_request(request).await?;
        if answer.status() != StatusCode::OK {
            return Err(format!("GET {path} answers {}", answer.status()).into());
        }
        let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await?.to_bytes();
        Ok(serde_json::from_slice(&body)?)
    };
    // The connection ends once the sender is dropped; its errors reach the sender.
    tokio::join!(answer, connection).0
}
