//! Starts FoundationDB's network thread, once per process, and stops it when the last guard
//! ([`crate::Network`]) is gone.
//!
//! The only module with `unsafe`: the C client must be stopped before the process exits, which the
//! type system can't ensure. An `atexit` handler can't either: the client creates objects when it
//! is first used, so they are destroyed before a handler that was registered earlier runs. A
//! process that is killed or aborts needs no stop.
//!
//! Leaves keeping a guard until the end of `main` to the program, and the client itself to the
//! crate `foundationdb`. Invariant: the client is started once, only while a guard exists, and
//! never again after it was stopped.

#![allow(unsafe_code, reason = "the C client has to be stopped before the process exits")]

use std::sync::{Mutex, MutexGuard, PoisonError};

use foundationdb::{
    FdbError,
    api::{FdbApiBuilder, NetworkAutoStop, get_max_api_version},
};

use crate::error::OpenError;

static CLIENT: Mutex<Client> = Mutex::new(Client { guards: 0, state: State::New });

struct Client {
    /// Guards that exist.
    guards: usize,
    state: State,
}

enum State {
    /// Not started.
    New,
    /// Running; dropping the value stops the loop and joins its thread.
    Running(#[expect(dead_code, reason = "it is held to be dropped")] NetworkAutoStop),
    /// It did not start, and does not start again.
    Refused(Refused),
    /// Stopped for good.
    Stopped,
}

#[derive(Clone, Copy)]
enum Refused {
    ApiVersion { wanted: i32, newest: i32 },
    Client(FdbError),
}

/// Counts a guard.
pub(crate) fn hold() {
    client().guards += 1;
}

/// Ends a guard; the last one stops the client.
pub(crate) fn release() {
    let mut client = client();
    client.guards -= 1;
    if client.guards == 0 && matches!(client.state, State::Running(_)) {
        // Under one lock with the count: a guard made now finds the client stopped.
        let running = std::mem::replace(&mut client.state, State::Stopped);
        drop(client);
        // Dropped without the lock, because joining the thread takes a while.
        drop(running);
    }
}

/// Stops the client and waits for its thread. Later calls do nothing.
pub(crate) fn stop() {
    let running = std::mem::replace(&mut client().state, State::Stopped);
    // Dropped without the lock, because joining the thread takes a while.
    drop(running);
}

/// Starts the client unless it runs. If starting failed, every later call returns the same error.
pub(super) fn boot() -> Result<(), OpenError> {
    let mut client = client();
    if client.guards == 0 && !matches!(client.state, State::Stopped) {
        return Err(OpenError::NetworkUnguarded);
    }
    if let State::New = client.state {
        client.state = match start() {
            Ok(network) => State::Running(network),
            Err(refused) => State::Refused(refused),
        };
    }
    match client.state {
        State::New => unreachable!("it was just started"),
        State::Running(_) => Ok(()),
        State::Stopped => Err(OpenError::NetworkStopped),
        State::Refused(Refused::ApiVersion { wanted, newest }) => {
            Err(OpenError::ApiVersion { wanted, newest })
        }
        State::Refused(Refused::Client(error)) => {
            Err(OpenError::Client { code: error.code(), message: error.message() })
        }
    }
}

fn start() -> Result<NetworkAutoStop, Refused> {
    let builder = FdbApiBuilder::default();
    let (wanted, newest) = (builder.runtime_version(), get_max_api_version());
    if newest < wanted {
        return Err(Refused::ApiVersion { wanted, newest });
    }
    let network = builder.build().map_err(Refused::Client)?;
    // SAFETY: the value is dropped before the process exits, because a guard exists, `boot` checked
    // it, and the program's `main` drops the last guard.
    unsafe { network.boot() }.map_err(Refused::Client)
}

fn client() -> MutexGuard<'static, Client> {
    // Nothing that can panic leaves the state inconsistent.
    CLIENT.lock().unwrap_or_else(PoisonError::into_inner)
}
