//! A terminator with web, profile, feed, chat and events on a cluster, some processes of each.
//!
//! Owns the processes, their admin listeners, and that they end as documented.

use std::path::PathBuf;

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::http::{self, Client, Response};
use crate::process::Process;
use crate::terminator::Terminator;
use crate::until::until;

/// The services with data.
pub(crate) const DATA: [&str; 4] = ["profile", "feed", "chat", "events"];

/// A running site.
pub(crate) struct Site {
    pub(crate) terminator: Terminator,
    services: Vec<(String, Process)>,
    dir: TempDir,
}

impl Site {
    /// Starts `processes` processes of each service on `store`, and waits until the terminator
    /// knows all of them. `deadline` is that of its requests.
    pub(crate) fn start(store: &str, processes: usize, deadline: &str) -> Self {
        let polls =
            ["GET /chats/{id}/updates=31s", "GET /events/stream=31s"].map(|of| ["--route-deadline", of]);
        let terminator = Terminator::start(&[&["--deadline", deadline], &polls.concat()[..]].concat());
        let mut site = Self { terminator, services: Vec::new(), dir: tempfile::tempdir().unwrap() };
        let webs: Vec<String> = (0..processes).map(|number| site.ipc(&format!("web-{number}"))).collect();
        for (number, upstream) in webs.iter().enumerate() {
            site.service("web", number, &["--upstream-listen", upstream]);
        }
        for name in DATA {
            let mut flags = vec!["--store", store];
            // Pages of web contain no events.
            if name != "events" {
                flags.extend(webs.iter().flat_map(|web| ["--bus-dial", web]));
            }
            for number in 0..processes {
                site.service(name, number, &flags);
            }
        }
        for name in ["web"].into_iter().chain(DATA) {
            site.terminator.wait_peers(name, processes);
        }
        until("a member's page has all of its parts", || match site.get("/members/none").status {
            404 => Ok(()),
            other => Err(other.to_string()),
        });
        site
    }

    fn ipc(&self, name: &str) -> String {
        format!("ipc://{}/{name}.ipc", self.dir.path().display())
    }

    fn admin_socket(&self, instance: &str) -> PathBuf {
        self.dir.path().join(format!("{instance}.admin"))
    }

    fn service(&mut self, name: &str, number: usize, flags: &[&str]) {
        let instance = format!("{name}-{number}");
        let admin = format!("unix:{}", self.admin_socket(&instance).display());
        let shared = ["--bus-dial", self.terminator.bus("ipc"), "--instance", &instance, "--admin", &admin];
        let process = Process::role(name, &[&shared[..], flags].concat());
        self.services.push((instance, process));
    }

    pub(crate) fn get(&self, path: &str) -> Response {
        http::get(self.terminator.http, path)
    }

    pub(crate) fn send(&self, method: &str, path: &str, body: &Value) -> Response {
        let json = [("content-type", "application/json")];
        http::send(self.terminator.http, method, path, &json, body.to_string().as_bytes())
    }

    /// The answer of a service's admin listener, by its instance: `profile-0`.
    pub(crate) fn admin(&self, instance: &str, path: &str) -> Response {
        let asked = Client::connect_unix(&self.admin_socket(instance))
            .and_then(|mut client| client.send("GET", path, &[], b""));
        asked.unwrap_or_else(|error| panic!("{instance} {path}: {error}"))
    }

    /// The instances with data.
    pub(crate) fn data_instances(&self) -> impl Iterator<Item = &str> {
        let has_data = |instance: &&str| DATA.iter().any(|name| instance.starts_with(name));
        self.services.iter().map(|(instance, _)| instance.as_str()).filter(has_data)
    }

    /// Waits until `/ready` of every service with data has this status, and returns the last
    /// answer.
    pub(crate) fn wait_ready(&self, status: u16) -> Option<Response> {
        let mut last = None;
        for instance in self.data_instances() {
            last = Some(until(&format!("/ready of {instance} is {status}"), || {
                let ready = self.admin(instance, "/ready");
                if ready.status == status { Ok(ready) } else { Err(ready.text()) }
            }));
        }
        last
    }

    /// Sends SIGTERM to every process; each still runs, and ends with code 0.
    pub(crate) fn end(mut self) {
        for (instance, process) in &mut self.services {
            assert!(process.is_running(), "{instance} has ended: {:?}", process.wait());
            process.signal(Signal::TERM);
        }
        self.terminator.process.signal(Signal::TERM);
        for (instance, process) in &mut self.services {
            let status = process.wait();
            assert_eq!(status.code(), Some(0), "{instance}: {status:?}");
        }
        assert_eq!(self.terminator.process.wait().code(), Some(0));
    }
}
