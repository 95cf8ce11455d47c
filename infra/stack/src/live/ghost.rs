//! `stack ghost`: begins and ends ghost traffic, and shows where a candidate differs.
//!
//! Owns the document that flags describe, and the text of a comparison. Leaves the comparison to
//! the terminator's `/ghosts`, which `-o json` passes on as it is. Invariant: a candidate's
//! document is written only over the revision that was read.

use change::document::{Fault, Key, KeyError, Kind, Revision, check};
use change::source::{Expected, Write};
use serde_json::{Value, json};

use super::admin;
use super::error::Error;
use super::origin::{Origin, who};
use super::output::{Output, table};
use super::toggle::{Written, write};

const EXAMPLES: &str = "Examples:
  stack ghost profile --start 2                  version 2 gets a copy of 10 % of GET and HEAD requests
  stack ghost profile --start 2 --percent 100 --ignore body.at_ms --ignore header.x-instance
  stack ghost profile                            where version 2 differs, from the terminator at 127.0.0.1:8081
  stack ghost                                    all candidates that get copies
  stack ghost profile --stop
  stack ghost profile --admin 10.0.0.5:8081 -o json

Clients get stable's answers only. A method that changes something is copied only when it is named:
  stack ghost cart --start 2 --method GET --method POST

Exit code: 0 done, 1 failure, 2 usage.";

/// Samples that the text shows of a difference; JSON has all.
const SAMPLES_SHOWN: usize = 1;

/// Copies requests to a candidate, and shows where its answers differ from stable's.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Options {
    /// The service; none for the list of all.
    #[arg(value_parser = key)]
    pub service: Option<Key>,
    /// Begin: the version that gets the copies. It is kept from clients.
    #[arg(long, value_name = "VERSION", requires = "service", conflicts_with = "stop")]
    pub start: Option<String>,
    /// End: no copies any more. The version then gets requests of clients, if it is connected.
    #[arg(long, requires = "service")]
    pub stop: bool,
    /// The share of requests that is copied, in percent [default: 10].
    #[arg(long, value_name = "N", requires = "start")]
    pub percent: Option<f64>,
    /// A method that is copied, repeatable [default: GET and HEAD].
    #[arg(long = "method", value_name = "METHOD", requires = "start")]
    pub methods: Vec<String>,
    /// A path that is not compared, as the report writes it, repeatable.
    #[arg(long = "ignore", value_name = "PATH", requires = "start")]
    pub ignore: Vec<String>,
    /// The address of a terminator's admin listener.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:8081")]
    pub admin: String,
    /// The form of the output.
    #[command(flatten)]
    pub output: Output,
    /// Where the plan is.
    #[command(flatten)]
    pub origin: Origin,
}

fn key(service: &str) -> Result<Key, KeyError> {
    Key::new(Kind::Ghost, &[service])
}

/// Runs `stack ghost`.
///
/// # Errors
/// Why it did not do what it was told.
pub async fn run(options: &Options) -> Result<(), Error> {
    match (&options.service, &options.start) {
        (Some(service), Some(candidate)) => begin(options, service, candidate).await,
        (Some(service), None) if options.stop => end(options, service).await,
        (Some(service), None) => one(options, service.name()).await,
        (None, _) => list(options).await,
    }
}

async fn begin(options: &Options, service: &Key, candidate: &str) -> Result<(), Error> {
    let mut document = json!({ "candidate": candidate });
    if let Some(percent) = options.percent {
        document["percent"] = percent.into();
    }
    for (name, values) in [("methods", &options.methods), ("ignore", &options.ignore)] {
        if !values.is_empty() {
            document[name] = values.as_slice().into();
        }
    }
    let text = format!("{document:#}\n");
    let wrong = |fault: Fault| Error::Flags { fault: Fault { line: 0, ..fault } };
    check(Kind::Ghost, text.as_bytes()).map_err(wrong)?;
    let source = options.origin.open()?;
    let before = source.get(service).await?.map_or(Revision(0), |(_, revision)| revision);
    let written = write(&source, service, text, before).await?;
    options.output.show(&written, |written| {
        let (service, revision) = (service.name(), written.revision);
        format!("version {candidate} of {service} gets copies, revision {revision}")
    });
    Ok(())
}

async fn end(options: &Options, service: &Key) -> Result<(), Error> {
    let source = options.origin.open()?;
    let before = source.get(service).await?.ok_or_else(|| Error::Absent(service.clone()))?.1;
    let (expected, who) = (Expected::At(before), who());
    let removal = Write { key: service.clone(), document: None, expected, who: Some(who.clone()) };
    let revision = source.write(removal).await?;
    let written = Written { key: service.to_string(), before, revision, who };
    options.output.show(&written, |_| format!("no requests of {} are copied any more", service.name()));
    Ok(())
}

async fn list(options: &Options) -> Result<(), Error> {
    options.output.show(&ghosts(&options.admin).await?[..], |ghosts| match ghosts {
        [] => "no ghost traffic; `stack ghost SERVICE --start VERSION` begins it".to_owned(),
        ghosts => {
            let heading =
                ["SERVICE", "CANDIDATE", "SHARE", "COPIES", "COMPARED", "LOST", "SKIPPED", "DIFFERENCES"];
            let fields = ["service", "candidate", "percent", "copies", "compared", "lost", "skipped"];
            let row = |ghost: &Value| {
                let differences = ghost["differences"].as_array().map_or(0, Vec::len);
                let cells = fields.iter().map(|field| cell(&ghost[field]));
                cells.chain([differences.to_string()]).collect::<Vec<_>>()
            };
            let heading = heading.map(str::to_owned).to_vec();
            table(&std::iter::once(heading).chain(ghosts.iter().map(row)).collect::<Vec<_>>())
        }
    });
    Ok(())
}

async fn one(options: &Options, service: &str) -> Result<(), Error> {
    let ghosts = ghosts(&options.admin).await?;
    let Some(ghost) = ghosts.iter().find(|ghost| ghost["service"] == service) else {
        let known: Vec<_> = ghosts.iter().map(|ghost| cell(&ghost["service"])).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        return Err(Error::NoGhost { service: service.to_owned(), admin: options.admin.clone(), known });
    };
    options.output.show(ghost, shown);
    Ok(())
}

async fn ghosts(admin: &str) -> Result<Vec<Value>, Error> {
    match admin::get(admin, "/ghosts").await? {
        Value::Array(ghosts) => Ok(ghosts),
        _ => Err(Error::Admin { admin: admin.to_owned(), reason: "/ghosts is no list".to_owned() }),
    }
}

/// The comparison of one service, for people.
fn shown(ghost: &Value) -> String {
    let of = |field: &str| cell(&ghost[field]);
    let methods: Vec<_> = ghost["methods"].as_array().into_iter().flatten().map(cell).collect();
    let (percent, methods) = (of("percent"), methods.join(" and "));
    let mut text = format!(
        "{}: candidate {} gets copies of {percent} % of {methods}\n  \
         {} copied, {} compared, {} lost, {} skipped\n",
        of("service"),
        of("candidate"),
        of("copies"),
        of("compared"),
        of("lost"),
        of("skipped"),
    );
    if ghost["same_instance"].as_u64().is_some_and(|count| count > 0) {
        text += &format!(
            "  {} of them beside one instance of stable: what an instance says of itself looks like a difference\n",
            of("same_instance")
        );
    }
    let differences = ghost["differences"].as_array().map(Vec::as_slice).unwrap_or_default();
    if differences.is_empty() {
        return text + "  no differences\n";
    }
    let heading =
        ["  ROUTE", "PATH", "DIFFERS", "NOISE", "OF", "STABLE", "CANDIDATE"].map(str::to_owned).to_vec();
    let rows = differences.iter().flat_map(|difference| {
        let samples = difference["samples"].as_array().map(Vec::as_slice).unwrap_or_default();
        samples.iter().take(SAMPLES_SHOWN).map(move |sample| {
            let counts = ["raw", "noise", "total"].map(|count| cell(&difference[count]));
            let mut row = vec![format!("  {}", cell(&difference["route"])), cell(&difference["path"])];
            row.extend(counts);
            row.extend([cell(&sample["stable"]), cell(&sample["candidate"])]);
            row
        })
    });
    text + &table(&std::iter::once(heading).chain(rows).collect::<Vec<_>>())
}

fn cell(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "-".to_owned(),
        Value::Number(number) => {
            number.as_f64().map_or_else(|| number.to_string(), |number| number.to_string())
        }
        other => other.to_string(),
    }
}
