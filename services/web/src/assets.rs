//! The style sheet and the script, built into the binary.
//!
//! Owns: their addresses, which change with their content, and the policy that lets pages load nothing else.

use bytes::Bytes;
use service_host::{ETag, Problem, Request, Response};

/// No page runs, loads or sends anything but to where it came from (Content Security Policy, level 3).
pub(crate) const POLICY: Bytes = Bytes::from_static(
    b"default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; form-action 'self'; \
      base-uri 'none'; frame-ancestors 'none'",
);

/// The address has the content's hash: it may be kept for as long as a year.
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
    /// Where pages load it from.
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
        return Err(Problem::new(404, format!("There is no file {name:?} here.")).field("name"));
    };
    let content = Bytes::from_static(asset.content);
    let response = Response::new(200).header("content-type", Bytes::from_static(asset.kind.as_bytes()));
    Ok(response.header("cache-control", KEEP).body(content).tagged(&request))
}
