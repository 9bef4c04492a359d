//! `tasker template explain`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use clap::Args;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tasker_templates::{
    FreeForm, HandlerDefinition, StepDefinition, StepEdgeKind, TaskTemplate, TemplateDocument,
    TemplateError, apply_environment,
};

use super::changes::{self, Change};
use super::{file, retry_words};
use crate::error::{CliError, exit};
use crate::output::{self, Format, OutputArgs};
use crate::style::{Paint, Style};

const AFTER_HELP: &str = "\
Examples:
  tasker template explain orders.yaml
  tasker template explain orders.yaml --environment test --output json

The pauses before retries are shown without their jitter of 10 %.";

/// Arguments of `tasker template explain`.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Explain {
    /// The template; `-` reads standard input.
    file: PathBuf,
    /// The environment whose overrides apply, as `TASKER_ENV` chooses it for a worker.
    #[arg(long, short, value_name = "NAME")]
    environment: Option<String>,
    #[command(flatten)]
    output: OutputArgs,
}

/// A template as it runs in one environment.
#[derive(Debug, Serialize)]
struct Explanation {
    namespace: String,
    name: String,
    version: String,
    description: Option<String>,
    environment: Option<String>,
    /// The environments that have overrides.
    environments: Vec<String>,
    identity_strategy: String,
    task_handler: Option<Handler>,
    overrides: Vec<Change>,
    steps: Vec<Step>,
}

#[derive(Debug, Serialize)]
struct Handler {
    callable: String,
    method: Option<String>,
    resolver: Option<String>,
    settings: Value,
}

#[derive(Debug, Serialize)]
struct Step {
    name: String,
    #[serde(rename = "type")]
    kind: Value,
    after: Vec<String>,
    created_later: bool,
    /// The decisions and batchable steps that create it directly.
    created_by: Vec<String>,
    handler: Handler,
    timeout_seconds: Option<u64>,
    attempts: u32,
    retries: String,
    first_pauses_ms: Vec<u128>,
}

impl Explain {
    pub(super) fn run(self) -> Result<u8, CliError> {
        let document = file::read(&self.file)?;
        let explanation = explain(&document, self.environment.as_deref()).map_err(|source| {
            CliError::Template {
                path: self.file.clone(),
                source: TemplateError::Shape(source),
            }
        })?;
        match self.output.output {
            Format::Json => output::json(&explanation)?,
            Format::Table => output::text(&explanation.text(Style::of_stdout()))?,
        }
        Ok(exit::OK)
    }
}

fn explain(
    document: &TemplateDocument,
    environment: Option<&str>,
) -> Result<Explanation, serde_json::Error> {
    let before = document.json();
    let effective =
        environment.map_or_else(|| before.clone(), |name| apply_environment(before, name));
    let template = TaskTemplate::deserialize(&effective)?;
    let environments = before["environments"].as_object();
    Ok(Explanation {
        namespace: template.namespace_name.clone(),
        name: template.name.clone(),
        version: template.version.clone(),
        description: template.description.clone(),
        environment: environment.map(str::to_owned),
        environments: environments
            .map(|known| known.keys().cloned().collect())
            .unwrap_or_default(),
        identity_strategy: template
            .identity_strategy
            .unwrap_or_default()
            .name()
            .to_owned(),
        task_handler: template
            .task_handler
            .as_ref()
            .map(Handler::of)
            .transpose()?,
        overrides: overrides(before, &effective),
        steps: steps(&template)?,
    })
}

/// Returns the values that an environment changes, with the names of steps in their paths.
fn overrides(before: &Value, after: &Value) -> Vec<Change> {
    let handler = "task_handler";
    let mut changes = changes::between(handler, before.get(handler), after.get(handler));
    let steps = |document: &Value| document["steps"].as_array().cloned().unwrap_or_default();
    for (before, after) in steps(before).iter().zip(&steps(after)) {
        let name = before["name"].as_str().unwrap_or_default();
        changes.extend(changes::between(name, Some(before), Some(after)));
    }
    changes
}

fn steps(template: &TaskTemplate) -> Result<Vec<Step>, serde_json::Error> {
    let later = template.steps_created_later();
    let mut creators: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for edge in template.step_edges() {
        if edge.kind != StepEdgeKind::Dependency {
            creators
                .entry(edge.to)
                .or_default()
                .push(edge.from.to_owned());
        }
    }
    let step = |step: &StepDefinition| {
        Ok(Step {
            name: step.name.clone(),
            kind: serde_json::to_value(step.step_type)?,
            after: step.dependencies.clone(),
            created_later: later.contains(step.name.as_str()),
            created_by: creators.remove(step.name.as_str()).unwrap_or_default(),
            handler: Handler::of(&step.handler)?,
            timeout_seconds: step.timeout_seconds,
            attempts: retry_words::attempts(&step.retry),
            retries: retry_words::sentence(&step.retry),
            first_pauses_ms: retry_words::pauses(&step.retry)
                .map(|pause| pause.as_millis())
                .collect(),
        })
    };
    template.steps.iter().map(step).collect()
}

impl Handler {
    fn of(handler: &HandlerDefinition) -> Result<Self, serde_json::Error> {
        let settings = handler.initialization.as_ref();
        let settings = settings.map(FreeForm::to_value).transpose()?;
        Ok(Self {
            callable: handler.callable.clone(),
            method: handler.method.clone(),
            resolver: handler.resolver.clone(),
            settings: settings.unwrap_or(json!({})),
        })
    }

    fn write(&self, text: &mut String, indent: &str) {
        let _ = write!(text, "{indent}handler: {}", self.callable);
        for (key, value) in [("method", &self.method), ("resolver", &self.resolver)] {
            if let Some(value) = value {
                let _ = write!(text, ", {key} {value}");
            }
        }
        text.push('\n');
        for (key, value) in self.settings.as_object().into_iter().flatten() {
            let _ = writeln!(text, "{indent}  {key} = {value}");
        }
    }
}

impl Explanation {
    fn text(&self, style: Style) -> String {
        let mut text = String::new();
        let name = format!("{}/{}/{}", self.namespace, self.name, self.version);
        let environment = match &self.environment {
            Some(environment) => format!(" in the environment {environment}"),
            None => String::from(" without overrides"),
        };
        let _ = writeln!(text, "{}{environment}", style.paint(Paint::Bold, &name));
        if let Some(description) = &self.description {
            let _ = writeln!(text, "{}", description.trim());
        }
        let _ = writeln!(text, "identity strategy: {}", self.identity_strategy);
        if let Some(handler) = &self.task_handler {
            handler.write(&mut text, "");
        }
        self.write_overrides(&mut text, style);
        for step in &self.steps {
            step.write(&mut text, style);
        }
        text
    }

    fn write_overrides(&self, text: &mut String, style: Style) {
        let Some(environment) = &self.environment else {
            if !self.environments.is_empty() {
                let known = self.environments.join(", ");
                let _ = writeln!(text, "environments with overrides: {known}");
            }
            return;
        };
        if self.overrides.is_empty() {
            let known = match self.environments.as_slice() {
                [] => String::from("the template has none"),
                known => format!("the template has some for {}", known.join(", ")),
            };
            let _ = writeln!(text, "overrides for {environment}: none; {known}");
            return;
        }
        let _ = writeln!(text, "overrides for {environment}:");
        for change in &self.overrides {
            let _ = writeln!(text, "  {}", style.paint(Paint::Yellow, &change.text()));
        }
    }
}

impl Step {
    fn write(&self, text: &mut String, style: Style) {
        let kind = self.kind.as_str().unwrap_or_default();
        let name = style.paint(Paint::Bold, &self.name);
        let _ = writeln!(text, "\nstep {name} ({kind})");
        if !self.created_by.is_empty() {
            let _ = writeln!(text, "  created by: {}", self.created_by.join(", "));
        } else if self.created_later {
            text.push_str("  created while the task runs\n");
        }
        let after = if self.after.is_empty() {
            String::from("at once")
        } else {
            format!("after {}", self.after.join(", "))
        };
        let _ = writeln!(text, "  runs: {after}");
        self.handler.write(text, "  ");
        let timeout = self.timeout_seconds.map_or_else(
            || String::from("none in Rust, the worker's limit over HTTP"),
            |seconds| retry_words::duration(std::time::Duration::from_secs(seconds)),
        );
        let _ = writeln!(text, "  timeout: {timeout}");
        let _ = writeln!(text, "  attempts: {}", self.retries);
    }
}
