//! Merges layers key by key into one configuration.

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::{Table, Value};

use super::errors::{ConfigProblem, Origin};
use super::flatten::{Located, flatten};
use super::interpolation::{self, Piece, Unresolved};
use super::layers::Layer;
use super::tasker::TaskerConfig;
use super::variables::{ENVIRONMENT, EnvVarRule};

/// Returns the strongest value of each key by dotted path. References are not resolved yet.
///
/// A variable to which the default of a key refers, such as `DATABASE_URL`, is stronger than a file
/// that sets the key without a reference to it. [`ENVIRONMENT`] is not, because it chooses the files,
/// and one of an environment may set the environment of its templates.
pub(super) fn merge<'a>(
    files: Vec<Layer>,
    overrides: Vec<(String, Located)>,
    lookup: impl Fn(&str) -> Option<&'a str>,
    problems: &mut Vec<ConfigProblem>,
) -> BTreeMap<String, Located> {
    let mut merged: BTreeMap<String, Located> = BTreeMap::new();
    let mut of_defaults = Vec::new();
    for layer in files {
        for (path, located) in flatten(layer.table, &layer.origin, problems) {
            let checked = texts(&located.value).try_for_each(interpolation::check);
            match checked {
                Ok(()) => {
                    if matches!(located.origin, Origin::Embedded(_)) {
                        let rules = references(&located.value).filter(|rule| **rule != ENVIRONMENT);
                        of_defaults.extend(rules.map(|rule| (path.clone(), rule)));
                    }
                    merged.insert(path, located);
                }
                Err(reason) => problems.push(unresolved(reason, located.origin, path)),
            }
        }
    }
    for (path, rule) in of_defaults {
        let located = merged
            .get_mut(&path)
            .filter(|located| !references(&located.value).any(|referred_to| referred_to == rule));
        if let (Some(located), Some(value)) = (located, lookup(rule.name)) {
            located.origin = Origin::Variable(rule.name.to_owned());
            located.value = Value::String(value.to_owned());
        }
    }
    merged.extend(overrides);
    merged
}

/// Returns true if a value in force comes from the variable `name`, or refers to it.
pub(super) fn uses(merged: &BTreeMap<String, Located>, name: &str) -> bool {
    merged
        .values()
        .any(|Located { value, origin }| match origin {
            Origin::Variable(variable) => variable == name,
            Origin::Embedded(_) | Origin::File(_) => {
                references(value).any(|rule| rule.name == name)
            }
        })
}

/// Returns the variables to which the texts of a value refer.
fn references(value: &Value) -> impl Iterator<Item = &'static EnvVarRule> {
    let pieces = texts(value).flat_map(|text| interpolation::parse(text).unwrap_or_default());
    pieces.filter_map(|piece| match piece {
        Piece::Reference { name, .. } => EnvVarRule::find(name),
        Piece::Literal(_) => None,
    })
}

/// Resolves the references of the strongest values only, so that a variable which an overridden
/// value refers to is not needed.
pub(super) fn resolve<'a>(
    merged: BTreeMap<String, Located>,
    lookup: impl Fn(&str) -> Option<&'a str>,
    problems: &mut Vec<ConfigProblem>,
) -> BTreeMap<String, Located> {
    let mut in_force = BTreeMap::new();
    for (path, Located { value, origin }) in merged {
        // The value of a variable is not interpolated.
        let resolved = match &origin {
            Origin::Variable(name) => accepted(name, value),
            Origin::Embedded(_) | Origin::File(_) => interpolate(value, &lookup),
        };
        match resolved {
            Ok(value) => {
                in_force.insert(path, Located { value, origin });
            }
            // This was reported when the environment chose the files.
            Err(Unresolved::Refused(rule)) if *rule == ENVIRONMENT => {}
            Err(reason) => problems.push(unresolved(reason, origin, path)),
        }
    }
    in_force
}

/// Checks the value of a variable that files may refer to, where it replaces the text of a file.
fn accepted(name: &str, value: Value) -> Result<Value, Unresolved> {
    match EnvVarRule::find(name) {
        Some(rule) if !texts(&value).all(rule.accepts) => Err(Unresolved::Refused(rule)),
        _ => Ok(value),
    }
}

fn interpolate<'a>(
    value: Value,
    lookup: &impl Fn(&str) -> Option<&'a str>,
) -> Result<Value, Unresolved> {
    match value {
        Value::String(text) => interpolation::interpolate(&text, lookup).map(Value::String),
        Value::Array(items) => items
            .into_iter()
            .map(|item| interpolate(item, lookup))
            .collect::<Result<Vec<_>, _>>()
            .map(Value::Array),
        other => Ok(other),
    }
}

fn texts(value: &Value) -> impl Iterator<Item = &str> {
    let items = value.as_array().map_or(&[][..], Vec::as_slice);
    let in_list = items.iter().filter_map(Value::as_str);
    value.as_str().into_iter().chain(in_list)
}

fn unresolved(reason: Unresolved, origin: Origin, path: String) -> ConfigProblem {
    match reason {
        Unresolved::Malformed => ConfigProblem::MalformedReference { origin, path },
        Unresolved::Unlisted(variable) => {
            let names: Vec<&str> = EnvVarRule::ALLOWLIST.iter().map(|rule| rule.name).collect();
            ConfigProblem::UnlistedVariable {
                origin,
                path,
                variable,
                allowed: names.join(", "),
            }
        }
        Unresolved::Unset(rule) => ConfigProblem::UnsetVariable {
            origin,
            path,
            variable: rule.name,
        },
        Unresolved::Refused(rule) => ConfigProblem::BadVariable {
            variable: rule.name,
            expected: rule.pattern,
            used_at: Some((origin, path)),
        },
    }
}

/// Builds the structs from the values. A key without a value has its struct's default.
pub(super) fn assemble(in_force: &BTreeMap<String, Located>) -> TaskerConfig {
    let mut root = Table::new();
    for (path, located) in in_force {
        insert(&mut root, path, located.value.clone());
    }
    TaskerConfig::deserialize(root)
        .expect("every value has been checked against the schema of its field")
}

fn insert(table: &mut Table, path: &str, value: Value) {
    let Some((section, rest)) = path.split_once('.') else {
        table.insert(path.to_owned(), value);
        return;
    };
    let entry = table
        .entry(section)
        .or_insert_with(|| Value::Table(Table::new()));
    if let Value::Table(section) = entry {
        insert(section, rest, value);
    }
}
