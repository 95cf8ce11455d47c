//! All toggles of a plan, compiled, and the ones that one service reads.
//!
//! Owns compiling a plan and the grouping of a service's toggles by what they depend on. Leaves one
//! toggle's decision to [`super::compiled`], and when to evaluate which group to the caller.
//! Invariant: a set never changes; a new revision of the plan is a new set.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;

use super::compiled::{Decision, Outcome, Parent, Toggle};
use super::context::{Context, Dependence, Input};
use super::feature::{Dependency, Feature, Segment};
use super::strategy::Surroundings;
use super::warning::{Warning, Warnings};

/// The toggles of one revision of a plan.
#[derive(Default)]
pub struct Set {
    toggles: HashMap<Box<str>, Arc<Toggle>>,
}

/// The toggles that one service reads, grouped by when they have to be evaluated.
pub struct Selection {
    /// The same for every request of this process.
    fixed: Box<[(Arc<Toggle>, Decision)]>,
    by_identity: Group,
    by_request: Group,
}

/// Toggles that are evaluated together.
pub struct Group {
    toggles: Box<[Arc<Toggle>]>,
    depends_on: Dependence,
    environment: Option<Box<str>>,
    app_name: Option<Box<str>>,
}

impl Set {
    /// Compiles features and the segments that they name. `host` is this machine's name, for the
    /// strategy `applicationHostname`. Of two features with one name the later counts.
    #[must_use]
    pub fn compile<'a>(
        features: impl IntoIterator<Item = &'a Feature>,
        segments: impl IntoIterator<Item = &'a Segment>,
        host: &str,
    ) -> (Self, Vec<Warning>) {
        let mut found = Vec::new();
        let mut named: HashMap<&str, &Feature> = HashMap::new();
        let mut order: Vec<&str> = Vec::new();
        for feature in features {
            if named.insert(&feature.name, feature).is_none() {
                order.push(&feature.name);
            } else {
                let mut warnings = Warnings { toggle: &feature.name, found: &mut found };
                warnings.add("name", "another toggle has this name; the later one counts");
            }
        }
        let segments = segments.into_iter().map(|segment| (segment.id, segment)).collect();
        let surroundings = Surroundings { segments: &segments, host };
        let mut set = Self::default();
        // A parent has no parents, so two passes suffice.
        for is_child in [false, true] {
            let features = order.iter().map(|name| named[name]);
            for feature in features.filter(|feature| feature.dependencies.is_empty() != is_child) {
                let mut warnings = Warnings { toggle: &feature.name, found: &mut found };
                let parents = set.parents(feature, &named, &mut warnings);
                let toggle = Toggle::compile(feature, parents, &surroundings, &mut warnings);
                set.toggles.insert(feature.name.as_str().into(), Arc::new(toggle));
            }
        }
        (set, found)
    }

    /// The toggle of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Toggle> {
        self.toggles.get(name).map(|toggle| &**toggle)
    }

    /// All toggles, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Toggle> {
        self.toggles.values().map(|toggle| &**toggle)
    }

    /// How many toggles there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.toggles.len()
    }

    /// True when there are no toggles.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.toggles.is_empty()
    }

    /// Groups the toggles of these names for a service. `environment` and `app_name` are the
    /// context's fields that stay the same as long as the process runs. Unknown names are left out:
    /// they are off. A name that is given twice is selected once.
    #[must_use]
    pub fn select(&self, names: &[&str], environment: Option<&str>, app_name: Option<&str>) -> Selection {
        let mut names = names.to_vec();
        names.sort_unstable();
        names.dedup();
        let context = Context { environment, app_name, ..Context::default() };
        let group = |toggles: Vec<Arc<Toggle>>| Group::new(toggles, environment, app_name);
        let (mut fixed, mut by_identity, mut by_request) = (Vec::new(), Vec::new(), Vec::new());
        for toggle in names.iter().filter_map(|name| self.toggles.get(*name)).cloned() {
            match toggle.depends_on() {
                dependence if dependence.is_fixed() => {
                    // Neither the time nor a random number matters to it.
                    let mut random = fastrand::Rng::with_seed(0);
                    let mut input = Input { context, now: SystemTime::UNIX_EPOCH, random: &mut random };
                    let decision = toggle.decide(&mut input);
                    fixed.push((toggle, decision));
                }
                dependence if dependence.is_identity() => by_identity.push(toggle),
                _ => by_request.push(toggle),
            }
        }
        Selection { fixed: fixed.into(), by_identity: group(by_identity), by_request: group(by_request) }
    }

    fn parents(
        &self,
        feature: &Feature,
        named: &HashMap<&str, &Feature>,
        warnings: &mut Warnings<'_>,
    ) -> Option<Vec<Parent>> {
        let mut parents = Vec::new();
        let mut possible = true;
        for (at, dependency) in feature.dependencies.iter().enumerate() {
            match self.parent(dependency, named) {
                Ok(Ok(parent)) => parents.push(parent),
                Ok(Err(holds)) => possible &= holds,
                Err(problem) => {
                    warnings
                        .add(&format!("dependencies[{at}]"), format!("{problem}; the toggle is always off"));
                    possible = false;
                }
            }
        }
        possible.then_some(parents)
    }

    /// A dependency, or true or false when it is the same for every request.
    fn parent(
        &self,
        dependency: &Dependency,
        named: &HashMap<&str, &Feature>,
    ) -> Result<Result<Parent, bool>, String> {
        let name = dependency.feature.as_str();
        let parent = named.get(name).ok_or_else(|| format!("there is no toggle {name:?}"))?;
        if !parent.dependencies.is_empty() {
            return Err(format!("the toggle {name:?} has dependencies itself, which a parent cannot have"));
        }
        let parent = Parent {
            toggle: Arc::clone(&self.toggles[name]),
            enabled: dependency.enabled.unwrap_or(true),
            variants: dependency.variants.iter().map(|variant| variant.as_str().into()).collect(),
        };
        if !parent.toggle.depends_on().is_constant() {
            return Ok(Ok(parent));
        }
        let mut random = fastrand::Rng::with_seed(0);
        let (context, now) = (Context::default(), SystemTime::UNIX_EPOCH);
        Ok(Err(parent.holds(&mut Input { context, now, random: &mut random })))
    }
}

impl Toggle {
    /// What the toggle is for a request.
    pub fn evaluate(
        &self,
        context: &Context<'_>,
        now: SystemTime,
        random: &mut fastrand::Rng,
    ) -> Outcome<'_> {
        let decision = self.decide(&mut Input { context: *context, now, random });
        Outcome { toggle: self, decision }
    }
}

impl Selection {
    /// The outcomes that every request has.
    pub fn fixed(&self) -> impl Iterator<Item = Outcome<'_>> {
        self.fixed.iter().map(|(toggle, decision)| Outcome { toggle, decision: *decision })
    }

    /// The toggles that depend on userId and sessionId. A caller may keep the outcomes by these
    /// two, unless [`Dependence::draws_for`] is true for them.
    #[must_use]
    pub fn by_identity(&self) -> &Group {
        &self.by_identity
    }

    /// The toggles that depend on the request, the time or randomness: evaluated for each request.
    #[must_use]
    pub fn by_request(&self) -> &Group {
        &self.by_request
    }

    /// What a caller must fill in a context for.
    #[must_use]
    pub fn depends_on(&self) -> Dependence {
        let mut dependence = self.by_identity.depends_on.clone();
        dependence.add(&self.by_request.depends_on);
        dependence
    }
}

impl Group {
    fn new(toggles: Vec<Arc<Toggle>>, environment: Option<&str>, app_name: Option<&str>) -> Self {
        let mut depends_on = Dependence::default();
        toggles.iter().for_each(|toggle| depends_on.add(toggle.depends_on()));
        let (environment, app_name) = (environment.map(Into::into), app_name.map(Into::into));
        Self { toggles: toggles.into(), depends_on, environment, app_name }
    }

    /// What the outcomes depend on.
    #[must_use]
    pub fn depends_on(&self) -> &Dependence {
        &self.depends_on
    }

    /// True when there is nothing to evaluate.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.toggles.is_empty()
    }

    /// Evaluates every toggle of the group, by name. The environment and the service are those of
    /// the selection, whatever `context` says.
    pub fn evaluate(
        &self,
        context: &Context<'_>,
        now: SystemTime,
        random: &mut fastrand::Rng,
        mut sink: impl FnMut(Outcome<'_>),
    ) {
        let (environment, app_name) = (self.environment.as_deref(), self.app_name.as_deref());
        let mut input = Input { context: Context { environment, app_name, ..*context }, now, random };
        for toggle in &self.toggles {
            sink(Outcome { toggle, decision: toggle.decide(&mut input) });
        }
    }
}
