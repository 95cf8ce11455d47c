//! Which lists answer a query.
//!
//! Owns the choice. A query with types and tags can be answered by the list of any of its tags, or
//! by the merged lists of its types. The shortest is cheapest to read and, for a condition,
//! conflicts with the fewest appends. The lengths of lists are not stored, because every append
//! would change that key; instead, a few rows of each list are read. Rows are in the order of
//! positions, so the list whose first rows reach farthest is the sparsest.
//!
//! Invariant: every event that matches the query is in the chosen lists exactly once.

use store::{Error, Snapshot};

use crate::{
    join::join,
    keys::{Keys, List},
    limits::PROBE_ROWS,
    position::EventPosition,
    query::Query,
};

/// Lists to merge.
pub(crate) struct Plan {
    pub(crate) lists: Vec<List>,
    /// True when rows have to be compared with the query; otherwise all match.
    pub(crate) compare: bool,
}

/// How far a list's first rows reach. A greater reach means a sparser list.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Reach {
    /// The list has more rows.
    To(EventPosition),
    /// The list has no more rows.
    End,
}

impl Plan {
    /// The lists for `query` after `after`.
    pub(crate) async fn choose(
        keys: &Keys,
        query: &Query,
        after: EventPosition,
        snapshot: Snapshot<'_>,
    ) -> Result<Self, Error> {
        let types = || query.types().iter().map(|label| keys.of_type(&label.name)).collect::<Vec<_>>();
        match (query.types(), query.tags()) {
            ([], []) => Ok(Self { lists: vec![keys.log()], compare: false }),
            ([], [tag]) => Ok(Self { lists: vec![keys.of_tag(&tag.name)], compare: false }),
            (_, []) => Ok(Self { lists: types(), compare: false }),
            (asked, tags) => {
                let mut choices: Vec<_> = tags.iter().map(|tag| vec![keys.of_tag(&tag.name)]).collect();
                if !asked.is_empty() {
                    choices.push(types());
                }
                let lists = sparsest(choices, after, snapshot).await?;
                Ok(Self { lists, compare: true })
            }
        }
    }
}

async fn sparsest(
    choices: Vec<Vec<List>>,
    after: EventPosition,
    snapshot: Snapshot<'_>,
) -> Result<Vec<List>, Error> {
    let mut best = (Reach::To(EventPosition::START), Vec::new());
    for lists in choices {
        let probes = join(lists.iter().map(|list| reach(list, after, snapshot))).await;
        let reach =
            probes.into_iter().try_fold(Reach::End, |nearest, reach| Ok::<_, Error>(nearest.min(reach?)))?;
        if reach > best.0 || best.1.is_empty() {
            best = (reach, lists);
        }
        if best.0 == Reach::End {
            break;
        }
    }
    Ok(best.1)
}

async fn reach(list: &List, after: EventPosition, snapshot: Snapshot<'_>) -> Result<Reach, Error> {
    let rows = snapshot.range(list.after(after).limit(PROBE_ROWS)).await?;
    Ok(match rows.last() {
        Some(last) if rows.len() == PROBE_ROWS => Reach::To(EventPosition::at_end_of(&last.key)),
        _ => Reach::End,
    })
}
