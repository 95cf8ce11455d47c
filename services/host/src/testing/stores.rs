//! Runs the tests of a service with a store on each kind of store: on embedded ones and, in a build
//! with the feature `fdb`, on the cluster of `FDB_CLUSTER_FILE`.
//!
//! Owns where a test stores its data, and the test binary's `main`: FoundationDB's client must be
//! stopped before the process exits, and the usual harness returns to no code of ours. Tests say
//! what must hold, the same for every kind.
//!
//! Invariant: a test on the cluster uses keys under a prefix of its own, which are cleared when it
//! ends, whether it failed or not.

use std::path::Path;
use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};
use store::{Network, RunOptions, Store, Transaction};
use tempfile::TempDir;

use crate::testing::socket;

/// Where a test may store data, and a directory for its sockets and files. Processes that use the
/// store must have ended when it is dropped.
#[derive(Debug)]
pub struct Place {
    dir: TempDir,
    kind: Kind,
    store: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Embedded,
    Cluster,
}

impl Place {
    /// The store's address, as `--store` takes it.
    #[must_use]
    pub fn store(&self) -> &str {
        &self.store
    }

    /// The directory of the test.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// A Unix socket's address in the directory.
    #[must_use]
    pub fn socket(&self, name: &str) -> String {
        socket(self.dir(), name)
    }

    /// True when several processes may use the store at once.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.kind == Kind::Cluster
    }

    /// Opens the store in the test's process.
    ///
    /// # Panics
    /// When it cannot be opened, such as while a service has an embedded store open.
    #[must_use]
    pub fn open(&self) -> Store {
        open(&self.store)
    }

    /// As [`Place::open`], without waiting for the disk on an embedded store.
    ///
    /// # Panics
    /// As [`Place::open`].
    #[must_use]
    pub fn open_buffered(&self) -> Store {
        match self.kind {
            Kind::Embedded => open(&format!("{}?durability=buffered", self.store)),
            Kind::Cluster => self.open(),
        }
    }

    /// Another, empty place of the same kind.
    #[must_use]
    pub fn another(&self) -> Self {
        Self::new(self.kind).expect("there was a place of this kind before")
    }

    /// An empty place, or the reason why there is none of this kind.
    fn new(kind: Kind) -> Result<Self, &'static str> {
        let dir = tempfile::tempdir().expect("a temporary directory can be made");
        let store = match kind {
            Kind::Embedded => format!("embedded:{}/store", dir.path().display()),
            Kind::Cluster => {
                let file = std::env::var("FDB_CLUSTER_FILE").map_err(|_| "FDB_CLUSTER_FILE is not set")?;
                let name = dir.path().file_name().and_then(|name| name.to_str()).unwrap_or_default();
                // The directory's name is unique on this machine, the time among machines.
                let name: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
                format!("fdb:{file}?prefix=test-{name}-{}", crate::data::now_ms())
            }
        };
        Ok(Self { dir, kind, store })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.kind == Kind::Embedded {
            return;
        }
        // On a thread of its own, because a place may be dropped inside a runtime.
        let cleared = std::thread::scope(|scope| scope.spawn(|| clear(&self.open())).join());
        let cleared = cleared.expect("clearing does not panic");
        if !std::thread::panicking() {
            cleared.expect("the keys of the test can be cleared");
        }
    }
}

fn clear(store: &Store) -> Result<(), store::Error> {
    let clear = async |transaction: &Transaction| transaction.clear_range(b"", b"\xff");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime can be made");
    runtime.block_on(store.run(&RunOptions::default().idempotent(), clear))
}

fn open(address: &str) -> Store {
    let address = address.parse().expect("the address of a place is right");
    Store::open(&address).unwrap_or_else(|error| panic!("{error}"))
}

/// A test, by its name.
#[derive(Clone, Copy, Debug)]
pub enum Test {
    /// Runs once on each kind of store.
    OnStores(&'static str, fn(&Place)),
    /// The same, while no other test of the binary runs: it reads the counters of the process.
    Counted(&'static str, fn(&Place)),
    /// Runs once.
    Alone(&'static str, fn()),
}

/// The `main` of a test binary, which [`crate::store_tests`] calls. `with_cluster` is true in a
/// build with the feature `fdb`.
#[must_use]
pub fn main(tests: &[Test], with_cluster: bool) -> ExitCode {
    let mut arguments = Arguments::from_args();
    if tests.iter().any(|test| matches!(test, Test::Counted(..))) {
        arguments.test_threads = Some(1);
    }
    let network = Network::new();
    let mut trials = Vec::new();
    for test in tests {
        match *test {
            Test::OnStores(name, test) | Test::Counted(name, test) => {
                trials.push(trial("embedded", name, move || on(Kind::Embedded, test)));
                if with_cluster {
                    trials.push(trial("fdb", name, move || on(Kind::Cluster, test)));
                }
            }
            Test::Alone(name, test) => trials.push(Trial::test(name, move || {
                test();
                Ok(())
            })),
        }
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    drop(network);
    conclusion.exit_code()
}

fn trial(kind: &str, name: &str, run: impl FnOnce() + Send + 'static) -> Trial {
    Trial::test(format!("{kind}::{name}"), move || {
        run();
        Ok(())
    })
}

#[expect(clippy::print_stdout, reason = "`.ci/test` counts the line in the output of tests")]
fn on(kind: Kind, test: fn(&Place)) {
    match Place::new(kind) {
        Ok(place) => test(&place),
        Err(missing) => println!("SKIPPED: {missing}"),
    }
}

/// The `main` of a test binary without the usual harness (`harness = false`): runs each function of
/// `on_stores` and `counted`, which takes a [`Place`], on each kind of store, and each function of
/// `alone` once. A function of `counted` runs while no other test of the binary does.
///
/// ```no_run
/// use service_host::testing::stores::Place;
///
/// service_host::store_tests! {
///     on_stores: what_was_written_is_read;
///     alone: an_empty_address_is_refused;
/// }
///
/// fn what_was_written_is_read(place: &Place) {
///     let store = place.open();
///     // ...
/// }
///
/// fn an_empty_address_is_refused() {
///     assert!("".parse::<store::StoreAddress>().is_err());
/// }
/// ```
#[macro_export]
macro_rules! store_tests {
    (
        $(on_stores: $($(#[$meta:meta])* $test:ident),* $(,)?;)?
        $(counted: $($counted:ident),* $(,)?;)?
        $(alone: $($(#[$alone_meta:meta])* $alone:ident),* $(,)?;)?
    ) => {
        fn main() -> std::process::ExitCode {
            use $crate::testing::stores::Test;
            let tests = [
                $($($(#[$meta])* Test::OnStores(stringify!($test), $test),)*)?
                $($(Test::Counted(stringify!($counted), $counted),)*)?
                $($($(#[$alone_meta])* Test::Alone(stringify!($alone), $alone),)*)?
            ];
            $crate::testing::stores::main(&tests, cfg!(feature = "fdb"))
        }
    };
}
