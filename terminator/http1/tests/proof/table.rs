//! Reads `cases.txt`, whose head says what its lines mean.

use crate::outcome::{Outcome, Request};

/// One line of the table.
pub(crate) struct Case {
    /// The name, unique.
    pub(crate) name: String,
    /// What is expected.
    pub(crate) verdict: Verdict,
    /// What the client sends.
    pub(crate) bytes: Vec<u8>,
}

/// The expected outcomes, and what comes behind them.
pub(crate) struct Verdict {
    /// The requests in order.
    pub(crate) requests: Vec<Expected>,
    /// Status and error of the refusal after them.
    pub(crate) refusal: Option<(u16, String)>,
    /// True when the input ends within a request.
    pub(crate) is_cut_off: bool,
}

/// A request, and what the table says of its fields.
pub(crate) struct Expected {
    request: Request,
    fields: Vec<(String, Vec<u8>)>,
    drops: Option<Vec<String>>,
}

/// All cases.
pub(crate) fn cases() -> Vec<Case> {
    let text = include_str!("../cases.txt");
    let mut lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    let mut cases = Vec::new();
    while let (Some(head), Some(bytes)) = (lines.next(), lines.next()) {
        let [name, section, verdict] = head.splitn(3, " |").collect::<Vec<_>>()[..] else {
            panic!("not NAME | SECTION | VERDICT: {head}")
        };
        assert!(section.contains('-'), "{name}: {section} is no RFC and section");
        let bytes = bytes.strip_prefix("    ").unwrap_or_else(|| panic!("{name}: no bytes: {bytes}"));
        cases.push(Case { name: name.to_owned(), verdict: verdict_of(verdict), bytes: unescaped(bytes) });
    }
    cases
}

fn verdict_of(text: &str) -> Verdict {
    let mut verdict = Verdict { requests: Vec::new(), refusal: None, is_cut_off: false };
    for item in text.split(" + ").map(str::trim).filter(|item| !item.is_empty()) {
        let words: Vec<&str> = item.split(' ').collect();
        match words[..] {
            ["more", part @ ("head" | "body")] => {
                verdict.is_cut_off = true;
                let error = if part == "head" { "HeadTruncated" } else { "BodyTruncated" };
                verdict.refusal = Some((400, error.to_owned()));
            }
            [status, error] if status.parse::<u16>().is_ok_and(|status| status >= 400) => {
                verdict.refusal = Some((status.parse().expect("it was parsed"), error.to_owned()));
            }
            [method, target, ref words @ ..] => verdict.requests.push(expected(method, target, words)),
            _ => panic!("not a verdict: {item}"),
        }
    }
    verdict
}

fn expected(method: &str, target: &str, words: &[&str]) -> Expected {
    let text = |text: &str| String::from_utf8(unescaped(text)).expect("ASCII");
    let target = if target == "-" { String::new() } else { text(target) };
    let path = target.split('?').next().unwrap_or_default().to_owned();
    let method = method.to_owned();
    let request = Request { method, target, path, goes_on: true, ..Request::default() };
    let mut expected = Expected { request, fields: Vec::new(), drops: None };
    let request = &mut expected.request;
    for word in words {
        match word.split_once('=').unwrap_or((word, "")) {
            ("path", value) => request.path = text(value),
            ("at", value) => request.authority = Some(text(value)),
            ("body", value) => request.body = unescaped(value),
            ("trailer", value) => request.trailers.push(unescaped(value)),
            ("upgrade", value) => request.upgrade = Some(unescaped(value)),
            ("field", value) => {
                let (name, value) = value.split_once(':').expect("NAME:VALUE");
                // The first colon ends the name.
                expected.fields.push((text(name), unescaped(value)));
            }
            ("drops", value) => expected.drops = Some(value.split(',').map(str::to_owned).collect()),
            ("1.0", "") => request.is_1_0 = true,
            ("expects", "") => request.expects = true,
            ("closes", "") => request.goes_on = false,
            _ => panic!("not a word of a verdict: {word}"),
        }
    }
    expected
}

impl Verdict {
    /// Describes the first difference from the outcomes of a connection, if there is one.
    pub(crate) fn differs(&self, outcomes: &[Outcome]) -> Option<String> {
        let refusal = self.refusal.as_ref().map(|(status, _)| Outcome::Refused(*status));
        if outcomes.len() != self.requests.len() + usize::from(refusal.is_some()) {
            return Some(format!("{} requests expected", self.requests.len()));
        }
        let pairs = self.requests.iter().zip(outcomes);
        let differing = pairs.filter_map(|(expected, outcome)| expected.differs(outcome));
        let end =
            refusal.filter(|refusal| outcomes.last() != Some(refusal)).map(|refusal| refusal.to_string());
        differing.chain(end).next().map(|expected| format!("expected {expected}"))
    }

    /// True when a further request behind the case's bytes would be read.
    pub(crate) fn goes_on(&self) -> bool {
        self.refusal.is_none() && self.requests.iter().all(|expected| expected.request.goes_on)
    }
}

impl Expected {
    fn differs(&self, outcome: &Outcome) -> Option<String> {
        let Outcome::Request(found) = outcome else { return Some("a request".to_owned()) };
        let mut expected = self.request.clone();
        expected.fields.clone_from(&found.fields);
        if expected != **found {
            return Some(Outcome::Request(Box::new(expected)).to_string());
        }
        let has = |(name, value): &(String, Vec<u8>)| {
            found.fields.iter().any(|field| field.name == *name && field.value == *value)
        };
        if let Some((name, value)) = self.fields.iter().find(|field| !has(field)) {
            return Some(format!("field {name}: {}", value.escape_ascii()));
        }
        let dropped = found.fields.iter().filter(|field| field.ends_here).map(|field| &field.name);
        let as_listed = self.drops.as_ref().is_none_or(|drops| dropped.eq(drops));
        (!as_listed).then(|| format!("drops={}", self.drops.clone().unwrap_or_default().join(",")))
    }
}

/// The bytes that `text` stands for.
pub(crate) fn unescaped(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find(['\\', '{']) {
        bytes.extend_from_slice(&rest.as_bytes()[..at]);
        if rest[at..].starts_with('{') {
            let (repeated, behind) = rest[at + 1..].split_once('}').expect("a brace is closed");
            let (unit, count) = repeated.rsplit_once('*').expect("TEXT*N");
            bytes.extend(unescaped(unit).repeat(count.parse().expect("a number")));
            rest = behind;
            continue;
        }
        let mut len = 2;
        bytes.push(match rest.as_bytes()[at + 1] {
            b'r' => b'\r',
            b'n' => b'\n',
            b't' => b'\t',
            b'0' => 0,
            b'\\' => b'\\',
            b'x' => {
                len = 4;
                u8::from_str_radix(&rest[at + 2..at + 4], 16).expect("two hexadecimal digits")
            }
            other => panic!("no escape: \\{}", char::from(other)),
        });
        rest = &rest[at + len..];
    }
    bytes.extend_from_slice(rest.as_bytes());
    bytes
}
