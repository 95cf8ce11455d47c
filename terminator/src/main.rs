//! The binary `terminator`: reads the settings, checks all of them, then binds and serves.

use std::process::ExitCode;

use clap::CommandFactory;
use clap::error::ErrorKind;
use terminator::config::{Config, Settings};

/// Faster under load than the C library's, and gives memory back (docs/adr/0008).
#[global_allocator]
static ALLOCATOR: role::memory::Allocator = role::memory::Allocator;

fn main() -> ExitCode {
    let settings: Settings = role::settings::load();
    let config = match Config::new(settings) {
        Ok(config) => config,
        Err(error) => Settings::command().error(ErrorKind::ValueValidation, error).exit(),
    };
    if let Err(error) = role::telemetry::trace(&config.log) {
        Settings::command().error(ErrorKind::ValueValidation, error).exit();
    }
    match terminator::control::run(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
