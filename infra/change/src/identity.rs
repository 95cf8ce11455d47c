//! The identity of a client: the userId and the sessionId of a request, and their pseudonyms in
//! logs.
//!
//! Owns the settings that say where an identity is found, reading one cookie, session cookies, and
//! the pseudonyms of the exposure log. Leaves header maps to the terminator, which passes the
//! values in, and what follows from an identity to [`crate::toggle`]. Invariant: an identity is
//! UTF-8 of 1 to [`ID_LEN_MAX`] bytes.

use std::fmt;
use std::str::FromStr;

use siphasher::sip128::SipHasher24;

/// Longest identity, in bytes. A longer one counts as unknown: it would cost time in every hash.
pub const ID_LEN_MAX: usize = 256;

/// How long a browser keeps the session cookie, in seconds: one year.
const SESSION_SECONDS: u32 = 365 * 24 * 3600;

/// Where the userId of a request is: the setting `header:NAME` or `cookie:NAME`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The value of this header, in lower case.
    Header(String),
    /// The value of this cookie.
    Cookie(String),
}

/// The setting of a [`Source`], a [`SessionCookie`] or a [`Key`] that cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingError {
    /// The source is neither a header nor a cookie.
    #[error("{0:?} is no source of an identity: give header:NAME or cookie:NAME")]
    Source(String),
    /// The name is empty or has characters that no name has.
    #[error("{0:?} cannot be the name of a header or cookie: use letters, digits and any of !#$%&'*+-.^_`|~")]
    Name(String),
    /// A cookie is not read as a header.
    #[error("header:cookie is all cookies of a client: give cookie:NAME for one of them")]
    AllCookies,
    /// The key has another length or other characters.
    #[error("a key of {0} characters: give 32 hexadecimal digits, for example from `openssl rand -hex 16`")]
    Key(usize),
}

impl FromStr for Source {
    type Err = SettingError;

    fn from_str(text: &str) -> Result<Self, SettingError> {
        match text.split_once(':') {
            Some(("header", name)) => match token(name)?.to_ascii_lowercase() {
                name if name == "cookie" => Err(SettingError::AllCookies),
                name => Ok(Self::Header(name)),
            },
            Some(("cookie", name)) => Ok(Self::Cookie(token(name)?.to_owned())),
            _ => Err(SettingError::Source(text.to_owned())),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header(name) => write!(f, "header:{name}"),
            Self::Cookie(name) => write!(f, "cookie:{name}"),
        }
    }
}

impl Source {
    /// The header whose values [`find`](Self::find) reads, in lower case.
    #[must_use]
    pub fn header(&self) -> &str {
        match self {
            Self::Header(name) => name,
            Self::Cookie(_) => "cookie",
        }
    }

    /// The identity in the values of that header, in the order in which they came. `None` if the
    /// request has no identity, or an invalid one (see [`ID_LEN_MAX`]).
    pub fn find<'a>(&self, values: impl IntoIterator<Item = &'a [u8]>) -> Option<&'a str> {
        match self {
            Self::Header(_) => values.into_iter().next().and_then(|value| allowed(value.trim_ascii())),
            Self::Cookie(name) => values.into_iter().find_map(|value| cookie(value, name)).and_then(allowed),
        }
    }
}

/// The value of the first cookie of this name in the value of a header `cookie`.
///
/// Reads as RFC 6265 says: `;` separates wherever it is, also between quotes, so that no cookie can
/// hide others from us that the next server sees. Quotes around the whole value are not part of it.
#[must_use]
pub fn cookie<'a>(header: &'a [u8], name: &str) -> Option<&'a [u8]> {
    header.split(|byte| *byte == b';').find_map(|pair| {
        let at = pair.iter().position(|byte| *byte == b'=')?;
        let (found, value) = (pair[..at].trim_ascii(), pair[at + 1..].trim_ascii());
        let unquoted = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\""));
        (found == name.as_bytes()).then_some(unquoted.unwrap_or(value))
    })
}

/// The cookie that the edge sets on clients that have none, so that their sessions are sticky.
///
/// Its value is no secret: it chooses variants and gives no rights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionCookie {
    name: String,
}

impl FromStr for SessionCookie {
    type Err = SettingError;

    fn from_str(name: &str) -> Result<Self, SettingError> {
        Ok(Self { name: token(name)?.to_owned() })
    }
}

impl fmt::Display for SessionCookie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl SessionCookie {
    /// The sessionId in the values of the headers `cookie`.
    pub fn find<'a>(&self, values: impl IntoIterator<Item = &'a [u8]>) -> Option<&'a str> {
        values.into_iter().find_map(|value| cookie(value, &self.name)).and_then(allowed)
    }

    /// A new sessionId: 32 hexadecimal digits.
    #[must_use]
    pub fn new_id(random: &mut fastrand::Rng) -> String {
        format!("{:032x}", random.u128(..))
    }

    /// The value of a header `set-cookie`. `secure` says that the client came by https; names with
    /// the prefixes `__Host-` and `__Secure-` are always set so (RFC 6265bis, section 4.1.3).
    #[must_use]
    pub fn set(&self, id: &str, secure: bool) -> String {
        let name = &self.name;
        let secure = secure || name.starts_with("__Host-") || name.starts_with("__Secure-");
        let secure = if secure { "; Secure" } else { "" };
        format!("{name}={id}; Path=/; Max-Age={SESSION_SECONDS}; HttpOnly; SameSite=Lax{secure}")
    }
}

/// The key of the pseudonyms: who has the log and not the key cannot test which user is meant.
///
/// Terminators with the same key give an identity the same pseudonym.
#[derive(Clone)]
pub struct Key([u8; 16]);

impl Key {
    /// A key of random bytes.
    #[must_use]
    pub fn new(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The name of an identity in logs: 32 hexadecimal digits of keyed SipHash-2-4-128, a
    /// pseudo-random function (Aumasson and Bernstein, 2012).
    #[must_use]
    pub fn pseudonym(&self, id: &str) -> String {
        format!("{:032x}", SipHasher24::new_with_key(&self.0).hash(id.as_bytes()).as_u128())
    }
}

impl FromStr for Key {
    type Err = SettingError;

    fn from_str(text: &str) -> Result<Self, SettingError> {
        let is_key = text.len() == 32 && text.bytes().all(|digit| digit.is_ascii_hexdigit());
        let key = is_key.then(|| u128::from_str_radix(text, 16).expect("32 hexadecimal digits"));
        key.map(|key| Self(key.to_be_bytes())).ok_or(SettingError::Key(text.chars().count()))
    }
}

/// Without the key.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

fn allowed(id: &[u8]) -> Option<&str> {
    let id = std::str::from_utf8(id).ok()?;
    (1..=ID_LEN_MAX).contains(&id.len()).then_some(id)
}

/// `name` if it is a token (RFC 9110, section 5.6.2), as names of headers and cookies are.
fn token(name: &str) -> Result<&str, SettingError> {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if !name.is_empty() && name.bytes().all(is_token) {
        return Ok(name);
    }
    Err(SettingError::Name(name.to_owned()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn source(text: &str) -> Source {
        text.parse().expect("is a source")
    }

    #[test]
    fn setting_names_a_header_or_a_cookie() {
        assert_eq!(source("header:X-User-Id"), Source::Header("x-user-id".to_owned()));
        assert_eq!(source("cookie:Sid"), Source::Cookie("Sid".to_owned()));
        assert_eq!(source("cookie:Sid").to_string(), "cookie:Sid");
        for (text, part) in [
            ("x-user-id", "\"x-user-id\" is no source of an identity: give header:NAME or cookie:NAME"),
            ("query:user", "is no source"),
            ("header:", "\"\" cannot be the name"),
            ("cookie:a=b", "\"a=b\" cannot be the name"),
            ("header:Cookie", "give cookie:NAME"),
        ] {
            let error = text.parse::<Source>().expect_err("is refused").to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn one_cookie_is_found_among_others() {
        let header: &[u8] = b"a=1; user=ann@example.org;b=2; user=bob; xuser=eve";
        assert_eq!(cookie(header, "user"), Some(&b"ann@example.org"[..]));
        assert_eq!(cookie(header, "b"), Some(&b"2"[..]));
        assert_eq!(cookie(header, "c"), None);
        assert_eq!(cookie(header, "USER"), None, "names of cookies have case");
        assert_eq!(source("cookie:b").find([&b"a=1"[..], b"b=2"]), Some("2"), "HTTP/2 splits the header");
    }

    #[test]
    fn quotes_around_a_value_are_not_part_of_it_and_hide_no_separator() {
        assert_eq!(cookie(b"u=\"ann\"; v=1", "u"), Some(&b"ann"[..]));
        assert_eq!(cookie(b"u=\"\"", "u"), Some(&b""[..]));
        assert_eq!(cookie(b"u=\"", "u"), Some(&b"\""[..]));
        assert_eq!(cookie(b"u=a\"b\"", "u"), Some(&b"a\"b\""[..]));
        let sandwich = b"u=\"ann; v=1; w=\"";
        assert_eq!(cookie(sandwich, "u"), Some(&b"\"ann"[..]));
        assert_eq!(cookie(sandwich, "v"), Some(&b"1"[..]));
    }

    #[test]
    fn empty_oversized_or_binary_identity_is_unknown() {
        let header = source("header:x-user-id");
        assert_eq!(header.find([&b" ann "[..]]), Some("ann"));
        assert_eq!(header.find([]), None);
        for value in [&b""[..], b"  ", b"\xff\xfe", &[b'a'; ID_LEN_MAX + 1]] {
            assert_eq!(header.find([value]), None, "{value:?}");
        }
        assert!(header.find([&[b'a'; ID_LEN_MAX][..]]).is_some());
    }

    #[test]
    fn session_cookie_that_was_set_is_found_again() {
        let session: SessionCookie = "sid".parse().expect("is a name");
        let id = SessionCookie::new_id(&mut fastrand::Rng::with_seed(1));
        let set = session.set(&id, false);
        assert_eq!(set, format!("sid={id}; Path=/; Max-Age=31536000; HttpOnly; SameSite=Lax"));
        let sent = set.split(';').next().expect("a pair").as_bytes();
        assert_eq!(session.find([sent]), Some(&*id));
        assert!(session.set(&id, true).ends_with("; Secure"));
        let host: SessionCookie = "__Host-sid".parse().expect("is a name");
        assert!(host.set(&id, false).ends_with("; Secure"));
        assert_eq!("s id".parse::<SessionCookie>(), Err(SettingError::Name("s id".to_owned())));
    }

    /// The first vector of the reference implementation (`vectors.h`) with 128 bits, key 00..0f and
    /// an empty input: a3817f04ba25a8e66df67214c7550293, read as little-endian.
    #[test]
    fn pseudonym_is_sip_hash_and_needs_the_key() {
        let key: Key = "000102030405060708090a0b0c0d0e0f".parse().expect("is a key");
        let expected = u128::from_le_bytes(0xa381_7f04_ba25_a8e6_6df6_7214_c755_0293_u128.to_be_bytes());
        assert_eq!(key.pseudonym(""), format!("{expected:032x}"));
        assert_ne!(key.pseudonym("ann"), Key::new([7; 16]).pseudonym("ann"));
        assert_eq!(format!("{key:?}"), "Key(..)");
        for text in ["", "0001", "+00102030405060708090a0b0c0d0e0f", "g00102030405060708090a0b0c0d0e0f"] {
            let error = text.parse::<Key>().expect_err("is refused").to_string();
            assert!(error.contains("32 hexadecimal digits") && !error.contains("0203"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn no_header_makes_reading_a_cookie_panic(header in proptest::collection::vec(any::<u8>(), 0..64)) {
            let found = cookie(&header, "u");
            prop_assert!(found.is_none_or(|value| !value.contains(&b';')));
        }
    }
}
