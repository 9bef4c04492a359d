//! Graphviz.

use std::fmt::Write as _;

use tasker_templates::{StepEdgeKind, StepType, TaskTemplate};

use super::kind;

pub(super) fn render(template: &TaskTemplate) -> String {
    let mut text = format!("digraph {} {{\n", quoted(&template.name));
    text.push_str("  node [shape=box, style=rounded, fontname=\"sans-serif\"];\n");
    for step in &template.steps {
        let shape = match step.step_type {
            StepType::Standard => "",
            StepType::Decision => ", shape=diamond, style=solid",
            StepType::DeferredConvergence => ", peripheries=2",
            StepType::Batchable => ", shape=folder, style=solid",
            StepType::BatchWorker => ", shape=box3d, style=solid",
        };
        let label = match kind(step.step_type) {
            Some(kind) => format!("{}\n{kind}", step.name),
            None => step.name.clone(),
        };
        let (name, label) = (quoted(&step.name), quoted(&label));
        let _ = writeln!(text, "  {name} [label={label}{shape}];");
    }
    for edge in template.step_edges() {
        let style = match edge.kind {
            StepEdgeKind::Dependency => "",
            StepEdgeKind::Decision => " [style=dashed]",
            StepEdgeKind::Batch => " [style=dotted, label=\"each batch\"]",
        };
        let (from, to) = (quoted(edge.from), quoted(edge.to));
        let _ = writeln!(text, "  {from} -> {to}{style};");
    }
    text.push_str("}\n");
    text
}

fn quoted(text: &str) -> String {
    let escaped = text
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n");
    format!("\"{escaped}\"")
}

#[cfg(test)]
mod tests {
    #[test]
    fn names_are_quoted() {
        assert_eq!(super::quoted("a \"b\"\\\nc"), r#""a \"b\"\\\nc""#);
    }
}
