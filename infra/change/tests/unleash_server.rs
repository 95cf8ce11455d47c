//! Unleash as the source of toggles, with a real server: what its console changes comes into force.

#[path = "support/running.rs"]
#[allow(dead_code, reason = "each test binary uses a part of it")]
mod running;
#[path = "support/unleash.rs"]
#[allow(clippy::print_stdout, reason = "a skipped test says so where CI counts it")]
mod unleash;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use change::document::{Kind, Plan};
use change::source::{Place, PlanSettings, UnleashSettings};
use change::toggle::{Context, Feature, Set};
use running::{Running, run};
use serde_json::json;
use unleash::{CLIENT_TOKEN, Unleash};

/// What the toggle `shout` is for a user by the documents of the plan.
fn shouts(plan: &Arc<Plan>, user: &str) -> bool {
    let features: Vec<Feature> =
        plan.of(Kind::Toggle).filter_map(|(_, document)| document.parse().ok()).collect();
    let (set, _) = Set::compile(&features, [], "host");
    let context = Context { user_id: Some(user), ..Context::default() };
    let random = &mut fastrand::Rng::with_seed(1);
    set.get("shout").is_some_and(|toggle| toggle.evaluate(&context, SystemTime::now(), random).enabled())
}

#[test]
fn changes_in_a_real_unleash_come_into_force() {
    run(async {
        let Some(unleash) = Unleash::start().await else { return };
        let Ok(Place::Unleash(url)) = format!("unleash:http://127.0.0.1:{}", unleash.port).parse() else {
            panic!("is no place")
        };
        let settings = |token: &str| {
            let token = Some(token.parse().expect("is a token"));
            let unleash = UnleashSettings { url: url.clone(), token, interval: Duration::from_secs(1) };
            PlanSettings { unleash: Some(unleash), ..PlanSettings::default() }
        };
        let running = Running::start(&settings(CLIENT_TOKEN));
        running.plan("the segments, which are none", |plan| plan.documents().count() == 1).await;

        let of_feature = "features/shout/environments/development";
        unleash.admin("POST", "features", &json!({ "name": "shout", "type": "release" })).await;
        let constraint = json!({ "contextName": "userId", "operator": "IN", "values": ["ann"] });
        let parameters = json!({ "rollout": "100", "stickiness": "default", "groupId": "shout" });
        let strategy =
            json!({ "name": "flexibleRollout", "parameters": parameters, "constraints": [constraint] });
        unleash.admin("POST", &format!("{of_feature}/strategies"), &strategy).await;
        unleash.admin("POST", &format!("{of_feature}/on"), &json!({})).await;
        running.plan("it is on for ann", |plan| shouts(plan, "ann") && !shouts(plan, "bob")).await;
        unleash.admin("POST", &format!("{of_feature}/off"), &json!({})).await;
        running.plan("it is off for ann", |plan| !shouts(plan, "ann")).await;

        let stranger = Running::start(&settings("default:development.wrong"));
        let refused = |status: &change::source::Status| {
            status.state.error.as_ref().is_some_and(|error| error.contains("--plan-token"))
        };
        stranger.status("the wrong token is refused", refused).await;
    });
}
