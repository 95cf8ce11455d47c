//! The roles' command lines.
//!
//! Owns which role listens where, which roles dial it, and the store of each service. Invariant:
//! every connection between the stack's own roles is a Unix socket in the runtime directory, and so
//! are the services' admin listeners and the sockets by which roles are replaced; only HTTP, the
//! terminator's admin listener and the guests' listener use a TCP port.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::options::Options;
use crate::probe::Server;
use crate::roles::{DATA_ROLES, ROLES};

/// Routes on which a request waits for news, for 30 s at most; the deadline has one more second for
/// the answer's way.
const LONG_POLLS: [&str; 2] = ["GET /chats/{id}/updates", "GET /events/stream"];
const LONG_POLL_DEADLINE: &str = "31s";

/// The first segments of the paths that the stack's own services serve, besides `/`. A guest may
/// claim every other path.
const OWN_PATHS: [&str; 8] =
    ["chats", "conversations", "events", "feeds", "members", "profiles", "projections", "static"];

/// Connections of all the terminator's workers, when the process may open as many files. Each may
/// be a long poll, at about 2 KiB (terminator/src/limits.rs).
const CONNECTIONS: u64 = 32_768;

/// Open files of the terminator that are not client connections: listeners, pipes, epoll, logs.
const FILES_RESERVED: u64 = 512;

/// One process of the stack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Role {
    /// Printed in front of its lines.
    pub name: &'static str,
    /// Its binary.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// A file of its own settings, used by a process that starts when the file is there; `None`
    /// when the role's own variable names one.
    pub settings: Option<PathBuf>,
    /// Its admin listener; `None` when the role's own variable sets it.
    pub admin: Option<Server>,
}

/// Properties of this machine that the plan depends on.
#[derive(Clone, Copy, Debug)]
pub struct Machine {
    /// Most files that a process may open.
    pub open_files_max: u64,
    /// True when the environment has a variable: a role's own setting, which overrides the stack's
    /// choice.
    pub has_variable: fn(&str) -> bool,
}

/// The roles, in the order of [`ROLES`].
#[must_use]
pub fn roles(options: &Options, machine: Machine, binaries: &Path, runtime: &Path) -> [Role; 6] {
    ROLES.map(|name| {
        let mut args = match name {
            "terminator" => terminator(options, machine, runtime),
            _ => vec!["--bus-dial".into(), ipc(runtime, "terminator")],
        };
        if name == "web" {
            args.extend(["--upstream-listen".into(), ipc(runtime, "web")]);
        }
        // Pages of web contain no events, so events does not dial web.
        if DATA_ROLES.contains(&name) && name != "events" {
            args.extend(["--bus-dial".into(), ipc(runtime, "web")]);
        }
        if DATA_ROLES.contains(&name) {
            args.extend(["--store".into(), store(options, name)]);
        }
        let is_set = |flag: &str| (machine.has_variable)(&format!("{}_{flag}", name.to_uppercase()));
        let mut admin = (name == "terminator").then_some(Server::Tcp(options.admin));
        if name != "terminator" && !is_set("ADMIN") {
            let socket = admin_socket(runtime, name);
            let mut address = OsString::from("unix:");
            address.push(&socket);
            args.extend(["--admin".into(), address]);
            admin = Some(Server::Unix(socket));
        }
        if !is_set("HANDOVER") {
            args.extend(["--handover".into(), runtime.join(format!("{name}.handover")).into()]);
        }
        args.extend(shared(options));
        let settings = (!is_set("CONFIG")).then(|| options.data.join(format!("{name}.toml")));
        Role { name, program: binaries.join(name), args, settings, admin }
    })
}

/// The Unix socket of a role that listens on one.
#[must_use]
pub fn socket(runtime: &Path, role: &str) -> Option<PathBuf> {
    matches!(role, "terminator" | "web").then(|| runtime.join(format!("{role}.ipc")))
}

/// The Unix socket of a service's admin listener, `/tmp/stack-x/web.admin.sock`.
#[must_use]
pub fn admin_socket(runtime: &Path, service: &str) -> PathBuf {
    runtime.join(format!("{service}.admin.sock"))
}

/// The arguments that load `file` into the store of the profile service, before the service takes
/// its lock.
#[must_use]
pub fn load(options: &Options, file: &Path) -> Vec<OsString> {
    vec!["--store".into(), store(options, "profile"), "load".into(), file.into()]
}

/// `ipc:///tmp/stack-x/web.ipc`.
#[must_use]
pub fn ipc(runtime: &Path, role: &str) -> OsString {
    let mut url = OsString::from("ipc://");
    url.push(runtime.join(format!("{role}.ipc")));
    url
}

fn terminator(options: &Options, machine: Machine, runtime: &Path) -> Vec<OsString> {
    let mut args = vec![
        "--http".into(),
        options.http.to_string().into(),
        "--admin".into(),
        options.admin.to_string().into(),
        "--bus-listen".into(),
        format!("tcp://{}", options.guests).into(),
        "--bus-listen".into(),
        ipc(runtime, "terminator"),
    ];
    if !(machine.has_variable)("TERMINATOR_BUS_ALLOW") {
        args.extend(["--bus-allow".into(), guests_may_claim(options).into()]);
    }
    // What a member's page needs; and time for a load balancer to see that this terminator stops.
    for (flag, value) in [("expect", "web,profile"), ("drain-delay", "1s")] {
        if !(machine.has_variable)(&variable(flag)) {
            args.extend([format!("--{flag}").into(), value.into()]);
        }
    }
    if !(machine.has_variable)("TERMINATOR_ROUTE_DEADLINE") {
        for route in LONG_POLLS {
            args.extend(["--route-deadline".into(), format!("{route}={LONG_POLL_DEADLINE}").into()]);
        }
    }
    args.extend(plan_of(options, machine).into_iter().flatten());
    // The limit is per worker. The kernel does not distribute connections evenly, so each worker
    // may have all.
    let connections = CONNECTIONS.min(machine.open_files_max.saturating_sub(FILES_RESERVED)).max(1);
    // A connection has one request at a time, and all of them may wait.
    for flag in ["connection-limit", "in-flight-limit"] {
        if !(machine.has_variable)(&variable(flag)) {
            args.extend([format!("--{flag}").into(), connections.to_string().into()]);
        }
    }
    args
}

/// Where the terminator finds its plan. Without `--plan` its own variables come first.
fn plan_of(options: &Options, machine: Machine) -> Option<[OsString; 2]> {
    let is_set = |flag: &str| (machine.has_variable)(&variable(flag));
    let overruled = options.plan.is_none() && (is_set("plan") || is_set("etcd"));
    (!overruled).then(|| ["--plan".into(), options.plan_directory().into()])
}

/// The rule for the guests' listener: every path but the stack's own.
fn guests_may_claim(options: &Options) -> String {
    let own = OWN_PATHS.map(|path| format!(",!* /{path},!* /{path}/{{*rest}}"));
    format!("tcp://{} *=*,!* /{}", options.guests, own.concat())
}

/// The variable that sets a flag of the terminator.
fn variable(flag: &str) -> String {
    format!("TERMINATOR_{}", flag.to_uppercase().replace('-', "_"))
}

/// The store of a role: a directory of its own, or the shared cluster, where a service's keys begin
/// with its name.
fn store(options: &Options, role: &str) -> OsString {
    if let Some(store) = &options.store {
        return store.into();
    }
    let mut store = OsString::from("embedded:");
    store.push(options.data.join(role));
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

    use super::{Machine, load, roles};
    use crate::options::Options;

    const MACHINE: Machine = Machine { open_files_max: 1 << 20, has_variable: |_| false };

    fn lines(args: &[&str], machine: Machine) -> Vec<String> {
        let options = Options::try_parse_from([&["stack"], args].concat()).expect("parses");
        roles(&options, machine, Path::new("/bin"), Path::new("/run/s"))
            .iter()
            .map(|role| {
                let args: Vec<_> = role.args.iter().map(|arg| arg.to_str().expect("is UTF-8")).collect();
                format!("{} {}", role.program.display(), args.join(" "))
            })
            .collect()
    }

    #[test]
    fn services_dial_over_unix_sockets_and_long_polls_have_time_and_room() {
        let both = "--bus-dial ipc:///run/s/terminator.ipc --bus-dial ipc:///run/s/web.ipc";
        assert_eq!(
            lines(&[], MACHINE),
            [
                "/bin/terminator --http 127.0.0.1:8080 --admin 127.0.0.1:8081 --bus-listen tcp://127.0.0.1:5555 --bus-listen ipc:///run/s/terminator.ipc --bus-allow tcp://127.0.0.1:5555 *=*,!* /,!* /chats,!* /chats/{*rest},!* /conversations,!* /conversations/{*rest},!* /events,!* /events/{*rest},!* /feeds,!* /feeds/{*rest},!* /members,!* /members/{*rest},!* /profiles,!* /profiles/{*rest},!* /projections,!* /projections/{*rest},!* /static,!* /static/{*rest} --expect web,profile --drain-delay 1s --route-deadline GET /chats/{id}/updates=31s --route-deadline GET /events/stream=31s --plan ./data/plan --connection-limit 32768 --in-flight-limit 32768 --handover /run/s/terminator.handover",
                "/bin/web --bus-dial ipc:///run/s/terminator.ipc --upstream-listen ipc:///run/s/web.ipc --admin unix:/run/s/web.admin.sock --handover /run/s/web.handover",
                &format!(
                    "/bin/profile {both} --store embedded:./data/profile --admin unix:/run/s/profile.admin.sock --handover /run/s/profile.handover"
                ),
                &format!(
                    "/bin/feed {both} --store embedded:./data/feed --admin unix:/run/s/feed.admin.sock --handover /run/s/feed.handover"
                ),
                &format!(
                    "/bin/chat {both} --store embedded:./data/chat --admin unix:/run/s/chat.admin.sock --handover /run/s/chat.handover"
                ),
                "/bin/events --bus-dial ipc:///run/s/terminator.ipc --store embedded:./data/events --admin unix:/run/s/events.admin.sock --handover /run/s/events.handover",
            ]
        );
    }

    #[test]
    fn shared_flags_reach_every_role() {
        for line in lines(&["--workers", "2", "--statsd", "localhost:8125"], MACHINE) {
            assert!(line.ends_with(" --workers 2 --statsd localhost:8125"), "{line}");
        }
    }

    #[test]
    fn cluster_is_given_to_every_service_that_keeps_data() {
        let lines = lines(&["--store", "fdb:/etc/fdb.cluster?grv_cache=true"], MACHINE);
        for line in &lines[2..] {
            assert!(line.contains(" --store fdb:/etc/fdb.cluster?grv_cache=true"), "{line}");
        }
        assert!(!lines[..2].iter().any(|line| line.contains("--store")), "{lines:?}");
    }

    #[test]
    fn connections_stay_below_the_open_files_that_the_system_allows() {
        let line = &lines(&[], Machine { open_files_max: 4096, ..MACHINE })[0];
        assert!(line.contains(" --connection-limit 3584 --in-flight-limit 3584 "), "{line}");
    }

    #[test]
    fn settings_of_the_terminator_by_its_variables_are_not_overruled() {
        let of = |has_variable: fn(&str) -> bool| lines(&[], Machine { has_variable, ..MACHINE })[0].clone();
        let line = of(|name| name == "TERMINATOR_ROUTE_DEADLINE");
        assert!(!line.contains("--route-deadline") && line.contains("--connection-limit"), "{line}");
        let line = of(|name| name == "TERMINATOR_BUS_ALLOW");
        assert!(!line.contains("--bus-allow"), "{line}");
        let line = of(|name| name == "TERMINATOR_CONNECTION_LIMIT");
        assert!(!line.contains("--connection-limit") && line.contains("--in-flight-limit 32768"), "{line}");
        let line = of(|name| name == "TERMINATOR_ETCD");
        assert!(!line.contains("--plan") && line.contains("--drain-delay"), "{line}");
        let given = &lines(&["--plan", "/p"], Machine { has_variable: |_| true, ..MACHINE })[0];
        assert!(given.contains(" --plan /p"), "{given}");
        let has_variable = |name: &str| name == "WEB_ADMIN";
        let lines = lines(&[], Machine { has_variable, ..MACHINE });
        assert!(!lines[1].contains("--admin") && lines[2].contains("--admin"), "{lines:?}");
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
