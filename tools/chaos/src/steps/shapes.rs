//! The templates of a run, the graphs that they must give, and the sums that their handlers compute.
//! Everything follows from a task's seed and from the marker of the document that it runs on.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use strum::{AsRefStr, Display, EnumString, VariantArray};

pub(crate) const NAMESPACE: &str = "chaos_steps";
pub(crate) const VERSION: &str = "1.0.0";
pub(crate) const CALLABLE: &str = "chaos.Step";
/// The sum in a result of an operator's.
pub(crate) const BY_HAND: &str = "by hand";
/// The attempts that a step has, but for those that are lost with their worker.
pub(crate) const MAX_ATTEMPTS: usize = 4;
/// The pause after a step's first failure, in milliseconds. It grows by as much with each.
pub(crate) const BACKOFF_MS: u64 = 50;
/// Handlers that hang are stopped after so many seconds.
const TIMEOUT_SECONDS: u64 = 4;
const BRANCHES: [&str; 3] = ["left", "middle", "right"];
/// The most batches that a task is cut into.
const MOST_BATCHES: u64 = 12;
const PARTS: usize = 8;

/// The steps that each step waits for.
pub(crate) type Graph = BTreeMap<String, BTreeSet<String>>;

/// The form of a template. Its name is that of the variant in small letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, AsRefStr, Display, EnumString, VariantArray)]
#[strum(serialize_all = "lowercase")]
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
    /// It takes longer than the lease.
    Outlasts,
    /// It completes the step in its own transaction.
    Commits,
    /// It does so as well, but drops the transaction.
    RollsBack,
    Fails,
    FailsForGood,
    Panics,
    Hangs,
}

impl Behaviour {
    /// Returns the type of the error that must be recorded, or nothing for success.
    pub(crate) fn error(self) -> Option<&'static str> {
        match self {
            Self::Quick | Self::Long | Self::Outlasts | Self::Commits => None,
            Self::RollsBack => Some("NotCommitted"),
            Self::Fails => Some("ChaosFailure"),
            Self::FailsForGood => Some("ChaosPermanent"),
            Self::Panics => Some("Panic"),
            Self::Hangs => Some("Timeout"),
        }
    }
}

impl Shape {
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
                steps.push(step("left", "standard", &["route"]));
                steps.push(step("after_left", "standard", &["left"]));
                let mut converging = vec![String::from("after_left")];
                for decision in ["middle", "right"] {
                    steps.push(step(decision, "decision", &["route"]));
                    let inner = options(decision);
                    steps.extend(inner.iter().map(|one| step(one, "standard", &[decision])));
                    converging.extend(inner);
                }
                steps.push((end, "deferred_convergence", converging));
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
            "backoff_base_ms": BACKOFF_MS,
        });
        let steps: Vec<_> = self
            .steps(marker)
            .into_iter()
            .map(|(name, kind, dependencies)| {
                json!({
                    "name": name, "type": kind, "dependencies": dependencies,
                    "handler": {"callable": CALLABLE, "initialization": {"marker": marker}},
                    "retry": retry,
                    "timeout_seconds": has_timeout(&name).then_some(TIMEOUT_SECONDS),
                })
            })
            .collect();
        json!({
            "name": self.as_ref(), "namespace_name": NAMESPACE, "version": VERSION,
            "identity_strategy": "always_unique", "steps": steps,
        })
    }

    /// Returns the graph of a complete task. The steps in `empty` chose nothing, because an operator
    /// resolved them.
    pub(crate) fn graph(self, marker: u32, seed: u64, empty: &BTreeSet<&str>) -> Graph {
        let mut graph = Graph::new();
        for (name, kind, declared) in self.steps(marker) {
            // Each declared dependency, or the instances of it, as far as they are created.
            let parents: BTreeSet<String> = match declared.first() {
                Some(only) if only == "work" => instances(&graph).collect(),
                _ => declared
                    .iter()
                    .filter(|parent| graph.contains_key(*parent))
                    .cloned()
                    .collect(),
            };
            let is_chosen = declared.iter().all(|parent| {
                let chosen = branches(seed, parent);
                options(parent).is_empty()
                    || (chosen.contains(&name) && !empty.contains(parent.as_str()))
            });
            if kind == "batch_worker" {
                let count = if empty.contains("cut") {
                    0
                } else {
                    batches(seed)
                };
                // With nothing to do there is one placeholder, number 0.
                for number in count.min(1)..=count {
                    graph.insert(format!("work_{number:03}"), parents.clone());
                }
            } else if kind == "deferred_convergence" {
                if !parents.is_empty() {
                    graph.insert(name, parents);
                }
            } else if parents.len() == declared.len() && is_chosen {
                graph.insert(name, parents);
            }
        }
        graph
    }
}

/// The step that the engine completes itself, without a handler, if there are no batches.
pub(crate) const PLACEHOLDER: &str = "work_000";

fn instances(graph: &Graph) -> impl Iterator<Item = String> {
    let names = graph.keys().filter(|name| name.starts_with("work_"));
    names.cloned()
}

fn end(marker: u32) -> String {
    format!("end_{}", marker % 5)
}

/// Returns whether a step waits for what others create.
pub(crate) fn converges(step: &str) -> bool {
    step.starts_with("end_")
}

/// Returns whether a step creates others.
pub(crate) fn creates(step: &str) -> bool {
    step == "cut" || !options(step).is_empty()
}

/// Returns the branches that a step can choose from. Only decisions have any.
fn options(step: &str) -> Vec<String> {
    match step {
        "route" => BRANCHES.map(String::from).into(),
        "middle" | "right" => vec![format!("{step}_near"), format!("{step}_far")],
        _ => Vec::new(),
    }
}

/// Returns the branches that a decision chooses.
fn branches(seed: u64, decision: &str) -> Vec<String> {
    let chosen = hash(&[&seed.to_string(), decision, "branches"]);
    let is_chosen = |&(bit, _): &(usize, _)| chosen >> bit & 1 == 1;
    let branches = options(decision).into_iter().enumerate().filter(is_chosen);
    branches.map(|(_, branch)| branch).collect()
}

fn cursor(number: u64) -> Value {
    json!({
        "batch_id": format!("{number:03}"), "start_cursor": number,
        "end_cursor": number + 1, "batch_size": 1,
    })
}

/// Returns the cursor among the inputs of a step. Only batch workers have one.
pub(crate) fn cursor_of(step: &str) -> Value {
    let number = step.strip_prefix("work_").and_then(|it| it.parse().ok());
    number.map_or(Value::Null, cursor)
}

/// Returns whether handlers of a step are stopped after [`TIMEOUT_SECONDS`].
fn has_timeout(step: &str) -> bool {
    step != "c" && !step.starts_with("part") && !step.starts_with("work")
}

/// Returns the result of a step, without its sum.
pub(crate) fn result(step: &str, seed: u64) -> Value {
    if step == "cut" {
        let count = batches(seed);
        let outcome = match count {
            0 => json!({"type": "no_batches"}),
            _ => json!({
                "type": "create_batches", "worker_template_name": "work", "worker_count": count,
                "cursor_configs": (1..=count).map(cursor).collect::<Vec<_>>(), "total_items": count,
            }),
        };
        return json!({"batch_processing_outcome": outcome});
    }
    let outcome = match branches(seed, step) {
        _ if options(step).is_empty() => return json!({}),
        chosen if chosen.is_empty() => json!({"type": "no_branches"}),
        chosen => json!({"type": "create_steps", "step_names": chosen}),
    };
    json!({"decision_point_outcome": outcome})
}

/// Returns whether an attempt saves a checkpoint, which is its number.
pub(crate) fn saves(seed: u64, step: &str, attempt: i32) -> bool {
    hash(&[&seed.to_string(), step, &attempt.to_string(), "saves"]).is_multiple_of(3)
}

/// Returns the number of batches that a task is cut into.
fn batches(seed: u64) -> u64 {
    hash(&[&seed.to_string(), "batches"]) % (MOST_BATCHES + 1)
}

/// Returns how an attempt goes.
pub(crate) fn behaviour(seed: u64, step: &str, attempt: i32) -> Behaviour {
    match hash(&[&seed.to_string(), step, &attempt.to_string()]) % 100 {
        0..58 => Behaviour::Quick,
        58..64 => Behaviour::Long,
        64..78 => Behaviour::Commits,
        78..80 => Behaviour::RollsBack,
        80..90 => Behaviour::Fails,
        90 => Behaviour::FailsForGood,
        91..97 => Behaviour::Panics,
        _ if has_timeout(step) => Behaviour::Hangs,
        _ => Behaviour::Outlasts,
    }
}

/// Returns the sum of a step over its inputs: its name, its document, its task, its cursor, and the
/// sums of all steps that it depends on, directly or not.
pub(crate) fn sum(
    step: &str,
    marker: u32,
    seed: u64,
    cursor: &Value,
    inputs: &BTreeMap<String, String>,
) -> String {
    let keys = ["batch_id", "start_cursor", "end_cursor", "batch_size"];
    let cursor = keys.map(|key| cursor[key].to_string());
    let (marker, seed) = (marker.to_string(), seed.to_string());
    let mut parts = vec![step, &marker, &seed];
    parts.extend(cursor.iter().map(String::as_str));
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
    use std::collections::{BTreeMap, BTreeSet};

    use super::{Behaviour, Shape, batches, behaviour, branches, cursor_of, result, sum};

    #[test]
    fn each_behaviour_and_each_choice_of_branches_happens() {
        let of = |step| (0..2000).map(move |seed| behaviour(seed, step, 1));
        let all: Vec<_> = of("a").chain(of("c")).collect();
        for wanted in [
            Behaviour::Quick,
            Behaviour::Long,
            Behaviour::Outlasts,
            Behaviour::Commits,
            Behaviour::RollsBack,
            Behaviour::Fails,
            Behaviour::FailsForGood,
            Behaviour::Panics,
            Behaviour::Hangs,
        ] {
            assert!(all.contains(&wanted), "{wanted:?}");
        }
        for count in 0..=3 {
            assert!((0..100).any(|seed| branches(seed, "route").len() == count));
        }
    }

    #[test]
    fn a_graph_depends_on_the_document_the_seed_and_operators() {
        let none = BTreeSet::new();
        let graph = |marker, seed| Shape::Batch.graph(marker, seed, &none);
        assert_ne!(graph(1, 1), graph(2, 1));
        assert!((2..100).any(|seed| graph(1, seed) != graph(1, 1)));
        let resolved = Shape::Batch.graph(1, 1, &BTreeSet::from(["cut"]));
        assert!(resolved["end_1"].contains("work_000"), "{resolved:?}");
    }

    #[test]
    fn a_sum_depends_on_the_cursor_of_a_batch() {
        let of = |name| sum("work_001", 1, 1, &cursor_of(name), &BTreeMap::new());
        assert_ne!(of("work_001"), of("work_002"));
        let batches = &result("cut", (0..100).find(|seed| batches(*seed) > 1).unwrap());
        let cursors = &batches["batch_processing_outcome"]["cursor_configs"];
        assert_eq!(cursors[1], cursor_of("work_002"));
        assert!(cursor_of("a").is_null());
    }

    #[test]
    fn a_convergence_waits_for_all_branches_of_both_levels_that_exist() {
        let wanted = |seed: &u64| {
            branches(*seed, "route") == ["left", "middle", "right"]
                && branches(*seed, "middle") == ["middle_far"]
                && branches(*seed, "right").is_empty()
        };
        let seed = (0..1000).find(wanted).unwrap();
        let graph = |empty| Shape::Decision.graph(1, seed, &empty);
        let all = graph(BTreeSet::new());
        let end = |parents: &[&str]| parents.iter().map(|&parent| parent.to_owned()).collect();
        assert_eq!(all["end_1"], end(&["after_left", "middle_far"]));
        assert!(!all.contains_key("middle_near"), "{all:?}");
        let inner = graph(BTreeSet::from(["middle"]));
        assert_eq!(inner["end_1"], end(&["after_left"]));
        assert_eq!(graph(BTreeSet::from(["route"])).len(), 2);
    }
}
