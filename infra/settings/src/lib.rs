//! One set of settings from a TOML file, the environment and flags, in that order.

/// Reads the settings of a role whose clap struct `T` has an argument `--config FILE` with the id `config`: the TOML
/// file's keys are the long flags' names, its arrays are repeated flags; the environment (clap's `env`) wins over
/// the file, flags win over both. Prints and exits as clap does.
#[must_use]
pub fn load<T: clap::Parser>() -> T {
    T::parse() // STUB: the file layer comes
}
