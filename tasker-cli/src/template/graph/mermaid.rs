//! Mermaid.

use std::collections::HashMap;
use std::fmt::Write as _;

use tasker_templates::{StepEdgeKind, StepType, TaskTemplate};

use super::kind;

pub(super) fn render(template: &TaskTemplate) -> String {
    let mut text = String::from("flowchart TD\n");
    let mut ids = HashMap::new();
    for (index, step) in template.steps.iter().enumerate() {
        ids.insert(step.name.as_str(), index);
        let label = match kind(step.step_type) {
            Some(kind) => format!("{}<br/>{kind}", escaped(&step.name)),
            None => escaped(&step.name),
        };
        let (open, close) = match step.step_type {
            StepType::Standard => ("(", ")"),
            StepType::Decision => ("{", "}"),
            StepType::DeferredConvergence => ("([", "])"),
            StepType::Batchable => ("[/", "/]"),
            StepType::BatchWorker => ("[[", "]]"),
        };
        // Names may have characters, or be words, that ids cannot be.
        let _ = writeln!(text, "  s{index}{open}\"{label}\"{close}");
    }
    for edge in template.step_edges() {
        let arrow = match edge.kind {
            StepEdgeKind::Dependency => "-->",
            StepEdgeKind::Decision => "-.->",
            StepEdgeKind::Batch => "-. each batch .->",
        };
        let _ = writeln!(text, "  s{} {arrow} s{}", ids[edge.from], ids[edge.to]);
    }
    text
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('"', "&quot;")
        .replace('<', "&lt;")
        .replace('#', "&#35;")
}
