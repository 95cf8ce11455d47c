//! A directory as the source of a plan: its driver, which scans it whenever something changes.
//!
//! Owns when the directory is scanned. Leaves reading to `scan`, being told of changes to `notice`,
//! the operator's writes to `store`, elections to `lock`. Invariant: no call blocks the runtime; a
//! scan follows every change at the latest after [`RESCAN`]. A directory that is missing is a lost
//! source and changes nothing; an empty one is an empty plan.

mod history;
mod lock;
mod notice;
mod scan;
mod store;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use notice::Notice;
use scan::Scan;
pub(super) use store::Store;

use super::board::Board;
use super::hold::Holds;
use crate::document::Revision;

/// Time between two scans when no change is noticed: some file systems notify of nothing.
const RESCAN: Duration = Duration::from_secs(5);

/// A change is read when no other has followed for this long: editors rename the old file away
/// before they write the new one, and `cp` writes in steps.
const QUIET: Duration = Duration::from_millis(50);

/// Longest wait for that quiet, in units of it.
const QUIET_WAITS_MAX: usize = 10;

/// Follows the directory. Never completes.
pub(super) async fn follow(root: PathBuf, board: Arc<Board>, holds: Arc<Holds>) {
    tokio::join!(scan_forever(root.clone(), board), lock::hold_elections(root, holds));
}

async fn scan_forever(root: PathBuf, board: Arc<Board>) {
    let mut notice = Notice::new(&root);
    let mut scan = Scan::default();
    let changed = notice.changed();
    loop {
        let root = root.clone();
        let turn = move || {
            // What changed before the new watches were set is read by this scan.
            notice.renew();
            let entries = scan.read(&root);
            (notice, scan, entries)
        };
        let entries;
        (notice, scan, entries) = tokio::task::spawn_blocking(turn).await.expect("a scan does not panic");
        match entries {
            Ok(entries) => {
                board.replace(entries, false);
                board.connected(Revision::default());
            }
            Err(error) => board.disconnected(&error.to_string()),
        }
        if tokio::time::timeout(RESCAN, changed.notified()).await.is_ok() {
            for _ in 0..QUIET_WAITS_MAX {
                if tokio::time::timeout(QUIET, changed.notified()).await.is_err() {
                    break;
                }
            }
        }
    }
}
