//! Two terminators, profile and chat from the example files, with nginx or haproxy in front.

use std::process::Command;

use serde_json::Value;

use crate::files::Site;
use crate::http::get;
use crate::process::Process;
use crate::tools::program;
use crate::until::until;

/// The proxies that infra/deploy has a file for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Front {
    Nginx,
    Haproxy,
}

/// Everything running. Fields drop in this order: the proxy first.
pub(crate) struct Running {
    _front: Process,
    pub(crate) terminators: [Process; 2],
    _chat: Process,
    _profile: Process,
    pub(crate) site: Site,
}

impl Running {
    /// Starts all of it and waits until both terminators know both services; `None` when the proxy
    /// is missing.
    pub(crate) fn start(front: Front) -> Option<Self> {
        let name = if matches!(front, Front::Nginx) { "nginx" } else { "haproxy" };
        let program = program(name)?;
        let site = Site::new();
        let terminators = [1, 2].map(|number| terminator(&site, number));
        let profile = service(&site, "profile");
        let chat = service(&site, "chat");
        for number in [1, 2] {
            wait_ready(&site, number);
        }
        let mut command = Command::new(program);
        match front {
            Front::Nginx => command.arg("-p").arg(site.dir.path()).arg("-c").arg(nginx(&site)),
            Front::Haproxy => command.arg("-db").arg("-f").arg(site.file("haproxy.cfg")),
        };
        let process = Process::start(name, &mut command);
        until(&format!("{name} listens"), || {
            std::net::TcpStream::connect(site.front).map_err(|error| error.to_string())
        });
        Some(Self { _front: process, terminators, _chat: chat, _profile: profile, site })
    }

    /// Starts terminator `number` again and waits until its services are there.
    pub(crate) fn restart(&mut self, number: usize) {
        self.terminators[number - 1] = terminator(&self.site, number);
        wait_ready(&self.site, number);
    }

    /// Requests that a terminator has answered.
    pub(crate) fn answered(&self, number: usize) -> u64 {
        let stats = get(self.site.terminators[number - 1][1], "/stats").json();
        stats["statuses"].as_object().unwrap().values().filter_map(Value::as_u64).sum()
    }
}

/// A terminator from the example, with the flags of its unit.
pub(crate) fn terminator(site: &Site, number: usize) -> Process {
    terminator_with(site, number, &[])
}

/// The same with `more` flags.
pub(crate) fn terminator_with(site: &Site, number: usize, more: &[&str]) -> Process {
    let [http, admin] = site.terminators[number - 1].map(|address| address.to_string());
    let (config, bus) = (site.file("terminator.toml"), site.bus(number));
    let mut process = Process::role(
        "terminator",
        &["--config", config.to_str().unwrap(), "--drain-delay", "1s", "--http", &http, "--admin", &admin]
            .into_iter()
            .chain(["--bus-listen", &bus])
            .chain(more.iter().copied())
            .collect::<Vec<_>>(),
    );
    process.wait_line("where it listens", |line| line.contains("listening").then_some(()));
    process
}

/// A service from the example.
pub(crate) fn service(site: &Site, name: &str) -> Process {
    Process::role(name, &["--config", site.file(&format!("{name}.toml")).to_str().unwrap()])
}

/// Services that a terminator sees.
pub(crate) fn services(site: &Site, number: usize) -> Vec<String> {
    let peers = get(site.terminators[number - 1][1], "/peers").json();
    let peers = peers.as_array().unwrap();
    peers.iter().filter_map(|peer| Some(peer["service"].as_str()?.to_owned())).collect()
}

fn wait_ready(site: &Site, number: usize) {
    until(&format!("terminator {number} is ready"), || {
        let (seen, ready) = (services(site, number), get(site.terminators[number - 1][1], "/ready"));
        let all = ["profile", "chat"].iter().all(|name| seen.iter().any(|service| service == name));
        if all && ready.status == 200 { Ok(()) } else { Err(format!("{seen:?}, {}", ready.text())) }
    });
}

/// Debian's nginx.conf includes conf.d in `http`; this does the same without its daemon.
fn nginx(site: &Site) -> std::path::PathBuf {
    let (dir, included) = (site.dir.path().display(), site.file("nginx.conf"));
    let included = included.display();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|of| format!("{of}_temp_path {dir}/{of};\n"))
        .concat();
    site.write(
        "main.conf",
        &format!(
            "daemon off; pid {dir}/nginx.pid; error_log stderr;\nworker_rlimit_nofile 8192;\n\
             events {{ worker_connections 4096; }}\nhttp {{ access_log off;\n{temporary}include {included}; }}\n"
        ),
    )
}
