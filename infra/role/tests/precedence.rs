//! File, environment, flags: who wins, and what is said when something is wrong.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Parser;
use role::settings::{Error, Setting, Source, load_from};

#[derive(Debug, Parser)]
#[command(name = "terminator")]
struct Role {
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[arg(long, value_name = "URL", required = true)]
    bus_listen: Vec<String>,
    #[arg(long, value_name = "N", default_value_t = 1)]
    workers: u16,
    #[arg(long, default_value = "1s")]
    deadline: String,
    #[arg(long)]
    dogstatsd: bool,
    #[arg(short, long, action = clap::ArgAction::Count)]
    verbose: u8,
    #[arg(long, value_name = "PATTERN=DURATION")]
    route_deadline: Vec<String>,
    #[command(subcommand)]
    task: Option<Task>,
}

#[derive(Debug, clap::Subcommand)]
enum Task {
    Load { file: PathBuf },
}

/// Loads with a file of the content `toml`, the variables `env`, and the flags `args`.
fn load(toml: &str, env: &[(&str, &str)], args: &[&str]) -> Result<Role, Error> {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("role.toml");
    std::fs::write(&path, toml).expect("writes");
    let mut all = vec![OsString::from("/bin/terminator"), "--config".into(), path.into()];
    all.extend(args.iter().map(OsString::from));
    let env = env.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
    load_from(all, env).map(|(role, _)| role)
}

fn error(toml: &str, env: &[(&str, &str)], args: &[&str]) -> String {
    load(toml, env, args).expect_err("is wrong").to_string()
}

const LISTEN: &str = "bus-listen = ['tcp://127.0.0.1:5555']\n";

#[test]
fn required_argument_may_come_from_the_file_alone() {
    let role = load(LISTEN, &[], &[]).expect("loads");
    assert_eq!(role.bus_listen, ["tcp://127.0.0.1:5555"]);
    assert_eq!((role.workers, role.deadline.as_str()), (1, "1s"), "defaults stay");
    assert!(role.config.is_some());
}

#[test]
fn required_argument_given_nowhere_is_clap_s_error() {
    let error = load("workers = 2", &[], &[]).expect_err("is missing");
    let Error::Arguments(error) = error else { panic!("{error}") };
    assert_eq!(error.kind(), clap::error::ErrorKind::MissingRequiredArgument);
}

#[test]
fn environment_wins_over_file_and_flags_over_both() {
    let toml = format!("{LISTEN}workers = 2\ndeadline = '2s'\nverbose = 1\n");
    let role =
        load(&toml, &[("TERMINATOR_WORKERS", "3"), ("TERMINATOR_DEADLINE", "3s")], &["--workers", "4"])
            .expect("loads");
    assert_eq!((role.workers, role.deadline.as_str(), role.verbose), (4, "3s", 1));
}

#[test]
fn flags_replace_the_file_s_list() {
    let role = load("bus-listen = ['a', 'b']", &[], &["--bus-listen", "c"]).expect("loads");
    assert_eq!(role.bus_listen, ["c"]);
}

#[test]
fn variable_with_commas_repeats_its_flag() {
    let role = load("bus-listen = ['a']", &[("TERMINATOR_BUS_LISTEN", "b, c")], &[]).expect("loads");
    assert_eq!(role.bus_listen, ["b", "c"]);
}

#[test]
fn empty_variable_counts_as_not_set() {
    let role = load(&format!("{LISTEN}workers = 2"), &[("TERMINATOR_WORKERS", "")], &[]).expect("loads");
    assert_eq!(role.workers, 2);
}

#[test]
fn switches_are_booleans() {
    let on = format!("{LISTEN}dogstatsd = true");
    assert!(load(&on, &[], &[]).expect("loads").dogstatsd);
    assert!(!load(&on, &[("TERMINATOR_DOGSTATSD", "0")], &[]).expect("loads").dogstatsd);
    assert!(load(LISTEN, &[("TERMINATOR_DOGSTATSD", "1")], &[]).expect("loads").dogstatsd);
    let message = error(&format!("{LISTEN}dogstatsd = 'perhaps'"), &[], &[]);
    assert!(message.contains("dogstatsd") && message.contains("true or false"), "{message}");
}

#[test]
fn underscores_are_hyphens() {
    assert_eq!(load("bus_listen = 'a'", &[], &[]).expect("loads").bus_listen, ["a"]);
    let message = error("bus_listen = 'a'\nbus-listen = 'b'", &[], &[]);
    assert!(message.contains("bus-listen") && message.contains("twice"), "{message}");
}

#[test]
fn table_fills_a_flag_of_pairs_and_no_other() {
    let role = load(&format!("{LISTEN}[route-deadline]\n'GET /a' = '5s'"), &[], &[]).expect("loads");
    assert_eq!(role.route_deadline, ["GET /a=5s"]);
    let message = error(&format!("{LISTEN}[workers]\nx = 1"), &[], &[]);
    assert!(message.contains("workers") && message.contains("table"), "{message}");
}

#[test]
fn unknown_key_names_key_file_and_nearest() {
    let message = error(&format!("{LISTEN}worker = 3"), &[], &[]);
    assert!(message.contains("`worker`") && message.contains("role.toml"), "{message}");
    assert!(message.contains("did you mean `workers`?"), "{message}");
    let message = error("zzz = 3", &[], &[]);
    assert!(message.contains("deadline"), "lists what is known: {message}");
}

#[test]
fn file_may_not_name_another_file() {
    assert!(matches!(load("config = 'x'", &[], &[]), Err(Error::UnknownKey { .. })));
    assert!(matches!(load("help = true", &[], &[]), Err(Error::UnknownKey { .. })));
}

#[test]
fn wrong_value_names_file_key_and_value() {
    let message = error(&format!("{LISTEN}workers = 'many'"), &[], &[]);
    for part in ["role.toml", "workers = \"many\"", "invalid digit"] {
        assert!(message.contains(part), "{part} in {message}");
    }
    let message = error(&format!("{LISTEN}workers = [1, 2]"), &[], &[]);
    assert!(message.contains("one value"), "{message}");
}

#[test]
fn wrong_value_on_the_command_line_is_not_the_file_s_fault() {
    let error = load(&format!("{LISTEN}workers = 2"), &[], &["--workers", "many"]).expect_err("is wrong");
    assert!(matches!(error, Error::Arguments(_)), "{error}");
}

#[test]
fn a_wrong_value_is_found_also_where_a_flag_or_a_variable_wins() {
    let toml = format!("{LISTEN}workers = 'many'");
    for (env, args) in [(&[][..], &["--workers", "2"][..]), (&[("TERMINATOR_WORKERS", "2")], &[])] {
        let message = error(&toml, env, args);
        assert!(message.contains("workers = \"many\""), "{message}");
    }
    let message = error(LISTEN, &[("TERMINATOR_WORKERS", "many")], &["--workers", "2"]);
    assert!(message.contains("TERMINATOR_WORKERS=many"), "{message}");
}

#[test]
fn wrong_variable_names_itself_and_its_value() {
    let message = error(LISTEN, &[("TERMINATOR_WORKERS", "many")], &[]);
    assert!(message.contains("TERMINATOR_WORKERS=many"), "{message}");
}

#[test]
fn variable_that_nobody_reads_is_an_error() {
    let message = error(LISTEN, &[("TERMINATOR_WORKER", "1")], &[]);
    assert!(message.contains("TERMINATOR_WORKER;") && message.contains("TERMINATOR_WORKERS?"), "{message}");
}

#[test]
fn variables_of_others_and_of_orchestrators_pass() {
    let env = [
        ("PATH", "/bin"),
        ("TERMINATORS", "2"),
        ("TERMINATOR_SERVICE_HOST", "10.0.0.1"),
        ("TERMINATOR_PORT_8080_TCP_ADDR", "10.0.0.1"),
        ("TERMINATOR_PORT", "tcp://10.0.0.1:8080"),
    ];
    load(LISTEN, &env, &[]).expect("loads");
}

#[test]
fn file_may_be_named_by_the_environment() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("a.toml");
    std::fs::write(&path, LISTEN).expect("writes");
    let (role, _): (Role, _) =
        load_from(["terminator"], [("TERMINATOR_CONFIG".into(), path.into_os_string())]).expect("loads");
    assert_eq!(role.bus_listen, ["tcp://127.0.0.1:5555"]);
}

#[test]
fn missing_file_and_bad_syntax_name_the_file() {
    let loaded = load_from::<Role>(["terminator", "--config", "/nowhere/a.toml"], []);
    let error = loaded.expect_err("is missing");
    assert!(error.to_string().contains("/nowhere/a.toml"), "{error}");
    let message = self::error("workers = ", &[], &[]);
    assert!(message.contains("role.toml") && message.contains("line 1"), "{message}");
}

#[test]
fn file_sets_the_role_s_flags_before_a_subcommand() {
    let role = load(&format!("{LISTEN}workers = 2"), &[], &["load", "members.jsonl"]).expect("loads");
    assert_eq!(role.workers, 2);
    assert!(matches!(role.task, Some(Task::Load { file }) if file.ends_with("members.jsonl")));
}

#[test]
fn every_setting_is_listed_with_its_source() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("a.toml");
    std::fs::write(&path, "bus-listen = ['a', 'b']\ndogstatsd = true\n[route-deadline]\n'GET /a' = '5s'\n")
        .expect("writes");
    let file = path.display().to_string();
    let args = ["terminator", "--config", &file, "-vv"];
    let (_, listed) = load_from::<Role>(args, [("TERMINATOR_WORKERS".into(), "3".into())]).expect("loads");
    let expect = |name: &str, value: &[&str], source: Source| {
        let value = value.iter().map(|&value| value.to_owned()).collect();
        let found = listed.iter().find(|setting| setting.name == name).expect("is listed");
        assert_eq!(*found, Setting { name: name.to_owned(), value, source });
    };
    expect("bus-listen", &["a", "b"], Source::File(file.clone()));
    expect("dogstatsd", &["true"], Source::File(file.clone()));
    expect("route-deadline", &["GET /a=5s"], Source::File(file.clone()));
    expect("workers", &["3"], Source::Environment("TERMINATOR_WORKERS".to_owned()));
    expect("verbose", &["2"], Source::Flag);
    expect("config", &[&file], Source::Flag);
    expect("deadline", &["1s"], Source::Default);
    assert_eq!(listed.len(), 7, "help is not a setting: {listed:?}");
}

#[test]
fn help_names_every_variable() {
    let Err(Error::Arguments(help)) = load_from::<Role>(["terminator", "--help"], []) else {
        panic!("no help")
    };
    assert_eq!(help.kind(), clap::error::ErrorKind::DisplayHelp);
    assert!(help.to_string().contains("[env: TERMINATOR_BUS_LISTEN]"), "{help}");
}
