//! What a worker decides by a plan, without a bus: the toggles that a service reads are given.

use change::rollout::Sticky;
use change::split::{Group, Percent, Split};
use change::toggle::{Feature, Set, parse};

use super::*;
use crate::live::Rollout;

/// The fields of a request with these headers, decided for service `web`, which reads `toggles`.
fn decided(decisions: &Decisions, toggles: &[&str], headers: &str) -> Rc<Decision> {
    let text = format!("GET / HTTP/1.1\r\nhost: a\r\n{headers}\r\n");
    let view = Rc::new(decisions.view_of("web", toggles, &[]));
    with_request(&text, |request| decisions.decide_for(&view, request, || None))
}

/// Calls `read` with the request whose head is `text`.
fn with_request<T>(text: &str, read: impl FnOnce(Request<'_>) -> T) -> T {
    let (mut input, mut head) = (text.as_bytes().to_vec(), http1::Head::default());
    let step = http1::Connection::new().receive(&mut input, &mut head, &http1::Limits::default());
    let step = step.expect("is a request");
    assert!(matches!(step.event, Some(http1::Event::Head(_))), "{text}");
    read(head.request(&input[step.skip..]))
}

fn plan(toggles: &[&str], rollouts: Vec<Rollout>) -> Arc<Snapshot> {
    let features: Vec<Feature> =
        toggles.iter().map(|json| parse(json.as_bytes()).expect("is a toggle")).collect();
    let (toggles, warnings) = Set::compile(&features, &[], "host");
    assert!(warnings.is_empty());
    Arc::new(Snapshot { toggles, rollouts, ghosts: Vec::new() })
}

fn rollout(percent: f64, sticky: Sticky) -> Rollout {
    let percent = Percent::try_from(percent).expect("is a percentage");
    Rollout::new("web", "1", "2", sticky, Split::new("web", percent))
}

fn by_header() -> Identities {
    Identities { user: Some("header:x-user".parse().expect("is a source")), session: None }
}

fn text(decision: &Decision) -> String {
    let fields = bus::proto::Fields::of(&decision.fields);
    let texts = fields
        .map(|(name, value)| format!("{}={}", String::from_utf8_lossy(name), String::from_utf8_lossy(value)));
    texts.collect::<Vec<_>>().join(" ")
}

const HALF: &str = r#"{"name":"half","enabled":true,"strategies":[{"name":"flexibleRollout","parameters":{"rollout":"50","stickiness":"userId","groupId":"half"}}]}"#;

#[test]
fn an_empty_plan_decides_nothing() {
    let decisions = Decisions::new(by_header(), None);
    assert!(decisions.is_idle.get());
    decisions.set(plan(&[r#"{"name":"a","enabled":false}"#], Vec::new()));
    assert!(!decisions.is_idle.get());
    decisions.set(Arc::default());
    assert!(decisions.is_idle.get());
}

#[test]
fn a_service_gets_the_toggles_that_it_reads_and_no_others() {
    let decisions = Decisions::new(by_header(), None);
    let [on, off] = [r#"{"name":"on","enabled":true}"#, r#"{"name":"off","enabled":false}"#];
    decisions.set(plan(&[on, off, r#"{"name":"unread","enabled":true}"#], Vec::new()));
    assert_eq!(text(&decided(&decisions, &["on", "off", "unknown"], "")), ":toggle=on");
}

#[test]
fn a_user_is_decided_once_and_keeps_the_decision_until_the_plan_changes() {
    let decisions = Decisions::new(by_header(), None);
    decisions.set(plan(&[HALF], vec![rollout(50.0, Sticky::User)]));
    let view = Rc::new(decisions.view_of("web", &["half"], &[]));
    let ask = |user: &str| {
        let head = format!("GET / HTTP/1.1\r\nhost: a\r\nx-user: {user}\r\n\r\n");
        with_request(&head, |request| decisions.decide_for(&view, request, || None))
    };
    let (first, again) = (ask("ann"), ask("ann"));
    assert!(Rc::ptr_eq(&first, &again));
    let on = (0..1000).filter(|user| text(&ask(&format!("u{user}"))).contains(":toggle=half")).count();
    assert!((400..600).contains(&on), "{on} of 1000");
}

#[test]
fn a_client_without_identity_is_drawn_for_each_request() {
    let decisions = Decisions::new(by_header(), None);
    decisions.set(plan(&[], vec![rollout(50.0, Sticky::User)]));
    let groups: Vec<Group> = (0..200).map(|_| decided(&decisions, &[], "").pins[0].group).collect();
    assert!(groups.contains(&Group::Candidate) && groups.contains(&Group::Control));
}

#[test]
fn every_request_is_pinned_while_a_rollout_runs() {
    let decisions = Decisions::new(by_header(), None);
    for (percent, pin) in [(0.0, ":pin=web=1"), (100.0, ":pin=web=2")] {
        decisions.set(plan(&[], vec![rollout(percent, Sticky::User)]));
        assert_eq!(text(&decided(&decisions, &[], "x-user: ann\r\n")), pin);
    }
}

#[test]
fn a_client_without_a_session_gets_one_and_is_decided_by_it() {
    let session = Some("sid".parse().expect("is a name"));
    let decisions = Decisions::new(Identities { user: None, session }, None);
    decisions.set(plan(&[], vec![rollout(50.0, Sticky::Session)]));
    let first = decided(&decisions, &[], "");
    let cookie = first.set_cookie.as_deref().expect("a cookie is set");
    let pair = cookie.split(';').next().expect("has a first part");
    for _ in 0..20 {
        let next = decided(&decisions, &[], &format!("cookie: {pair}\r\n"));
        assert_eq!((next.set_cookie.as_deref(), &next.pins), (None, &first.pins));
    }
}

#[test]
fn what_requests_became_is_counted_by_group_until_it_is_taken() {
    let decisions = Decisions::new(by_header(), None);
    decisions.set(plan(&[], vec![rollout(100.0, Sticky::User)]));
    let decision = decided(&decisions, &[], "x-user: ann\r\n");
    decisions.record(&decision, Duration::from_millis(3), true);
    decisions.record(&decision, Duration::from_millis(3), false);
    let mut taken = decisions.take_counts();
    assert_eq!(taken.len(), 1);
    let counts = taken[0].1.take(1, 1);
    assert_eq!((counts.candidate.tally.requests, counts.candidate.tally.errors), (2, 1));
    let counts = decisions.take_counts()[0].1.take(1, 1);
    assert_eq!(counts.candidate.tally.requests, 0);
}
