//! The requests, as one sequence that can be entered at any place.
//!
//! Owns the places, and the thread that reads or generates requests in advance. Invariant: at most
//! `AHEAD_MAX` requests are in advance.

use std::fmt;
use std::fs::File;
use std::io::{self, BufReader, Seek, SeekFrom};
use std::path::PathBuf;
use std::thread::JoinHandle;

use tokio::sync::mpsc;

use super::error::Error;
use super::lines::Lines;
use super::options::Options;
use super::place::{Item, Place};
use super::population::Population;
use super::template::Template;

/// Requests generated or read before they can be sent.
const AHEAD_MAX: usize = 1024;

/// The source of the requests.
#[derive(Debug)]
pub enum Source {
    /// Generated.
    Population(Population),
    /// A file's lines.
    File {
        /// Absolute path.
        path: PathBuf,
        /// Without a template every line is a request.
        template: Option<Template>,
        /// The templates in text form, for the checkpoint.
        described: String,
        /// Length in bytes.
        len: u64,
    },
    /// Standard input's lines.
    Stdin(Option<Template>),
}

impl Source {
    /// Opens the source.
    ///
    /// # Errors
    /// Wrong templates, or a file that cannot be read.
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

    /// The total of the progress: requests generated, or bytes; `None` when it is unknown.
    #[must_use]
    pub fn length(&self) -> Option<u64> {
        match self {
            Self::Population(population) => Some(population.total()),
            Self::File { len, .. } => Some(*len),
            Self::Stdin(_) => None,
        }
    }

    /// True when [`Source::length`] is in bytes.
    #[must_use]
    pub fn is_file(&self) -> bool {
        matches!(self, Self::File { .. })
    }

    /// The item that ends at `place`, for people: `members.jsonl:17`.
    #[must_use]
    pub fn at(&self, place: Place) -> String {
        match self {
            Self::Population(_) => format!("request {}", place.number),
            Self::File { path, .. } => format!("{}:{}", path.display(), place.number),
            Self::Stdin(_) => format!("standard input:{}", place.number),
        }
    }

    /// The requests after `from`.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn items(&self, from: Place) -> io::Result<Box<dyn Iterator<Item = io::Result<Item>> + Send>> {
        Ok(match self {
            Self::Population(population) => {
                let requests = population.clone().requests().zip(1..);
                let items = requests
                    .map(|(request, number)| Item { place: Place { number, end: 0 }, request: Ok(request) });
                // Earlier requests are generated again, which takes a microsecond each.
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

    /// The requests after `from`, from a thread of its own, which ends when the receiver is
    /// dropped. A thread that waits for standard input ends with the process.
    ///
    /// # Errors
    /// The file cannot be read, or no thread can be created.
    pub fn ahead(&self, from: Place) -> io::Result<(mpsc::Receiver<io::Result<Item>>, JoinHandle<()>)> {
        let (sender, receiver) = mpsc::channel(AHEAD_MAX);
        let mut items = self.items(from)?;
        let thread = std::thread::Builder::new().name("source".to_owned()).spawn(move || {
            // A failed send means that the receiver was dropped.
            while let Some(true) = items.next().map(|item| sender.blocking_send(item).is_ok()) {}
        })?;
        Ok((receiver, thread))
    }
}

/// Identifies this source in a checkpoint.
impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Population(population) => population.fmt(f),
            Self::File { path, described, .. } => write!(f, "{} {described}", path.display()),
            Self::Stdin(_) => f.write_str("standard input"),
        }
    }
}
