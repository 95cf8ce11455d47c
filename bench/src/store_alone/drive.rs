//! The loop that measures: a number of requests in flight, for a time.
//!
//! Owns the loop and its figures. Invariant: a request counts when it began after the warm-up.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::Result;
use hdrhistogram::Histogram;

use super::work::{Subject, Work};
use crate::figures::float;

/// Time before each measurement in which nothing is counted.
const WARMUP: Duration = Duration::from_millis(500);

/// Requests of one kind with one number in flight.
#[derive(Clone, Debug)]
pub(crate) struct Measured {
    pub(crate) per_second: f64,
    pub(super) p50_ms: f64,
    pub(super) p99_ms: f64,
    /// Requests, also those of the warm-up.
    pub(super) requests: u64,
}

/// Keeps `width` requests in flight for `duration` after the warm-up.
pub(super) async fn drive(
    subject: &impl Subject,
    work: Work,
    width: usize,
    duration: Duration,
) -> Result<Measured> {
    // Microseconds, up to a minute, three digits.
    let histogram = Rc::new(RefCell::new(Histogram::<u64>::new_with_max(60_000_000, 3)?));
    let counting_from = Instant::now() + WARMUP;
    let (end, requests) = (counting_from + duration, Rc::new(Cell::new(0)));
    let tasks = (0..width).map(|_| {
        let (subject, histogram, requests) = (subject.clone(), Rc::clone(&histogram), Rc::clone(&requests));
        tokio::task::spawn_local(async move {
            loop {
                let begun = Instant::now();
                if begun >= end {
                    return Ok::<_, anyhow::Error>(());
                }
                subject.once(work).await?;
                requests.set(requests.get() + 1);
                if begun >= counting_from {
                    let us = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
                    histogram.borrow_mut().saturating_record(us);
                }
                // The embedded store answers on the first poll.
                tokio::task::yield_now().await;
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await??;
    }
    let histogram = histogram.borrow();
    let ms = |percentile| float(histogram.value_at_quantile(percentile)) / 1000.0;
    Ok(Measured {
        per_second: float(histogram.len() * work.rows()) / counting_from.elapsed().as_secs_f64(),
        p50_ms: ms(0.5),
        p99_ms: ms(0.99),
        requests: requests.get(),
    })
}
