//! Finds the index of a pattern, and the patterns that match a path, with several `matchit`
//! routers.
//!
//! `matchit` refuses `/{id}` beside `/{*rest}`. Therefore patterns with different methods, or with
//! `{*rest}` at different depths, are in different routers. Invariant: two patterns in one router
//! conflict only if they match the same paths.

use std::collections::HashMap;

use crate::hello::Pattern;
use crate::limits::ROUTERS_MAX;

/// The routers of one directory.
#[derive(Debug, Default)]
pub(super) struct Routers {
    routers: Vec<One>,
}

/// The patterns of one method whose `{*rest}`, when they have one, is the segment at `rest_at`.
#[derive(Debug)]
struct One {
    method: Option<String>,
    rest_at: Option<usize>,
    router: matchit::Router<u32>,
    /// The indices by the pattern's text. `router` finds what matches a path, not what equals a
    /// pattern.
    indices: HashMap<String, u32>,
}

impl Routers {
    /// True when there is no pattern.
    pub(super) const fn is_empty(&self) -> bool {
        self.routers.is_empty()
    }

    /// The indices of the patterns that match, at most one of each router. Patterns with the
    /// request's method come before patterns for any method.
    pub(super) fn find<'a>(&'a self, method: &str, path: &'a str) -> impl Iterator<Item = u32> {
        let exact = self.routers.iter().filter(move |one| one.method.as_deref() == Some(method));
        let any = self.routers.iter().filter(|one| one.method.is_none());
        exact.chain(any).filter_map(move |one| one.router.at(path).ok().map(|found| *found.value))
    }

    /// The index of a pattern; the names of its parameters do not matter.
    pub(super) fn index(&self, pattern: &Pattern) -> Option<u32> {
        self.routers[self.position(pattern)?].indices.get(&matchable(&pattern.path)).copied()
    }

    /// Removes a pattern; the names of its parameters do not matter. A router is removed with its
    /// last pattern.
    pub(super) fn remove(&mut self, pattern: &Pattern) {
        let Some(at) = self.position(pattern) else { return };
        let path = matchable(&pattern.path);
        let one = &mut self.routers[at];
        if one.indices.remove(&path).is_some() {
            one.router.remove(path);
        }
        if one.indices.is_empty() {
            self.routers.swap_remove(at);
        }
    }

    /// Adds a pattern that is not in the table.
    ///
    /// # Errors
    /// The reason as text: the limit of routers is reached.
    pub(super) fn insert(&mut self, pattern: &Pattern, index: u32) -> Result<(), String> {
        let at = match self.position(pattern) {
            Some(at) => at,
            None if self.routers.len() < ROUTERS_MAX => {
                let (method, rest_at) = (pattern.method.clone(), rest_at(&pattern.path));
                let (router, indices) = (matchit::Router::new(), HashMap::new());
                self.routers.push(One { method, rest_at, router, indices });
                self.routers.len() - 1
            }
            None => {
                return Err(format!(
                    "none: {ROUTERS_MAX} different methods and depths of {{*rest}} are the limit of one worker"
                ));
            }
        };
        let one = &mut self.routers[at];
        let path = matchable(&pattern.path);
        // By the invariant it cannot conflict. A peer chooses the pattern, so an error is returned
        // rather than a panic risked.
        one.router.insert(path.clone(), index).map_err(|conflict| conflict.to_string())?;
        one.indices.insert(path, index);
        Ok(())
    }

    fn position(&self, pattern: &Pattern) -> Option<usize> {
        let rest_at = rest_at(&pattern.path);
        self.routers.iter().position(|one| one.method == pattern.method && one.rest_at == rest_at)
    }
}

fn rest_at(path: &str) -> Option<usize> {
    path.split('/').position(|segment| segment.starts_with("{*"))
}

/// `/a/{id}/{*rest}` with its parameters named by position: patterns that match the same paths
/// become the same text.
fn matchable(path: &str) -> String {
    let level = |(at, segment): (usize, &str)| match segment.as_bytes() {
        [b'{', b'*', ..] => format!("{{*p{at}}}"),
        [b'{', ..] => format!("{{p{at}}}"),
        _ => segment.to_owned(),
    };
    path.split('/').enumerate().map(level).collect::<Vec<_>>().join("/")
}
