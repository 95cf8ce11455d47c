//! docs/metrics.md shows the table of the metrics as it is.

use std::fmt::Write;

use role::metrics::{Group, Kind, METRICS, prometheus_name};

#[test]
fn the_document_has_the_table() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/metrics.md");
    let document = std::fs::read_to_string(path).expect("docs/metrics.md is there");
    let table = table();
    if std::env::var_os("WRITE_DOCS").is_some() {
        let start = document.find("| name |").expect("a table");
        let end = document[start..].find("\n\n").map_or(document.len(), |at| start + at + 1);
        let written = format!("{}{table}{}", &document[..start], &document[end..]);
        std::fs::write(path, written).expect("writes");
        return;
    }
    assert!(
        document.contains(&table),
        "docs/metrics.md differs from the table in infra/role/src/metrics/table.rs: \
         WRITE_DOCS=1 cargo test -p role --test vocabulary"
    );
}

fn table() -> String {
    let mut table = String::from(
        "| name | kind | unit | label | roles | Prometheus | meaning |\n| --- | --- | --- | --- | --- | --- | --- |\n",
    );
    for metric in METRICS {
        let kind = match metric.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let roles = match metric.group {
            Group::All => "all",
            Group::Terminator => "terminator",
            Group::Service => "services",
            Group::Store => "data services",
            Group::Upstream => "upstream",
        };
        writeln!(
            table,
            "| `{}` | {kind} | {} | {} | {roles} | `{}` | {} |",
            metric.name,
            metric.unit,
            metric.label.unwrap_or_default(),
            prometheus_name(&metric),
            metric.help
        )
        .expect("writing to memory");
    }
    table
}
