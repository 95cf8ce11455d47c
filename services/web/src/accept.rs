//! Which of its two media types a page is answered in.

use role::accept::Media;
use service_host::{Problem, ProblemType, Request};

/// The client accepts neither JSON nor HTML.
const NOT_ACCEPTABLE: ProblemType =
    ProblemType::new("not_acceptable", 406, "Not acceptable").remedy("accept application/json or text/html");

/// The media type that the client prefers.
///
/// # Errors
/// 406 when the client accepts neither.
pub(crate) fn preferred(request: &Request) -> Result<Media, Problem> {
    Media::preferred(request.headers("accept")).ok_or_else(|| {
        Problem::new(NOT_ACCEPTABLE, "It is available as application/json and as text/html.").field("accept")
    })
}
