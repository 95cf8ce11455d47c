//! Addresses for measurements: a free TCP port, or a random name.
//!
//! Owns their form. Leaves finding a port to `process`, and the directory of `ipc` files and its
//! removal to `peers::ground`.

use anyhow::Result;

use super::pair::Transport;
use crate::peers::ground::Ground;
use crate::process;

/// A URL at which nothing listens yet.
pub(super) fn url(transport: Transport, ground: &Ground) -> Result<String> {
    let number = fastrand::u64(..);
    Ok(match transport {
        Transport::Tcp => format!("tcp://127.0.0.1:{}", process::free_port()?),
        Transport::Ipc => format!("ipc://{}/{number:x}.ipc", ground.scratch.path().display()),
        Transport::Inproc => format!("inproc://{number:x}"),
    })
}
