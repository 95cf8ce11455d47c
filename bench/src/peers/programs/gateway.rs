//! HTTP in front of another messaging system: hyper on one thread.
//!
//! Owns the HTTP side. The caller gets the answers.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::rc::Rc;

use anyhow::Result;
use bytes::Bytes;
use http_body_util::Full;
use hyper::Response;

/// The body of every reply, as in `bench bare`.
pub(crate) const REPLY: [u8; 200] = [b'x'; 200];

/// Serves at `listen`. `ask` receives each request's path and returns the body, or `None`, which is
/// answered with 503.
pub(crate) async fn serve<F, Fut>(listen: SocketAddr, ask: F) -> Result<()>
where
    F: Fn(Bytes) -> Fut + 'static,
    Fut: Future<Output = Option<Bytes>> + 'static,
{
    let handler = move |request: hyper::Request<hyper::body::Incoming>| {
        let answer = ask(Bytes::copy_from_slice(request.uri().path().as_bytes()));
        async move {
            let response = match answer.await {
                Some(body) => Response::new(Full::new(body)),
                None => {
                    let mut refusal = Response::new(Full::default());
                    *refusal.status_mut() = http::StatusCode::SERVICE_UNAVAILABLE;
                    refusal
                }
            };
            Ok::<_, Infallible>(response)
        }
    };
    crate::peers::bare::accept(crate::peers::bare::listen(listen, false)?, Rc::new(handler)).await
}
