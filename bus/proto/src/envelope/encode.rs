//! Writing a head: fields straight into the buffer that goes out.

use bytes::{BufMut, BytesMut};

/// Why a head or a message cannot be encoded. The caller is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// A name or value is longer than a 16-bit length can express.
    #[error(
        "a field has a name of {name_len} and a value of {value_len} bytes; the limit is {} bytes for each",
        u16::MAX
    )]
    Field {
        /// Bytes of the name.
        name_len: usize,
        /// Bytes of the value.
        value_len: usize,
    },
    /// The message is longer than the limit.
    #[error(
        "a message of {len} bytes is over the limit of {limit}; raise the message limit on both sides or send less"
    )]
    TooLarge {
        /// Bytes of the message.
        len: usize,
        /// The limit in force.
        limit: usize,
    },
}

/// Names up to this length are appended together with the field's lengths in one copy.
const JOINED_LEN_MAX: usize = 28;

/// Appends fields to a buffer. The first field that is too long is remembered and reported by
/// [`HeadWriter::finish`], so that callers need not check every field.
#[derive(Debug)]
pub struct HeadWriter<'a> {
    out: &'a mut BytesMut,
    start: usize,
    error: Option<EncodeError>,
}

impl<'a> HeadWriter<'a> {
    /// Appends to `out` after its present contents.
    pub fn new(out: &'a mut BytesMut) -> Self {
        let start = out.len();
        Self { out, start, error: None }
    }

    /// Appends one field. `name` is lower case.
    #[inline]
    pub fn field(&mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) {
        let (name, value) = (name.as_ref(), value.as_ref());
        let (Ok(name_len), Ok(value_len)) = (u16::try_from(name.len()), u16::try_from(value.len())) else {
            self.error.get_or_insert(EncodeError::Field { name_len: name.len(), value_len: value.len() });
            return;
        };
        self.out.reserve(4 + name.len() + value.len());
        let lens = (u32::from(name_len) << 16 | u32::from(value_len)).to_be_bytes();
        // When `name` is a constant, the compiler joins it with the space for the lengths.
        let mut first = [0; 4 + JOINED_LEN_MAX];
        if let Some(room) = first.get_mut(4..4 + name.len()) {
            room.copy_from_slice(name);
            first[..4].copy_from_slice(&lens);
            self.out.put_slice(&first[..4 + name.len()]);
        } else {
            self.out.put_slice(&lens);
            self.out.put_slice(name);
        }
        self.out.put_slice(value);
    }

    /// Appends one field whose value is the concatenation of `pieces`, without an intermediate
    /// buffer.
    pub fn field_pieces(&mut self, name: &str, pieces: &[&[u8]]) {
        let value_len = pieces.iter().map(|piece| piece.len()).sum();
        let (Ok(name_len), Ok(short_len)) = (u16::try_from(name.len()), u16::try_from(value_len)) else {
            self.error.get_or_insert(EncodeError::Field { name_len: name.len(), value_len });
            return;
        };
        self.out.reserve(4 + name.len() + value_len);
        self.out.put_u32(u32::from(name_len) << 16 | u32::from(short_len));
        self.out.put_slice(name.as_bytes());
        for piece in pieces {
            self.out.put_slice(piece);
        }
    }

    /// Appends fields that are already encoded, such as the head of a checked envelope.
    pub fn encoded(&mut self, fields: &[u8]) {
        self.out.extend_from_slice(fields);
    }

    /// Bytes written since [`HeadWriter::new`].
    ///
    /// # Errors
    /// [`EncodeError::Field`] for the first field that was too long. The buffer then holds the
    /// other fields.
    pub fn finish(self) -> Result<usize, EncodeError> {
        match self.error {
            Some(error) => Err(error),
            None => Ok(self.out.len() - self.start),
        }
    }
}
