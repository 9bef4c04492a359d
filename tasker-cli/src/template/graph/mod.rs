//! `tasker template graph`.

mod dot;
mod layers;
mod layout;
mod mermaid;
mod ports;
mod svg;

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde_json::{Value, json};
use tasker_templates::{StepType, TaskTemplate};

use super::file;
use crate::error::{CliError, exit};
use crate::output;

const AFTER_HELP: &str = "\
Examples:
  tasker template graph orders.yaml --format svg > orders.svg
  tasker template graph orders.yaml --format dot | dot -Tpng > orders.png

Solid edges are dependencies. Dashed edges lead from a decision to steps that it may create, dotted
ones from a batchable step to the step that is created for each batch.";

/// Arguments of `tasker template graph`.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Graph {
    /// The template; `-` reads standard input.
    file: PathBuf,
    /// The language of the drawing.
    #[arg(
        long,
        alias = "output",
        value_enum,
        default_value_t,
        value_name = "FORMAT"
    )]
    format: GraphFormat,
}

/// The language of a drawing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum GraphFormat {
    /// Graphviz.
    #[default]
    Dot,
    /// Mermaid, which Markdown pages can hold.
    Mermaid,
    /// A picture.
    Svg,
    /// The steps and edges, for programs.
    Json,
}

impl Graph {
    pub(super) fn run(self) -> Result<u8, CliError> {
        let document = file::read(&self.file)?;
        let template = document.template();
        output::text(&match self.format {
            GraphFormat::Dot => dot::render(template),
            GraphFormat::Mermaid => mermaid::render(template),
            GraphFormat::Svg => svg::render(template),
            GraphFormat::Json => return json(template),
        })?;
        Ok(exit::OK)
    }
}

fn json(template: &TaskTemplate) -> Result<u8, CliError> {
    let steps: Vec<Value> = template
        .steps
        .iter()
        .map(|step| json!({"name": step.name, "type": step.step_type}))
        .collect();
    let edges: Vec<Value> = template
        .step_edges()
        .iter()
        .map(|edge| json!({"from": edge.from, "to": edge.to, "kind": edge.kind}))
        .collect();
    output::json(&json!({"steps": steps, "edges": edges}))?;
    Ok(exit::OK)
}

#[cfg(test)]
pub(super) use svg::render as svg;

/// Returns the word that a drawing shows below the names of steps that are not standard.
fn kind(step_type: StepType) -> Option<&'static str> {
    match step_type {
        StepType::Standard => None,
        StepType::Decision => Some("decision"),
        StepType::DeferredConvergence => Some("convergence"),
        StepType::Batchable => Some("batchable"),
        StepType::BatchWorker => Some("batch worker"),
    }
}
