//! Every role shows the same metrics in every view, and answers all admin paths with one schema.
//!
//! The vocabulary is read from docs/metrics.md, as an operator reads it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::Signal;
use serde_json::Value;

use crate::http::{Client, Response};
use crate::process::Process;
use crate::terminator::Terminator;
use crate::tools::program;
use crate::until::{DEADLINE, until};
use crate::whole::Stack;

const SERVICES: [&str; 5] = ["web", "profile", "feed", "chat", "events"];
/// The keys of `/stats` besides the metrics.
const RESERVED: [&str; 5] = ["service", "version", "instance", "host", "workers"];

/// A role's admin listener.
enum Admin {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl Admin {
    fn send(&self, method: &str, path: &str) -> Response {
        let sent = match self {
            Self::Tcp(to) => Client::connect(*to).and_then(|mut to| to.send(method, path, &[], b"")),
            Self::Unix(to) => Client::connect_unix(to).and_then(|mut to| to.send(method, path, &[], b"")),
        };
        sent.unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    fn json(&self, path: &str) -> Value {
        self.send("GET", path).json()
    }
}

/// The admin listeners of a running stack, by role; those of the services are where it prints.
fn admins(stack: &mut Stack) -> Vec<(&'static str, Admin)> {
    let socket = |line: &str| {
        let (_, rest) = line.split_once("--unix-socket ")?;
        Some(PathBuf::from(rest.split(' ').next()?))
    };
    let web = stack.process.wait_line("where web's admin socket is", socket);
    let of = |service| (service, Admin::Unix(web.with_file_name(format!("{service}.admin.sock"))));
    std::iter::once(("terminator", Admin::Tcp(stack.admin))).chain(SERVICES.map(of)).collect()
}

/// One line of the table in docs/metrics.md.
struct Metric {
    name: String,
    kind: String,
    prometheus: String,
}

/// The metrics that a role has.
fn vocabulary(role: &str) -> Vec<Metric> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/metrics.md");
    let document = std::fs::read_to_string(path).unwrap();
    let (_, table) = document.split_once("| name |").expect("has the table");
    let groups = match role {
        "terminator" => &["all", "terminator"][..],
        "web" => &["all", "services"],
        _ => &["all", "services", "data services"],
    };
    let mut metrics = Vec::new();
    for line in table.lines().skip(2).take_while(|line| line.starts_with('|')) {
        let cells: Vec<&str> = line.split('|').map(|cell| cell.trim().trim_matches('`')).collect();
        let [_, name, kind, _, _, roles, prometheus, ..] = cells[..] else { panic!("no row: {line}") };
        let metric = |prefix: [&str; 2]| Metric {
            name: name.replacen(prefix[0], prefix[1], 1),
            kind: kind.to_owned(),
            prometheus: prometheus.replacen(&prefix[0].replace('.', "_"), &prefix[1].replace('.', "_"), 1),
        };
        if groups.contains(&roles) {
            metrics.push(metric(["", ""]));
            // web asks others on a bus of its own.
            if role == "web" && name.starts_with("bus.") {
                metrics.push(metric(["bus.", "upstream."]));
            }
        }
    }
    assert!(metrics.len() > 60, "{}", metrics.len());
    metrics
}

/// The names that a role sends to statsd, as those of the table that they belong to.
fn named<'a>(sent: &BTreeSet<String>, role: &str, metrics: &'a [Metric]) -> BTreeSet<&'a str> {
    let mut found = BTreeSet::new();
    for line in sent {
        let Some(name) = line.strip_prefix(&format!("{role}.")) else { continue };
        let belongs = |metric: &&Metric| {
            name.strip_prefix(&metric.name).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        let metric = metrics.iter().filter(belongs).max_by_key(|metric| metric.name.len());
        found.insert(metric.unwrap_or_else(|| panic!("{line} is not in docs/metrics.md")).name.as_str());
    }
    found
}

#[test]
fn every_role_has_the_same_metrics_in_stats_metrics_and_statsd() {
    let daemon = UdpSocket::bind("127.0.0.1:0").unwrap();
    daemon.set_read_timeout(Some(DEADLINE)).unwrap();
    let data = tempfile::tempdir().unwrap();
    let target = daemon.local_addr().unwrap().to_string();
    let mut stack = Stack::start_with(data.path(), &["--statsd", &target]);
    let admins = admins(&mut stack);

    let mut sent = BTreeSet::new();
    for (role, admin) in &admins {
        let table = vocabulary(role);
        let wanted: BTreeSet<&str> = table.iter().map(|metric| metric.name.as_str()).collect();

        let stats = admin.json("/stats");
        let stats = stats.as_object().unwrap();
        assert_eq!(stats["service"], *role);
        let names = stats.keys().map(String::as_str).filter(|name| !RESERVED.contains(name));
        assert_eq!(names.collect::<BTreeSet<_>>(), wanted, "/stats of {role}");

        let text = admin.send("GET", "/metrics").text();
        let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
        let types: BTreeMap<&str, &str> = types.collect();
        // By task, and no service of the stack has one: such a metric has no line.
        let is_absent =
            |name: &str| ["schedule.runs", "schedule.failures", "schedule.missed"].contains(&name);
        let table_of_lines = table.iter().filter(|metric| !is_absent(&metric.name));
        let of_table = table_of_lines.map(|metric| (metric.prometheus.as_str(), metric.kind.as_str()));
        assert_eq!(types, of_table.collect(), "/metrics of {role}");

        until(&format!("{role} has sent all metrics to statsd"), || {
            let missing = |sent: &BTreeSet<String>| {
                let found = named(sent, role, &table);
                let absent = wanted.difference(&found).copied();
                let missing: Vec<&str> = absent.filter(|name| !is_absent(name)).collect();
                missing.join(" ")
            };
            if missing(&sent).is_empty() {
                return Ok(());
            }
            let mut packet = [0; 65_536];
            let length = daemon.recv(&mut packet).map_err(|error| format!("{error}: {}", missing(&sent)))?;
            let lines = std::str::from_utf8(&packet[..length]).expect("statsd is text").lines();
            sent.extend(lines.filter_map(|line| Some(line.split_once(':')?.0.to_owned())));
            Err(format!("missing: {}", missing(&sent)))
        });
    }
}

#[test]
fn promtool_finds_nothing_wrong_in_the_metrics_of_any_role() {
    let Some(promtool) = program("promtool") else { return };
    let data = tempfile::tempdir().unwrap();
    let mut stack = Stack::start(data.path());
    for (role, admin) in admins(&mut stack) {
        let text = admin.send("GET", "/metrics");
        assert!(text.header("content-type").unwrap().starts_with("text/plain; version=0.0.4"), "{text:?}");
        let file = data.path().join(format!("{role}.prom"));
        std::fs::write(&file, &text.body).unwrap();
        let output = Command::new(&promtool)
            .args(["check", "metrics"])
            .stdin(Stdio::from(std::fs::File::open(&file).unwrap()))
            .output()
            .unwrap();
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert!(output.status.success() && said.trim().is_empty(), "{role}: {said}");
    }
}

/// The keys of an object, with the keys of the objects in it; of a list those of all its rows.
fn schema(value: &Value) -> BTreeSet<String> {
    let below = |key: &str, value: &Value| {
        schema(value).into_iter().map(|inner| format!("{key}.{inner}")).collect::<Vec<_>>()
    };
    match value {
        Value::Object(members) => members
            .iter()
            .flat_map(|(key, value)| std::iter::once(key.clone()).chain(below(key, value)))
            .collect(),
        Value::Array(rows) => rows.iter().flat_map(|row| below("[]", row)).collect(),
        _ => BTreeSet::new(),
    }
}

/// Paths that only the terminator has, in the form that [`schema`] gives them.
const OF_TERMINATOR: [&str; 6] = ["/plan", "/rollouts", "/ofrep/", "/change", "/ghosts", "/toggles"];

#[test]
fn every_role_answers_all_admin_paths_with_one_schema() {
    let data = tempfile::tempdir().unwrap();
    let mut stack = Stack::start(data.path());
    let admins = admins(&mut stack);
    let (_, terminator) = &admins[0];
    for (role, admin) in &admins {
        for path in ["/", "/live", "/ready", "/peers", "/routes", "/log"] {
            let answer = admin.send("GET", path);
            assert_eq!(answer.status, 200, "{role} {path}: {answer:?}");
            assert!(!schema(&answer.json()).is_empty(), "{role} {path}: {answer:?}");
            let mut expected = schema(&terminator.json(path));
            if path == "/" && *role != "terminator" {
                expected.retain(|path| !OF_TERMINATOR.iter().any(|own| path.starts_with(own)));
            }
            assert_eq!(schema(&answer.json()), expected, "{role} {path}");
        }
        for (method, path, status) in
            [("GET", "/nothing", 404), ("POST", "/live", 405), ("POST", "/log?level=loud", 400)]
        {
            let problem = admin.send(method, path);
            assert_eq!(problem.status, status, "{role}: {problem:?}");
            assert_eq!(problem.header("content-type"), Some("application/problem+json"));
            assert_eq!(
                schema(&problem.json()),
                schema(&terminator.send(method, path).json()),
                "{role} {path}"
            );
        }
        assert_eq!(admin.send("POST", "/log?level=warn,bus%3Dinfo").json()["level"], "warn,bus=info");
        assert_eq!(admin.json("/log")["level"], "warn,bus=info");

        let config = admin.json("/config");
        let setting = |name: &str| {
            let settings = config["settings"].as_array().unwrap().iter();
            settings.clone().find(|setting| setting["name"] == name).unwrap_or(&Value::Null).clone()
        };
        assert_eq!(
            (&setting("admin")["source"], &setting("workers")["source"]),
            (&"flag".into(), &"default".into())
        );
        assert_eq!(setting("workers")["value"][0], "1", "{role}: {config}");
    }
    let routes = terminator.json("/routes");
    let pages = routes.as_array().unwrap().iter().find(|row| row["pattern"] == "GET /members/{id}").unwrap();
    assert!(pages["service"] == "web" && pages["requests"].as_u64() > Some(0), "{pages}");
    assert!(pages["rate"].as_f64() > Some(0.0) && pages["p99_us"].as_u64() > Some(0), "{pages}");
}

#[test]
fn an_admin_socket_is_its_owner_s_replaces_a_stale_one_and_goes_with_its_process() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("web.sock");
    let (flag, bus) = (format!("unix:{}", path.display()), format!("ipc://{}/bus", dir.path().display()));
    let start = || {
        let mut web = Process::role("web", &["--admin", &flag, "--bus-dial", &bus]);
        web.wait_line("where it is asked", |line| line.contains(&flag).then_some(()));
        web
    };
    let mut first = start();
    let inode = |path: &Path| std::fs::metadata(path).unwrap().ino();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let stale = inode(&path);
    first.kill();
    assert_eq!(inode(&path), stale, "a killed process leaves it");

    let mut second = start();
    let admin = Admin::Unix(path.clone());
    assert_eq!(admin.json("/live")["service"], "web");
    let unready = until("the dial has failed", || {
        let answer = admin.send("GET", "/ready");
        let failing = answer.json()["failing_dials"].as_array().is_some_and(|dials| !dials.is_empty());
        if failing { Ok(answer) } else { Err(answer.text()) }
    });
    assert_eq!(unready.status, 503, "{unready:?}");
    let problem = unready.json();
    assert_eq!(problem["reason"], "not_ready");
    // For a moment it also waits for the services that it asks.
    let reasons = problem["reasons"].as_array().unwrap();
    assert!(reasons.iter().any(|reason| reason["reason"] == "bus"), "{problem}");
    assert!(problem["detail"].as_str().unwrap().contains(&bus), "{problem}");
    second.signal(Signal::TERM);
    assert_eq!(second.wait().code(), Some(0));
    assert!(!path.exists());
}

#[test]
fn an_expected_service_that_is_missing_is_named_and_a_terminator_counts_from_0() {
    let terminator = Terminator::start(&["--expect", "profile", "--instance", "a"]);
    let ready = crate::http::get(terminator.admin, "/ready");
    assert_eq!(ready.status, 503, "{ready:?}");
    let reasons = &ready.json()["reasons"];
    assert!(reasons[0]["reason"] == "expected" && reasons.to_string().contains("profile"), "{reasons}");
    let stats = terminator.admin("/stats");
    assert_eq!((&stats["instance"], &stats["requests"]), (&"a".into(), &0.into()));
    assert_eq!((&stats["rejected"]["no_route"], &stats["responses"]["5xx"]), (&0.into(), &0.into()));
    assert_eq!(terminator.get("/profiles/1").status, 503);
    let stats = terminator.admin("/stats");
    assert_eq!((&stats["responses"]["5xx"], &stats["statuses"]["503"]), (&1.into(), &1.into()));
}

#[test]
fn connections_that_are_kept_open_do_not_keep_a_probe_out() {
    let terminator = Terminator::start(&[]);
    let mut kept: Vec<Client> = (0..200).map(|_| Client::connect(terminator.admin).unwrap()).collect();
    assert_eq!(crate::http::get(terminator.admin, "/live").status, 200);
    let youngest = kept.last_mut().unwrap();
    assert_eq!(youngest.send("GET", "/live", &[], b"").unwrap().status, 200);
}
