//! The roles' command lines.
//!
//! Owns: who listens where, who dials whom. Invariant: every connection between the stack's own roles is a Unix
//! socket in the runtime directory; only HTTP, the admin listener and the guests' listener take a TCP port.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::options::Options;
use crate::supervise::Role;

/// The roles, the front first: in this order they start, so that each finds the Unix sockets that it dials, and stop, so
/// that what is under way gets its answer.
#[must_use]
pub fn roles(options: &Options, binaries: &Path, runtime: &Path) -> [Role; 3] {
    let terminator_ipc = ipc(runtime, "terminator");
    let web_ipc = ipc(runtime, "web");
    let role = |name: &'static str, args: Vec<OsString>| Role {
        name,
        program: binaries.join(name),
        args: args.into_iter().chain(shared(options)).collect(),
    };
    [
        role(
            "terminator",
            vec![
                "--http".into(),
                options.http.to_string().into(),
                "--admin".into(),
                options.admin.to_string().into(),
                "--bus-listen".into(),
                format!("tcp://{}", options.guests).into(),
                "--bus-listen".into(),
                terminator_ipc.clone(),
            ],
        ),
        role(
            "web",
            vec!["--bus-dial".into(), terminator_ipc.clone(), "--upstream-listen".into(), web_ipc.clone()],
        ),
        role(
            "profile",
            vec![
                "--bus-dial".into(),
                terminator_ipc,
                "--bus-dial".into(),
                web_ipc,
                "--store".into(),
                store(options),
            ],
        ),
    ]
}

/// The Unix sockets of the roles that listen on one.
#[must_use]
pub fn socket(runtime: &Path, role: &str) -> Option<PathBuf> {
    matches!(role, "terminator" | "web").then(|| runtime.join(format!("{role}.ipc")))
}

/// The arguments that fill the store of the profile service from `file`, before the service has its lock.
#[must_use]
pub fn load(options: &Options, file: &Path) -> Vec<OsString> {
    vec!["--store".into(), store(options), "load".into(), file.into()]
}

/// `ipc:///tmp/stack-x/web.ipc`.
#[must_use]
pub fn ipc(runtime: &Path, role: &str) -> OsString {
    let mut url = OsString::from("ipc://");
    url.push(runtime.join(format!("{role}.ipc")));
    url
}

fn store(options: &Options) -> OsString {
    let mut store = OsString::from("embedded:");
    store.push(options.data.join("profile"));
    store
}

fn shared(options: &Options) -> Vec<OsString> {
    let mut args = Vec::new();
    if let Some(workers) = options.workers {
        args.extend(["--workers".into(), workers.to_string().into()]);
    }
    if let Some(statsd) = &options.statsd {
        args.extend(["--statsd".into(), statsd.into()]);
    }
    args
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use clap::Parser;

    use super::{load, roles};
    use crate::options::Options;

    fn lines(args: &[&str]) -> Vec<String> {
        let options = Options::try_parse_from([&["stack"], args].concat()).expect("parses");
        roles(&options, Path::new("/bin"), Path::new("/run/s"))
            .iter()
            .map(|role| {
                let args: Vec<_> = role.args.iter().map(|arg| arg.to_str().expect("is UTF-8")).collect();
                format!("{} {}", role.program.display(), args.join(" "))
            })
            .collect()
    }

    #[test]
    fn services_dial_over_unix_sockets() {
        assert_eq!(
            lines(&[]),
            [
                "/bin/terminator --http 127.0.0.1:8080 --admin 127.0.0.1:8081 --bus-listen tcp://127.0.0.1:5555 --bus-listen ipc:///run/s/terminator.ipc",
                "/bin/web --bus-dial ipc:///run/s/terminator.ipc --upstream-listen ipc:///run/s/web.ipc",
                "/bin/profile --bus-dial ipc:///run/s/terminator.ipc --bus-dial ipc:///run/s/web.ipc --store embedded:./data/profile",
            ]
        );
    }

    #[test]
    fn shared_flags_reach_every_role() {
        for line in lines(&["--workers", "2", "--statsd", "localhost:8125"]) {
            assert!(line.ends_with(" --workers 2 --statsd localhost:8125"), "{line}");
        }
    }

    #[test]
    fn sample_goes_to_the_store_that_the_service_opens() {
        let options = Options::try_parse_from(["stack", "--data", "/d"]).expect("parses");
        assert_eq!(
            load(&options, Path::new("/d/s.jsonl")),
            ["--store", "embedded:/d/profile", "load", "/d/s.jsonl"]
        );
    }
}
