//! OFREP as its users meet it: PyPI's `openfeature-provider-ofrep` asks a running terminator.
//!
//! The provider asks for one flag at a time, so a bulk evaluation is asked for with plain HTTP.

#![expect(clippy::print_stdout, reason = "a skipped test says so where CI counts it")]

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::client::{Answer, Client};
use crate::live::put;
use crate::terminator::Terminator;

const IN_GERMANY: &str = r#"[{"contextName":"country","operator":"IN","values":["DE"]}]"#;

/// A terminator with a boolean, a string and a JSON flag, each for users in Germany.
fn terminator(plan: &Path) -> Terminator {
    let constraints: Value = serde_json::from_str(IN_GERMANY).unwrap();
    let feature = |name: &str, variants: Value| {
        let strategy = json!({ "name": "default", "constraints": constraints });
        json!({ "name": name, "enabled": true, "strategies": [strategy], "variants": variants })
    };
    let variant = |name: &str, kind: &str, value: &str| json!([{ "name": name, "weight": 1000, "payload": { "type": kind, "value": value } }]);
    put(plan, "toggles/german.json", &feature("german", json!([])));
    put(plan, "toggles/colour.json", &feature("colour", variant("warm", "string", "#ff8800")));
    put(plan, "toggles/limits.json", &feature("limits", variant("small", "json", "{\"max\":3}")));
    Terminator::start(&["--plan", plan.to_str().unwrap()])
}

#[test]
fn openfeatures_provider_reads_boolean_string_and_json_flags_with_targeting() {
    let Some(python) = python() else { return };
    let plan = tempfile::tempdir().unwrap();
    let terminator = terminator(plan.path());
    let mut command = Command::new(python);
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/edge/ofrep.py"));
    let asked = command.arg(format!("http://{}", terminator.admin)).output().unwrap();
    let said: Value = serde_json::from_slice(&asked.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&asked.stderr)));
    let details = |value: Value, reason: &str, variant: Value| json!({ "value": value, "reason": reason, "variant": variant, "error": null });
    let expected = json!({
        "boolean": [
            details(json!(true), "TARGETING_MATCH", json!("on")),
            details(json!(false), "DEFAULT", json!("off")),
        ],
        "string": [
            details(json!("#ff8800"), "TARGETING_MATCH", json!("warm")),
            // Without a variant there is no value, so the caller's default counts.
            details(json!("none"), "DEFAULT", json!("disabled")),
        ],
        "object": [
            details(json!({ "max": 3 }), "TARGETING_MATCH", json!("small")),
            details(json!({ "max": 0 }), "DEFAULT", json!("disabled")),
        ],
        "unknown": { "value": true, "reason": "ERROR", "variant": null, "error": "FLAG_NOT_FOUND" },
    });
    assert_eq!(said, expected, "{said:#}");
}

#[test]
fn an_unchanged_bulk_evaluation_is_304_until_a_flag_changes() {
    let plan = tempfile::tempdir().unwrap();
    let terminator = terminator(plan.path());
    let ask = |known: &str| -> Answer {
        let context = json!({ "context": { "targetingKey": "ann", "country": "DE" } }).to_string();
        let length = context.len();
        let mut client = Client::connect(&terminator.admin.to_string());
        client.send(format!(
            "POST /ofrep/v1/evaluate/flags HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n\
             content-length: {length}\r\n{known}\r\n{context}"
        ));
        client.answer()
    };
    let first = ask("");
    assert_eq!(first.status, 200);
    let flags: Value = serde_json::from_slice(&first.body).unwrap();
    assert_eq!(flags["flags"].as_array().map(Vec::len), Some(3), "{flags:#}");
    let known = format!("if-none-match: {}\r\n", first.header("etag").expect("a bulk answer has an etag"));
    let same = ask(&known);
    assert_eq!((same.status, same.body.len()), (304, 0));
    assert_eq!(same.header("etag"), first.header("etag"));

    put(plan.path(), "toggles/german.json", &json!({ "name": "german", "enabled": false }));
    let begun = std::time::Instant::now();
    let changed = loop {
        let answer = ask(&known);
        if answer.status != 304 {
            break answer;
        }
        assert!(begun.elapsed() < crate::PATIENCE, "the change is not seen");
    };
    let flags: Value = serde_json::from_slice(&changed.body).unwrap();
    let german = flags["flags"].as_array().unwrap().iter().find(|flag| flag["key"] == "german").unwrap();
    assert_eq!((changed.status, &german["value"]), (200, &json!(false)));
}

/// The Python with the provider, or `None` after a line that says why not.
fn python() -> Option<PathBuf> {
    let default = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/tools");
    let tools = std::env::var_os("STACK_TOOLS_DIR").map_or_else(default, PathBuf::from);
    let python = tools.join("venv/bin/python");
    let mut import = Command::new(&python);
    import.args(["-c", "import openfeature.contrib.provider.ofrep"]);
    if import.output().is_ok_and(|output| output.status.success()) {
        return Some(python);
    }
    println!("SKIPPED: openfeature-provider-ofrep is missing: .ci/tools puts it at {}", python.display());
    None
}
