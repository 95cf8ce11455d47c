//! Counts the instructions of evaluating the 20 toggles of a service, under callgrind.
//!
//! ```sh
//! cargo build --release -p change --example evaluate
//! for times in 1000 11000; do
//!     valgrind --tool=callgrind --callgrind-out-file=/dev/null \
//!         target/release/examples/evaluate identity $times 2>&1 | grep Collected
//! done
//! ```
//!
//! The difference by 10 000 is the cost of one evaluation. `identity` are 10 shares by userId,
//! `request` are 5 toggles with two constraints each; the 5 constant toggles cost nothing.
#![expect(clippy::print_stdout, reason = "it is a program")]

use std::time::SystemTime;

use change::toggle::{Context, Feature, Set};
use serde_json::{Value, json};

fn main() {
    let mut arguments = std::env::args().skip(1);
    let group = arguments.next().expect("which group: identity or request");
    let times: u32 = arguments.next().expect("how often").parse().expect("a number");

    let features: Vec<Feature> = plan().into_iter().map(|json| parsed(&json)).collect();
    let (set, warnings) = Set::compile(&features, [], "host");
    assert_eq!(warnings, []);
    let names: Vec<&str> = features.iter().map(|feature| feature.name.as_str()).collect();
    let selection = set.select(&names, Some("production"), Some("profile"));
    assert_eq!(selection.fixed().count(), 5);
    let group = match group.as_str() {
        "identity" => selection.by_identity(),
        _ => selection.by_request(),
    };

    let properties = vec![("country", "AT"), ("plan", "gold")];
    let context = Context { user_id: Some("member-123456"), properties: &properties, ..Context::default() };
    let (now, mut random, mut on) = (SystemTime::now(), fastrand::Rng::with_seed(1), 0_usize);
    for _ in 0..times {
        let context = std::hint::black_box(context);
        group.evaluate(&context, now, &mut random, |outcome| on += outcome.on_wire().map_or(0, str::len));
    }
    println!("{on} bytes of outcomes");
}

fn plan() -> Vec<Value> {
    let constant = (0..5).map(|at| json!({"name": format!("constant-{at}"), "enabled": at % 2 == 0}));
    let shares = (0..10).map(|at| {
        let parameters =
            json!({"rollout": at * 10 + 5, "stickiness": "userId", "groupId": format!("share-{at}")});
        let strategies = json!([{"name": "flexibleRollout", "parameters": parameters}]);
        json!({"name": format!("share-{at}"), "enabled": true, "strategies": strategies})
    });
    let checks = (0..5).map(|at| {
        let constraints = json!([
            {"contextName": "country", "operator": "IN", "values": ["DE", "AT", "CH"]},
            {"contextName": "plan", "operator": "NOT_IN", "values": ["free"]},
        ]);
        let strategies = json!([{"name": "default", "constraints": constraints}]);
        json!({"name": format!("check-{at}"), "enabled": true, "strategies": strategies})
    });
    constant.chain(shares).chain(checks).collect()
}

fn parsed(json: &Value) -> Feature {
    change::toggle::parse(json.to_string().as_bytes()).expect("parses")
}
