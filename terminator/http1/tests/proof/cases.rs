//! Runs every case of `cases.txt`, and expects the verdict of the table however it is read: at
//! once, byte by byte, cut in two at each position, in random cuts, behind another request and in
//! front of one.

use http1::{Error, Limits};

use crate::driver::{self, End, Log};
use crate::outcome::{Outcome, listed};
use crate::table::{self, Case};
use crate::{random, reference};

const BEFORE: &[u8] = b"GET /before HTTP/1.1\r\nHost: before\r\n\r\n";
const BEHIND: &[u8] = b"GET /behind HTTP/1.1\r\nHost: behind\r\n\r\n";

/// Longer inputs are cut at this many positions at their ends and as many in between.
const CUT_EVERYWHERE_LEN_MAX: usize = 2000;

fn run(input: &[u8], cuts: impl IntoIterator<Item = usize>) -> Log {
    driver::run(input, cuts, &Limits::default())
}

/// The name of the error that ended the connection.
fn error_of(log: &Log) -> Option<Error> {
    match log.end {
        End::Within(error) => Some(error),
        End::Between | End::Behind => log.error,
    }
}

/// What is wrong with the outcome of a case.
fn fault(case: &Case, log: &Log) -> Option<String> {
    if matches!(log.end, End::Within(_)) != case.verdict.is_cut_off {
        return Some(format!("the input ends {:?}", log.end));
    }
    let named = error_of(log).map(|error| format!("{error:?}"));
    let named = named.map(|name| name.split([' ', '{']).next().unwrap_or_default().to_owned());
    let expected = case.verdict.refusal.as_ref().map(|(_, error)| error.clone());
    if named != expected {
        return Some(format!("{named:?} instead of {expected:?}"));
    }
    case.verdict.differs(&log.clone().flat())
}

#[track_caller]
fn check(all: &[Case], check: impl Fn(&Case) -> Result<(), String>) {
    let faults: Vec<_> = all.iter().filter_map(|case| Some((&case.name, check(case).err()?))).collect();
    let text: String = faults.iter().map(|(name, fault)| format!("{name}: {fault}\n")).collect();
    assert!(faults.is_empty(), "{} of {} cases:\n{text}", faults.len(), all.len());
}

fn same(log: &Log, whole: &Log, how: &str) -> Result<(), String> {
    let lists = || format!("{how}:\n{}whole:\n{}", listed(&log.outcomes), listed(&whole.outcomes));
    if log == whole { Ok(()) } else { Err(format!("{:?}, not {:?}; {}", log.error, whole.error, lists())) }
}

#[test]
fn there_are_at_least_700_cases_and_no_name_stands_twice() {
    let mut names: Vec<_> = table::cases().into_iter().map(|case| case.name).collect();
    println!("{} cases", names.len());
    assert!(names.len() >= 700, "{}", names.len());
    names.sort();
    let count = names.len();
    names.dedup();
    assert_eq!(names.len(), count);
}

#[test]
fn a_case_sent_whole_has_the_verdict_of_the_table() {
    check(&table::cases(), |case| {
        let log = run(&case.bytes, []);
        fault(case, &log).map_or(Ok(()), |fault| Err(format!("{fault}; found\n{}", listed(&log.flat()))))
    });
}

#[test]
fn the_reference_agrees_with_the_table() {
    check(&table::cases(), |case| {
        let outcomes = reference::read(&case.bytes, &Limits::default());
        case.verdict
            .differs(&outcomes)
            .map_or(Ok(()), |it| Err(format!("{it}; found\n{}", listed(&outcomes))))
    });
}

#[test]
fn a_case_sent_byte_by_byte_has_the_same_outcome() {
    check(&table::cases(), |case| {
        same(&run(&case.bytes, 1..case.bytes.len()), &run(&case.bytes, []), "byte by byte")
    });
}

#[test]
fn a_case_cut_in_two_anywhere_has_the_same_outcome() {
    check(&table::cases(), |case| {
        let (whole, len) = (run(&case.bytes, []), case.bytes.len());
        let ends = CUT_EVERYWHERE_LEN_MAX / 40;
        let step = if len <= CUT_EVERYWHERE_LEN_MAX { 1 } else { len / ends };
        let at_ends = (1..ends.min(len)).chain(len.saturating_sub(ends)..len);
        for cut in (1..len).step_by(step).chain(at_ends) {
            same(&run(&case.bytes, [cut]), &whole, &format!("cut at {cut}"))?;
        }
        Ok(())
    });
}

#[test]
fn a_case_in_random_cuts_has_the_same_outcome() {
    let rng = std::cell::RefCell::new(random::seeded());
    check(&table::cases(), |case| {
        let whole = run(&case.bytes, []);
        for _ in 0..if case.bytes.len() > 100_000 { 2 } else { 20 } {
            let cuts = random::cuts(&mut rng.borrow_mut(), case.bytes.len(), 12);
            same(&run(&case.bytes, cuts.iter().copied()), &whole, &format!("cut at {cuts:?}"))?;
        }
        Ok(())
    });
}

#[test]
fn a_case_behind_another_request_has_the_same_outcome() {
    check(&table::cases(), |case| {
        let input = [BEFORE, &case.bytes].concat();
        let mut expected = run(&case.bytes, []);
        expected.outcomes.insert(0, run(BEFORE, []).outcomes.remove(0));
        for cut in [BEFORE.len(), 0, BEFORE.len() - 1, BEFORE.len() + 1] {
            same(&run(&input, [cut]), &expected, &format!("behind another, cut at {cut}"))?;
        }
        Ok(())
    });
}

#[test]
fn a_case_in_front_of_another_request_lets_it_be_read_or_hides_it() {
    check(&table::cases(), |case| {
        if case.verdict.is_cut_off {
            return Ok(());
        }
        let input = [&case.bytes, BEHIND].concat();
        let mut expected = run(&case.bytes, []);
        if case.verdict.goes_on() {
            expected.outcomes.extend(run(BEHIND, []).outcomes);
        }
        assert_eq!(expected.end == End::Between, case.verdict.goes_on(), "{}", case.name);
        for cut in [0, case.bytes.len()] {
            same(&run(&input, [cut]), &expected, &format!("in front of another, cut at {cut}"))?;
        }
        let in_bytes = input.len() < CUT_EVERYWHERE_LEN_MAX;
        same(&run(&input, if in_bytes { 1..input.len() } else { 0..0 }), &expected, "byte by byte")
    });
}

#[test]
fn a_refusal_is_the_last_outcome() {
    check(&table::cases(), |case| {
        let outcomes = run(&[&case.bytes, BEHIND, BEHIND].concat(), []).outcomes;
        let refused = outcomes.iter().position(|outcome| matches!(outcome, Outcome::Refused(_)));
        if refused.is_none_or(|at| at + 1 == outcomes.len()) { Ok(()) } else { Err(listed(&outcomes)) }
    });
}
