//! The templates of a run, the graphs that they must give, and the sums that their handlers compute.
//! Everything follows from a task's seed and from the marker of the document that it runs on.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

pub(crate) const NAMESPACE: &str = "chaos_steps";
pub(crate) const VERSION: &str = "1.0.0";
pub(crate) const CALLABLE: &str = "chaos.Step";
/// The attempts that a step has, but for those that are lost with their worker.
pub(crate) const MAX_ATTEMPTS: usize = 4;
/// Handlers that hang are stopped after so many seconds.
const TIMEOUT_SECONDS: u64 = 2;
const BRANCHES: [&str; 3] = ["left", "middle", "right"];
/// The most batches that a task is cut into.
const MOST_BATCHES: u64 = 12;
const PARTS: usize = 8;

/// The steps that each step waits for.
pub(crate) type Graph = BTreeMap<String, BTreeSet<String>>;

/// The form of a template. Its name is that of the variant in small letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    Linear,
    Diamond,
    Fan,
    Decision,
    Batch,
}

/// The way in which an attempt of a handler goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Behaviour {
    Quick,
    Long,
    /// It completes the step in its own transaction.
    Commits,
    Fails,
    FailsForGood,
    Panics,
    Hangs,
}

impl Behaviour {
    /// Returns the type of the error that must be recorded, or nothing for success.
    pub(crate) fn error(self) -> Option<&'static str> {
        match self {
            Self::Quick | Self::Long | Self::Commits => None,
            Self::Fails => Some("ChaosFailure"),
            Self::FailsForGood => Some("ChaosPermanent"),
            Self::Panics => Some("Panic"),
            Self::Hangs => Some("Timeout"),
        }
    }
}

impl Shape {
    pub(crate) const ALL: [Self; 5] = [
        Self::Linear,
        Self::Diamond,
        Self::Fan,
        Self::Decision,
        Self::Batch,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Linear => "linear",
            Self::Diamond => "diamond",
            Self::Fan => "fan",
            Self::Decision => "decision",
            Self::Batch => "batch",
        }
    }

    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|shape| shape.name() == name)
    }

    /// Returns every step of the template: its name, its type and its dependencies. The last step's
    /// name depends on the marker, so that documents differ in their graphs.
    fn steps(self, marker: u32) -> Vec<(String, &'static str, Vec<String>)> {
        let step = |name: &str, kind, parents: &[&str]| {
            let parents = parents.iter().map(|&parent| parent.to_owned()).collect();
            (name.to_owned(), kind, parents)
        };
        let end = end(marker);
        let mut steps = vec![step("a", "standard", &[])];
        match self {
            Self::Linear => {
                steps.push(step("b", "standard", &["a"]));
                steps.push(step("c", "standard", &["b"]));
                steps.push(step(&end, "standard", &["c"]));
            }
            Self::Diamond => {
                steps.push(step("b", "standard", &["a"]));
                steps.push(step("c", "standard", &["a"]));
                steps.push(step(&end, "standard", &["b", "c"]));
            }
            Self::Fan => {
                let parts: Vec<String> = (0..PARTS).map(|number| format!("part{number}")).collect();
                steps.extend(parts.iter().map(|part| step(part, "standard", &["a"])));
                steps.push((end, "standard", parts));
            }
            Self::Decision => {
                steps.push(step("route", "decision", &["a"]));
                steps.extend(BRANCHES.map(|branch| step(branch, "standard", &["route"])));
                steps.push(step(&end, "deferred_convergence", &BRANCHES));
            }
            Self::Batch => {
                steps.push(step("cut", "batchable", &["a"]));
                steps.push(step("work", "batch_worker", &["cut"]));
                steps.push(step(&end, "deferred_convergence", &["work"]));
            }
        }
        steps
    }

    /// Returns the template's document.
    pub(crate) fn document(self, marker: u32) -> Value {
        let retry = json!({
            "retryable": true, "max_attempts": MAX_ATTEMPTS, "backoff": "linear",
            "backoff_base_ms": 50,
        });
        let steps: Vec<_> = self
            .steps(marker)
            .into_iter()
            .map(|(name, kind, dependencies)| {
                json!({
                    "name": name, "type": kind, "dependencies": dependencies,
                    "handler": {"callable": CALLABLE, "initialization": {"marker": marker}},
                    "retry": retry, "timeout_seconds": TIMEOUT_SECONDS,
                })
            })
            .collect();
        json!({
            "name": self.name(), "namespace_name": NAMESPACE, "version": VERSION,
            "identity_strategy": "always_unique", "steps": steps,
        })
    }

    /// Returns the graph of a complete task.
    pub(crate) fn graph(self, marker: u32, seed: u64) -> Graph {
        let mut graph: Graph = self
            .steps(marker)
            .into_iter()
            .map(|(name, _, parents)| (name, parents.into_iter().collect()))
            .collect();
        match self {
            Self::Linear | Self::Diamond | Self::Fan => {}
            Self::Decision => {
                let chosen = branches(seed);
                graph.retain(|name, _| {
                    !BRANCHES.contains(&name.as_str()) || chosen.contains(&name.as_str())
                });
                if chosen.is_empty() {
                    graph.remove(&end(marker));
                } else if let Some(parents) = graph.get_mut(&end(marker)) {
                    parents.retain(|parent| chosen.contains(&parent.as_str()));
                }
            }
            Self::Batch => {
                graph.remove("work");
                // With nothing to do there is one placeholder, number 0.
                let count = batches(seed);
                let instances: BTreeSet<String> = (count.min(1)..=count)
                    .map(|number| format!("work_{number:03}"))
                    .collect();
                for instance in &instances {
                    graph.insert(instance.clone(), BTreeSet::from([String::from("cut")]));
                }
                graph.insert(end(marker), instances);
            }
        }
        graph
    }

    /// Returns whether the engine completes this step itself, without a handler.
    pub(crate) fn is_placeholder(self, step: &str, seed: u64) -> bool {
        self == Self::Batch && batches(seed) == 0 && step.starts_with("work_")
    }
}

fn end(marker: u32) -> String {
    format!("end_{}", marker % 5)
}

/// Returns the branches that a decision chooses.
pub(crate) fn branches(seed: u64) -> Vec<&'static str> {
    let chosen = hash(&[&seed.to_string(), "branches"]);
    let is_chosen = |&(bit, _): &(usize, _)| chosen >> bit & 1 == 1;
    let branches = BRANCHES.into_iter().enumerate().filter(is_chosen);
    branches.map(|(_, branch)| branch).collect()
}

/// Returns the number of batches that a task is cut into.
pub(crate) fn batches(seed: u64) -> u64 {
    hash(&[&seed.to_string(), "batches"]) % (MOST_BATCHES + 1)
}

/// Returns how an attempt goes.
pub(crate) fn behaviour(seed: u64, step: &str, attempt: i32) -> Behaviour {
    match hash(&[&seed.to_string(), step, &attempt.to_string()]) % 100 {
        0..60 => Behaviour::Quick,
        60..66 => Behaviour::Long,
        66..80 => Behaviour::Commits,
        80..90 => Behaviour::Fails,
        90 => Behaviour::FailsForGood,
        91..97 => Behaviour::Panics,
        _ => Behaviour::Hangs,
    }
}

/// Returns the sum of a step over its inputs: its name, its document, its task and the sums of all
/// steps that it depends on, directly or not.
pub(crate) fn sum(step: &str, marker: u32, seed: u64, inputs: &BTreeMap<String, String>) -> String {
    let (marker, seed) = (marker.to_string(), seed.to_string());
    let mut parts = vec![step, &marker, &seed];
    for (name, sum) in inputs {
        parts.extend([name.as_str(), sum.as_str()]);
    }
    format!("{:016x}", hash(&parts))
}

/// FNV-1a over parts and their ends.
fn hash(parts: &[&str]) -> u64 {
    let bytes = parts.iter().flat_map(|part| part.bytes().chain([0xff]));
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    // The low bits of FNV hardly depend on the early bytes.
    hash ^ (hash >> 29)
}

#[cfg(test)]
mod tests {
    use super::{Behaviour, Shape, behaviour, branches};

    #[test]
    fn each_behaviour_and_each_choice_of_branches_happens() {
        let all: Vec<_> = (0..2000).map(|seed| behaviour(seed, "a", 1)).collect();
        for wanted in [
            Behaviour::Quick,
            Behaviour::Long,
            Behaviour::Commits,
            Behaviour::Fails,
            Behaviour::FailsForGood,
            Behaviour::Panics,
            Behaviour::Hangs,
        ] {
            assert!(all.contains(&wanted), "{wanted:?}");
        }
        for count in 0..=3 {
            assert!((0..100).any(|seed| branches(seed).len() == count));
        }
    }

    #[test]
    fn a_graph_depends_on_the_document_and_the_seed() {
        let graph = |marker, seed| Shape::Batch.graph(marker, seed);
        assert_ne!(graph(1, 1), graph(2, 1));
        assert!((2..100).any(|seed| graph(1, seed) != graph(1, 1)));
        assert!(Shape::Decision.graph(1, 1).contains_key("route"));
    }
}
