//! Where the requests come from, as one sequence that can be entered at any place.
//!
//! Owns: the places, and the thread that reads or makes up ahead of the sending. Invariant: at most `AHEAD_MAX` requests
//! are ahead.

use std::fmt;
use std::fs::File;
use std::io::{self, BufReader, Seek, SeekFrom};
use std::path::PathBuf;
use std::thread::JoinHandle;

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::error::Error;
use super::lines::Lines;
use super::options::Options;
use super::population::Population;
use super::request::Request;
use super::template::Template;

/// Requests made or read before they can be sent.
const AHEAD_MAX: usize = 1024;

/// How far: everything up to here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Place {
    /// Requests made up, or lines read.
    pub number: u64,
    /// Bytes of the file; 0 when there is none.
    pub end: u64,
}

/// A request, or why there is none, and where the sequence stands behind it.
#[derive(Debug)]
pub struct Item {
    /// Behind it.
    pub place: Place,
    /// The reason is about the line alone; where it is, is said by [`Source::at`].
    pub request: Result<Request, String>,
}

/// What is to be sent.
#[derive(Debug)]
pub enum Source {
    /// Made up.
    Population(Population),
    /// A file's lines.
    File {
        /// Absolute.
        path: PathBuf,
        /// Without it every line is a request.
        template: Option<Template>,
        /// What the templates are, for the checkpoint.
        described: String,
        /// Bytes.
        len: u64,
    },
    /// Standard input's lines.
    Stdin(Option<Template>),
}

impl Source {
    /// # Errors
    /// Templates that are wrong, a file that cannot be read.
    pub fn new(options: &Options) -> Result<Self, Error> {
        let (days, seed) = (options.days, options.seed);
        if let Some(members) = options.members {
            return Ok(Self::Population(Population::new(members, days, seed, &options.prefix)));
        }
        let path = options.from.clone().expect("clap wants --members or --from");
        let template =
            options.path.as_deref().map(|path| Template::new(&options.method, path, &options.body));
        let template = template.transpose().map_err(Error::Template)?;
        if path.as_os_str() == "-" {
            return Ok(Self::Stdin(template));
        }
        let unreadable = |source| Error::File { path: path.clone(), source };
        let len = std::fs::metadata(&path).map_err(unreadable)?.len();
        let described =
            options.path.as_ref().map(|path| format!("{} {path} {}", options.method, options.body));
        let described = described.unwrap_or_default();
        Ok(Self::File { path: path.canonicalize().map_err(unreadable)?, template, described, len })
    }

    /// What the progress counts up to: requests made up, or bytes; `None` when nobody knows.
    #[must_use]
    pub fn length(&self) -> Option<u64> {
        match self {
            Self::Population(population) => Some(population.total()),
            Self::File { len, .. } => Some(*len),
            Self::Stdin(_) => None,
        }
    }

    /// Whether [`Source::length`] is in bytes.
    #[must_use]
    pub fn is_file(&self) -> bool {
        matches!(self, Self::File { .. })
    }

    /// The item behind which `place` is, for people: `members.jsonl:17`.
    #[must_use]
    pub fn at(&self, place: Place) -> String {
        match self {
            Self::Population(_) => format!("request {}", place.number),
            Self::File { path, .. } => format!("{}:{}", path.display(), place.number),
            Self::Stdin(_) => format!("standard input:{}", place.number),
        }
    }

    /// The requests behind `from`.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn items(&self, from: Place) -> io::Result<Box<dyn Iterator<Item = io::Result<Item>> + Send>> {
        Ok(match self {
            Self::Population(population) => {
                let requests = population.clone().requests().zip(1..);
                let items = requests
                    .map(|(request, number)| Item { place: Place { number, end: 0 }, request: Ok(request) });
                // Made up again, which takes a microsecond each.
                Box::new(items.skip(usize::try_from(from.number).unwrap_or(usize::MAX)).map(Ok))
            }
            Self::File { path, template, .. } => {
                let mut file = File::open(path)?;
                file.seek(SeekFrom::Start(from.end))?;
                Box::new(Lines::new(BufReader::with_capacity(256 * 1024, file), template.clone(), from))
            }
            Self::Stdin(template) => {
                Box::new(Lines::new(BufReader::new(io::stdin()), template.clone(), from))
            }
        })
    }

    /// The same from a thread of its own, which ends when the receiver is dropped; one that waits for standard input ends with
    /// the process.
    ///
    /// # Errors
    /// The file cannot be read, or there is no thread left.
    pub fn ahead(&self, from: Place) -> io::Result<(mpsc::Receiver<io::Result<Item>>, JoinHandle<()>)> {
        let (sender, receiver) = mpsc::channel(AHEAD_MAX);
        let mut items = self.items(from)?;
        let thread = std::thread::Builder::new().name("source".to_owned()).spawn(move || {
            // A failed send says that nobody wants more.
            while let Some(true) = items.next().map(|item| sender.blocking_send(item).is_ok()) {}
        })?;
        Ok((receiver, thread))
    }
}

/// What tells this source from another, in a checkpoint.
impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Population(population) => population.fmt(f),
            Self::File { path, described, .. } => write!(f, "{} {described}", path.display()),
            Self::Stdin(_) => f.write_str("standard input"),
        }
    }
}
