//! Who a process is: the names that its metrics, its admin answers and its hello have.
//!
//! Owns: the default of `--instance`, and the host's name. Invariant: no part is empty.

/// The names of one process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// `terminator`, or the service's name.
    pub service: String,
    /// The version of its binary.
    pub version: String,
    /// Distinguishes it from other instances of the service.
    pub instance: String,
    /// The machine that it runs on.
    pub host: String,
}

impl Identity {
    /// `instance` is what `--instance` says; without it HOST-PID-RANDOM, which differs after a
    /// restart even in a container that gives the process the same id again.
    #[must_use]
    pub fn new(service: &str, version: &str, instance: Option<String>) -> Self {
        let host = host();
        let random = || format!("{host}-{}-{:06x}", std::process::id(), fastrand::u32(..1 << 24));
        let instance = instance.filter(|name| !name.is_empty()).unwrap_or_else(random);
        Self { service: service.to_owned(), version: version.to_owned(), instance, host }
    }
}

fn host() -> String {
    let kernel = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let name = kernel.or_else(|| std::env::var("HOSTNAME").ok()).unwrap_or_default();
    match name.trim() {
        "" => "host".to_owned(),
        name => name.to_owned(),
    }
}
