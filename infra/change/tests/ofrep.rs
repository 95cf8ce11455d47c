//! What an OpenFeature SDK gets for its questions.

use std::time::SystemTime;

use change::ofrep::{Response, evaluate, evaluate_all};
use change::toggle::{Feature, Set, parse};
use serde_json::{Value, json};

const PLAN: &[&str] = &[
    r#"{"name":"always","enabled":true,"strategies":[{"name":"default"}]}"#,
    r#"{"name":"never","enabled":false}"#,
    r#"{"name":"germans","enabled":true,"strategies":[{"name":"default",
        "constraints":[{"contextName":"country","operator":"IN","values":["DE"]}]}]}"#,
    r#"{"name":"half","enabled":true,"strategies":[{"name":"flexibleRollout",
        "parameters":{"rollout":"50","stickiness":"userId","groupId":"half"}}]}"#,
    r#"{"name":"colour","enabled":true,"variants":[{"name":"blue","weight":500},{"name":"red","weight":500,
        "overrides":[{"contextName":"userId","values":["ann"]}]}]}"#,
    r#"{"name":"limits","enabled":true,"variants":[{"name":"small","weight":1,
        "payload":{"type":"json","value":"{\"max\":3}"}}]}"#,
    r#"{"name":"ratio","enabled":true,"variants":[{"name":"r","weight":1,"payload":{"type":"number","value":"0.5"}}]}"#,
    r#"{"name":"text","enabled":true,"variants":[{"name":"t","weight":1,"payload":{"type":"csv","value":"a,b"}}]}"#,
    r#"{"name":"broken","enabled":true,"variants":[{"name":"b","weight":1,"payload":{"type":"json","value":"{"}}]}"#,
    r#"{"name":"off/with variants","enabled":false,"variants":[{"name":"x","weight":1}]}"#,
];

fn set() -> Set {
    let features: Vec<Feature> = PLAN.iter().map(|json| parse(json.as_bytes()).expect("parses")).collect();
    Set::compile(&features, [], "host").0
}

fn ask(key: &str, body: &str) -> (u16, Value) {
    let response =
        evaluate(&set(), key, body.as_bytes(), SystemTime::now(), &mut fastrand::Rng::with_seed(1));
    (response.status, serde_json::from_str(&response.body).expect("is JSON"))
}

fn ask_all(body: &str, if_none_match: Option<&str>) -> Response {
    evaluate_all(&set(), body.as_bytes(), if_none_match, SystemTime::now(), &mut fastrand::Rng::new())
}

fn context(context: &Value) -> String {
    json!({ "context": context }).to_string()
}

#[test]
fn toggle_without_variants_is_a_boolean_flag() {
    let flag = |key: &str, value: bool, reason: &str| {
        let variant = if value { "on" } else { "off" };
        let metadata = json!({"enabled": value});
        (200, json!({"key": key, "value": value, "reason": reason, "variant": variant, "metadata": metadata}))
    };
    let german = context(&json!({"country": "DE"}));
    assert_eq!(ask("always", "{}"), flag("always", true, "STATIC"));
    assert_eq!(ask("never", "{}"), flag("never", false, "DISABLED"));
    assert_eq!(ask("germans", &german), flag("germans", true, "TARGETING_MATCH"));
    assert_eq!(ask("germans", "{}"), flag("germans", false, "DEFAULT"));
    // murmur3_32("half:1") % 100 + 1 is 17, and of "half:0" it is 65.
    let user = |id: &str| context(&json!({"targetingKey": id}));
    assert_eq!(ask("half", &user("1")), flag("half", true, "SPLIT"));
    assert_eq!(ask("half", &user("0")), flag("half", false, "DEFAULT"));
}

#[test]
fn value_of_a_toggle_with_variants_is_the_payload_or_else_the_name() {
    for (key, value) in
        [("limits", json!({"max": 3})), ("ratio", json!(0.5)), ("text", json!("a,b")), ("broken", json!("{"))]
    {
        let (status, answer) = ask(key, "");
        assert_eq!((status, &answer["value"], &answer["reason"]), (200, &value, &json!("STATIC")), "{key}");
    }
    let (_, answer) = ask("colour", &context(&json!({"targetingKey": "ann"})));
    assert_eq!((&answer["value"], &answer["variant"]), (&json!("red"), &json!("red")));
    assert_eq!(answer["reason"], "TARGETING_MATCH");
    assert_eq!(ask("colour", &context(&json!({"targetingKey": "bob"}))).1["reason"], "SPLIT");
}

#[test]
fn toggle_with_variants_that_is_off_has_no_value_so_that_the_default_of_the_caller_counts() {
    let off = json!({"key": "off/with variants", "reason": "DISABLED", "variant": "disabled",
        "metadata": {"enabled": false}});
    assert_eq!(ask("off%2Fwith%20variants", "{}"), (200, off));
}

#[test]
fn wrong_questions_get_the_error_codes_of_the_protocol() {
    for (key, body, status, code, part) in [
        ("nothing", "{}", 404, "FLAG_NOT_FOUND", "\"nothing\""),
        ("always", "{", 400, "PARSE_ERROR", "not JSON"),
        ("always", "[]", 400, "PARSE_ERROR", "found a list"),
        ("always", r#"{"context":7}"#, 400, "INVALID_CONTEXT", "found a number"),
        ("always", r#"{"context":{"targetingKey":42}}"#, 400, "INVALID_CONTEXT", "context.targetingKey"),
        ("half", r#"{"context":{"sessionId":"s"}}"#, 400, "TARGETING_KEY_MISSING", "userId"),
    ] {
        let (found, answer) = ask(key, body);
        assert_eq!((found, &answer["errorCode"]), (status, &json!(code)), "{key} {body}");
        assert!(answer["errorDetails"].as_str().expect("is text").contains(part), "{answer}");
        assert_eq!(answer["key"], key);
    }
    let nested = "[".repeat(100_000);
    assert_eq!(ask("always", &nested).1["errorCode"], "PARSE_ERROR");
}

#[test]
fn properties_of_any_type_are_compared_as_text() {
    let feature = br#"{"name":"adult","enabled":true,"strategies":[{"name":"default","constraints":[
        {"contextName":"age","operator":"NUM_GTE","value":18},
        {"contextName":"member","operator":"IN","values":["true"]},
        {"contextName":"address","operator":"NOT_IN","values":["x"]}]}]}"#;
    let feature: Feature = parse(feature).expect("parses");
    let (set, warnings) = Set::compile([&feature], [], "host");
    assert_eq!(warnings, []);
    let ask = |context: Value| {
        let body = json!({ "context": context }).to_string();
        let response = evaluate(&set, "adult", body.as_bytes(), SystemTime::now(), &mut fastrand::Rng::new());
        serde_json::from_str::<Value>(&response.body).expect("is JSON")["value"].clone()
    };
    assert_eq!(ask(json!({"age": 18, "member": true, "address": {"city": "Bonn"}})), json!(true));
    assert_eq!(ask(json!({"age": 17.5, "member": true, "address": null})), json!(false));
}

#[test]
fn bulk_answer_has_every_toggle_by_name_and_the_errors_in_their_place() {
    let response = ask_all(&context(&json!({"country": "DE"})), None);
    assert_eq!(response.status, 200);
    let body: Value = serde_json::from_str(&response.body).expect("is JSON");
    let flags = body["flags"].as_array().expect("is a list");
    let names: Vec<&str> = flags.iter().map(|flag| flag["key"].as_str().expect("is text")).collect();
    assert!(names.is_sorted() && names.len() == PLAN.len(), "{names:?}");
    let flag = |name: &str| flags.iter().find(|flag| flag["key"] == name).expect("is there");
    assert_eq!(flag("germans")["value"], true);
    assert_eq!(flag("half")["errorCode"], "TARGETING_KEY_MISSING");
    assert_eq!(ask_all("[", None).status, 400);
}

#[test]
fn unchanged_bulk_answer_is_not_sent_again() {
    let ann = context(&json!({"targetingKey": "ann"}));
    let first = ask_all(&ann, None);
    let etag = first.etag.clone().expect("a bulk answer has one");
    for known in [etag.clone(), format!("W/{etag}"), format!("\"other\", {etag}"), "*".to_owned()] {
        let again = ask_all(&ann, Some(&known));
        assert_eq!(
            (again.status, again.body.as_str(), again.etag.as_ref()),
            (304, "", Some(&etag)),
            "{known}"
        );
    }
    assert_eq!(ask_all(&ann, Some("\"other\"")), first);
    let german = context(&json!({"targetingKey": "ann", "country": "DE"}));
    let changed = ask_all(&german, Some(&etag));
    assert_eq!(changed.status, 200);
    assert_ne!(changed.etag, first.etag);
}
