//! The health of a cluster in one line of the log, when a store on it is opened.
//!
//! Owns which parts of the cluster's status are told, and how. The status is the JSON under
//! `\xff\xff/status/json`, which the client puts together from what it can reach, also without a
//! database: <https://apple.github.io/foundationdb/mr-status.html>. It leaves opening to `fdb`.
//!
//! Invariant: nothing in the status keeps a store from being opened; a part that is missing is left
//! out of the line.

use std::collections::BTreeMap;

use foundationdb::{FdbResult, options::TransactionOption};
use serde_json::Value;

use super::{
    cluster::{Cluster, milliseconds},
    cluster_file::ClusterFile,
};
use crate::limits;

const KEY: &[u8] = b"\xff\xff/status/json";

/// What operators have to know of a cluster.
#[derive(Debug, PartialEq, Eq)]
struct Health {
    /// True when nothing needs a look.
    good: bool,
    text: String,
}

/// Logs the health of the cluster of `file`.
pub(super) async fn log(cluster: &Cluster, file: &ClusterFile) {
    let health = match read(cluster).await {
        Ok(Some(json)) => serde_json::from_slice(&json).map(|status| health(&status)),
        Ok(None) => Ok(Health { good: false, text: "its status is empty".to_owned() }),
        Err(error) => Ok(Health { good: false, text: format!("its status cannot be read: {error}") }),
    };
    let health = health
        .unwrap_or_else(|error| Health { good: false, text: format!("its status is no JSON: {error}") });
    let path = &file.path;
    match health {
        Health { good: true, text } => tracing::info!("FoundationDB cluster of {path}: {text}"),
        Health { good: false, text } => {
            tracing::warn!("FoundationDB cluster of {path}: {text}; see `fdbcli -C {path} --exec status`");
        }
    }
}

async fn read(cluster: &Cluster) -> FdbResult<Option<Vec<u8>>> {
    let transaction = cluster.begin()?;
    transaction.set_option(TransactionOption::Timeout(milliseconds(limits::CLUSTER_STATUS_TIMEOUT)))?;
    Ok(transaction.get(KEY, true).await?.map(|json| json.to_vec()))
}

/// The parts of `status` that are told: available, degraded, how data is replicated, processes,
/// versions.
fn health(status: &Value) -> Health {
    let mut troubles = Vec::new();
    let mut facts = Vec::new();
    match status.pointer("/client/database_status/available").and_then(Value::as_bool) {
        Some(true) => facts.push("available".to_owned()),
        _ => troubles.push("NOT AVAILABLE".to_owned()),
    }
    if status.pointer("/client/coordinators/quorum_reachable").and_then(Value::as_bool) == Some(false) {
        troubles.push("too few coordinators can be reached".to_owned());
    }
    let text = |path: &str| status.pointer(path).and_then(Value::as_str);
    let list = |path: &str| status.pointer(path).and_then(Value::as_array).into_iter().flatten();
    if status.pointer("/cluster/data/state/healthy").and_then(Value::as_bool) == Some(false) {
        let state = text("/cluster/data/state/description").or_else(|| text("/cluster/data/state/name"));
        troubles.push(format!("data is not healthy ({})", state.unwrap_or("no reason given")));
    }
    if let Some(mode) = text("/cluster/configuration/redundancy_mode") {
        let engine = text("/cluster/configuration/storage_engine").unwrap_or("unknown");
        facts.push(format!("replication {mode}, engine {engine}"));
    }
    let servers = versions_of(status);
    if !servers.is_empty() {
        let count: usize = servers.values().sum();
        let names: Vec<&str> = servers.keys().copied().collect();
        facts.push(format!("processes {count} of version {}", names.join(" and ")));
        if servers.len() > 1 {
            troubles.push("its processes have different versions".to_owned());
        }
    }
    match status.pointer("/cluster/degraded_processes").and_then(Value::as_u64) {
        Some(0) => facts.push("none degraded".to_owned()),
        Some(degraded) => troubles.push(format!("{degraded} degraded processes")),
        None => {}
    }
    // Also the libraries that a client has loaded for an upgrade.
    let libraries = list("/cluster/clients/supported_versions");
    let libraries: Vec<&str> = libraries.filter_map(|library| library["client_version"].as_str()).collect();
    if !libraries.is_empty() {
        facts.push(format!("client libraries {}", libraries.join(" and ")));
    }
    // A client of another minor version cannot connect, so it is not among these.
    let refused = list("/cluster/incompatible_connections").count();
    if refused > 0 {
        troubles.push(format!("{refused} processes of another version were refused"));
    }
    for of in ["/client/messages", "/cluster/messages"] {
        troubles.extend(list(of).filter_map(|message| message["name"].as_str()).map(str::to_owned));
    }
    let good = troubles.is_empty();
    troubles.append(&mut facts);
    Health { good, text: troubles.join(", ") }
}

/// The number of servers by version.
fn versions_of(status: &Value) -> BTreeMap<&str, usize> {
    let mut versions = BTreeMap::new();
    let processes = status.pointer("/cluster/processes").and_then(Value::as_object);
    for process in processes.into_iter().flat_map(|processes| processes.values()) {
        *versions.entry(process["version"].as_str().unwrap_or("unknown")).or_default() += 1;
    }
    versions
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The parts of a real status (7.1, one process) that are read.
    fn good() -> Value {
        json!({
            "client": {
                "coordinators": {"quorum_reachable": true},
                "database_status": {"available": true, "healthy": true},
                "messages": []
            },
            "cluster": {
                "clients": {"count": 1, "supported_versions": [
                    {"client_version": "7.1.67", "connected_clients": [{"address": "127.0.0.1:1"}]}
                ]},
                "configuration": {"redundancy_mode": "single", "storage_engine": "ssd-2"},
                "data": {"state": {"healthy": true, "name": "healthy"}},
                "degraded_processes": 0,
                "incompatible_connections": [],
                "messages": [],
                "processes": {"a": {"version": "7.1.67"}}
            }
        })
    }

    #[test]
    fn a_healthy_cluster_is_told_with_its_processes_and_replication() {
        let text = "available, replication single, engine ssd-2, processes 1 of version 7.1.67, none degraded, \
                    client libraries 7.1.67";
        assert_eq!(health(&good()), Health { good: true, text: text.to_owned() });
    }

    #[test]
    fn each_trouble_is_told_first() {
        let troubled = |path: &str, value: Value| {
            let mut status = good();
            *status.pointer_mut(path).unwrap() = value;
            let health = health(&status);
            assert!(!health.good, "{health:?}");
            health.text
        };
        assert!(troubled("/client/database_status/available", json!(false)).starts_with("NOT AVAILABLE"));
        let moving = json!({"healthy": false, "name": "healing"});
        assert!(troubled("/cluster/data/state", moving).starts_with("data is not healthy (healing)"));
        assert!(troubled("/cluster/degraded_processes", json!(2)).starts_with("2 degraded processes"));
        let other = json!({"a": {"version": "7.1.67"}, "b": {"version": "7.3.1"}});
        assert!(troubled("/cluster/processes", other).starts_with("its processes have different versions"));
        let refused = json!(["127.0.0.1:4501"]);
        let text = troubled("/cluster/incompatible_connections", refused);
        assert!(text.starts_with("1 processes of another version were refused"), "{text}");
        let message = json!([{"name": "unreachable_cluster_controller", "description": "..."}]);
        assert!(troubled("/client/messages", message).starts_with("unreachable_cluster_controller"));
    }

    #[test]
    fn what_a_client_without_a_cluster_knows_is_told() {
        let status = json!({"client": {
            "coordinators": {"quorum_reachable": false},
            "database_status": {"available": false},
            "messages": [{"name": "quorum_not_reachable"}]
        }});
        let text = "NOT AVAILABLE, too few coordinators can be reached, quorum_not_reachable";
        assert_eq!(health(&status), Health { good: false, text: text.to_owned() });
        assert!(!health(&json!(null)).good);
    }
}
