//! A strict parser of the responses that the crate writes: anything that RFC 9112 does not let a
//! server send is an error.
//!
//! Owns finding the end of each response from its bytes and its request alone, as a client does.
//! Uses no code of the crate.

/// Names and values of fields.
pub(crate) type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

/// A response, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The status.
    pub(crate) status: u16,
    /// The fields of the head in order.
    pub(crate) fields: Pairs,
    /// The body without its framing.
    pub(crate) body: Vec<u8>,
    /// The trailers of a chunked body.
    pub(crate) trailers: Pairs,
    /// True when the body ends where the connection closes.
    pub(crate) until_close: bool,
}

impl Answer {
    /// The values of the fields with this name.
    pub(crate) fn called(&self, name: &str) -> Vec<&[u8]> {
        let fields = self.fields.iter().filter(|(found, _)| found == name.as_bytes());
        fields.map(|(_, value)| &value[..]).collect()
    }

    /// True when the response says that it is the last one.
    pub(crate) fn says_close(&self) -> bool {
        self.called("connection") == [b"close"]
    }
}

/// Takes the response to a request off the front of `rest`, interim ones with it.
pub(crate) fn take(rest: &mut &[u8], is_head: bool) -> Result<Answer, String> {
    loop {
        let answer = take_one(rest, is_head)?;
        if answer.status != 100 {
            return Ok(answer);
        }
        if !answer.fields.is_empty() {
            return Err("fields of an interim response".to_owned());
        }
    }
}

fn take_one(rest: &mut &[u8], is_head: bool) -> Result<Answer, String> {
    let status = status(line(rest)?)?;
    let fields = fields(rest)?;
    let mut answer = Answer { status, fields, body: Vec::new(), trailers: Vec::new(), until_close: false };
    let (lengths, codings) = (answer.called("content-length"), answer.called("transfer-encoding"));
    let has_none = status < 200 || status == 204;
    if has_none && (!lengths.is_empty() || !codings.is_empty()) {
        return Err(format!("a {status} that frames a body"));
    }
    let length = match (&lengths[..], &codings[..]) {
        ([], []) | ([], [b"chunked"]) => None,
        ([length], []) => Some(decimal(length)?),
        _ => return Err(format!("framed twice: {lengths:?} {codings:?}")),
    };
    let is_chunked = !codings.is_empty();
    if is_head || has_none || status == 304 {
        return Ok(answer);
    }
    if let Some(length) = length {
        answer.body = bytes(rest, length)?.to_vec();
    } else if is_chunked {
        loop {
            let size = hexadecimal(line(rest)?)?;
            if size == 0 {
                answer.trailers = self::fields(rest)?;
                break;
            }
            answer.body.extend_from_slice(bytes(rest, size)?);
            if bytes(rest, 2)? != b"\r\n" {
                return Err("a chunk that is longer than it says".to_owned());
            }
        }
    } else {
        answer.until_close = true;
        answer.body = std::mem::take(rest).to_vec();
    }
    Ok(answer)
}

fn line<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], String> {
    let at = rest.iter().position(|byte| *byte == b'\n').ok_or("a line that does not end")?;
    let line = bytes(rest, at + 1)?;
    let line = line.strip_suffix(b"\r\n").ok_or("a line that ends with a bare LF")?;
    match line.iter().find(|byte| !matches!(byte, b'\t' | 0x20..=0x7e | 0x80..)) {
        Some(byte) => Err(format!("a line with byte {byte:#x}: {}", line.escape_ascii())),
        None => Ok(line),
    }
}

fn bytes<'a>(rest: &mut &'a [u8], len: usize) -> Result<&'a [u8], String> {
    let (taken, behind) =
        rest.split_at_checked(len).ok_or(format!("{len} bytes wanted of {}", rest.len()))?;
    *rest = behind;
    Ok(taken)
}

fn status(line: &[u8]) -> Result<u16, String> {
    let fault = || format!("not a status line: {}", line.escape_ascii());
    let behind = line.strip_prefix(b"HTTP/1.1 ").ok_or_else(fault)?;
    let [a @ b'1'..=b'5', b @ b'0'..=b'9', c @ b'0'..=b'9', b' ', ..] = behind else { return Err(fault()) };
    Ok([a, b, c].iter().fold(0, |sum, digit| sum * 10 + u16::from(**digit - b'0')))
}

fn fields(rest: &mut &[u8]) -> Result<Pairs, String> {
    let mut fields = Vec::new();
    loop {
        let line = line(rest)?;
        if line.is_empty() {
            return Ok(fields);
        }
        let fault = || format!("not a field: {}", line.escape_ascii());
        let colon = line.windows(2).position(|bytes| bytes == b": ").ok_or_else(fault)?;
        let (name, value) = (&line[..colon], &line[colon + 2..]);
        let is_tchar =
            |byte: &u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9') || b"!#$%&'*+-.^_`|~".contains(byte);
        if name.is_empty() || !name.iter().all(is_tchar) {
            return Err(fault());
        }
        fields.push((name.to_vec(), value.to_vec()));
    }
}

fn decimal(digits: &[u8]) -> Result<usize, String> {
    let text = std::str::from_utf8(digits).map_err(|error| error.to_string())?;
    let is_plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| is_plain).ok_or(format!("not a length: {text}"))
}

fn hexadecimal(digits: &[u8]) -> Result<usize, String> {
    let text = std::str::from_utf8(digits).map_err(|error| error.to_string())?;
    let is_plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    usize::from_str_radix(text, 16).ok().filter(|_| is_plain).ok_or(format!("not a size: {text}"))
}
