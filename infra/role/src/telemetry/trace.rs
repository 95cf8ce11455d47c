//! tracing on stderr: one line an event, filtered by a directive that can be replaced.
//!
//! Owns: the subscriber of the process, and its level. Invariant: a directive that would silence
//! everything by mistake is refused.

use std::io::IsTerminal;
use std::sync::{Mutex, OnceLock, PoisonError};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

/// The one subscriber of the process, as tracing has it; set by [`trace`].
static LOG: OnceLock<Log> = OnceLock::new();

struct Log {
    level: Mutex<String>,
    replace: Box<dyn Fn(EnvFilter) -> Result<(), String> + Send + Sync>,
}

/// Sets tracing up on stderr. `level` is an `EnvFilter` directive such as `info` or
/// `info,bus=debug`.
///
/// # Errors
/// Says what is wrong with `level`, or that the process has a subscriber already.
pub fn trace(level: &str) -> Result<(), String> {
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter(level)?)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .with_filter_reloading();
    let handle = builder.reload_handle();
    builder.try_init().map_err(|error| format!("tracing: {error}"))?;
    let replace = move |filter| handle.reload(filter).map_err(|error| format!("tracing: {error}"));
    let _ = LOG.set(Log { level: Mutex::new(level.to_owned()), replace: Box::new(replace) });
    Ok(())
}

/// Replaces the level that [`trace`] was given.
///
/// # Errors
/// Says what is wrong with `level`; the old level stays. Also when there is no subscriber yet.
pub fn set_level(level: &str) -> Result<(), String> {
    let filter = filter(level)?;
    let log = LOG.get().ok_or("tracing is not set up")?;
    (log.replace)(filter)?;
    level.clone_into(&mut log.level.lock().unwrap_or_else(PoisonError::into_inner));
    Ok(())
}

/// The level now; empty before [`trace`].
#[must_use]
pub fn level() -> String {
    let level = |log: &Log| log.level.lock().unwrap_or_else(PoisonError::into_inner).clone();
    LOG.get().map(level).unwrap_or_default()
}

/// `EnvFilter` reads a bare word as a module's name: `inf` would mean "only what the module inf
/// logs", which is nothing.
fn filter(level: &str) -> Result<EnvFilter, String> {
    if level.trim().is_empty() {
        return Err("log level: it is empty; give error, warn, info, debug or trace".to_owned());
    }
    for directive in level.split(',').map(str::trim).filter(|directive| !directive.is_empty()) {
        let bare = !directive.contains(['=', '[']);
        if bare && directive.parse::<LevelFilter>().is_err() {
            return Err(format!(
                "log level `{directive}`: give off, error, warn, info, debug or trace, or MODULE=LEVEL, comma-separated"
            ));
        }
    }
    EnvFilter::try_new(level).map_err(|error| format!("log level `{level}`: {error}"))
}

#[cfg(test)]
mod tests {
    use super::{filter, level, set_level, trace};

    #[test]
    fn directives_are_levels_and_modules() {
        for level in ["info", "WARN", "info,bus=debug", "bus[pipe]=trace", "off"] {
            filter(level).unwrap_or_else(|error| panic!("{error}"));
        }
    }

    #[test]
    fn mistyped_level_is_refused_rather_than_silent() {
        for level in ["inf", "info,debg", "bus=loud", ""] {
            let error = filter(level).expect_err("is wrong");
            assert!(error.contains("log level"), "{error}");
        }
    }

    #[test]
    fn the_level_can_be_replaced_and_there_is_one_subscriber() {
        trace("off").expect("the first");
        assert!(trace("off").is_err());
        set_level("off,bus=error").expect("is a level");
        assert!(set_level("inf").is_err());
        assert_eq!(level(), "off,bus=error");
    }
}
