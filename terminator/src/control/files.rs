//! Open files: as many connections as there is room for, and some files left for the admin listener
//! and the bus.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::Config;

/// Files that are no client's connection: listeners, pipes, the admin listener's connections, logs.
/// Half of them when there are few.
const RESERVED: usize = 512;

/// Raises the limit of open files to what the system allows, and lowers that of connections to what
/// fits: those above it can be told so, those for whom there is no file cannot.
pub(super) fn make_room(config: &mut Config) {
    let files = usize::try_from(raise()).unwrap_or(usize::MAX);
    let room = connections(files, config.workers);
    let limit = &mut config.limits.connections;
    if *limit > room {
        tracing::warn!(
            "--connection-limit {limit}: the system allows {files} open files, which is room for {room} connections a worker; \
             that is the limit. `ulimit -Hn` or LimitNOFILE= raises it"
        );
        *limit = room;
    }
}

/// How many connections each worker has files for.
fn connections(files: usize, workers: usize) -> usize {
    ((files - RESERVED.min(files / 2)) / workers).max(1)
}

fn raise() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    // Refused, it stays what it was.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_left_for_what_is_no_connection() {
        assert_eq!(connections(64, 1), 32);
        assert_eq!(connections(1024, 2), 256);
        assert_eq!(connections(20_000, 1), 19_488);
        assert_eq!(connections(1, 4), 1);
    }
}
