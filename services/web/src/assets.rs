//! The style sheet and the script, built into the binary.
//!
//! Owns their addresses, which change with their content, and the policy that lets pages load
//! nothing else.

use bytes::Bytes;
use service_host::problems::NOT_FOUND;
use service_host::{ETag, Problem, Request, Response};

/// Pages run, load and send only what belongs to their own origin (Content Security Policy, level
/// 3).
pub(crate) const POLICY: Bytes = Bytes::from_static(
    b"default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; form-action 'self'; \
      base-uri 'none'; frame-ancestors 'none'",
);

/// The address contains the content's hash, so the file may be cached for a year.
const KEEP: Bytes = Bytes::from_static(b"public, max-age=31536000, immutable");

/// A file that pages use.
pub(crate) struct Asset {
    name: &'static str,
    kind: &'static str,
    content: &'static [u8],
}

pub(crate) static STYLE: Asset =
    Asset { name: "web.css", kind: "text/css; charset=utf-8", content: include_bytes!("../assets/web.css") };

pub(crate) static SCRIPT: Asset = Asset {
    name: "live.js",
    kind: "text/javascript; charset=utf-8",
    content: include_bytes!("../assets/live.js"),
};

impl Asset {
    /// The address from which pages load the file.
    pub(crate) fn href(&self) -> String {
        let tag = ETag::of(self.content);
        let hash = String::from_utf8_lossy(tag.as_bytes());
        format!("/static/{}?v={}", self.name, hash.trim_matches('"'))
    }
}

/// `GET /static/{name}`.
pub(crate) async fn serve(request: Request) -> Result<Response, Problem> {
    let name = request.raw_param("name");
    let asset = [&STYLE, &SCRIPT].into_iter().find(|asset| asset.name == name);
    let Some(asset) = asset else {
        return Err(request.problem(NOT_FOUND, format!("There is no file {name:?} here.")).field("name"));
    };
    let content = Bytes::from_static(asset.content);
    let response = Response::new(200).header("content-type", Bytes::from_static(asset.kind.as_bytes()));
    Ok(response.header("cache-control", KEEP).body(content).tagged(&request))
}
