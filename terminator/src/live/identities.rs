//! Who sends a request: the user and the session, as the settings say where they are.
//!
//! Owns the settings `--identity` and `--session-cookie` and reading them from a request. Leaves
//! the grammar of headers and cookies to `change::identity`. Invariant: no copy is made of an
//! identity that a request carries.

use change::identity::{SessionCookie, Source};
use http1::Request;

/// Where the identity of a request is.
#[derive(Clone, Debug, Default)]
pub struct Identities {
    /// The user (`--identity`).
    pub user: Option<Source>,
    /// The session (`--session-cookie`).
    pub session: Option<SessionCookie>,
}

/// The identity of one request. A part that is unknown is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Identity<'a> {
    pub(super) user: Option<&'a str>,
    pub(super) session: Option<&'a str>,
}

impl Identities {
    /// The identity in the head of `request`.
    pub(super) fn of<'a>(&self, request: Request<'a>) -> Identity<'a> {
        let user =
            self.user.as_ref().and_then(|source| source.find(request.called(source.header().as_bytes())));
        let session = self.session.as_ref().and_then(|cookie| cookie.find(request.called(b"cookie")));
        Identity { user, session }
    }

    /// A session for a request without one, where clients get sessions.
    pub(super) fn new_session(&self, known: Identity<'_>, random: &mut fastrand::Rng) -> Option<NewSession> {
        let cookie = self.session.as_ref().filter(|_| known.session.is_none())?;
        let id = SessionCookie::new_id(random);
        // The terminator speaks HTTP without TLS.
        let set_cookie = cookie.set(&id, false);
        Some(NewSession { id: id.into(), set_cookie: set_cookie.into() })
    }
}

/// A session that begins with this request.
pub(super) struct NewSession {
    pub(super) id: Box<str>,
    /// The value of `set-cookie`.
    pub(super) set_cookie: Box<str>,
}

impl<'a> Identity<'a> {
    /// The identity that a rollout is sticky by: the user, else the session.
    pub(super) fn sticky(&self) -> Option<&'a str> {
        self.user.or(self.session)
    }
}
