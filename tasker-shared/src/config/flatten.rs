//! Turns a layer's tables into values by dotted path and checks them against the known keys. A
//! wrong value is reported and left out, so that the others can still be checked.

use toml::{Table, Value};

use super::errors::{ConfigProblem, Origin};
use super::fields::{Bounds, Fields, Kind, join};

/// A value and its source.
#[derive(Debug, Clone)]
pub(super) struct Located {
    pub(super) value: Value,
    pub(super) origin: Origin,
}

/// Returns the values of `table` from `origin` in the order of its keys.
pub(super) fn flatten(
    table: Table,
    origin: &Origin,
    problems: &mut Vec<ConfigProblem>,
) -> Vec<(String, Located)> {
    let mut values = Vec::new();
    descend("", table, origin, &mut values, problems);
    values
}

fn descend(
    parent: &str,
    table: Table,
    origin: &Origin,
    values: &mut Vec<(String, Located)>,
    problems: &mut Vec<ConfigProblem>,
) {
    let fields = Fields::all();
    for (name, value) in table {
        let path = join(parent, &name);
        // A quoted key with a dot in it looks like the path of another key and is not that key.
        let is_one_segment = !name.contains('.');
        if is_one_segment && fields.sections.contains(&path) {
            match value {
                Value::Table(table) => descend(&path, table, origin, values, problems),
                other => problems.push(wrong_type(origin, path, "a section".to_owned(), &other)),
            }
        } else if let Some(kind) = fields.values.get(&path).filter(|_| is_one_segment) {
            match conform(*kind, value) {
                Ok(value) => {
                    let origin = origin.clone();
                    values.push((path, Located { value, origin }));
                }
                Err(value) => {
                    problems.push(wrong_type(origin, path, expected(*kind), &value));
                }
            }
        } else {
            problems.push(ConfigProblem::UnknownKey {
                origin: origin.clone(),
                nearest: fields.nearest(&path).to_owned(),
                path,
            });
        }
    }
}

/// Checks that the value is of this kind. Returns the value as the error if it is not.
pub(super) fn conform(kind: Kind, value: Value) -> Result<Value, Value> {
    let fits = match (kind, &value) {
        (Kind::Bool, Value::Boolean(_)) | (Kind::Text, Value::String(_)) => true,
        (Kind::Integer(bounds, _), Value::Integer(number)) => {
            (bounds.least..=bounds.most).contains(number)
        }
        (Kind::TextList, Value::Array(items)) => items.iter().all(Value::is_str),
        _ => false,
    };
    if fits { Ok(value) } else { Err(value) }
}

/// Returns the kind's name in errors.
pub(super) fn expected(kind: Kind) -> String {
    match kind {
        Kind::Bool => "`true` or `false`".to_owned(),
        Kind::Integer(_, Bounds { least, most }) => format!("an integer from {least} to {most}"),
        Kind::Text => "a text".to_owned(),
        Kind::TextList => "a list of texts".to_owned(),
    }
}

fn wrong_type(origin: &Origin, path: String, expected: String, found: &Value) -> ConfigProblem {
    let found = match found {
        Value::String(_) => "a text",
        Value::Integer(_) if expected.starts_with("an integer") => "another integer",
        Value::Integer(_) => "an integer",
        Value::Float(_) => "a number with a decimal point",
        Value::Boolean(_) => "`true` or `false`",
        Value::Datetime(_) => "a date or time",
        Value::Array(_) => "a list",
        Value::Table(_) => "a section",
    };
    ConfigProblem::WrongType {
        origin: origin.clone(),
        path,
        expected,
        found,
    }
}
