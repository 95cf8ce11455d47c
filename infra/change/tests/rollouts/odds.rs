//! How often the verdicts are wrong, and how long the right ones take.

use change::rollout::{Machine, Phase};
use fastrand::Rng;

use crate::simulation::{Behaviour, Run, SLOW_TAIL, USUAL, WELL, document, seed};

/// Runs `one` for many seeds on two threads.
fn many<T: Send>(runs: u64, one: impl Fn(u64) -> T + Sync) -> Vec<T> {
    let seed = seed();
    let half = |range: std::ops::Range<u64>| range.map(|run| one(seed ^ (run << 32))).collect::<Vec<T>>();
    std::thread::scope(|scope| {
        let other = scope.spawn(|| half(0..runs / 2));
        let mut all = half(runs / 2..runs);
        all.extend(other.join().unwrap());
        all
    })
}

fn percentile<T: Copy + Ord>(values: &mut [T], percent: usize) -> T {
    values.sort_unstable();
    values[(values.len() - 1) * percent / 100]
}

fn ended(machine: &Machine) -> bool {
    !machine.state().phase.is_live()
}

#[test]
fn fewer_than_one_in_a_hundred_equal_candidates_fail() {
    let outcomes = many(10_000, |seed| {
        let mut rng = Rng::with_seed(seed);
        let load = 100.0 * 10_f64.powf(2.0 * rng.f64());
        let errors = *rng.choice(&[0.0, 0.000_2, 0.002, 0.02, 0.1, 0.3]).unwrap();
        let outage = rng.u32(0..60);
        let mut run = Run::new(document(10), load, seed);
        let mut seconds = 0;
        while run.machine.state().phase.is_live() && seconds < 1_000 {
            // The service as a whole fails half of its requests for some seconds. The last stage
            // has no control group that could tell.
            let compared = run.percent() < 100.0;
            let errors = if compared && (outage..outage + 3).contains(&seconds) { 0.5 } else { errors };
            run.stable = Behaviour { errors, latencies: USUAL };
            run.candidate = run.stable;
            run.step(1_000);
            seconds += 1;
        }
        if run.phase() != Phase::Completed {
            println!("load {load:.0}, errors {errors}: {}", run.machine.state().reason);
        }
        (run.phase(), run.machine.state().stage, seconds)
    });
    let failed = outcomes.iter().filter(|(phase, ..)| *phase == Phase::RolledBack).count();
    let completed = outcomes.iter().filter(|(phase, ..)| *phase == Phase::Completed).count();
    let mut seconds: Vec<u32> = outcomes.iter().map(|(.., seconds)| *seconds).collect();
    let (median, longest) = (percentile(&mut seconds, 50), percentile(&mut seconds, 100));
    println!("{failed} failed, {completed} completed, seconds: median {median}, longest {longest}");
    assert!(failed < 100, "{failed} of 10 000 equal candidates failed");
    assert!(completed > 9_800, "{completed} of 10 000 equal candidates completed");
}

#[test]
fn five_percent_errors_are_taken_back_within_two_seconds_and_sixty_errors() {
    for (feed_ms, seconds_max) in [(100, 2_000), (1_000, 4_000)] {
        let outcomes = many(2_500, |seed| {
            let mut run = Run::new(document(30), 3_000.0, seed);
            if !run.until(600, |machine| f64::from(machine.state().percent) == 10.0) {
                // One of the rare false alarms, which another test counts.
                return None;
            }
            for _ in 0..run.rng.u32(0..29) {
                run.step(1_000);
            }
            let (before, start_ms) = (run.client_errors, run.now_ms);
            run.candidate = Behaviour { errors: 0.05, latencies: USUAL };
            let mut first_ms = None;
            while run.machine.state().phase != Phase::RolledBack {
                run.step(feed_ms);
                if run.client_errors > before {
                    first_ms.get_or_insert(run.now_ms - u64::from(feed_ms));
                }
                assert!(run.now_ms < start_ms + 60_000, "{:?}", run.machine.state().reason);
            }
            assert_eq!(run.percent(), 0.0);
            Some((run.now_ms - first_ms.unwrap(), run.client_errors - before))
        });
        assert!(outcomes.iter().flatten().count() >= 2_475, "too few reached 10 %");
        let mut times: Vec<u64> = outcomes.iter().flatten().map(|(ms, _)| *ms).collect();
        let late = times.iter().filter(|ms| **ms > seconds_max).count();
        let most = outcomes.iter().flatten().map(|(_, errors)| *errors).max().unwrap();
        let times = [50, 99, 100].map(|percent| percentile(&mut times, percent));
        println!(
            "counts each {feed_ms} ms: ms until share 0 {times:?} (p50, p99, max), errors at most {most}"
        );
        assert!(most <= if feed_ms == 100 { 60 } else { 100 }, "{most} clients saw an error");
        assert!(late <= 12, "{late} of 2 500 took more than {seconds_max} ms");
    }
}

#[test]
fn a_candidate_that_fails_from_the_start_meets_no_client() {
    let outcomes = many(1_000, |seed| {
        let mut run = Run::new(document(60), 3_000.0, seed);
        run.candidate = Behaviour { errors: 0.05, latencies: USUAL };
        run.until(60, ended);
        (run.phase(), run.client_errors)
    });
    // The ghost stage finds it.
    assert!(outcomes.iter().all(|outcome| *outcome == (Phase::RolledBack, 0)));
}

#[test]
fn a_slow_tail_with_the_same_mean_is_found_at_ten_percent() {
    let outcomes = many(4_000, |seed| {
        let mut run = Run::new(document(30), 3_000.0, seed);
        if !run.until(600, |machine| f64::from(machine.state().percent) == 10.0) {
            return None;
        }
        // The candidate copes with fewer requests than these.
        run.candidate = Behaviour { errors: 0.001, latencies: SLOW_TAIL };
        let start_ms = run.now_ms;
        run.until(300, |machine| ended(machine) || f64::from(machine.state().percent) > 10.0);
        let reason = &run.machine.state().reason;
        assert!(reason.contains("p99") && reason.contains("1.2 times"), "{reason}");
        assert_eq!(run.phase(), Phase::RolledBack, "{reason}");
        Some(run.now_ms - start_ms)
    });
    let mut outcomes: Vec<u64> = outcomes.into_iter().flatten().collect();
    assert!(outcomes.len() >= 3_960, "too few reached 10 %");
    let times = [50, 99, 100].map(|percent| percentile(&mut outcomes, percent));
    println!("ms until the slow candidate is found {times:?} (p50, p99, max)");
    assert!(times[1] <= 45_000, "{times:?}");
}

/// Only the stages from 10 %, so that a candidate that is always slow reaches it.
fn ten_percent() -> change::rollout::Document {
    let mut document = document(60);
    document.stages.drain(..2);
    document
}

#[test]
fn bad_candidates_of_every_kind_are_found() {
    let outcomes = many(4_000, |seed| {
        let mut rng = Rng::with_seed(seed);
        let load = 300.0 * 10_f64.powf(1.5 * rng.f64());
        let mut run = Run::new(document(30), load, seed);
        run.candidate = match seed % 3 {
            0 => Behaviour { errors: 0.05, latencies: USUAL },
            1 => Behaviour { errors: 0.01, latencies: USUAL },
            _ => Behaviour { errors: 0.001, latencies: SLOW_TAIL },
        };
        run.until(1_500, ended);
        if run.phase() != Phase::RolledBack {
            println!("load {load:.0}: {}", run.machine.state().reason);
        }
        (run.phase(), run.machine.state().stage)
    });
    let found = outcomes.iter().filter(|(phase, _)| *phase == Phase::RolledBack).count();
    let early = outcomes.iter().filter(|(phase, stage)| *phase == Phase::RolledBack && *stage <= 2).count();
    println!("{found} of 4 000 found, {early} at 10 % or before");
    assert!(found >= 3_990, "{found} of 4 000 bad candidates were found");
    assert!(early >= 3_900, "{early} of 4 000 were found at 10 % or before");
}

#[test]
fn twenty_of_twenty_equal_candidates_reach_all_requests() {
    for stable in [WELL, Behaviour { errors: 0.02, latencies: USUAL }] {
        let phases = many(20, |seed| {
            let mut run = Run::new(document(60), 3_000.0, seed);
            (run.stable, run.candidate) = (stable, stable);
            run.until(900, ended);
            (run.phase(), run.percent(), run.machine.state().reason.clone())
        });
        let complete = phases.iter().filter(|(phase, ..)| *phase == Phase::Completed).count();
        assert_eq!(complete, 20, "{phases:?}");
        assert!(phases.iter().all(|(_, percent, _)| *percent == 100.0));
    }
}

/// Why the fast path asks for evidence: ten errors and three times the rate alone are met by equal
/// versions of a service that fails.
#[test]
fn ten_errors_at_three_times_the_rate_are_no_proof() {
    let met = many(2_000, |seed| {
        let mut run = Run::new(document(60), 3_000.0, seed);
        run.machine = Machine::new("profile", ten_percent(), run.now_ms);
        run.stable.errors = 0.02;
        let (mut candidate, mut control) = (0, 0);
        (0..600).any(|_| {
            let mut counts = run.counted(100);
            candidate += counts.control.tally.errors;
            counts = run.counted(100);
            control += counts.control.tally.errors;
            candidate >= 10 && candidate >= 3 * control
        })
    });
    let met = met.iter().filter(|met| **met).count();
    println!("{met} of 2 000 equal stages met the two conditions");
    assert!((40..200).contains(&met), "{met} of 2 000 stages");
}
