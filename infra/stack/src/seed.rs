//! `stack seed`: fills a stack with a generated population, or with the lines of a file, over HTTP
//! or straight into the stores of services that do not run.
//!
//! Owns the order of a seed: what is sent, where it starts, how it ends. Over HTTP it is a client
//! of the services like any other. Invariant: after a stop at any moment, the same command
//! continues with the first request that was not answered.

pub mod checkpoint;
pub mod direct;
pub mod error;
pub mod front;
pub mod lines;
pub mod options;
pub mod place;
pub mod population;
pub mod request;
pub mod sending;
pub mod shown;
pub mod source;
pub mod target;
pub mod template;

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::rc::Rc;

use self::checkpoint::Checkpoint;
use self::direct::Direct;
use self::error::Error;
use self::options::Options;
use self::place::Place;
use self::sending::{End, Sending};
use self::shown::{Shown, say};
use self::source::Source;
use self::target::Destination;
use crate::signals::Signals;

/// Runs `stack seed`.
///
/// # Errors
/// What ended it early.
pub fn run(options: &Options) -> Result<End, Error> {
    let source = Source::new(options)?;
    match &options.output {
        Some(path) => write(options, &source, path),
        None => {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build_local(Default::default())?;
            let end = runtime.block_on(send(options, &source));
            // A thread that resolves a name is not waited for.
            runtime.shutdown_background();
            end
        }
    }
}

async fn send(options: &Options, source: &Source) -> Result<End, Error> {
    let mut signals = Signals::new()?;
    let target = match &options.direct {
        Some(store) => store.to_string(),
        None => options.target.to_string(),
    };
    let checkpoint = match source {
        Source::Stdin(_) => None,
        _ => Some(Checkpoint::new(options.checkpoint.as_deref(), source, &target)?),
    };
    let mut begin = (Place::default(), 0);
    if let Some(checkpoint) = checkpoint.as_ref().filter(|_| !options.from_start)
        && let Some(found) = checkpoint.read()?
    {
        begin = (found.place, found.bad);
        say(&format!("continues after {} ({})", source.at(found.place), checkpoint.path().display()));
    }
    let destination = open(options).await?;
    let shown = Shown::new(source, begin.0);
    let sending = Sending::new(options, &destination, source, checkpoint.as_ref(), &shown, begin);
    let end = sending.run(&mut signals).await;
    shown.finish();
    let end = match close(destination).await {
        Ok(()) => end,
        // Says why there is no answer.
        Err(error) => end.and(Err(error)),
    };
    match &end {
        Ok(End::Complete { bad }) => {
            say(&format!("everything is loaded: {}; {bad} bad lines skipped", shown.summary()))
        }
        Ok(End::Stopped) => {
            say(&format!("stopped: {}{}", shown.summary(), how_to_go_on(checkpoint.as_ref())))
        }
        Err(_) => say(&format!("failed: {}{}", shown.summary(), how_to_go_on(checkpoint.as_ref()))),
    }
    end
}

/// Checks that the target answers, or starts the programs that write into the stores.
async fn open(options: &Options) -> Result<Destination, Error> {
    if let Some(store) = &options.direct {
        return Ok(Destination::Direct(Rc::new(Direct::start(store, !options.no_build).await?)));
    }
    let unreachable = |source| Error::Unreachable { target: options.target.to_string(), source };
    options.target.check().await.map_err(unreachable)?;
    Ok(Destination::Http(options.target.clone()))
}

/// Ends the programs, which have answered everything.
async fn close(destination: Destination) -> Result<(), Error> {
    match destination {
        // Lanes that still wait for an answer have one more handle, and end with the runtime.
        Destination::Direct(direct) => match Rc::try_unwrap(direct) {
            Ok(direct) => direct.finish().await,
            Err(_) => Ok(()),
        },
        Destination::Http(_) => Ok(()),
    }
}

fn how_to_go_on(checkpoint: Option<&Checkpoint>) -> String {
    let checkpoint = checkpoint.map(|checkpoint| checkpoint.path().display());
    checkpoint.map_or_else(String::new, |path| format!("; the same command continues from there ({path})"))
}

/// Writes the requests instead of sending them.
fn write(options: &Options, source: &Source, path: &Path) -> Result<End, Error> {
    let failed = |source| Error::File { path: path.to_owned(), source };
    let mut writer: Box<dyn Write> = match path.as_os_str() == "-" {
        true => Box::new(BufWriter::new(io::stdout().lock())),
        false => Box::new(BufWriter::new(File::create(path).map_err(failed)?)),
    };
    let mut bad = 0;
    for item in source.items(Place::default())? {
        let item = item?;
        match item.request {
            Ok(request) => request.write(&mut writer).map_err(failed)?,
            Err(reason) if options.skip_bad => {
                bad += 1;
                say(&format!("{}: {reason}", source.at(item.place)));
            }
            Err(reason) => return Err(Error::Bad { at: source.at(item.place), reason }),
        }
    }
    writer.flush().map_err(failed)?;
    Ok(End::Complete { bad })
}
