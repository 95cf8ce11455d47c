//! Rules about which services may claim which routes on one listener.
//!
//! The bus accepts what a hello says. Where untrusted peers may connect, such as on a port for
//! guests, [`Claims`] decides which of a hello's routes are accepted. Without a rule every claim is
//! accepted.

use std::fmt;
use std::str::FromStr;

use crate::hello::{HelloError, Pattern};

/// The rules of one listener.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claims {
    rules: Vec<Rule>,
}

/// `SERVICE=ROUTE,...`: the routes that a service may claim. `*` means any service, or any route. A
/// route that begins with `!` is an exception.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// `None` means any service.
    service: Option<String>,
    allowed: Vec<Scope>,
    excepted: Vec<Scope>,
}

/// A set of patterns.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Scope {
    All,
    /// All patterns that match no method and path beyond those that this pattern matches.
    Within(Pattern),
}

impl Claims {
    /// The rules of a listener. Without a rule every claim is accepted.
    #[must_use]
    pub const fn new(rules: Vec<Rule>) -> Self {
        Self { rules }
    }

    /// True when there is no rule.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// True when `service` may claim `pattern`: some rule for this service, or for any service,
    /// allows it.
    #[must_use]
    pub fn allow(&self, service: &str, pattern: &Pattern) -> bool {
        let concerns = |rule: &&Rule| rule.service.as_deref().is_none_or(|named| named == service);
        self.is_empty() || self.rules.iter().filter(concerns).any(|rule| rule.allows(pattern))
    }
}

impl Rule {
    fn allows(&self, pattern: &Pattern) -> bool {
        let covers = |scope: &Scope| match scope {
            Scope::All => true,
            Scope::Within(wide) => is_within(pattern, wide),
        };
        self.allowed.iter().any(covers) && !self.excepted.iter().any(covers)
    }
}

/// True when everything that `narrow` matches is matched by `wide`.
fn is_within(narrow: &Pattern, wide: &Pattern) -> bool {
    if wide.method.is_some() && wide.method != narrow.method {
        return false;
    }
    let (mut narrow, mut wide) = (narrow.path.split('/').skip(1), wide.path.split('/').skip(1));
    loop {
        match (narrow.next(), wide.next()) {
            (None, None) => return true,
            // `{*rest}` and `{name}` match no empty segment, so `/a/` is not within `/a/{*rest}`.
            (Some(segment), Some(rest)) if rest.starts_with("{*") => {
                return !segment.is_empty() || narrow.next().is_some();
            }
            (Some(segment), Some(one)) if one.starts_with('{') => {
                if segment.is_empty() || segment.starts_with("{*") {
                    return false;
                }
            }
            (Some(segment), Some(literal)) if segment == literal => {}
            _ => return false,
        }
    }
}

impl FromStr for Rule {
    type Err = RuleError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (service, routes) = text.split_once('=').ok_or(RuleError::Form)?;
        let service = match service.trim() {
            "" => return Err(RuleError::Form),
            "*" => None,
            name => Some(name.to_owned()),
        };
        let mut rule = Self { service, allowed: Vec::new(), excepted: Vec::new() };
        for route in routes.split(',').map(str::trim) {
            match route.strip_prefix('!') {
                Some(route) => rule.excepted.push(route.trim().parse()?),
                None => rule.allowed.push(route.parse()?),
            }
        }
        if rule.allowed.is_empty() { Err(RuleError::NothingAllowed) } else { Ok(rule) }
    }
}

impl FromStr for Scope {
    type Err = HelloError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "*" { Ok(Self::All) } else { text.parse().map(Self::Within) }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}=", self.service.as_deref().unwrap_or("*"))?;
        let allowed = self.allowed.iter().map(|scope| ("", scope));
        for (at, (sign, scope)) in allowed.chain(self.excepted.iter().map(|scope| ("!", scope))).enumerate() {
            let comma = if at == 0 { "" } else { "," };
            match scope {
                Scope::All => write!(f, "{comma}{sign}*")?,
                Scope::Within(pattern) => write!(f, "{comma}{sign}{pattern}")?,
            }
        }
        Ok(())
    }
}

/// Why a text is not a rule. The caller is at fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// There is no `=`, or nothing in front of it.
    #[error("write SERVICE=ROUTE,... such as 'hello=GET /hello/{{name}}' or '*=*,!* /profiles/{{*rest}}'")]
    Form,
    /// The rule has only exceptions.
    #[error("the rule has only exceptions; name an allowed route first, such as '*=*,!GET /'")]
    NothingAllowed,
    /// A route is not a pattern.
    #[error(transparent)]
    Route(#[from] HelloError),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims(rules: &[&str]) -> Claims {
        Claims::new(rules.iter().map(|rule| rule.parse().unwrap()).collect())
    }

    fn allow(claims: &Claims, service: &str, pattern: &str) -> bool {
        claims.allow(service, &pattern.parse().unwrap())
    }

    #[test]
    fn without_a_rule_everything_may_be_claimed() {
        assert!(allow(&Claims::default(), "any", "* /{*rest}"));
    }

    #[test]
    fn a_claim_must_be_within_the_routes_allowed_to_its_service() {
        let claims = claims(&["hello=GET /hello/{name},* /h/{*rest}", "shop=* /shop/{*rest}"]);
        for (service, pattern, allowed) in [
            ("hello", "GET /hello/{name}", true),
            ("hello", "GET /hello/{other}", true),
            ("hello", "GET /hello/1", true),
            ("hello", "GET /hello/", false),
            ("hello", "GET /hello", false),
            ("hello", "GET /hello/{*rest}", false),
            ("hello", "GET /hello/1/2", false),
            ("hello", "GET /{any}/1", false),
            ("hello", "POST /hello/1", false),
            ("hello", "* /hello/1", false),
            ("hello", "POST /h/1/{x}/{*rest}", true),
            ("hello", "* /h/{*rest}", true),
            ("hello", "* /h", false),
            ("hello", "* /h/", false),
            ("hello", "* /h//", true),
            ("hello", "GET /shop/1", false),
            ("shop", "GET /shop/1", true),
            ("other", "GET /hello/1", false),
        ] {
            assert_eq!(allow(&claims, service, pattern), allowed, "{service} {pattern}");
        }
    }

    #[test]
    fn an_exception_forbids_the_routes_within_it() {
        let claims = claims(&["*=*,!* /profiles/{*rest},!GET /", "profile=* /profiles/{*rest}"]);
        for (service, pattern, allowed) in [
            ("guest", "GET /guest", true),
            ("guest", "GET /profiles/1", false),
            ("guest", "* /profiles/{id}", false),
            ("guest", "GET /", false),
            ("guest", "POST /", true),
            // Less specific than the routes of `profile`, so it takes nothing from them.
            ("guest", "GET /{*rest}", true),
            ("profile", "GET /profiles/{id}", true),
        ] {
            assert_eq!(allow(&claims, service, pattern), allowed, "{service} {pattern}");
        }
    }

    #[test]
    fn rules_survive_a_round_trip_and_invalid_rules_are_errors() {
        for text in ["a=GET /a,* /b/{*rest}", "*=*,!GET /x"] {
            assert_eq!(text.parse::<Rule>().unwrap().to_string(), text);
        }
        assert_eq!(" a = GET /a , ! GET /a/b ".parse::<Rule>().unwrap().to_string(), "a=GET /a,!GET /a/b");
        assert_eq!("GET /a".parse::<Rule>(), Err(RuleError::Form));
        assert_eq!("=GET /a".parse::<Rule>(), Err(RuleError::Form));
        assert_eq!("a=!GET /a".parse::<Rule>(), Err(RuleError::NothingAllowed));
        assert!(matches!("a=/a".parse::<Rule>(), Err(RuleError::Route(HelloError::Route(_)))));
    }
}
