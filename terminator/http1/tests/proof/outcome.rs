//! The outcomes of one connection, in a form that the crate and the reference share.
//!
//! Owns plain data. Invariant: two servers agree on an input exactly when their lists of outcomes
//! are equal.

/// One request, or the refusal that ends the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// A complete request.
    Request(Box<Request>),
    /// An error response with this status; nothing behind it is read.
    Refused(u16),
}

/// A whole request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Request {
    /// The method.
    pub(crate) method: String,
    /// Path and query.
    pub(crate) target: String,
    /// The path.
    pub(crate) path: String,
    /// The authority of an absolute target and of CONNECT.
    pub(crate) authority: Option<String>,
    /// True for HTTP/1.0.
    pub(crate) is_1_0: bool,
    /// The fields of the head in order.
    pub(crate) fields: Vec<Field>,
    /// The body.
    pub(crate) body: Vec<u8>,
    /// The trailers of a chunked body, names in lower case.
    pub(crate) trailers: Vec<Vec<u8>>,
    /// True when the client waits for `100 Continue`.
    pub(crate) expects: bool,
    /// The protocols that the client offers to upgrade to.
    pub(crate) upgrade: Option<Vec<u8>>,
    /// True when the connection takes a further request.
    pub(crate) goes_on: bool,
}

/// A field of a head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Field {
    /// Its name in lower case.
    pub(crate) name: String,
    /// Its value.
    pub(crate) value: Vec<u8>,
    /// True when it is hop-by-hop.
    pub(crate) ends_here: bool,
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self::Request(request) = self else {
            let Self::Refused(status) = self else { return Ok(()) };
            return write!(f, "{status}");
        };
        write!(f, "{} {} path={}", request.method, request.target, request.path)?;
        if let Some(authority) = &request.authority {
            write!(f, " at={authority}")?;
        }
        for Field { name, value, ends_here } in &request.fields {
            let drops = if *ends_here { "-" } else { "" };
            write!(f, " [{drops}{name}:{}]", value.escape_ascii())?;
        }
        write!(f, " body={}", request.body.escape_ascii())?;
        for trailer in &request.trailers {
            write!(f, " trailer={}", trailer.escape_ascii())?;
        }
        if let Some(upgrade) = &request.upgrade {
            write!(f, " upgrade={}", upgrade.escape_ascii())?;
        }
        let flags = [(request.is_1_0, " 1.0"), (request.expects, " expects"), (!request.goes_on, " closes")];
        flags.iter().filter(|(set, _)| *set).try_for_each(|(_, word)| f.write_str(word))
    }
}

/// Outcomes, one a line, for the message of a failed test.
pub(crate) fn listed(outcomes: &[Outcome]) -> String {
    outcomes.iter().map(|outcome| format!("    {outcome}\n")).collect()
}
