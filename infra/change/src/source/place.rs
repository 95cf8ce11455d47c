//! The values of `--plan`: a directory, or an Unleash server as the origin of the toggles.
//!
//! Owns their spelling, and the token of Unleash's client API. Leaves which values go together to
//! `settings`, and connecting to `unleash`. Invariant: a token is in no `Debug` output and in no
//! error.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use http::Uri;
use http::uri::Scheme;

/// What `--plan unleash:URL` begins with.
const UNLEASH: &str = "unleash:";

/// Where a plan, or a part of it, is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// `DIR`: files.
    Directory(PathBuf),
    /// `unleash:URL`: toggles and segments from Unleash's client API.
    Unleash(UnleashUrl),
}

/// The URL of Unleash's API as its SDKs take it, such as `https://unleash.example/api`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnleashUrl(Uri);

/// A token of Unleash's client API, of the type `client` (Unleash 6: `backend`).
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_prefix(UNLEASH) {
            Some(url) => url.parse().map(Self::Unleash),
            None if text.is_empty() => Err("no place: expected a directory or unleash:URL".to_owned()),
            None if text.starts_with("http://") || text.starts_with("https://") => {
                Err("a URL: for Unleash write unleash:URL, for etcd use --etcd URL".to_owned())
            }
            None => Ok(Self::Directory(text.into())),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(path) => path.display().fmt(f),
            Self::Unleash(url) => write!(f, "{UNLEASH}{url}"),
        }
    }
}

impl FromStr for UnleashUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| {
            format!("no URL of Unleash ({why}): expected unleash:http[s]://HOST[:PORT][/PATH/api]")
        };
        // What is before the @ may be a password, and is not repeated.
        if text.contains('@') {
            return Err(wrong("it has a user; Unleash takes a token, --plan-token"));
        }
        let base = text.trim_end_matches('/');
        let base = if base.ends_with("/api") { base.to_owned() } else { format!("{base}/api") };
        let uri: Uri = base.parse().map_err(|_| wrong("it does not parse"))?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) {
            return Err(wrong("the scheme is neither http nor https"));
        }
        if uri.host().is_none_or(str::is_empty) || uri.query().is_some() {
            return Err(wrong("no host, or a query"));
        }
        Ok(Self(uri))
    }
}

impl UnleashUrl {
    pub(crate) fn is_tls(&self) -> bool {
        self.0.scheme() == Some(&Scheme::HTTPS)
    }

    /// The URL of a path of the API, such as `/client/features`.
    pub(crate) fn at(&self, path: &str) -> Uri {
        format!("{}{path}", self.0).parse().expect("the URL has no query, so a path can follow it")
    }
}

impl fmt::Display for UnleashUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Token {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text.is_empty() || text.bytes().any(|byte| !byte.is_ascii_graphic()) {
            return Err(
                "no token: expected PROJECT:ENVIRONMENT.SECRET as Unleash's console shows it".to_owned()
            );
        }
        Ok(Self(text.to_owned()))
    }
}

impl Token {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_with_and_without_api() {
        for text in ["unleash:http://u:4242", "unleash:http://u:4242/", "unleash:http://u:4242/api/"] {
            let Ok(Place::Unleash(url)) = text.parse() else { panic!("{text}") };
            assert_eq!(url.at("/client/features"), "http://u:4242/api/client/features", "{text}");
        }
        let Ok(Place::Unleash(url)) = "unleash:https://a.example/team/api".parse() else { panic!() };
        assert!(url.is_tls());
        assert_eq!(url.at("/client/features"), "https://a.example/team/api/client/features");
        assert_eq!("data/plan".parse(), Ok(Place::Directory("data/plan".into())));
    }

    #[test]
    fn what_is_no_place_is_refused_with_a_remedy_and_without_secrets() {
        for (text, said) in [
            ("", "a directory"),
            ("https://u", "unleash:URL"),
            ("unleash:u:4242", "expected unleash:http"),
            ("unleash:ftp://u", "scheme"),
            ("unleash:http://", "expected unleash:http"),
            ("unleash:http://u/?a=b", "expected unleash:http"),
            ("unleash:http://ann:hidden@u", "--plan-token"),
        ] {
            let error = text.parse::<Place>().expect_err(text);
            assert!(error.contains(said) && !error.contains("hidden"), "{text}: {error}");
        }
        assert!("a b".parse::<Token>().is_err() && " ".parse::<Token>().is_err());
        let token: Token = "default:production.s3cret\n".parse().expect("is a token");
        assert_eq!((format!("{token:?}"), token.as_str()), ("***".to_owned(), "default:production.s3cret"));
    }
}
