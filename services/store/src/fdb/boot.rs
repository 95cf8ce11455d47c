//! Starts FoundationDB's network thread, once per process, and stops it when the process exits.
//!
//! The only module with `unsafe`: the C client must be stopped before the process exits, which the
//! type system can't ensure. `atexit` ensures it: its handlers run before the destructors of
//! libraries that were loaded earlier, however the program returns. A process that is killed or
//! aborts needs no stop.
//!
//! Invariant: the client is started once, and never again after it was stopped.

#![allow(unsafe_code, reason = "the C client asks for a promise that only this module can keep")]

use std::{
    ffi::c_int,
    sync::{Mutex, OnceLock, PoisonError},
};

use foundationdb::{
    FdbError,
    api::{FdbApiBuilder, NetworkAutoStop, get_max_api_version},
};

use crate::error::OpenError;

/// The running thread; taken when it is stopped.
static NETWORK: Mutex<Option<NetworkAutoStop>> = Mutex::new(None);

unsafe extern "C" {
    /// POSIX.
    safe fn atexit(handler: extern "C" fn()) -> c_int;
}

#[derive(Clone, Copy)]
enum Refused {
    ApiVersion { wanted: i32, newest: i32 },
    Client(FdbError),
}

/// Starts the client unless it was started before. Later calls return the first call's error.
pub(crate) fn boot() -> Result<(), OpenError> {
    static BOOTED: OnceLock<Result<(), Refused>> = OnceLock::new();
    BOOTED.get_or_init(start).map_err(|refused| match refused {
        Refused::ApiVersion { wanted, newest } => OpenError::ApiVersion { wanted, newest },
        Refused::Client(error) => OpenError::Client { code: error.code(), message: error.message() },
    })
}

fn start() -> Result<(), Refused> {
    let builder = FdbApiBuilder::default();
    let (wanted, newest) = (builder.runtime_version(), get_max_api_version());
    if newest < wanted {
        return Err(Refused::ApiVersion { wanted, newest });
    }
    let network = builder.build().map_err(Refused::Client)?;
    // SAFETY: `stop` drops the value, and the handler below calls `stop` before the process exits.
    let network = unsafe { network.boot() }.map_err(Refused::Client)?;
    *NETWORK.lock().unwrap_or_else(PoisonError::into_inner) = Some(network);
    if atexit(stop) != 0 {
        // Without memory for a handler nothing would stop the client, so it is stopped now.
        stop();
        return Err(Refused::Client(FdbError::from_code(OUT_OF_MEMORY)));
    }
    Ok(())
}

/// FoundationDB's `platform_error`.
const OUT_OF_MEMORY: i32 = 1500;

extern "C" fn stop() {
    let network = NETWORK.lock().unwrap_or_else(PoisonError::into_inner).take();
    // Stops the loop and joins its thread.
    drop(network);
}
