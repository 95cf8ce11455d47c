//! The output of the roles and the stack's own lines, on stdout, each with its origin in front.
//!
//! Owns splitting output into lines, and the queue to the writing thread. Invariant: a blocked
//! terminal (Ctrl-S, a full pipe) never blocks a role: lines that do not fit the queue are dropped
//! and counted.

use std::cell::Cell;
use std::convert::Infallible;
use std::io::Write;
use std::rc::Rc;
use std::sync::mpsc::{Receiver, sync_channel};

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::mpsc;

/// Lines waiting for the terminal: some seconds of a talkative role.
const LINES_MAX: usize = 4096;
/// Longest line; longer ones are split.
const LINE_BYTES_MAX: usize = 16 * 1024;

/// Accepts lines; clones write to the same queue.
#[derive(Clone, Debug)]
pub struct Log {
    lines: mpsc::Sender<String>,
    dropped: Rc<Cell<u64>>,
}

impl Log {
    /// A log, and the receiver of its lines.
    #[must_use]
    pub fn new() -> (Self, mpsc::Receiver<String>) {
        let (lines, receiver) = mpsc::channel(LINES_MAX);
        (Self { lines, dropped: Rc::default() }, receiver)
    }

    /// A log on stdout. The returned receiver disconnects when the last clone of the log is gone
    /// and everything is written.
    ///
    /// # Errors
    /// The system can't create a thread.
    pub fn stdout() -> std::io::Result<(Self, Receiver<Infallible>)> {
        let (log, mut receiver) = Self::new();
        let (written, all_written) = sync_channel(1);
        std::thread::Builder::new().name("log".to_owned()).spawn(move || {
            let _written = written;
            let mut stdout = std::io::stdout().lock();
            while let Some(line) = receiver.blocking_recv() {
                // A closed stdout is no error; the roles continue.
                let _ = writeln!(stdout, "{line}");
            }
        })?;
        Ok((log, all_written))
    }

    /// Writes one line.
    pub fn line(&self, origin: &str, text: &str) {
        let dropped = self.dropped.get();
        if dropped > 0
            && self.lines.try_send(format!("{:>10} | {dropped} lines were dropped here", "stack")).is_ok()
        {
            self.dropped.set(0);
        }
        if self.lines.try_send(format!("{origin:>10} | {text}")).is_err() {
            self.dropped.set(self.dropped.get() + 1);
        }
    }

    /// Writes what `output` contains, line by line, until it ends.
    pub async fn follow(self, origin: &'static str, mut output: impl AsyncRead + Unpin) {
        let mut buffer = Vec::with_capacity(LINE_BYTES_MAX);
        let mut room = output_room();
        loop {
            let read = output.read(&mut room).await.unwrap_or(0);
            buffer.extend_from_slice(&room[..read]);
            while let Some(end) = line_end(&buffer, read == 0) {
                let line = String::from_utf8_lossy(&buffer[..end]);
                self.line(origin, line.trim_end_matches(['\n', '\r']));
                buffer.drain(..end);
            }
            if read == 0 {
                return;
            }
        }
    }
}

fn output_room() -> Box<[u8]> {
    vec![0; LINE_BYTES_MAX].into_boxed_slice()
}

/// The length of the first line in `buffer`: up to and including a newline, up to the longest line,
/// or up to the last byte when `last` is true.
fn line_end(buffer: &[u8], last: bool) -> Option<usize> {
    let newline = buffer.iter().take(LINE_BYTES_MAX).position(|&byte| byte == b'\n');
    match newline {
        Some(at) => Some(at + 1),
        None if buffer.len() >= LINE_BYTES_MAX => Some(LINE_BYTES_MAX),
        None if last && !buffer.is_empty() => Some(buffer.len()),
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{LINE_BYTES_MAX, LINES_MAX, Log};

    async fn lines_of(output: &[u8]) -> Vec<String> {
        let (log, mut receiver) = Log::new();
        log.follow("web", output).await;
        let mut lines = Vec::new();
        while let Some(line) = receiver.recv().await {
            lines.push(line);
        }
        lines
    }

    #[tokio::test]
    async fn every_line_bears_its_role() {
        let lines = lines_of(b"one\r\n\ntwo\nlast without newline").await;
        let texts = ["one", "", "two", "last without newline"];
        assert_eq!(lines, texts.map(|text| format!("       web | {text}")));
    }

    #[tokio::test]
    async fn endless_line_is_cut() {
        let lines = lines_of(&vec![b'x'; LINE_BYTES_MAX * 2 + 1]).await;
        assert_eq!(
            lines.iter().map(|line| line.len() - 13).collect::<Vec<_>>(),
            [LINE_BYTES_MAX, LINE_BYTES_MAX, 1]
        );
    }

    #[test]
    fn full_queue_drops_and_says_how_many() {
        let (log, mut receiver) = Log::new();
        (0..LINES_MAX + 5).for_each(|_| log.line("web", "x"));
        (0..LINES_MAX).for_each(|_| drop(receiver.try_recv().expect("is queued")));
        log.line("web", "y");
        assert_eq!(receiver.try_recv().as_deref(), Ok("     stack | 5 lines were dropped here"));
        assert_eq!(receiver.try_recv().as_deref(), Ok("       web | y"));
    }
}
