//! tracing on stderr: one line an event, filtered by a directive.
//!
//! Owns: the subscriber of the process. Invariant: a directive that would silence everything by mistake is refused.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

/// Sets tracing up on stderr. `level` is an `EnvFilter` directive such as `info` or `info,bus=debug`.
///
/// # Errors
/// Says what is wrong with `level`, or that the process has a subscriber already.
pub fn trace(level: &str) -> Result<(), String> {
    tracing_subscriber::fmt()
        .with_env_filter(filter(level)?)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .try_init()
        .map_err(|error| format!("tracing: {error}"))
}

/// `EnvFilter` reads a bare word as a module's name, so that `inf` would mean "only what the module inf says": nothing.
fn filter(level: &str) -> Result<EnvFilter, String> {
    for directive in level.split(',').map(str::trim).filter(|directive| !directive.is_empty()) {
        let bare = !directive.contains(['=', '[']);
        if bare && directive.parse::<LevelFilter>().is_err() {
            return Err(format!(
                "log level `{directive}`: give off, error, warn, info, debug or trace, or MODULE=LEVEL, parted by commas"
            ));
        }
    }
    EnvFilter::try_new(level).map_err(|error| format!("log level `{level}`: {error}"))
}

#[cfg(test)]
mod tests {
    use super::filter;

    #[test]
    fn directives_are_levels_and_modules() {
        for level in ["info", "WARN", "info,bus=debug", "bus[pipe]=trace", "off"] {
            filter(level).unwrap_or_else(|error| panic!("{error}"));
        }
    }

    #[test]
    fn mistyped_level_is_refused_rather_than_silent() {
        for level in ["inf", "info,debg", "bus=loud"] {
            let error = filter(level).expect_err("is wrong");
            assert!(error.contains("log level"), "{error}");
        }
    }

    #[test]
    fn second_subscriber_is_an_error() {
        super::trace("off").expect("the first");
        assert!(super::trace("off").is_err());
    }
}
