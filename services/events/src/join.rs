//! Several futures at once, on one task.
//!
//! A transaction on FoundationDB answers each read after a round trip, so independent reads are
//! sent together. On the embedded store all are ready at the first poll.

use std::{future::Future, pin::Pin, task::Poll};

/// The outputs of all futures, in order.
///
/// # Cancel safety
/// That of the futures.
pub(crate) async fn join<F: Future>(futures: impl IntoIterator<Item = F>) -> Vec<F::Output> {
    let mut running: Vec<_> = futures.into_iter().map(|future| Running::Waits(Box::pin(future))).collect();
    std::future::poll_fn(|context| {
        let mut all = Poll::Ready(());
        for one in &mut running {
            if let Running::Waits(future) = one {
                match future.as_mut().poll(context) {
                    Poll::Ready(output) => *one = Running::Done(output),
                    Poll::Pending => all = Poll::Pending,
                }
            }
        }
        all
    })
    .await;
    let done = running.into_iter().map(|one| match one {
        Running::Done(output) => output,
        Running::Waits(_) => unreachable!("every future was polled to its end"),
    });
    done.collect()
}

enum Running<F: Future> {
    Waits(Pin<Box<F>>),
    Done(F::Output),
}
