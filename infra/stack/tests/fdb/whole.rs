//! `stack --store fdb:...`: its log has the cluster's health, and it says what is wrong when there
//! is no cluster.

use std::net::TcpListener;
use std::process::Command;

use rustix::process::Signal;

use crate::cluster::Cluster;
use crate::http::get;
use crate::process::{Process, role};

/// A stack on `store` with ports of its own, and its HTTP address.
fn stack(store: &str) -> (Process, std::net::SocketAddr) {
    let listeners = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let [http, admin, guests] = listeners.map(|listener| listener.local_addr().unwrap());
    let text = [http, admin, guests].map(|address| address.to_string());
    let mut command = Command::new(role("stack"));
    command.args(["--no-build", "--http", &text[0], "--admin", &text[1], "--guests", &text[2]]);
    (Process::start("stack", command.args(["--store", store])), http)
}

#[test]
fn two_stacks_share_a_cluster_unseen_by_each_other_and_tell_its_health() {
    let Some(cluster) = Cluster::start() else { return };
    let mut stacks = ["one", "two"].map(|name| stack(&format!("{}?prefix={name}", cluster.store())));
    for (process, _) in &mut stacks {
        process.wait_line("that it is ready", |line| line.contains("Ctrl-C stops everything").then_some(()));
        let told = |line: &str| line.contains("FoundationDB cluster of").then(|| line.to_owned());
        let health = process.wait_line("the cluster's health", told);
        for part in ["available", "replication single", "engine ssd", "processes 1 of version"] {
            assert!(health.contains(part), "{health}");
        }
    }
    let json = [("content-type", "application/json")];
    let put = crate::http::send(stacks[0].1, "PUT", "/profiles/1", &json, b"{}");
    assert_eq!(put.status, 201, "{}", put.text());
    assert_eq!([get(stacks[0].1, "/profiles/1").status, get(stacks[1].1, "/profiles/1").status], [200, 404]);
    for (process, _) in &mut stacks {
        process.signal(Signal::TERM);
        assert_eq!(process.wait().code(), Some(0));
    }
}

#[test]
fn a_service_without_its_cluster_says_why_and_what_to_do() {
    let Some(mut cluster) = Cluster::start() else { return };
    cluster.kill();
    let dial = ["--bus-dial", "tcp://127.0.0.1:1"];
    let mut profile = Process::role("profile", &[&["--store", &cluster.store()], &dial[..]].concat());
    assert_eq!(profile.wait().code(), Some(1));
    let lines = profile.lines().join("\n");
    assert!(
        lines.contains("NOT AVAILABLE") && lines.contains("no answer from the FoundationDB cluster"),
        "{lines}"
    );
    assert!(lines.contains(&format!("fdbcli -C {}", cluster.file().display())), "{lines}");
}
