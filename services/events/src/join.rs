//! Several futures at once, on one task.
//!
//! A transaction on FoundationDB answers each read after a round trip; reads that do not need each other's results
//! are sent together. On the embedded store all are ready at the first poll.

use std::{future::Future, pin::Pin, task::Poll};

/// The outputs of all futures, in their order.
///
/// **Cancel safety**: as the futures'.
pub(crate) async fn join<F: Future>(futures: impl IntoIterator<Item = F>) -> Vec<F::Output> {
    let mut running: Vec<(Option<Pin<Box<F>>>, Option<F::Output>)> =
        futures.into_iter().map(|future| (Some(Box::pin(future)), None)).collect();
    std::future::poll_fn(|context| {
        let mut waits = false;
        for (future, output) in &mut running {
            let Some(pending) = future else { continue };
            match pending.as_mut().poll(context) {
                Poll::Ready(ready) => (*future, *output) = (None, Some(ready)),
                Poll::Pending => waits = true,
            }
        }
        if waits { Poll::Pending } else { Poll::Ready(()) }
    })
    .await;
    running.into_iter().map(|(_, output)| output.expect("every future was polled to its end")).collect()
}
