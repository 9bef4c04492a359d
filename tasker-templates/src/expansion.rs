//! Steps that a task gets while it runs: what a decision chooses, the batches of a batchable step,
//! and the convergences that wait for either.

mod batches;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{FreeForm, StepDefinition, StepType, TaskTemplate};

/// The reason why an outcome creates nothing. The step fails for good with it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ExpansionError(String);

fn refuse<T>(reason: impl Into<String>) -> Result<T, ExpansionError> {
    Err(ExpansionError(reason.into()))
}

/// The outcome of a step that creates others.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// The branches that a decision chose.
    Steps(Vec<String>),
    /// The batches that work was cut into; none creates a placeholder.
    Batches(Option<Batches>),
}

impl Outcome {
    /// Returns the outcome without branches or batches. Only steps that create others have one.
    #[must_use]
    pub const fn none(step_type: StepType) -> Option<Self> {
        match step_type {
            StepType::Decision => Some(Self::Steps(Vec::new())),
            StepType::Batchable => Some(Self::Batches(None)),
            StepType::Standard | StepType::DeferredConvergence | StepType::BatchWorker => None,
        }
    }
}

/// Batches of work.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Batches {
    worker_template_name: String,
    worker_count: Option<usize>,
    /// As text, because a cursor may have more digits than a `Value` keeps.
    cursor_configs: Vec<FreeForm>,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Decision {
    NoBranches,
    CreateSteps { step_names: Vec<String> },
}

#[derive(Deserialize)]
struct Batching {
    #[serde(rename = "type")]
    kind: BatchingKind,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum BatchingKind {
    NoBatches,
    CreateBatches,
}

/// Reads the member `key` of a result.
fn read<'r, T: Deserialize<'r>>(result: &'r str, key: &str) -> Result<T, ExpansionError> {
    // The members of anything but an object are none.
    let members: HashMap<String, &RawValue> = serde_json::from_str(result).unwrap_or_default();
    let member = members.get(key);
    let member = member.ok_or_else(|| ExpansionError(format!("the result has no `{key}`")))?;
    serde_json::from_str(member.get())
        .map_err(|error| ExpansionError(format!("`{key}` cannot be read: {error}")))
}

/// Reads the outcome that a step of this type must have in its result, which is JSON. Other types have none.
///
/// # Errors
/// If the outcome is missing or malformed.
pub fn outcome(step_type: StepType, result: &str) -> Result<Option<Outcome>, ExpansionError> {
    match step_type {
        StepType::Decision => Ok(Some(Outcome::Steps(
            match read(result, "decision_point_outcome")? {
                Decision::NoBranches => Vec::new(),
                Decision::CreateSteps { step_names } => step_names,
            },
        ))),
        StepType::Batchable => {
            let key = "batch_processing_outcome";
            let Batching { kind } = read(result, key)?;
            Ok(Some(Outcome::Batches(match kind {
                BatchingKind::NoBatches => None,
                BatchingKind::CreateBatches => Some(read(result, key)?),
            })))
        }
        StepType::Standard | StepType::DeferredConvergence | StepType::BatchWorker => Ok(None),
    }
}

/// A step to create.
#[derive(Debug, Clone, PartialEq)]
pub struct PlannedStep<'a> {
    /// Its name in the task.
    pub name: String,
    /// Its definition; an instance of a batch worker has that of the worker.
    pub definition: &'a StepDefinition,
    /// The names of the steps that it waits for.
    pub parents: Vec<String>,
    /// Its own inputs.
    pub inputs: Option<FreeForm>,
}

/// The steps of a task as far as they are known: by name, with whether they are complete.
pub type Existing = BTreeMap<String, bool>;

/// Plans the steps that follow from `outcome` of the step `current`.
///
/// # Errors
/// If the outcome names steps that are unknown, not downstream of `current`, or wait for steps that
/// are not created.
pub fn plan<'a>(
    template: &'a TaskTemplate,
    existing: &Existing,
    current: &str,
    outcome: &Outcome,
    max_depth: u32,
) -> Result<Vec<PlannedStep<'a>>, ExpansionError> {
    let mut planner = Planner::new(template, existing, current);
    if planner.decisions_above(current) > max_depth {
        return refuse(format!(
            "more than {max_depth} decisions follow from one another; raise max_decision_depth"
        ));
    }
    match outcome {
        Outcome::Steps(names) => planner.choose(names)?,
        Outcome::Batches(batches) => planner.cut(batches.as_ref())?,
    }
    planner.close(&BTreeSet::new());
    Ok(planner.created)
}

struct Planner<'a, 'b> {
    template: &'a TaskTemplate,
    steps: HashMap<&'a str, &'a StepDefinition>,
    /// All steps, each after those that it depends on. What is known of a step follows from those
    /// before it, so that one pass is enough, however the steps hang together.
    order: Vec<&'a StepDefinition>,
    existing: &'b Existing,
    current: &'b str,
    created: Vec<PlannedStep<'a>>,
    names: HashSet<String>,
    /// The steps that are not in the task but may be later, or have more instances later. Right
    /// after `close`.
    possible: HashSet<&'a str>,
    /// The instances of batch workers, by the worker's name.
    instances: HashMap<String, Vec<String>>,
}

impl<'a, 'b> Planner<'a, 'b> {
    fn new(template: &'a TaskTemplate, existing: &'b Existing, current: &'b str) -> Self {
        let steps: HashMap<_, _> = template
            .steps
            .iter()
            .map(|step| (step.name.as_str(), step))
            .collect();
        let mut instances: HashMap<String, Vec<String>> = HashMap::new();
        for name in existing.keys() {
            if let Some(worker) = worker_of(&steps, name) {
                instances
                    .entry(worker.to_owned())
                    .or_default()
                    .push(name.clone());
            }
        }
        Self {
            template,
            order: in_order(template, &steps),
            steps,
            existing,
            current,
            created: Vec::new(),
            names: HashSet::new(),
            possible: HashSet::new(),
            instances,
        }
    }

    /// Returns whether the step is in the task, or one of its instances is.
    fn exists(&self, name: &str) -> bool {
        self.existing.contains_key(name)
            || self.names.contains(name)
            || self.instances.contains_key(name)
    }

    /// Returns whether a step that creates others has yet to do so.
    fn is_undecided(&self, name: &str) -> bool {
        let is_pending = name != self.current && !self.existing.get(name).copied().unwrap_or(false);
        (self.exists(name) && is_pending) || self.possible.contains(name)
    }

    /// Returns whether the step is not in the task but may be later, or has more instances later.
    fn may_be_created(&self, step: &StepDefinition) -> bool {
        let mut dependencies = step.dependencies.iter();
        if step.step_type == StepType::BatchWorker {
            // Several steps may cut work for one worker.
            return dependencies.any(|name| self.creates(name, step) && self.is_undecided(name));
        }
        if self.exists(&step.name) || step.dependencies.is_empty() {
            return false;
        }
        if step.step_type == StepType::DeferredConvergence {
            return dependencies.any(|name| self.possible.contains(name.as_str()));
        }
        dependencies.all(|name| {
            if self.creates(name, step) {
                self.is_undecided(name)
            } else {
                self.exists(name) || self.possible.contains(name.as_str())
            }
        })
    }

    /// Returns whether `creator` decides about `step`.
    fn creates(&self, creator: &str, step: &StepDefinition) -> bool {
        self.steps
            .get(creator)
            .is_some_and(|creator| match creator.step_type {
                StepType::Decision => true,
                StepType::Batchable => step.step_type == StepType::BatchWorker,
                StepType::Standard | StepType::DeferredConvergence | StepType::BatchWorker => false,
            })
    }

    /// Returns the steps that depend on the current one, directly or not.
    fn downstream(&self) -> HashSet<&'a str> {
        let mut found = HashSet::new();
        for step in &self.order {
            let mut names = step.dependencies.iter().map(String::as_str);
            if names.any(|name| name == self.current || found.contains(name)) {
                found.insert(step.name.as_str());
            }
        }
        found
    }

    /// The longest chain of decisions that ends with `name`.
    fn decisions_above(&self, name: &str) -> u32 {
        let mut depths: HashMap<&str, u32> = HashMap::new();
        for step in &self.order {
            let names = step.dependencies.iter().map(String::as_str);
            let above = names.filter_map(|name| depths.get(name)).max();
            let own = u32::from(step.step_type == StepType::Decision);
            depths.insert(step.name.as_str(), above.copied().unwrap_or(0) + own);
        }
        depths.get(name).copied().unwrap_or(0)
    }

    /// Creates the steps that a decision chose.
    fn choose(&mut self, names: &[String]) -> Result<(), ExpansionError> {
        let chosen: BTreeSet<&str> = names.iter().map(String::as_str).collect();
        let downstream = self.downstream();
        for name in &chosen {
            let Some(step) = self.steps.get(name).copied() else {
                return refuse(format!("the template has no step `{name}`"));
            };
            if !downstream.contains(name) {
                return refuse(format!(
                    "step `{name}` does not depend on the decision `{}`",
                    self.current
                ));
            }
            if step.step_type == StepType::BatchWorker {
                return refuse(format!(
                    "step `{name}` is a batch worker; name its batchable step"
                ));
            }
        }
        // A step that follows from the others by itself is created with them, named or not.
        let order = self.order.iter().copied();
        let wanted =
            order.filter(|step| chosen.contains(step.name.as_str()) && !self.exists(&step.name));
        let (own, following): (Vec<&StepDefinition>, Vec<_>) =
            wanted.partition(|step| self.waits_for_a_choice(step));
        self.names.extend(own.iter().map(|step| step.name.clone()));
        self.close(&chosen);
        for step in following {
            if !self.exists(&step.name) && !self.possible.contains(step.name.as_str()) {
                return self.lacks(step);
            }
        }
        let following = std::mem::take(&mut self.created);
        for step in own {
            if !step.dependencies.iter().all(|name| self.exists(name)) {
                return self.lacks(step);
            }
            self.add(step);
        }
        self.created.extend(following);
        Ok(())
    }

    /// Returns whether `step` is created only if it is chosen.
    fn waits_for_a_choice(&self, step: &StepDefinition) -> bool {
        step.step_type != StepType::DeferredConvergence
            && step
                .dependencies
                .iter()
                .any(|name| self.creates(name, step))
    }

    fn lacks(&self, step: &StepDefinition) -> Result<(), ExpansionError> {
        let missing = step.dependencies.iter().find(|name| !self.exists(name));
        refuse(format!(
            "step `{}` depends on `{}`, which is not created",
            step.name,
            missing.map_or("", String::as_str)
        ))
    }

    /// Creates all that follows from what was created, and finds what may be created later. A
    /// convergence in `chosen` whose dependencies will never exist waits for none of them.
    fn close(&mut self, chosen: &BTreeSet<&str>) {
        self.possible.clear();
        for step in self.order.clone() {
            let name = step.name.as_str();
            let is_lost = |planner: &Self| {
                step.step_type == StepType::DeferredConvergence
                    && chosen.contains(name)
                    && !planner.may_be_created(step)
            };
            if !self.exists(name) && (self.follows(step) || is_lost(self)) {
                self.names.insert(name.to_owned());
                self.add(step);
            } else if self.may_be_created(step) {
                self.possible.insert(name);
            }
        }
    }

    fn follows(&self, step: &StepDefinition) -> bool {
        let names = || step.dependencies.iter().map(String::as_str);
        match step.step_type {
            StepType::BatchWorker => false,
            StepType::DeferredConvergence => {
                names().any(|name| self.exists(name))
                    && !names().any(|name| self.possible.contains(name))
            }
            StepType::Standard | StepType::Decision | StepType::Batchable => {
                !step.dependencies.is_empty()
                    && names().all(|name| {
                        self.exists(name)
                            && !self.creates(name, step)
                            && !self.possible.contains(name)
                    })
            }
        }
    }

    fn add(&mut self, step: &'a StepDefinition) {
        let parents = self.parents(step);
        self.created.push(PlannedStep {
            name: step.name.as_str().to_owned(),
            definition: step,
            parents,
            inputs: None,
        });
    }

    /// The steps in the task that `step` waits for.
    fn parents(&self, step: &StepDefinition) -> Vec<String> {
        let mut parents = BTreeSet::new();
        for name in &step.dependencies {
            if let Some(instances) = self.instances.get(name.as_str()) {
                parents.extend(instances.iter().cloned());
            } else if self.exists(name) {
                parents.insert(name.as_str().to_owned());
            }
        }
        parents.into_iter().collect()
    }
}

/// Returns the steps, each after those that it depends on.
fn in_order<'a>(
    template: &'a TaskTemplate,
    steps: &HashMap<&str, &StepDefinition>,
) -> Vec<&'a StepDefinition> {
    let mut missing: HashMap<&str, usize> = HashMap::new();
    let mut dependents: HashMap<&str, Vec<&StepDefinition>> = HashMap::new();
    let mut order = Vec::with_capacity(template.steps.len());
    for step in &template.steps {
        let known = step.dependencies.iter().map(String::as_str);
        let known: BTreeSet<&str> = known.filter(|name| steps.contains_key(name)).collect();
        if known.is_empty() {
            order.push(step);
        }
        missing.insert(step.name.as_str(), known.len());
        for name in known {
            dependents.entry(name).or_default().push(step);
        }
    }
    let mut next = 0;
    while let Some(step) = order.get(next) {
        next += 1;
        for dependent in dependents.remove(step.name.as_str()).unwrap_or_default() {
            let left = missing.entry(dependent.name.as_str()).or_default();
            *left = left.saturating_sub(1);
            if *left == 0 {
                order.push(dependent);
            }
        }
    }
    order
}

/// The batch worker that `name` is an instance of. A step of the template is none, whatever its name.
fn worker_of<'n>(steps: &HashMap<&str, &StepDefinition>, name: &'n str) -> Option<&'n str> {
    if steps.contains_key(name) {
        return None;
    }
    let (worker, number) = name.rsplit_once('_')?;
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    let is_worker = steps
        .get(worker)
        .is_some_and(|s| s.step_type == StepType::BatchWorker);
    (is_number && is_worker).then_some(worker)
}

#[cfg(test)]
mod tests;
