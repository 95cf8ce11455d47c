//! The files of infra/deploy/hosts on eight hosts, each a network namespace: three terminators and
//! four services find each other through etcd alone.
//!
//! Owns the hosts and their network. Invariant: the network of the machine is not touched, and
//! everything is removed with the value. Needs root.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::files::source;
use crate::process::{Process, role};
use crate::tools::{program, skipped};
use crate::until::until;

/// Host names, and the last byte of their addresses.
const HOSTS: [(&str, u8); 8] = [
    ("etcd", 2),
    ("t1", 11),
    ("t2", 12),
    ("t3", 13),
    ("web", 21),
    ("profile", 22),
    ("feed", 23),
    ("chat", 24),
];

/// Namespaces that are connected by a switch in a namespace of its own.
struct Network {
    ip: PathBuf,
    prefix: String,
}

impl Network {
    /// `None` after a line with the reason when this process may not make namespaces.
    fn new() -> Option<Self> {
        let ip = program("ip")?;
        let network = Self { ip, prefix: format!("stk{}", std::process::id()) };
        let switch = network.name("switch");
        if !network.try_ip(&["netns", "add", &switch]) {
            skipped("network namespaces need root");
            return None;
        }
        network.ip(&["-n", &switch, "link", "add", "br0", "type", "bridge"]);
        network.ip(&["-n", &switch, "link", "set", "br0", "up"]);
        for (host, number) in HOSTS {
            let (name, port) = (network.name(host), format!("p{number}"));
            network.ip(&["netns", "add", &name]);
            network.ip(&[
                "-n", &switch, "link", "add", &port, "type", "veth", "peer", "name", "eth0", "netns", &name,
            ]);
            network.ip(&["-n", &switch, "link", "set", &port, "master", "br0", "up"]);
            network.ip(&["-n", &name, "address", "add", &format!("10.0.0.{number}/24"), "dev", "eth0"]);
            network.ip(&["-n", &name, "link", "set", "eth0", "up"]);
            network.ip(&["-n", &name, "link", "set", "lo", "up"]);
        }
        Some(network)
    }

    fn name(&self, host: &str) -> String {
        format!("{}-{host}", self.prefix)
    }

    fn try_ip(&self, args: &[&str]) -> bool {
        Command::new(&self.ip).args(args).output().unwrap().status.success()
    }

    fn ip(&self, args: &[&str]) {
        let output = Command::new(&self.ip).args(args).output().unwrap();
        assert!(output.status.success(), "ip {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// A command that runs on a host.
    fn on(&self, host: &str, program: &Path) -> Command {
        let mut command = Command::new(&self.ip);
        command.args(["netns", "exec", &self.name(host)]).arg(program);
        command
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for host in HOSTS.map(|(host, _)| host).into_iter().chain(["switch"]) {
            self.try_ip(&["netns", "delete", &self.name(host)]);
        }
    }
}

/// The hosts with what runs on them. Fields drop in this order: the network last.
struct Site {
    processes: Vec<(String, Process)>,
    dir: tempfile::TempDir,
    curl: PathBuf,
    network: Network,
}

impl Site {
    fn new() -> Option<Self> {
        let (etcd, curl) = (program("etcd")?, program("curl")?);
        let network = Network::new()?;
        let dir = tempfile::tempdir().unwrap();
        let mut command = network.on("etcd", &etcd);
        command.arg("--data-dir").arg(dir.path().join("etcd"));
        command.args(["--listen-client-urls", "http://10.0.0.2:2379"]);
        command.args(["--advertise-client-urls", "http://10.0.0.2:2379"]);
        command.env("ETCD_UNSUPPORTED_ARCH", std::env::consts::ARCH);
        let processes = vec![("etcd".to_owned(), Process::start("etcd", &mut command))];
        Some(Self { processes, dir, curl, network })
    }

    /// Starts a role on a host with its file.
    fn start(&mut self, host: &str, name: &str) {
        let number = HOSTS.iter().find(|(known, _)| *known == host).unwrap().1;
        let text = std::fs::read_to_string(source(&format!("hosts/{name}.toml"))).unwrap();
        let text = text.replace("10.0.0.11:", &format!("10.0.0.{number}:"));
        let text = text.replace("/var/lib/stack/", &format!("{}/{host}-", self.dir.path().display()));
        let file = self.dir.path().join(format!("{host}.toml"));
        std::fs::write(&file, text).unwrap();
        let mut command = self.network.on(host, &role(name));
        command.arg("--config").arg(file);
        self.processes.push((host.to_owned(), Process::start(name, &mut command)));
    }

    /// Kills what runs on a host.
    fn kill(&mut self, host: &str) {
        self.processes.retain(|(on, _)| on != host);
    }

    /// The status and the body of a GET, asked on the host itself.
    fn get(&self, host: &str, url: &str) -> (String, String) {
        let mut command = self.network.on(host, &self.curl);
        let output = command.args(["-s", "-m", "5", "-w", "\n%{http_code}", url]).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let (body, status) = text.rsplit_once('\n').unwrap();
        (status.to_owned(), body.to_owned())
    }

    /// Waits until a terminator has these services.
    fn has(&self, terminator: &str, services: &[&str]) {
        until(&format!("{terminator} has {services:?}"), || {
            let (_, body) = self.get(terminator, "http://127.0.0.1:8081/peers");
            let peers: Value = serde_json::from_str(&body).map_err(|error| format!("{error} in {body:?}"))?;
            let is_there =
                |service: &str| peers.as_array().unwrap().iter().any(|peer| peer["service"] == *service);
            if services.iter().all(|service| is_there(service)) { Ok(()) } else { Err(body) }
        });
    }

    /// Waits until a member's page is served, which needs web, profile and feed.
    fn serves(&self, terminator: &str) {
        until(&format!("{terminator} serves members"), || {
            match self.get(terminator, "http://127.0.0.1:8080/members/1") {
                (status, body) if status == "200" && body.contains("\"feed\"") => Ok(()),
                seen => Err(format!("{seen:?}")),
            }
        });
    }
}

#[test]
fn three_terminators_and_four_services_on_their_own_hosts_find_each_other() {
    let Some(mut site) = Site::new() else { return };
    let services = ["web", "profile", "feed", "chat"];
    for terminator in ["t1", "t2"] {
        site.start(terminator, "terminator");
    }
    services.iter().for_each(|service| site.start(service, service));
    for terminator in ["t1", "t2"] {
        site.has(terminator, &services);
    }
    let put = ["-s", "-m", "5", "-X", "PUT", "-d", "{\"name\":\"Ada\"}", "http://127.0.0.1:8080/profiles/1"];
    assert!(site.network.on("t1", &site.curl).args(put).output().unwrap().status.success());
    site.serves("t1");
    site.serves("t2");

    // One joins later, one dies, and etcd with it.
    site.start("t3", "terminator");
    site.has("t3", &services);
    site.serves("t3");
    site.kill("t1");
    site.kill("etcd");
    site.serves("t2");
    site.serves("t3");
}
