//! Evaluating a service's toggles allocates nothing.

use std::alloc::System;
use std::time::SystemTime;

use change::toggle::{Context, Feature, Set, parse};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const PLAN: &[&str] = &[
    r#"{"name":"share","enabled":true,"strategies":[{"name":"flexibleRollout",
        "parameters":{"rollout":"30","stickiness":"default","groupId":"share"}}]}"#,
    r#"{"name":"variants","enabled":true,"variants":[{"name":"a","weight":500},{"name":"b","weight":500,
        "overrides":[{"contextName":"userId","values":["ann"]}]}]}"#,
    r#"{"name":"child","enabled":true,"dependencies":[{"feature":"variants","variants":["a"]}]}"#,
    r#"{"name":"checks","enabled":true,"strategies":[{"name":"default","constraints":[
        {"contextName":"country","operator":"IN","values":["DE","AT"]},
        {"contextName":"email","operator":"STR_ENDS_WITH","values":["@Example.org"],"caseInsensitive":true},
        {"contextName":"age","operator":"NUM_GTE","value":"18"},
        {"contextName":"version","operator":"SEMVER_GT","value":"1.2.3"},
        {"contextName":"remoteAddress","operator":"IN_CIDR","values":["10.0.0.0/8","2001:db8::/32"]},
        {"contextName":"currentTime","operator":"DATE_AFTER","value":"2020-01-01T00:00:00Z"}]}]}"#,
];

#[test]
fn evaluation_allocates_nothing() {
    let features: Vec<Feature> = PLAN.iter().map(|json| parse(json.as_bytes()).expect("parses")).collect();
    let (set, warnings) = Set::compile(&features, [], "host");
    assert_eq!(warnings, []);
    let selection = set.select(&["share", "variants", "child", "checks"], None, Some("profile"));
    let properties =
        vec![("country", "AT"), ("email", "Ann@EXAMPLE.org"), ("age", "18"), ("version", "1.3.0")];
    let context = Context {
        user_id: Some("ann"),
        remote_address: Some("2001:db8::7"),
        properties: &properties,
        ..Context::default()
    };
    let (now, mut random, mut on) = (SystemTime::now(), fastrand::Rng::with_seed(1), 0);
    // The test harness has a thread of its own, which may allocate during some of the rounds.
    let rounds = (0..10).map(|_| {
        let region = Region::new(ALLOCATOR);
        for _ in 0..100 {
            for group in [selection.by_identity(), selection.by_request()] {
                group.evaluate(&context, now, &mut random, |outcome| {
                    on += usize::from(outcome.on_wire().is_some());
                });
            }
        }
        let change = region.change();
        change.allocations + change.reallocations
    });
    assert_eq!(rounds.min(), Some(0), "allocations in the round with the fewest");
    assert!(on >= 2000, "the checks and the override hold each time: {on}");
}
