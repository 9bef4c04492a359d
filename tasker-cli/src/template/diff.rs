//! `tasker template diff`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use serde_json::{Map, Value};
use tasker_shared::registry::TaskHandlerRegistry;
use tasker_templates::{TaskTemplate, TemplateError};

use super::changes::{self, Change};
use super::file;
use crate::database::DatabaseArgs;
use crate::error::{CliError, exit};
use crate::output::{self, Format, OutputArgs};
use crate::style::{Paint, Style};

const AFTER_HELP: &str = "\
Examples:
  tasker template diff orders-1.yaml orders-2.yaml
  tasker template diff orders.yaml    with the one that is registered

Missing keys have their defaults, and the order of steps, dependencies and keys does not count.
Exit code 0 means that the templates mean the same, 1 that they differ or that none is registered, 66
that a file cannot be read or is not a template.";

/// Arguments of `tasker template diff`.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Diff {
    /// The template before.
    before: PathBuf,
    /// The template after. Without it, BEFORE is compared with the registered template of its name,
    /// and is the one after.
    after: Option<PathBuf>,
    #[command(flatten)]
    database: DatabaseArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// The differences between two templates.
#[derive(Debug, Default, Serialize)]
pub(super) struct Differences {
    is_same: bool,
    /// Differing keys outside of the steps.
    template: Vec<Change>,
    steps_added: Vec<String>,
    steps_removed: Vec<String>,
    edges_added: Vec<Edge>,
    edges_removed: Vec<Edge>,
    /// Differing keys of steps that both templates have.
    steps_changed: BTreeMap<String, Vec<Change>>,
}

/// `to` depends on `from`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
struct Edge {
    from: String,
    to: String,
}

impl Diff {
    pub(super) async fn run(self) -> Result<u8, CliError> {
        let first = file::read(&self.before)?;
        let differences = if let Some(after) = &self.after {
            Differences::between(first.template(), file::read(after)?.template())
        } else {
            let template = first.template();
            let registry = TaskHandlerRegistry::new(self.database.connect().await?);
            let (namespace, name) = (&template.namespace_name, &template.name);
            let registered = registry
                .get_template(namespace, name, &template.version)
                .await?;
            Differences::between(&registered.template, template)
        };
        let differences = differences.map_err(|source| CliError::Template {
            path: self.before.clone(),
            source: TemplateError::Shape(source),
        })?;
        match self.output.output {
            Format::Json => output::json(&differences)?,
            Format::Table => output::text(&differences.text(Style::of_stdout()))?,
        }
        Ok(if differences.is_same {
            exit::OK
        } else {
            exit::NO
        })
    }
}

/// A template in parts that can be compared.
struct Parts {
    template: Value,
    steps: BTreeMap<String, Value>,
    edges: BTreeSet<Edge>,
}

impl Parts {
    fn of(template: &TaskTemplate) -> Result<Self, serde_json::Error> {
        let mut whole = serde_json::to_value(template)?;
        let mut steps = BTreeMap::new();
        let mut edges = BTreeSet::new();
        if let Some(Value::Array(listed)) =
            whole.as_object_mut().and_then(|map| map.remove("steps"))
        {
            for mut step in listed {
                let Some(map) = step.as_object_mut() else {
                    continue;
                };
                let name = map
                    .remove("name")
                    .and_then(|name| Some(name.as_str()?.to_owned()));
                let to = name.unwrap_or_default();
                if let Some(Value::Array(dependencies)) = map.remove("dependencies") {
                    edges.extend(dependencies.iter().filter_map(|from| {
                        let (from, to) = (from.as_str()?.to_owned(), to.clone());
                        Some(Edge { from, to })
                    }));
                }
                without_empty(map);
                steps.insert(to, step);
            }
        }
        if let Some(map) = whole.as_object_mut() {
            without_empty(map);
            let strategy = template.identity_strategy.unwrap_or_default();
            map.insert(String::from("identity_strategy"), strategy.name().into());
        }
        Ok(Self {
            template: whole,
            steps,
            edges,
        })
    }
}

/// Removes keys whose values mean the same as a missing key.
fn without_empty(map: &mut Map<String, Value>) {
    for value in map.values_mut() {
        if let Value::Object(below) = value {
            below.retain(|key, value| {
                key != "initialization" || *value != Value::Object(Map::new())
            });
        }
    }
    map.retain(|_, value| !value.is_null());
}

impl Differences {
    pub(super) fn between(
        before: &TaskTemplate,
        after: &TaskTemplate,
    ) -> Result<Self, serde_json::Error> {
        let (before, after) = (Parts::of(before)?, Parts::of(after)?);
        let missing = |from: &BTreeMap<String, Value>, among: &BTreeMap<String, Value>| {
            let names = from.keys().filter(|name| !among.contains_key(*name));
            names.cloned().collect::<Vec<_>>()
        };
        let steps_changed: BTreeMap<_, _> = before
            .steps
            .iter()
            .filter_map(|(name, step)| {
                let changes = changes::between("", Some(step), Some(after.steps.get(name)?));
                (!changes.is_empty()).then(|| (name.clone(), changes))
            })
            .collect();
        let mut differences = Self {
            is_same: false,
            template: changes::between("", Some(&before.template), Some(&after.template)),
            steps_added: missing(&after.steps, &before.steps),
            steps_removed: missing(&before.steps, &after.steps),
            edges_added: after.edges.difference(&before.edges).cloned().collect(),
            edges_removed: before.edges.difference(&after.edges).cloned().collect(),
            steps_changed,
        };
        differences.is_same = differences.template.is_empty()
            && differences.steps_added.is_empty()
            && differences.steps_removed.is_empty()
            && differences.edges_added.is_empty()
            && differences.edges_removed.is_empty()
            && differences.steps_changed.is_empty();
        Ok(differences)
    }

    fn text(&self, style: Style) -> String {
        if self.is_same {
            return String::from("The templates mean the same.\n");
        }
        let mut text = String::new();
        let mut line = |paint, content: &str| {
            let _ = writeln!(text, "{}", style.paint(paint, content));
        };
        for change in &self.template {
            line(Paint::Yellow, &format!("~ {}", change.text()));
        }
        for name in &self.steps_removed {
            line(Paint::Red, &format!("- step {name}"));
        }
        for name in &self.steps_added {
            line(Paint::Green, &format!("+ step {name}"));
        }
        for Edge { from, to } in &self.edges_removed {
            line(Paint::Red, &format!("- edge {from} -> {to}"));
        }
        for Edge { from, to } in &self.edges_added {
            line(Paint::Green, &format!("+ edge {from} -> {to}"));
        }
        for (name, changes) in &self.steps_changed {
            for change in changes {
                line(Paint::Yellow, &format!("~ step {name}: {}", change.text()));
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use tasker_templates::TaskTemplate;
    use tasker_templates::identity_strategy::IdentityStrategy;

    use super::Differences;
    use crate::style::Style;

    fn template(steps: &Value) -> TaskTemplate {
        let document = json!({"name": "n", "namespace_name": "s", "version": "1", "steps": steps});
        serde_json::from_value(document).unwrap()
    }

    #[test]
    fn defaults_and_order_make_no_difference() {
        let before = template(&json!([
            {"name": "a", "handler": {"callable": "A"}},
            {"name": "b", "handler": {"callable": "B"}, "dependencies": ["a", "c"]},
            {"name": "c", "handler": {"callable": "C"}},
        ]));
        let after = template(&json!([
            {"name": "b", "handler": {"callable": "B"}, "dependencies": ["c", "a"],
             "retry": {"max_attempts": 3}, "type": "standard"},
            {"name": "c", "handler": {"callable": "C", "initialization": {}}, "description": null},
            {"name": "a", "handler": {"callable": "A"}, "step_type": "standard", "notes": 1},
        ]));
        let after = TaskTemplate {
            identity_strategy: Some(IdentityStrategy::Strict),
            ..after
        };
        let differences = Differences::between(&before, &after).unwrap();
        assert!(differences.is_same, "{differences:?}");
    }

    #[test]
    fn steps_edges_and_settings_are_compared() {
        let before = template(&json!([
            {"name": "a", "handler": {"callable": "A", "initialization": {"url": "x"}}},
            {"name": "b", "handler": {"callable": "B"}, "dependencies": ["a"]},
        ]));
        let after = template(&json!([
            {"name": "a", "handler": {"callable": "A", "initialization": {"url": "y"}},
             "retry": {"max_attempts": 5}},
            {"name": "c", "handler": {"callable": "C"}, "dependencies": ["a"]},
        ]));
        let differences = Differences::between(&before, &after).unwrap();
        assert!(!differences.is_same);
        assert_eq!(
            differences
                .text(Style::of_stdout())
                .lines()
                .collect::<Vec<_>>(),
            [
                "- step b",
                "+ step c",
                "- edge a -> b",
                "+ edge a -> c",
                "~ step a: handler.initialization.url: \"x\" -> \"y\"",
                "~ step a: retry.max_attempts: 3 -> 5",
            ]
        );
    }
}
