//! The command line of `stack seed`.
//!
//! Owns the options, and the checks that they do not contradict each other. `template` turns lines
//! of a file into requests.

use std::path::PathBuf;
use std::time::Duration;

use super::direct::DirectStore;
use super::target::Target;

const EXAMPLES: &str = "Examples:
  stack seed --members 1000 --days 30
      Sends a population to the stack at http://127.0.0.1:8080: profiles, follows, 30 days of entries and messages.
  stack seed --members 1000 --days 30 --seed 7 --output population.jsonl
      The same kind of population as a file, one request a line; the same seed gives the same bytes.
  stack seed --members 1000 --days 30 --direct embedded:data
      The population into the stores of a stack that does not run, without HTTP: what `stack --data data` serves then.
  stack seed --members 100000 --direct fdb:/etc/foundationdb/fdb.cluster --unordered
      Into a cluster, whose services may run meanwhile.
  stack seed --from population.jsonl --target http://10.0.0.5:8080
      Sends it: every line is {\"method\":\"PUT\",\"path\":\"/profiles/m1\",\"body\":{..}}.
  stack seed --from members.jsonl --path '/profiles/{login}'
      Sends every line as it is with PUT, to the path that its own field `login` completes.
  stack seed --from posts.jsonl --method POST --path '/feeds/{author}' --skip-bad
      Sends every line with POST; refused lines are reported, counted and skipped.
  stack seed --from log.jsonl --method POST --path /events --body '{\"events\":[{}]}'
      Wraps every line: `{}` in --body stands for the line.

After a stop (Ctrl-C, a bad line, a target that is gone) the same command continues where it stopped: the checkpoint file
records everything up to the first unanswered request. Later and repeated requests may arrive twice, which is harmless for PUT,
DELETE and bodies with an id of their own; a population has only such requests. The file is removed at the end.

Exit code: 0 everything loaded, 1 failure, 2 usage, 3 everything but skipped lines loaded, 130 stopped by a signal.";

/// Fills a stack with a generated population, or with a file of your own, over HTTP or straight
/// into the stores.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Options {
    /// Generate this many members.
    #[arg(long, value_name = "N", required_unless_present = "from", conflicts_with = "from",
        value_parser = clap::value_parser!(u32).range(1..=100_000_000))]
    pub members: Option<u32>,

    /// Days of entries, messages and reading: some two acts per member and day.
    #[arg(long, value_name = "D", default_value_t = 7, conflicts_with = "from",
        value_parser = clap::value_parser!(u32).range(0..=36_500))]
    pub days: u32,

    /// Seed of the generator; another number gives another population.
    #[arg(long, value_name = "S", default_value_t = 1, conflicts_with = "from")]
    pub seed: u64,

    /// Prefix of every generated member's id; a number follows. Existing profiles with such ids are
    /// overwritten.
    #[arg(long, value_name = "TEXT", default_value = "m", value_parser = prefix, conflicts_with = "from")]
    pub prefix: String,

    /// Send the lines of this file, each a JSON object; - for standard input, which cannot be
    /// resumed.
    #[arg(long, value_name = "FILE.jsonl")]
    pub from: Option<PathBuf>,

    /// The path of every line's request; {NAME} is replaced by the line's field NAME, a text or a
    /// number.
    #[arg(long, value_name = "TEMPLATE", requires = "from")]
    pub path: Option<String>,

    /// The method of every line's request, with --path.
    #[arg(long, value_name = "METHOD", default_value = "PUT", requires = "path")]
    pub method: String,

    /// The body of every line's request, with --path; {} is replaced by the line.
    #[arg(long, value_name = "TEMPLATE", default_value = "{}", requires = "path")]
    pub body: String,

    /// Report, count and skip lines that are not requests or are refused (4xx), instead of stopping
    /// at the first.
    #[arg(long)]
    pub skip_bad: bool,

    /// The stack's HTTP address.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080")]
    pub target: Target,

    /// Write straight into the stores of the services profile, feed, chat and events, whose
    /// programs are beside this one: embedded:DIR, where each service has a directory in DIR as
    /// with `stack --data DIR` and no stack may run, or fdb:CLUSTER_FILE.
    #[arg(long, value_name = "STORE", conflicts_with = "target")]
    pub direct: Option<DirectStore>,

    /// With --direct under cargo: use the services' programs as they are, instead of building them
    /// first.
    #[arg(long, requires = "direct")]
    pub no_build: bool,

    /// Concurrent requests, each on a connection of its own. On FoundationDB a write takes some
    /// milliseconds, so its rate follows this number.
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub connections: u16,

    /// Spread the requests over the connections in any order. Without it, requests whose paths
    /// begin with the same two segments (/feeds/7, /chats/7) are sent in order, one after the
    /// other.
    #[arg(long)]
    pub unordered: bool,

    /// How long one request is repeated when the target is busy (429, 502, 503, 504) or gone.
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = humantime::parse_duration)]
    pub patience: Duration,

    /// The file that records how far this got [default: ./seed-HASH.checkpoint, from source and
    /// target].
    #[arg(long, value_name = "FILE")]
    pub checkpoint: Option<PathBuf>,

    /// Begin with the first request, and ignore the checkpoint.
    #[arg(long)]
    pub from_start: bool,

    /// Send nothing; write the requests into this file, one per line, or - for standard output.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["target", "direct", "connections", "unordered", "patience",
        "checkpoint", "from_start"])]
    pub output: Option<PathBuf>,
}

/// Ids have at most 200 bytes, some of which are the number.
fn prefix(text: &str) -> Result<String, String> {
    match text.len() {
        0..=100 => Ok(text.to_owned()),
        len => Err(format!("at most 100 bytes, this has {len}")),
    }
}
