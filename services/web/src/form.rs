//! Forms as browsers send them without a script.
//!
//! Owns reading fields, the ids that make a form safe to submit twice, and the redirect back to the
//! page.

use service_host::problems::CONTENT_TYPE;
use service_host::{Problem, Request, Response};

const KIND: &str = "application/x-www-form-urlencoded";

/// The fields of a form.
#[derive(Debug)]
pub(crate) struct Form(Vec<(String, String)>);

impl Form {
    /// Reads the body of a request.
    ///
    /// # Errors
    /// 415 when the body is not a form.
    pub(crate) fn read(request: &Request) -> Result<Self, Problem> {
        let kind = request.header("content-type").unwrap_or_default();
        if !kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case(KIND)) {
            let problem = Problem::new(CONTENT_TYPE, format!("This takes forms: {KIND}."));
            let remedy = "send a form; programs use the services' own routes";
            return Err(problem.field("content-type").remedy(remedy));
        }
        let body = request.body();
        let pairs = form_urlencoded::parse(&body);
        Ok(Self(pairs.map(|(name, value)| (name.into_owned(), value.into_owned())).collect()))
    }

    /// The field `name`, empty when it is missing. CR LF, which HTML forms send, becomes LF.
    pub(crate) fn field(&self, name: &str) -> String {
        let field = self.0.iter().find(|(found, _)| found == name);
        field.map(|(_, value)| value.replace("\r\n", "\n")).unwrap_or_default()
    }
}

/// An id for what a form creates.
pub(crate) fn new_id() -> String {
    format!("{:032x}", fastrand::u128(..))
}

/// Redirects to the page at `href` with GET.
pub(crate) fn see(href: String) -> Response {
    Response::new(303).header("location", href)
}
