//! The table of what a member's page consists of.
//!
//! A further part is one more row. An optional part whose route nobody ever claimed is not part of the page.

/// One part of a member's page: an answer of one service.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Part {
    /// The service, and the part's name in the answer.
    pub(crate) name: &'static str,
    /// The path before the member's id.
    before: &'static str,
    /// The path behind the member's id.
    after: &'static str,
    /// Without it there is no page.
    pub(crate) essential: bool,
}

/// The parts, the essential one first.
pub(crate) static PARTS: [Part; 2] = [
    Part { name: "profile", before: "/profiles/", after: "", essential: true },
    Part { name: "feed", before: "/feeds/", after: "?limit=20", essential: false },
];

impl Part {
    /// The path of this part for a member; `id` is percent-encoded.
    pub(crate) fn path(&self, id: &str) -> String {
        let mut path = String::with_capacity(self.before.len() + id.len() + self.after.len());
        path.push_str(self.before);
        path.push_str(id);
        path.push_str(self.after);
        path
    }
}
