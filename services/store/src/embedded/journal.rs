//! What of the engine's journals will not be replayed, and keeping a copy of it.
//!
//! fjall replays a journal up to its last whole batch and cuts the rest off, whether the rest is a
//! commit that a crash interrupted or acknowledged commits behind damage. This module reads the
//! journals first. It knows fjall 3's format (`journal/entry.rs`): a batch is a start, its items
//! and an end; behind the last batch come the zeros that were allocated in advance.
//!
//! Invariant: the engine is opened only after the rest of every journal is in a file of its own and
//! durable.

use std::{
    fs::{self, File},
    io::{self, BufRead, BufReader, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

/// Ends every batch.
const MAGIC: &[u8; 4] = b"FJL\x03";

/// Read at once while a rest is searched for its first and last bytes.
const CHUNK_BYTES: usize = 64 * 1024;

/// Written at once by the file system.
const PAGE_BYTES: u64 = 4096;

/// The rest of a journal that can't be replayed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Torn {
    /// The journal.
    pub(crate) journal: PathBuf,
    /// Where the rest begins in it.
    pub(crate) offset: u64,
    /// Length of the rest, without the zeros that were allocated in advance.
    pub(crate) len: u64,
    /// The copy of the rest.
    pub(crate) kept: PathBuf,
}

/// Copies the rest of each journal in `engine` into `kept`, which is created when it is needed.
pub(crate) fn keep_torn(engine: &Path, kept: &Path) -> io::Result<Vec<Torn>> {
    let mut torn = Vec::new();
    for entry in fs::read_dir(engine)? {
        let journal = entry?.path();
        if journal.extension().is_none_or(|extension| extension != "jnl") {
            continue;
        }
        let offset = replayed(&journal)?;
        let len = rest_len(&journal, offset)?;
        if len > 0 {
            let kept = copy_rest(&journal, offset, len, kept)?;
            torn.push(Torn { journal, offset, len, kept });
        }
    }
    Ok(torn)
}

/// The end of the last whole batch of a journal.
pub(crate) fn replayed(journal: &Path) -> io::Result<u64> {
    let mut entries = Entries { reader: BufReader::new(File::open(journal)?), at: 0 };
    let (mut end, mut items_left) = (0, None);
    loop {
        match (entries.next()?, items_left) {
            (Some(Entry::Start { items }), None) => items_left = Some(items),
            (Some(Entry::Item), Some(left)) if left > 0 => items_left = Some(left - 1),
            (Some(Entry::End), Some(0)) => (end, items_left) = (entries.at, None),
            _ => return Ok(end),
        }
    }
}

enum Entry {
    Start { items: u32 },
    Item,
    End,
}

struct Entries {
    reader: BufReader<File>,
    /// Bytes read.
    at: u64,
}

impl Entries {
    /// The next entry; `None` when what follows is not one.
    fn next(&mut self) -> io::Result<Option<Entry>> {
        let entry = match self.read::<1>()? {
            Some([1]) => self.read::<12>()?.map(|start| {
                let items = start.first_chunk().copied().expect("it has 12 bytes");
                Entry::Start { items: u32::from_le_bytes(items) }
            }),
            Some([2]) => self.item()?,
            Some([3]) => self.read::<12>()?.filter(|end| end.ends_with(MAGIC)).map(|_| Entry::End),
            // A keyspace that was cleared counts as an item of its batch.
            Some([4]) => self.read::<8>()?.map(|_| Entry::Item),
            _ => None,
        };
        Ok(entry)
    }

    /// Type of the value, compression, keyspace (8), length of the key (2), of the value (4) and of
    /// the value as stored (4), then both.
    fn item(&mut self) -> io::Result<Option<Entry>> {
        let Some(head) = self.read::<20>()? else { return Ok(None) };
        let key_len = u16::from_le_bytes([head[10], head[11]]);
        let value_len = u32::from_le_bytes([head[16], head[17], head[18], head[19]]);
        let skipped = self.skip(u64::from(key_len) + u64::from(value_len))?;
        Ok(skipped.then_some(Entry::Item))
    }

    fn read<const LEN: usize>(&mut self) -> io::Result<Option<[u8; LEN]>> {
        let mut bytes = [0; LEN];
        match self.reader.read_exact(&mut bytes) {
            Ok(()) => {
                self.at += LEN as u64;
                Ok(Some(bytes))
            }
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// False when the file ends before.
    fn skip(&mut self, len: u64) -> io::Result<bool> {
        let mut left = len;
        while left > 0 {
            let buffered = self.reader.fill_buf()?.len();
            if buffered == 0 {
                return Ok(false);
            }
            let taken = buffered.min(usize::try_from(left).unwrap_or(usize::MAX));
            self.reader.consume(taken);
            left -= taken as u64;
        }
        self.at += len;
        Ok(true)
    }
}

/// Length of the rest that begins at `offset`: up to the end of the page of the last byte that is
/// not zero, because zeros may also be part of an entry.
fn rest_len(journal: &Path, offset: u64) -> io::Result<u64> {
    let end = last_written(journal, offset)?;
    if end == offset {
        return Ok(0);
    }
    Ok(end.next_multiple_of(PAGE_BYTES).min(fs::metadata(journal)?.len()) - offset)
}

/// The position behind the last byte that is not zero; `offset` when there is none.
fn last_written(journal: &Path, offset: u64) -> io::Result<u64> {
    let mut file = File::open(journal)?;
    let (mut at, mut end) = (offset, offset);
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        // Most of the zeros are a hole, which need not be read.
        match rustix::fs::seek(&file, rustix::fs::SeekFrom::Data(at)) {
            Ok(data) => at = data,
            Err(rustix::io::Errno::NXIO) => return Ok(end),
            Err(_) => _ = file.seek(SeekFrom::Start(at))?,
        }
        let read = file.read(&mut chunk)?;
        if read == 0 {
            return Ok(end);
        }
        if let Some(last) = chunk[..read].iter().rposition(|&byte| byte != 0) {
            end = at + last as u64 + 1;
        }
        at += read as u64;
    }
}

fn copy_rest(journal: &Path, offset: u64, len: u64, kept: &Path) -> io::Result<PathBuf> {
    fs::create_dir_all(kept)?;
    let name = journal.file_name().unwrap_or_default().to_string_lossy();
    let (file, path) = create_new(kept, &format!("{name}-{offset}"))?;
    let mut rest = File::open(journal)?;
    rest.seek(SeekFrom::Start(offset))?;
    io::copy(&mut rest.take(len), &mut &file)?;
    file.sync_all()?;
    File::open(kept)?.sync_all()?;
    Ok(path)
}

/// A new file; a number is added to its name when there is one already.
fn create_new(dir: &Path, name: &str) -> io::Result<(File, PathBuf)> {
    for number in 0.. {
        let path = if number == 0 { dir.join(name) } else { dir.join(format!("{name}.{number}")) };
        match File::create_new(&path) {
            Ok(file) => return Ok((file, path)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    unreachable!("the numbers do not end")
}
