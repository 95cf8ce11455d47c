//! Every case of Unleash's client specification, from npm's `@unleash/client-specification`.
//!
//! `.ci/tools` installs the package. Invariant: all cases of the pinned version run, none is left
//! out.
#![expect(clippy::print_stdout, reason = "a skipped test says so where CI counts it")]

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use change::toggle::state::{Delta, Features, State};
use change::toggle::{Context, Feature, Outcome, Properties, Segment, Set, parse};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

const VERSION: &str = "6.1.0";
/// How many cases that version has.
const CASES: usize = 279;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Specification {
    name: String,
    /// Whole, or as changes.
    state: Box<RawValue>,
    #[serde(default)]
    tests: Vec<Case>,
    #[serde(default)]
    variant_tests: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Case {
    description: String,
    context: Fields,
    toggle_name: String,
    expected_result: Value,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Fields {
    user_id: Option<String>,
    session_id: Option<String>,
    remote_address: Option<String>,
    environment: Option<String>,
    app_name: Option<String>,
    current_time: Option<String>,
    properties: Texts,
}

#[derive(Default, Deserialize)]
struct Texts(HashMap<String, Option<String>>);

impl Properties for Texts {
    fn property(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.as_deref()
    }
}

impl Fields {
    fn context(&self) -> Context<'_> {
        Context {
            user_id: self.user_id.as_deref(),
            session_id: self.session_id.as_deref(),
            remote_address: self.remote_address.as_deref(),
            environment: self.environment.as_deref(),
            app_name: self.app_name.as_deref(),
            current_time: self.current_time.as_deref(),
            properties: &self.properties,
        }
    }
}

#[test]
fn every_case_of_unleashs_client_specification_passes() {
    let Some(folder) = package() else { return };
    let index: Vec<String> = read(&folder.join("specifications/index.json"));
    let mut random = fastrand::Rng::with_seed(fastrand::u64(..));
    println!("seed {}", random.get_seed());
    let (mut ran, mut failed) = (0, Vec::new());
    for file in &index {
        let specification: Specification = read(&folder.join("specifications").join(file));
        let set = compile(&specification.state);
        let cases = specification.tests.iter().map(|case| (case, false));
        for (case, of_variant) in cases.chain(specification.variant_tests.iter().map(|case| (case, true))) {
            ran += 1;
            let expected = &case.expected_result;
            for (way, outcome) in outcomes(&set, case, &mut random, of_variant) {
                if outcome != *expected {
                    let Case { description, .. } = case;
                    let name = &specification.name;
                    failed
                        .push(format!("{name}: {description} ({way}): expected {expected}, found {outcome}"));
                }
            }
        }
    }
    println!("{ran} cases of @unleash/client-specification {VERSION}, {} failed", failed.len());
    assert!(failed.is_empty(), "\n  {}", failed.join("\n  "));
    assert_eq!(ran, CASES, "the specification has other cases than {VERSION} had");
}

/// The result of each way to evaluate: one toggle, and the selection of a service.
fn outcomes(
    set: &Set,
    case: &Case,
    random: &mut fastrand::Rng,
    of_variant: bool,
) -> Vec<(&'static str, Value)> {
    let (context, now) = (case.context.context(), SystemTime::now());
    let result = |outcome: Option<Outcome<'_>>| if of_variant { variant(outcome) } else { enabled(outcome) };
    let alone = set.get(&case.toggle_name).map(|toggle| toggle.evaluate(&context, now, random));
    let mut results = vec![("alone", result(alone))];

    let selection = set.select(&[&case.toggle_name], context.environment, context.app_name);
    let mut selected = selection.fixed().next().map(|outcome| result(Some(outcome)));
    for group in [selection.by_identity(), selection.by_request()] {
        group.evaluate(&context, now, random, |outcome| selected = Some(result(Some(outcome))));
    }
    results.push(("selected", selected.unwrap_or_else(|| result(None))));
    results
}

fn enabled(outcome: Option<Outcome<'_>>) -> Value {
    outcome.is_some_and(|outcome| outcome.enabled()).into()
}

fn variant(outcome: Option<Outcome<'_>>) -> Value {
    let is_on = outcome.is_some_and(|outcome| outcome.enabled());
    let Some(variant) = outcome.and_then(|outcome| outcome.variant()) else {
        return json!({"name": "disabled", "enabled": false, "feature_enabled": is_on});
    };
    let mut value = json!({"name": variant.name(), "enabled": true, "feature_enabled": is_on});
    if let Some(payload) = variant.payload() {
        value["payload"] = json!({"type": payload.kind, "value": payload.value});
    }
    value
}

fn compile(sent: &RawValue) -> Set {
    let state = match serde_json::from_str::<Delta>(sent.get()) {
        Ok(delta) => {
            let mut state = State::default();
            delta.events.into_iter().for_each(|event| state.apply(event).expect("is the protocol's"));
            state
        }
        Err(_) => {
            let whole: Features = serde_json::from_str(sent.get()).expect("is a whole state");
            State::try_from(whole).expect("every feature has a name")
        }
    };
    let features: Vec<Feature> =
        state.features().map(|(_, text)| parse(text.get().as_bytes()).expect("is a feature")).collect();
    let segments: Vec<Segment> =
        state.segments().map(|text| parse(text.get().as_bytes()).expect("is a segment")).collect();
    Set::compile(&features, &segments, "host").0
}

/// The package's folder, or `None` after a line that says why not.
fn package() -> Option<PathBuf> {
    let default = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tools");
    let tools = std::env::var_os("STACK_TOOLS_DIR").map_or_else(default, PathBuf::from);
    let folder = tools.join("node_modules/@unleash/client-specification");
    if !folder.join("package.json").exists() {
        println!(
            "SKIPPED: @unleash/client-specification is missing: .ci/test puts it at {}",
            folder.display()
        );
        return None;
    }
    let package: Value = read(&folder.join("package.json"));
    assert_eq!(package["version"], VERSION, "run .ci/tools, which installs {VERSION}");
    Some(folder)
}

fn read<T: for<'de> Deserialize<'de>>(file: &Path) -> T {
    let text = std::fs::read(file).expect("the package has the file");
    serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}
