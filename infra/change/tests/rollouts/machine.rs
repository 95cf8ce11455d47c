//! The state machine: phases, commands, restarts, doubled and lost messages.

use change::rollout::document::OnFail;
use change::rollout::{
    Accepted, Command, Counts, Document, GroupCounts, Machine, Order, Phase, Report, State, Verdict,
};
use change::statistics::evidence::Tally;

use crate::simulation::{Behaviour, Run, USUAL, WELL, document, seed};

const FAILING: Behaviour = Behaviour { errors: 0.3, latencies: USUAL };

fn run(load: f64) -> Run {
    Run::new(document(10), load, seed())
}

/// A run that serves 10 % and passed the stages before.
fn at_ten_percent() -> Run {
    let mut run = run(3_000.0);
    assert!(run.until(60, |machine| f64::from(machine.state().percent) == 10.0));
    run
}

#[test]
fn an_equal_candidate_goes_through_every_stage() {
    let mut run = run(3_000.0);
    assert!(run.until(200, |machine| machine.state().phase == Phase::Completed));
    let mut shares: Vec<f64> = run.machine.state().history.iter().map(|entry| entry.percent.into()).collect();
    shares.dedup();
    assert_eq!(shares, [0.0, 1.0, 10.0, 50.0, 100.0]);
    assert_eq!(run.machine.tick(run.now_ms + 5_000), None);
}

#[test]
fn at_one_request_a_second_it_waits() {
    let mut run = run(1.0);
    run.until(7_200, |machine| machine.state().stage > 1);
    let State { phase, verdict, percent, .. } = run.machine.state();
    assert_eq!((*phase, *verdict), (Phase::Waiting, Verdict::Wait));
    assert!(f64::from(*percent) <= 1.0, "{percent}");
}

#[test]
fn the_reason_of_waiting_has_the_numbers_and_an_estimate() {
    let mut run = run(1.0);
    run.until(120, |_| false);
    let state = run.machine.state();
    assert_eq!((state.phase, state.verdict), (Phase::Waiting, Verdict::Wait));
    let reason = &state.reason;
    assert!(reason.contains("too few requests: candidate ") && reason.contains(" of 200"), "{reason}");
    assert!(reason.contains("at this rate for another"), "{reason}");
}

#[test]
fn a_waiting_rollout_is_taken_back() {
    let mut run = run(100.0);
    // At 1 %, 200 requests take 200 s.
    assert!(run.until(120, |machine| {
        machine.state().phase == Phase::Waiting && f64::from(machine.state().percent) == 1.0
    }));
    run.candidate = Behaviour { errors: 1.0, latencies: USUAL };
    assert!(run.until(60, |machine| machine.state().phase == Phase::RolledBack));
    assert_eq!(run.percent(), 0.0);
}

#[test]
fn a_paused_rollout_is_taken_back() {
    let mut run = at_ten_percent();
    run.machine.command(run.now_ms, Command::Pause, "ann").unwrap();
    run.until(20, |_| false);
    assert_eq!((run.phase(), run.percent()), (Phase::Paused, 10.0));
    run.candidate = FAILING;
    run.step(1_000);
    assert_eq!((run.phase(), run.percent()), (Phase::RolledBack, 0.0));
    assert!(run.machine.state().reason.contains("control"), "{}", run.machine.state().reason);
}

#[test]
fn the_last_stage_without_control_is_still_watched() {
    let mut run = run(3_000.0);
    assert!(run.until(200, |machine| f64::from(machine.state().percent) == 100.0));
    run.candidate = FAILING;
    run.step(1_000);
    assert_eq!((run.phase(), run.percent()), (Phase::RolledBack, 0.0));
    assert!(run.machine.state().reason.contains("in earlier stages"));
}

#[test]
fn the_last_instance_that_leaves_takes_the_share_along() {
    let mut run = at_ten_percent();
    let mut counts = run.counted(100);
    counts.instances = 0;
    let mut other = counts.clone();
    other.terminator = "terminator-2".to_owned();
    other.instances = 1;
    run.machine.count(run.now_ms, &other);
    run.machine.count(run.now_ms, &counts);
    assert_eq!(run.percent(), 10.0, "another terminator still sees an instance");
    (other.instances, other.sequence) = (0, other.sequence + 1);
    run.machine.count(run.now_ms, &other);
    assert_eq!((run.phase(), run.percent()), (Phase::RolledBack, 0.0));
    assert_eq!(run.machine.state().reason, "no instance of version 2 is left");
}

#[test]
fn a_rollout_waits_for_the_first_instance() {
    let mut run = run(3_000.0);
    for _ in 0..60 {
        run.now_ms += 1_000;
        assert_eq!(run.machine.tick(run.now_ms), Some(Verdict::Wait));
    }
    assert_eq!(run.machine.state().stage, 0);
    assert!(run.machine.state().reason.contains("no instance of version 2 is connected"));
}

#[test]
fn on_fail_pause_falls_to_the_last_good_share() {
    let mut document = document(10);
    document.on_fail = OnFail::Pause;
    document.checks.p99 = None;
    let mut run = Run::new(document, 3_000.0, seed());
    assert!(run.until(60, |machine| f64::from(machine.state().percent) == 10.0));
    // Worse by half: the fast path does not see it.
    run.stable.errors = 0.1;
    run.candidate.errors = 0.16;
    assert!(run.until(60, |machine| machine.state().phase == Phase::Paused));
    assert_eq!(run.percent(), 1.0);
    run.machine.command(run.now_ms, Command::Resume, "ann").unwrap();
    assert_eq!(run.percent(), 10.0);
    run.candidate = Behaviour { errors: 0.9, latencies: USUAL };
    run.step(1_000);
    assert_eq!((run.phase(), run.percent()), (Phase::Paused, 0.0));
}

#[test]
fn commands_that_do_not_fit_are_refused_with_a_remedy() {
    let mut run = run(3_000.0);
    let mut order =
        |command| run.machine.command(run.now_ms, command, "ann").map_err(|refused| refused.to_string());
    assert!(order(Command::Resume).unwrap_err().contains("is running, so it cannot be resumed"));
    order(Command::Pause).unwrap();
    assert!(order(Command::Pause).is_err());
    order(Command::Resume).unwrap();
    order(Command::Abort).unwrap();
    assert!(order(Command::Abort).unwrap_err().contains("the candidate gets no requests"));
    for command in [Command::Pause, Command::Resume, Command::Promote] {
        assert!(order(command).unwrap_err().contains("`stack rollout start` begins it again"));
    }
    let state = run.machine.state();
    assert_eq!((state.phase, state.percent.into()), (Phase::Aborted, 0.0));
    assert_eq!(state.history.back().unwrap().reason, "ann: abort");
}

/// The document of `run` with an order.
fn ordered(run: &Run, command: Command, at_ms: u64) -> Document {
    let order = Some(Order { command, at_ms, who: "ann".to_owned() });
    Document { order, ..run.machine.document().clone() }
}

#[test]
fn an_order_is_obeyed_once_also_by_another_decider() {
    let mut run = at_ten_percent();
    assert_eq!(run.machine.obey(run.now_ms), None);
    let restore = |run: &mut Run, document: Document| {
        let stored = serde_json::to_vec(run.machine.state()).unwrap();
        run.machine = Machine::restore(document, serde_json::from_slice(&stored).unwrap(), run.now_ms);
        run.machine.obey(run.now_ms).map(|obeyed| obeyed.refused.clone())
    };
    let pause = ordered(&run, Command::Pause, 1);
    assert_eq!(restore(&mut run, pause.clone()), Some(None));
    assert_eq!((run.phase(), run.percent()), (Phase::Paused, 10.0));
    assert_eq!(run.machine.state().history.back().unwrap().reason, "ann: pause");
    assert_eq!(restore(&mut run, pause), None, "the state says that it was obeyed");
    let resume = ordered(&run, Command::Resume, 2);
    assert_eq!(restore(&mut run, resume.clone()), Some(None));
    assert_eq!(run.phase(), Phase::Running);
    assert_eq!(restore(&mut run, resume), None, "a later pause of the machine's own is not undone");
    let again = ordered(&run, Command::Resume, 3);
    let refused = restore(&mut run, again).unwrap().unwrap();
    assert!(refused.contains("is running, so it cannot be resumed"), "{refused}");
    assert_eq!((run.phase(), run.percent()), (Phase::Running, 10.0));
}

#[test]
fn an_order_in_the_document_holds_when_the_state_is_lost() {
    let run = at_ten_percent();
    let mut machine = Machine::new("profile", ordered(&run, Command::Abort, 1), run.now_ms);
    assert!(machine.obey(run.now_ms).is_some());
    assert_eq!((machine.state().phase, machine.state().percent.into()), (Phase::Aborted, 0.0));
}

#[test]
fn an_ended_rollout_begins_again_with_another_start_and_without_earlier_counts() {
    let mut run = run(3_000.0);
    assert!(run.until(60, |machine| f64::from(machine.state().percent) == 1.0));
    run.candidate = Behaviour { errors: 1.0, latencies: USUAL };
    let late = run.counted(1_000);
    assert!(run.until(60, |machine| machine.state().phase == Phase::RolledBack));
    let (state, epoch) = (run.machine.state().clone(), run.machine.state().epoch());
    let same = Document { start_ms: None, ..document(10) };
    let machine = Machine::restore(same, state.clone(), run.now_ms);
    assert_eq!(machine.state().phase, Phase::RolledBack, "the same start is the same rollout");
    let again = Document { start_ms: Some(7), ..document(10) };
    run.machine = Machine::restore(again.clone(), state, run.now_ms);
    assert_eq!((run.phase(), run.machine.state().stage), (Phase::Running, 0));
    assert_eq!(run.machine.state().epoch(), epoch + 1);
    let accepted = run.machine.count(run.now_ms, &Counts { sequence: u64::MAX, ..late });
    assert_eq!((accepted, run.phase()), (Accepted::OtherEpoch, Phase::Running));
    let machine = Machine::restore(again, run.machine.state().clone(), run.now_ms);
    assert_eq!(machine.state(), run.machine.state(), "it begins once");
}

#[test]
fn a_promoted_candidate_can_be_aborted() {
    let mut run = at_ten_percent();
    run.machine.command(run.now_ms, Command::Promote, "ann").unwrap();
    run.machine.command(run.now_ms, Command::Abort, "ann").unwrap();
    assert_eq!((run.phase(), run.percent()), (Phase::Aborted, 0.0));
}

#[test]
fn another_decider_continues_and_never_jumps_ahead() {
    let mut run = at_ten_percent();
    run.step(1_000);
    let mut most = run.percent();
    for takeover in 0..200 {
        let stored = serde_json::to_vec(run.machine.state()).unwrap();
        assert!(stored.len() < 48 * 1_024, "{} bytes", stored.len());
        let state: State = serde_json::from_slice(&stored).unwrap();
        assert_eq!((&state.percent, state.stage), (&run.machine.state().percent, run.machine.state().stage));
        // No terminator decides for ten minutes.
        run.now_ms += 600_000;
        run.machine = Machine::restore(document(10), state, run.now_ms);
        run.step(1_000);
        let percent = run.percent();
        assert!(percent == most || (most, percent) == (10.0, 50.0) || (most, percent) == (50.0, 100.0));
        assert!(takeover >= 8 || percent == 10.0, "ten observed seconds are not over: {takeover}");
        most = percent;
    }
    assert_eq!(run.phase(), Phase::Completed);
}

#[test]
fn evidence_survives_a_takeover() {
    let mut run = at_ten_percent();
    run.candidate = Behaviour { errors: 0.01, latencies: USUAL };
    run.step(1_000);
    let before = Report::from(run.machine.state());
    let stored = serde_json::to_vec(run.machine.state()).unwrap();
    let machine = Machine::restore(document(10), serde_json::from_slice(&stored).unwrap(), run.now_ms);
    assert_eq!(Report::from(machine.state()), before);
    assert_eq!(before.candidate_counts.requests, Report::from(run.machine.state()).candidate_counts.requests);
}

#[test]
fn doubled_and_old_messages_are_added_once() {
    let mut run = at_ten_percent();
    let messages: Vec<Counts> = (0..5).map(|_| run.counted(100)).collect();
    let expected: u64 = messages.iter().map(|message| message.candidate.tally.requests).sum();
    for message in &messages {
        assert_eq!(run.machine.count(run.now_ms, message), Accepted::Added);
        assert_eq!(run.machine.count(run.now_ms, message), Accepted::Duplicate);
        assert_eq!(run.machine.count(run.now_ms, &messages[0]), Accepted::Duplicate);
    }
    assert_eq!(Report::from(run.machine.state()).candidate_counts.requests, expected);
    let mut restarted = messages[0].clone();
    restarted.incarnation += 1;
    assert_eq!(run.machine.count(run.now_ms, &restarted), Accepted::Added);
}

#[test]
fn counts_of_several_terminators_are_summed() {
    let mut run = at_ten_percent();
    for terminator in 0..8 {
        let mut counts = run.counted(100);
        counts.terminator = format!("terminator-{terminator}");
        counts.candidate = tally(50, 1);
        counts.control = tally(50, 0);
        assert_eq!(run.machine.count(run.now_ms, &counts), Accepted::Added);
    }
    let report = Report::from(run.machine.state());
    assert_eq!((report.candidate_counts.requests, report.candidate_counts.errors), (400, 8));
}

fn tally(requests: u64, errors: u64) -> GroupCounts {
    GroupCounts { tally: Tally { requests, errors }, ..GroupCounts::default() }
}

#[test]
fn counts_of_another_epoch_and_impossible_ones_are_not_added() {
    let mut run = at_ten_percent();
    let mut counts = run.counted(100);
    counts.epoch -= 1;
    assert_eq!(run.machine.count(run.now_ms, &counts), Accepted::OtherEpoch);
    let mut counts = run.counted(100);
    counts.candidate = tally(5, 6);
    assert_eq!(run.machine.count(run.now_ms, &counts), Accepted::Inconsistent);
    assert_eq!(Report::from(run.machine.state()).candidate_counts.requests, 0);
    run.machine.command(run.now_ms, Command::Abort, "ann").unwrap();
    let counts = run.counted(100);
    assert_eq!(run.machine.count(run.now_ms, &counts), Accepted::Ended);
}

#[test]
fn a_changed_document_never_raises_the_share() {
    let run = at_ten_percent();
    let state = run.machine.state().clone();
    let mut changed = document(10);
    for (stages, stage, percent) in [
        (r#"[{"percent":5},{"percent":20},{"percent":100}]"#, 0, 5.0),
        (r#"[{"percent":50},{"percent":100}]"#, 0, 10.0),
        (r#"[{"ghost":10},{"percent":10},{"percent":100}]"#, 1, 10.0),
    ] {
        changed.stages = serde_json::from_str(stages).unwrap();
        let machine = Machine::restore(changed.clone(), state.clone(), run.now_ms);
        assert_eq!((machine.state().stage, machine.state().percent.into()), (stage, percent), "{stages}");
        assert!(machine.state().epoch() > state.epoch());
    }
    changed.candidate = "3".to_owned();
    let machine = Machine::restore(changed, state.clone(), run.now_ms);
    assert_eq!(machine.state().stage, 0);
    assert!(
        machine.state().epoch() > state.epoch(),
        "counts of the rollout before are not taken for its own"
    );
}

#[test]
fn a_stored_stage_that_does_not_exist_is_replaced() {
    let run = at_ten_percent();
    let mut state = run.machine.state().clone();
    state.stage = 99;
    let machine = Machine::restore(document(10), state, run.now_ms);
    assert_eq!((machine.state().stage, machine.state().percent.into()), (2, 10.0));
}

#[test]
fn a_failure_of_the_whole_service_is_not_the_candidates() {
    let mut run = at_ten_percent();
    (run.stable, run.candidate) = (FAILING, FAILING);
    for _ in 0..50 {
        run.step(100);
        assert_eq!(run.percent(), 10.0, "{}", run.machine.state().reason);
    }
    (run.stable, run.candidate) = (WELL, WELL);
    assert!(run.until(300, |machine| machine.state().phase == Phase::Completed));
}

#[test]
fn a_clock_that_goes_back_changes_nothing() {
    let mut run = at_ten_percent();
    run.step(1_000);
    assert_eq!(run.machine.tick(run.now_ms - 3_600_000), None);
    assert_eq!((run.phase(), run.percent()), (Phase::Running, 10.0));
}

#[test]
fn the_history_is_bounded() {
    let mut run = run(3_000.0);
    for _ in 0..500 {
        run.machine.command(run.now_ms, Command::Pause, "ann").unwrap();
        run.machine.command(run.now_ms, Command::Resume, "ann").unwrap();
    }
    assert_eq!(run.machine.state().history.len(), 100);
}

#[test]
fn the_report_has_the_fields_of_the_admin_path() {
    let mut run = at_ten_percent();
    run.step(1_000);
    let report = serde_json::to_value(Report::from(run.machine.state())).unwrap();
    for field in [
        "service",
        "stable",
        "candidate",
        "state",
        "stage",
        "percent",
        "verdict",
        "reason",
        "since_ms",
        "candidate_counts",
        "control_counts",
        "history",
    ] {
        assert!(report.get(field).is_some(), "{field}: {report}");
    }
    assert_eq!(report["state"], "running");
    assert_eq!(report["percent"], 10.0);
    for field in ["requests", "errors", "p99_ms"] {
        assert!(report["candidate_counts"][field].is_number(), "{field}: {report}");
    }
    for field in ["at_ms", "state", "percent", "verdict", "reason"] {
        assert!(report["history"][0].get(field).is_some(), "{field}");
    }
}
