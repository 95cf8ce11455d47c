//! `profile load`: what is in the store after a run that ended, was killed, or met bad lines.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fmt::Write;
use std::fs;
use std::process::{Command, Output};

use profile::Documents;
use rustix::process::{Pid, Signal, kill_process};
use service_host::testing::stores::Place;
use service_host::testing::{Process, run};
use store::RunOptions;

service_host::store_tests! {
    on_stores:
        killed_in_the_middle_it_goes_on_where_it_was,
        a_bad_line_is_named_and_what_came_before_it_is_kept,
        a_file_that_grew_goes_on_and_one_that_was_replaced_begins_anew,
        ids_may_have_another_name_and_lines_may_come_from_a_pipe,
        a_signal_ends_a_load_of_what_comes_through_a_pipe;
}

fn load(place: &Place, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_profile"));
    command.args(["--store", place.store(), "load"]).args(args).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn lines(ids: std::ops::Range<usize>) -> String {
    ids.fold(String::new(), |mut text, id| {
        writeln!(text, "{{\"id\":{id},\"name\":\"Member {id}\"}}").unwrap();
        text
    })
}

/// Number of profiles, counted page by page.
fn count(place: &Place) -> usize {
    let documents = Documents::new(place.open());
    run(async {
        let (mut count, mut after) = (0, None);
        loop {
            let page = documents.page(after.as_deref(), 1000, &RunOptions::default()).await.unwrap();
            count += page.profiles.len();
            after = page.profiles.last().map(|(id, _)| id.clone());
            if !page.more {
                return count;
            }
        }
    })
}

fn killed_in_the_middle_it_goes_on_where_it_was(place: &Place) {
    let file = place.dir().join("members.jsonl");
    let total = 200_000;
    fs::write(&file, lines(0..total)).unwrap();
    let file = file.to_str().unwrap();
    let args = ["--store", place.store(), "--log", "profile=debug", "load", file];
    let mut first = Process::start(env!("CARGO_BIN_EXE_profile"), &args);
    let _ = first.logged("committed");
    first.kill();
    let reached = count(place);
    assert!((1000..total).contains(&reached) && reached.is_multiple_of(1000), "{reached} profiles");

    let output = load(place, &[file]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let said = text(&output.stdout);
    let before = said.split_once("profiles loaded (").and_then(|(_, rest)| rest.split(' ').next());
    let before: usize = before.unwrap().parse().unwrap();
    // On a cluster a commit may have been under way when the process was killed.
    assert!(before == reached || place.is_shared() && before > reached, "{reached} reached; {said}");
    let expected = format!("{total} profiles loaded ({before} of them before this run), 0 bad lines");
    assert!(said.contains(&expected), "{said}");
    assert_eq!(count(place), total);
    let said = text(&load(place, &[file]).stdout);
    assert!(said.contains(&format!("({total} of them before this run)")), "{said}");
}

fn a_bad_line_is_named_and_what_came_before_it_is_kept(place: &Place) {
    let file = place.dir().join("members.jsonl");
    let long = format!("{{\"id\":\"l\",\"t\":\"{}\"}}", "x".repeat(110_000));
    for bad in ["no json", "[1]", "{\"name\":1}", "{\"id\":1.5}", "{\"id\":\"\"}", &long] {
        let place = &place.another();
        fs::write(&file, format!("{}\n{bad}\n{}", lines(0..3), lines(3..5))).unwrap();
        let name = file.to_str().unwrap();
        let output = load(place, &["--from-start", name]);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("members.jsonl:5: ") && said.contains("--skip-bad"), "{said}");
        assert_eq!(count(place), 3);
        // With `--skip-bad` the next run begins with the bad line.
        let output = load(place, &["--skip-bad", name]);
        let said = text(&output.stdout);
        assert!(said.contains("5 profiles loaded (3 of them before this run), 1 bad lines"), "{said}");
        assert_eq!(count(place), 5);
    }
}

fn a_file_that_grew_goes_on_and_one_that_was_replaced_begins_anew(place: &Place) {
    let file = place.dir().join("members.jsonl");
    let name = file.to_str().unwrap();
    fs::write(&file, lines(0..10)).unwrap();
    assert!(load(place, &[name]).status.success());
    fs::write(&file, lines(0..15)).unwrap();
    let said = text(&load(place, &[name]).stdout);
    assert!(said.contains("15 profiles loaded (10 of them before"), "{said}");
    fs::write(&file, lines(100..120)).unwrap();
    let said = text(&load(place, &[name]).stdout);
    assert!(said.contains("20 profiles loaded (0 of them before"), "{said}");
    assert_eq!(count(place), 35);
}

fn ids_may_have_another_name_and_lines_may_come_from_a_pipe(place: &Place) {
    use std::io::Write;
    use std::process::Stdio;
    let mut child = Command::new(env!("CARGO_BIN_EXE_profile"))
        .args(["--store", place.store(), "load", "-", "--id-field", "login"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"{\"login\":\"ada\"}\n{\"login\":\"bob\"}").unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success() && text(&output.stdout).contains("2 profiles loaded"));
    assert_eq!(count(place), 2);
}

/// A load from a pipe is blocked in a read most of the time.
fn a_signal_ends_a_load_of_what_comes_through_a_pipe(place: &Place) {
    use std::io::{BufRead, BufReader, Write as _};
    use std::os::unix::process::ExitStatusExt;
    use std::process::Stdio;
    let mut child = Command::new(env!("CARGO_BIN_EXE_profile"))
        .args(["--store", place.store(), "--log", "profile=debug", "load", "-"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut pipe = child.stdin.take().unwrap();
    for n in 0..1000 {
        writeln!(pipe, "{{\"id\":\"{n}\"}}").unwrap();
    }
    let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(log.any(|line| line.unwrap().contains("committed")));
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(Signal::TERM.as_raw()));
}
