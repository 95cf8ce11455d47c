//! What a compiled plan promises beyond Unleash's specification: what toggles depend on, which may
//! be kept, and what validation says.
#![expect(clippy::print_stdout, reason = "a seeded test says its seed")]

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use change::toggle::{Cause, Context, Feature, Segment, Set, Warning, parse};
use serde_json::{Value, json};

const START: SystemTime = SystemTime::UNIX_EPOCH;

fn compile(features: &Value, segments: &Value) -> (Set, Vec<Warning>) {
    let features: Vec<Feature> = parse(features.to_string().as_bytes()).expect("parses");
    let segments: Vec<Segment> = parse(segments.to_string().as_bytes()).expect("parses");
    Set::compile(&features, &segments, "Host-1")
}

/// One toggle with one strategy.
fn toggle(strategy: &Value) -> Value {
    json!({"name": "t", "enabled": true, "strategies": [strategy]})
}

fn constrained(constraint: &Value) -> Value {
    json!({"name": "default", "constraints": [constraint]})
}

fn rollout(percent: u8, stickiness: &str) -> Value {
    json!({"name": "flexibleRollout", "parameters": {"rollout": percent, "stickiness": stickiness, "groupId": "g"}})
}

fn user(id: &str) -> Context<'_> {
    Context { user_id: Some(id), ..Context::default() }
}

fn seeded() -> fastrand::Rng {
    let seed =
        std::env::var("SEED").map_or_else(|_| fastrand::u64(..), |seed| seed.parse().expect("a number"));
    println!("SEED={seed}");
    fastrand::Rng::with_seed(seed)
}

#[test]
fn toggle_says_what_it_depends_on() {
    let is_in = |field: &str| constrained(&json!({"contextName": field, "operator": "IN", "values": ["x"]}));
    for (strategy, expected) in [
        (json!({"name": "default"}), "nothing"),
        (rollout(0, "userId"), "nothing"),
        (rollout(100, "default"), "nothing"),
        (rollout(100, "userId"), "userId"),
        (rollout(30, "userId"), "userId"),
        (rollout(30, "sessionId"), "sessionId"),
        (rollout(30, "default"), "userId, sessionId, randomness for requests without identity"),
        (rollout(30, "random"), "randomness"),
        (rollout(30, "tenant"), "tenant"),
        (json!({"name": "userWithId", "parameters": {"userIds": "a, b"}}), "userId"),
        (json!({"name": "userWithId", "parameters": {"userIds": " , "}}), "nothing"),
        (json!({"name": "remoteAddress", "parameters": {"IPs": "10.0.0.0/8"}}), "remoteAddress"),
        (json!({"name": "applicationHostname", "parameters": {"hostNames": "a, host-1"}}), "nothing"),
        (json!({"name": "gradualRolloutRandom", "parameters": {"percentage": "7"}}), "randomness"),
        (is_in("environment"), "environment"),
        (is_in("appName"), "appName"),
        (is_in("country"), "country"),
        (
            constrained(
                &json!({"contextName": "currentTime", "operator": "DATE_AFTER", "value": "2026-01-01T00:00:00Z"}),
            ),
            "time",
        ),
        (constrained(&json!({"contextName": "x", "operator": "NOT_IN", "values": []})), "nothing"),
    ] {
        let (set, warnings) = compile(&json!([toggle(&strategy)]), &json!([]));
        assert_eq!(set.get("t").expect("is there").depends_on().to_string(), expected, "{strategy}");
        assert_eq!(warnings, [], "{strategy}");
    }
}

#[test]
fn toggle_depends_on_what_its_parents_and_variants_depend_on() {
    let variants = json!([{"name": "a", "weight": 1, "stickiness": "userId"}, {"name": "b", "weight": 1}]);
    let plan = json!([
        {"name": "parent", "enabled": true, "strategies": [rollout(30, "sessionId")]},
        {"name": "child", "enabled": true, "dependencies": [{"feature": "parent"}]},
        {"name": "variants", "enabled": true, "variants": variants},
        {"name": "off", "enabled": false, "variants": variants, "dependencies": [{"feature": "parent"}]},
        {"name": "unreached", "enabled": true, "strategies": [{"name": "default"}, rollout(30, "tenant")]},
        {"name": "on", "enabled": true},
        {"name": "child-of-on", "enabled": true, "dependencies": [{"feature": "on"}]},
    ]);
    let (set, warnings) = compile(&plan, &json!([]));
    assert_eq!(warnings, []);
    for (name, expected) in [
        ("child", "sessionId"),
        ("variants", "userId, randomness for requests without identity"),
        ("off", "nothing"),
        ("unreached", "nothing"),
        ("child-of-on", "nothing"),
    ] {
        assert_eq!(set.get(name).expect("is there").depends_on().to_string(), expected, "{name}");
    }
    assert!(set.get("variants").expect("is there").depends_on().draws_for(None, Some("s")));
    assert!(!set.get("variants").expect("is there").depends_on().draws_for(Some("u"), None));
}

#[test]
fn selection_decides_at_once_what_the_process_already_knows() {
    let environment = |name: &str, values: &[&str]| {
        let constraint = json!({"contextName": "environment", "operator": "IN", "values": values});
        json!({"name": name, "enabled": true, "strategies": [constrained(&constraint)]})
    };
    let plan = json!([
        environment("in-production", &["production"]),
        environment("in-staging", &["staging"]),
        {"name": "share", "enabled": true, "strategies": [rollout(30, "default")]},
        {"name": "chance", "enabled": true, "strategies": [rollout(30, "random")]},
        {"name": "unread", "enabled": true},
    ]);
    let (set, _) = compile(&plan, &json!([]));
    let names = ["share", "in-production", "share", "in-staging", "chance", "unknown"];
    let selection = set.select(&names, Some("production"), Some("profile"));
    let fixed: Vec<_> = selection.fixed().map(|outcome| (outcome.name(), outcome.on_wire())).collect();
    assert_eq!(fixed, [("in-production", Some("in-production")), ("in-staging", None)]);

    let mut found = Vec::new();
    let mut random = fastrand::Rng::with_seed(1);
    for group in [selection.by_identity(), selection.by_request()] {
        group.evaluate(&user("1"), START, &mut random, |outcome| found.push(outcome.name().to_owned()));
    }
    assert_eq!(found, ["share", "chance"]);
    assert!(!selection.by_identity().depends_on().draws_for(Some("1"), None));
    assert!(selection.by_identity().depends_on().draws_for(None, None), "nothing is sticky without identity");
    assert!(set.select(&["unread"], None, None).by_identity().is_empty());
}

/// Whatever a toggle does not depend on may change without changing the outcome.
#[test]
fn outcome_depends_on_nothing_that_the_dependence_does_not_name() {
    let mut random = seeded();
    let mut changed = 0;
    for _ in 0..3_000 {
        let (set, _) = compile(&json!([any_toggle(&mut random)]), &json!([]));
        let toggle = set.get("t").expect("is there");
        let depends_on = toggle.depends_on();
        let values: Vec<String> = (0..16).map(|_| random.u8(..8).to_string()).collect();
        let properties = [HashMap::from([("tenant".to_owned(), values[0].clone())]), HashMap::new()];
        let first = Context {
            user_id: Some(&values[1]),
            session_id: Some(&values[2]),
            environment: Some(&values[3]),
            properties: &properties[0],
            ..Context::default()
        };
        let mut second = first;
        if !depends_on.user_id {
            second.user_id = None;
        }
        if !depends_on.session_id {
            second.session_id = Some(&values[5]);
        }
        if !depends_on.environment {
            second.environment = None;
        }
        if depends_on.properties.is_empty() {
            second.properties = &properties[1];
        }
        let later = if depends_on.time { START } else { START + Duration::from_secs(1 << 31) };
        let seed = if depends_on.draws_for(first.user_id, first.session_id) { 1 } else { 2 };
        let mut draws = [fastrand::Rng::with_seed(1), fastrand::Rng::with_seed(seed)];
        let [one, other] = &mut draws;
        let outcomes = [toggle.evaluate(&first, START, one), toggle.evaluate(&second, later, other)];
        let seen = outcomes.map(|outcome| outcome.on_wire());
        assert_eq!(seen[0], seen[1], "{depends_on}");
        changed += u32::from(seen[0].is_some());
    }
    assert!((300..2_700).contains(&changed), "only {changed} of 3000 toggles are on: the test sees nothing");
}

fn any_toggle(random: &mut fastrand::Rng) -> Value {
    let stickiness = |random: &mut fastrand::Rng| {
        ["default", "userId", "sessionId", "random", "tenant"][random.usize(..5)]
    };
    let strategy = |random: &mut fastrand::Rng| match random.u8(..4) {
        0 => constrained(&json!({"contextName": "environment", "operator": "NUM_LT", "value": "3"})),
        1 => constrained(
            &json!({"contextName": "currentTime", "operator": "DATE_AFTER", "value": "2020-01-01T00:00:00Z"}),
        ),
        2 => json!({"name": "userWithId", "parameters": {"userIds": "1,2,3"}}),
        _ => rollout(random.u8(..=100), stickiness(random)),
    };
    let mut toggle = toggle(&strategy(random));
    if random.bool() {
        let first = json!({"name": "a", "weight": 1, "stickiness": stickiness(random)});
        toggle["variants"] = json!([first, {"name": "b", "weight": 1}]);
    }
    toggle
}

#[test]
fn share_and_weights_are_right_within_half_a_point_and_sticky() {
    let plan = json!([{"name": "t", "enabled": true, "strategies": [{
        "name": "flexibleRollout",
        "parameters": {"rollout": "30", "stickiness": "userId", "groupId": "member-page"},
        "variants": [{"name": "a", "weight": 250}, {"name": "b", "weight": 750}]}]}]);
    // Two terminators, or one before and after a restart.
    let sets = [compile(&plan, &json!([])).0, compile(&plan, &json!([])).0];
    let mut counts: HashMap<&str, u32> = HashMap::new();
    for id in 0..100_000 {
        let id = format!("member-{id}");
        let mut random = fastrand::Rng::new();
        let outcomes = sets
            .each_ref()
            .map(|set| set.get("t").expect("is there").evaluate(&user(&id), START, &mut random));
        let [first, second] = outcomes.map(|outcome| outcome.on_wire());
        assert_eq!(first, second, "{id}");
        *counts.entry(first.unwrap_or("off")).or_default() += 1;
    }
    let percent = |name: &str| f64::from(counts[name]) / 1000.0;
    assert!((percent("off") - 70.0).abs() < 0.5, "{counts:?}");
    assert!((percent("t=a") - 7.5).abs() < 0.5, "{counts:?}");
    assert!((percent("t=b") - 22.5).abs() < 0.5, "{counts:?}");
}

#[test]
fn random_share_is_drawn_for_each_request() {
    let mut random = seeded();
    for percent in [1, 30, 99] {
        let strategy = json!({"name": "gradualRolloutRandom", "parameters": {"percentage": percent}});
        let (set, _) = compile(&json!([toggle(&strategy)]), &json!([]));
        let toggle = set.get("t").expect("is there");
        let on = (0..100_000).filter(|_| toggle.evaluate(&user("1"), START, &mut random).enabled()).count();
        let share = f64::from(u32::try_from(on).expect("small")) / 1000.0;
        // Seven standard deviations of the mean of 100 000 draws.
        assert!((share - f64::from(percent)).abs() < 1.02, "{share} % of {percent} %");
    }
}

#[test]
fn clock_is_compared_when_the_context_has_no_time() {
    let after = constrained(
        &json!({"contextName": "currentTime", "operator": "DATE_AFTER", "value": "1970-01-01T01:00:00+01:00"}),
    );
    let text = constrained(
        &json!({"contextName": "currentTime", "operator": "STR_STARTS_WITH", "values": ["1970-01-01T00:00:01"]}),
    );
    for strategy in [after, text] {
        let (set, _) = compile(&json!([toggle(&strategy)]), &json!([]));
        let enabled = |seconds| {
            let now = START + Duration::from_secs(seconds);
            let outcome =
                set.get("t").expect("is there").evaluate(&user("1"), now, &mut fastrand::Rng::new());
            (outcome.enabled(), outcome.cause())
        };
        assert_eq!(enabled(0), (false, Cause::NoMatch));
        assert_eq!(enabled(1), (true, Cause::Targeting));
    }
}

#[test]
fn what_cannot_be_meant_is_a_warning_and_off() {
    let check = |operator: &str, value: &str| {
        constrained(&json!({"contextName": "x", "operator": operator, "value": value, "inverted": true}))
    };
    for (strategy, path, message) in [
        (json!({"name": "mine"}), "strategies[0]", "unknown strategy \"mine\""),
        (json!({"name": "userWithId"}), "strategies[0]", "parameter userIds is missing"),
        (json!({"name": "default", "segments": [9]}), "strategies[0].segments[0]", "no segment 9"),
        (
            json!({"name": "default", "segments": [1]}),
            "strategies[0].segments[0] (segment 1).constraints[0]",
            "NUM",
        ),
        (rollout(101, "userId"), "strategies[0]", "rollout is \"101\": give a whole number from 0 to 100"),
        (check("IS", "1"), "strategies[0].constraints[0]", "unknown operator \"IS\": known are IN,"),
        (check("NUM_GT", "many"), "strategies[0].constraints[0]", "\"many\" is not a number"),
        (check("NUM_GT", "NaN"), "strategies[0].constraints[0]", "\"NaN\" is not a number"),
        (check("DATE_AFTER", "today"), "strategies[0].constraints[0]", "\"today\" is not a date"),
        (check("SEMVER_EQ", "v2.0.0"), "strategies[0].constraints[0]", "\"v2.0.0\" is not a version"),
        (check("REGEX", "(a"), "strategies[0].constraints[0]", "\"(a\" is not a regular expression"),
        (check("REGEX", ".{1000}{1000}"), "strategies[0].constraints[0]", "is not a regular expression"),
        (
            json!({"name": "remoteAddress", "parameters": {"IPs": "10.0.0.1/99"}}),
            "strategies[0].parameters.IPs",
            "\"10.0.0.1/99\" is not an address",
        ),
    ] {
        let segments = json!([{"id": 1, "constraints": [{"contextName": "x", "operator": "NUM_EQ"}]}]);
        let (set, warnings) = compile(&json!([toggle(&strategy)]), &segments);
        let found = |warning: &Warning| warning.path == path && warning.message.contains(message);
        assert!(warnings.iter().any(found), "{strategy}: {warnings:?}");
        let outcome = set.get("t").expect("is there").evaluate(&user("1"), START, &mut fastrand::Rng::new());
        assert!(!outcome.enabled(), "{strategy}");
    }
}

#[test]
fn what_cannot_be_meant_of_variants_and_dependencies_is_a_warning() {
    let plan = json!([
        {"name": "a", "enabled": true, "variants": [{"name": "x", "weight": 0}, {"name": "x", "weight": 0}]},
        {"name": "b", "enabled": true, "variants": [{"name": "x", "weight": 1, "payload": {"type": "json", "value": "{"}}]},
        {"name": "c", "enabled": true, "dependencies": [{"feature": "gone"}]},
        {"name": "d", "enabled": true, "dependencies": [{"feature": "c"}]},
        {"name": "a", "enabled": true, "variants": [{"name": "x", "weight": 0}, {"name": "x", "weight": 0}]},
    ]);
    let (set, warnings) = compile(&plan, &json!([]));
    let said: Vec<String> = warnings.iter().map(ToString::to_string).collect();
    for part in [
        "a: name: another toggle has this name",
        "a: variants: every weight is 0",
        "a: variants[1]: the variant \"x\" is there twice",
        "b: variants[0].payload: \"{\" is not a json",
        "c: dependencies[0]: there is no toggle \"gone\"; the toggle is always off",
        "d: dependencies[0]: the toggle \"c\" has dependencies itself",
    ] {
        assert!(said.iter().any(|warning| warning.contains(part)), "{part} is not in {said:#?}");
    }
    let on_wire = |name: &str| {
        let outcome = set.get(name).expect("is there").evaluate(&user("1"), START, &mut fastrand::Rng::new());
        outcome.on_wire().map(str::to_owned)
    };
    assert_eq!(on_wire("a"), Some("a".to_owned()), "on without a variant");
    assert_eq!([on_wire("c"), on_wire("d")], [None, None]);
}

#[test]
fn strategy_that_the_console_disabled_does_not_count() {
    let plan = json!([toggle(&json!({"name": "default", "disabled": true}))]);
    let (set, warnings) = compile(&plan, &json!([]));
    assert_eq!(warnings, []);
    assert!(
        !set.get("t").expect("is there").evaluate(&user("1"), START, &mut fastrand::Rng::new()).enabled()
    );
}
