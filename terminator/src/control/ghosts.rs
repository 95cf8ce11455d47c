//! The ghost traffic of the plan: what is copied, and what all workers have compared.
//!
//! Owns the choice between a ghost document and a rollout's ghost stage, and one comparison for
//! each service. Leaves copying to the workers, and the rule for differences to `change::ghost`.
//! Invariant: a comparison lasts as long as the plan names its candidate, beyond the ghost stage
//! that it was made in.

use std::collections::BTreeMap;
use std::rc::Rc;

use change::document::{Kind, Plan};
use change::ghost::{Comparison, Document, Report};
use change::split::Percent;
use role::worker::Workers;
use serde::Serialize;

use crate::live::{Ghost, Origin};
use crate::worker::Worker;

/// All ghost traffic of one terminator.
#[derive(Default)]
pub(super) struct Ghosts {
    services: BTreeMap<String, Watched>,
    /// Differences that are not noise, in all services.
    differences: u64,
}

/// The candidate of one service.
struct Watched {
    ghost: Ghost,
    comparison: Comparison,
}

/// A rollout as ghost traffic sees it.
pub(super) struct Staged<'a> {
    pub(super) service: &'a str,
    pub(super) candidate: &'a str,
    /// The share that is copied; 0 when it is in no ghost stage.
    pub(super) percent: Percent,
}

/// One element of the answer to `/ghosts`.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Shown {
    /// The share in force; 0 after a ghost stage.
    percent: Percent,
    methods: Vec<String>,
    #[serde(flatten)]
    report: Report,
}

impl Ghosts {
    /// True when something is, or was, copied.
    pub(super) fn any(&self) -> bool {
        !self.services.is_empty()
    }

    /// Takes the documents of the plan, and the stages of its rollouts.
    pub(super) fn follow<'a>(&mut self, plan: &Plan, rollouts: impl Iterator<Item = Staged<'a>>) {
        let documents = plan
            .of(Kind::Ghost)
            .filter_map(|(key, document)| Some((key.name().to_owned(), document.parse::<Document>().ok()?)));
        let mut before = std::mem::take(&mut self.services);
        for (service, (document, origin)) in wanted(documents, rollouts) {
            let Document { candidate, ignore, .. } = &document;
            let fresh = Comparison::new(service.as_str(), candidate.as_str(), ignore.clone());
            let known = before.remove(&service).map(|watched| watched.comparison);
            let known = known.filter(|comparison| comparison.is_like(&fresh));
            // A rollout that was in no ghost stage has nothing to show.
            if document.percent == Percent::ZERO && origin == Origin::Beside && known.is_none() {
                continue;
            }
            let ghost = Ghost { service: service.as_str().into(), document, origin };
            self.services.insert(service, Watched { ghost, comparison: known.unwrap_or(fresh) });
        }
        self.count();
    }

    /// What the workers copy, and which candidates they keep from clients.
    pub(super) fn in_force(&self) -> Vec<Ghost> {
        let ghosts = self.services.values().map(|watched| &watched.ghost);
        let is_over =
            |ghost: &&Ghost| ghost.document.percent == Percent::ZERO && ghost.origin == Origin::Beside;
        ghosts.filter(|ghost| !is_over(ghost)).cloned().collect()
    }

    /// Takes what the workers have compared since the last time; true when that is anything.
    pub(super) async fn gather(&mut self, workers: &Workers<Rc<Worker>>) -> bool {
        let known = self.differences;
        let take = move |worker: &Rc<Worker>| {
            worker.show_differences(known);
            worker.decisions.ghosts.take()
        };
        let mut any = false;
        for comparison in workers.ask(take).await.into_iter().flatten() {
            if let Some(watched) = self.services.get_mut(comparison.service())
                && watched.comparison.is_like(&comparison)
            {
                watched.comparison.merge(comparison);
                any = true;
            }
        }
        if any {
            self.count();
        }
        any
    }

    /// Differences that are not noise, in all services.
    pub(super) fn differences(&self) -> u64 {
        self.differences
    }

    /// What `/ghosts` answers.
    pub(super) fn reports(&self) -> Vec<Shown> {
        let shown = |Watched { ghost, comparison }: &Watched| Shown {
            percent: ghost.document.percent,
            methods: ghost.document.methods.clone(),
            report: comparison.report(),
        };
        self.services.values().map(shown).collect()
    }

    fn count(&mut self) {
        let count = |watched: &Watched| watched.comparison.differences().count();
        self.differences = self.services.values().map(count).sum::<usize>() as u64;
    }
}

/// The ghost traffic of each service: by its document, and by its rollout. A ghost stage has the
/// rollout's share; a document of the same candidate says what is copied and compared.
fn wanted<'a>(
    documents: impl Iterator<Item = (String, Document)>,
    rollouts: impl Iterator<Item = Staged<'a>>,
) -> BTreeMap<String, (Document, Origin)> {
    let alone = documents.map(|(service, document)| (service, (document, Origin::Alone)));
    let mut wanted: BTreeMap<String, (Document, Origin)> = alone.collect();
    for Staged { service, candidate, percent } in rollouts {
        let document = wanted.remove(service).map(|(document, _)| document);
        let ghost = if percent > Percent::ZERO {
            let document = document.filter(|document| document.candidate == candidate);
            let document = document.unwrap_or_else(|| Document::new(candidate, percent));
            (Document { percent, ..document }, Origin::Stage)
        } else {
            (document.unwrap_or_else(|| Document::new(candidate, percent)), Origin::Beside)
        };
        wanted.insert(service.to_owned(), ghost);
    }
    wanted
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The candidate, the share, the methods and the origin for a service with a document for
    /// version 2 and 50 % of POST, and a rollout of `candidate` with `percent` in a ghost stage.
    fn of(candidate: &str, percent: f64) -> (String, f64, Vec<String>, Origin) {
        let half = Percent::try_from(50.0).expect("is a percentage");
        let document = Document { methods: vec!["POST".to_owned()], ..Document::new("2", half) };
        let percent = Percent::try_from(percent).expect("is a percentage");
        let rollout = Staged { service: "s", candidate, percent };
        let documents = [("s".to_owned(), document.clone()), ("t".to_owned(), document)];
        let mut wanted = wanted(documents.into_iter(), [rollout].into_iter());
        assert_eq!(wanted.remove("t").map(|(_, origin)| origin), Some(Origin::Alone));
        let (document, origin) = wanted.remove("s").expect("is wanted");
        (document.candidate, document.percent.into(), document.methods, origin)
    }

    #[test]
    fn a_ghost_stage_has_the_share_of_the_rollout_and_the_methods_of_a_document_of_its_candidate() {
        let post = vec!["POST".to_owned()];
        assert_eq!(of("2", 10.0), ("2".to_owned(), 10.0, post.clone(), Origin::Stage));
        let both = ["GET", "HEAD"].map(str::to_owned).to_vec();
        assert_eq!(of("3", 10.0), ("3".to_owned(), 10.0, both, Origin::Stage));
        assert_eq!(of("3", 0.0), ("2".to_owned(), 50.0, post, Origin::Beside));
    }
}
