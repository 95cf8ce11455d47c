//! Forms as browsers send them without a script.
//!
//! Owns: reading the fields, the ids that make a form sent twice the same as sent once, and the way back to the page.

use service_host::{Problem, Request, Response};

const KIND: &str = "application/x-www-form-urlencoded";

/// The fields of a form.
#[derive(Debug)]
pub(crate) struct Form(Vec<(String, String)>);

impl Form {
    /// # Errors
    /// A 415 for a body that is no form.
    pub(crate) fn read(request: &Request) -> Result<Self, Problem> {
        let kind = request.header("content-type").unwrap_or_default();
        if !kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case(KIND)) {
            let detail = format!("This takes forms ({KIND}); programs use the services' own routes.");
            return Err(Problem::new(415, detail).field("content-type"));
        }
        let body = request.body();
        let pairs = form_urlencoded::parse(&body);
        Ok(Self(pairs.map(|(name, value)| (name.into_owned(), value.into_owned())).collect()))
    }

    /// The field `name`, "" when it is missing. Line ends are the web's own (HTML has CR LF in forms).
    pub(crate) fn field(&self, name: &str) -> String {
        let field = self.0.iter().find(|(found, _)| found == name);
        field.map(|(_, value)| value.replace("\r\n", "\n")).unwrap_or_default()
    }
}

/// An id for what a form will make.
pub(crate) fn new_id() -> String {
    format!("{:032x}", fastrand::u128(..))
}

/// Shows the page at `href`, by GET.
pub(crate) fn see(href: String) -> Response {
    Response::new(303).header("location", href)
}
