//! `bench store`: a store without services, as one worker uses it, beside FoundationDB's client.
//!
//! Owns what is measured, and the order. `work` has the requests to our store, `client` the same
//! ones to FoundationDB's client, `drive` the loop, `report` the table. Invariant: both are
//! measured by the same loop on one thread with the same number of requests in flight, one after
//! the other in every round.

#[cfg(feature = "fdb")]
mod client;
mod drive;
mod options;
mod report;
mod work;

use std::cell::RefCell;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use store::{Network, Store};

use self::drive::{Measured, drive};
pub use self::options::Options;
use self::report::{Report, Row};
pub(crate) use self::work::{Work, fill};
use crate::figures::float;
use crate::interrupt;
use crate::machine::Machine;
use crate::peers::ground::Ground;
use crate::peers::stores::StoreKind;

/// Measures and reports, also after Ctrl-C.
///
/// # Errors
/// The store cannot be opened, or a request failed.
pub fn main(options: &Options) -> Result<()> {
    // Dropped after every store.
    let _network = Network::new();
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build_local(Default::default())?;
    runtime.block_on(async {
        let kind = &options.store.kind;
        let ground = Ground::prepare_on(kind, &options.ground, "store").await?;
        let report = RefCell::new(Report::new(Machine::describe(), kind, options));
        let measured = tokio::select! {
            measured = measure(options, &ground, &report) => measured,
            () = interrupt::requested() => Ok(()),
        };
        ground.clear().await?;
        let report = report.into_inner();
        if !report.rows.is_empty() {
            report.write(&ground.runs, options.ground.report)?;
        }
        measured?;
        ensure!(!report.rows.is_empty(), "nothing was measured");
        Ok(())
    })
}

async fn measure(options: &Options, ground: &Ground, report: &RefCell<Report>) -> Result<()> {
    let address = ground.store_of("store").parse().context("an address of a run's store is valid")?;
    let store = Store::open(&address)?;
    fill(&store).await?;
    for round in 1..=options.rounds {
        for work in options.works() {
            for &width in options.widths(work) {
                let before = store.counters();
                let measured = drive(&store, work, width, options.duration()).await?;
                let changed = before.into_iter().zip(store.counters());
                let each = changed.filter(|(before, after)| after.1 > before.1).map(|(before, after)| {
                    (after.0.trim_start_matches("store.").to_owned(), float(after.1 - before.1))
                });
                keep(report, Row::new("store", work, width, round, &measured, each.collect()));
                work::clear_log(&store).await?;
                if let Some(measured) = beside(&options.store.kind, work, width, options.duration()).await? {
                    keep(report, Row::new("client", work, width, round, &measured, Default::default()));
                    work::clear_log(&store).await?;
                }
            }
        }
    }
    Ok(())
}

fn keep(report: &RefCell<Report>, row: Row) {
    println!("{row}");
    report.borrow_mut().rows.push(row);
}

/// The same with FoundationDB's own client; `None` on an embedded store. [`work::fill`] must have
/// written the rows.
#[cfg(feature = "fdb")]
pub(crate) async fn beside(
    kind: &StoreKind,
    work: Work,
    width: usize,
    duration: Duration,
) -> Result<Option<Measured>> {
    let StoreKind::Fdb(address) = kind else { return Ok(None) };
    let client = client::Client::open(&address.cluster_file)?;
    drive(&client, work, width, duration).await.map(Some)
}

/// Without FoundationDB there is nothing to measure.
#[cfg(not(feature = "fdb"))]
#[expect(clippy::unused_async, reason = "with the feature fdb it waits")]
pub(crate) async fn beside(_: &StoreKind, _: Work, _: usize, _: Duration) -> Result<Option<Measured>> {
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_work_is_done_and_counted_on_the_embedded_store() {
        let dir = tempfile::tempdir().unwrap();
        let store =
            Store::open(&format!("embedded:{}?durability=buffered", dir.path().display()).parse().unwrap())
                .unwrap();
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build_local(Default::default());
        runtime.unwrap().block_on(async {
            work::fill(&store).await.unwrap();
            for work in Work::ALL {
                let measured = drive(&store, work, 4, Duration::from_millis(50)).await.unwrap();
                assert!(measured.requests >= 4 && measured.per_second > 0.0, "{work:?} {measured:?}");
            }
            assert!(work::log_len(&store).await.unwrap() > 0);
            work::clear_log(&store).await.unwrap();
            assert_eq!(work::log_len(&store).await.unwrap(), 0);
        });
    }
}
