//! Variables such as `TASKER__COMMON__CACHE__ENABLED`: the layer above all files.
//!
//! Two underscores separate the segments of the path, upper and lower case are the same, and the
//! key's type says how the text is read. Values are taken as they are: `${...}` means nothing in
//! them.

use std::collections::BTreeMap;

use toml::{Table, Value};

use super::config_loader::EnvVarRule;
use super::errors::{ConfigProblem, Origin};
use super::fields::{Fields, Kind};
use super::flatten::{Located, conform, expected};
use super::merge;

const PREFIX: &str = "tasker__";

/// Sets the address of whichever service the process is. Weaker than the variables of the keys.
pub(super) const BIND_ADDRESS: &str = "TASKER_WEB_BIND_ADDRESS";
const BIND_ADDRESS_KEYS: [&str; 2] = ["orchestration.web.bind_address", "worker.web.bind_address"];

/// Variables of the services and of the command line that set no key of the configuration.
const OTHER_VARIABLES: [&str; 9] = [
    "TASKER_ENV",
    "TASKER_CONFIG_ROOT",
    "TASKER_CONFIG_PATH",
    "TASKER_TEMPLATE_PATH",
    "TASKER_LOG",
    "TASKER_LOG_FORMAT",
    "TASKER_URL",
    "TASKER_WORKER_URL",
    "TASKER_TOKEN",
];

/// Returns the name of the variable that sets the key at `path`.
pub(super) fn variable_for(path: &str) -> String {
    format!("{PREFIX}{}", path.replace('.', "__")).to_uppercase()
}

/// Returns true if a variable of this name sets a key.
pub(super) fn is_override(name: &str) -> bool {
    name.get(..PREFIX.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(PREFIX))
}

/// Returns the dotted path of the key that a variable of this name sets.
pub(super) fn path_of(name: &str) -> Option<String> {
    is_override(name).then(|| name[PREFIX.len()..].to_lowercase().replace("__", "."))
}

/// Returns the variables that look like ours, or that files may refer to, and have no effect.
pub(super) fn unused(
    env: &BTreeMap<String, String>,
    merged: &BTreeMap<String, Located>,
) -> Vec<String> {
    let set = env.iter().filter(|(name, value)| {
        if EnvVarRule::find(name).is_some() {
            !value.is_empty() && !merge::uses(merged, name)
        } else {
            name.starts_with("TASKER_") && !is_override(name)
        }
    });
    set.map(|(name, _)| name.clone())
        .filter(|name| !OTHER_VARIABLES.contains(&name.as_str()))
        .collect()
}

/// Returns the values that variables set, by dotted path.
pub(super) fn read(
    env: &BTreeMap<String, String>,
    problems: &mut Vec<ConfigProblem>,
) -> Vec<(String, Located)> {
    let fields = Fields::all();
    let mut values: BTreeMap<String, (&str, Value)> = BTreeMap::new();
    for (name, text) in env {
        let Some(path) = path_of(name) else { continue };
        let origin = Origin::Variable(name.clone());
        let Some(kind) = fields.values.get(&path).copied() else {
            problems.push(if fields.sections.contains(&path) {
                ConfigProblem::WrongType {
                    origin,
                    path,
                    expected: "a section, whose keys have variables of their own".to_owned(),
                    found: "a text",
                }
            } else {
                ConfigProblem::UnknownKey {
                    origin,
                    nearest: variable_for(fields.nearest(&path)),
                    path,
                }
            });
            continue;
        };
        let Some(value) = parse(kind, text) else {
            problems.push(ConfigProblem::WrongType {
                origin,
                path,
                expected: expected(kind),
                found: "another text",
            });
            continue;
        };
        if let Some((first, _)) = values.get(&path) {
            problems.push(ConfigProblem::DuplicateVariable {
                first: (*first).to_owned(),
                second: name.clone(),
            });
        }
        values.insert(path, (name, value));
    }
    let address = env.get(BIND_ADDRESS).filter(|address| !address.is_empty());
    for key in BIND_ADDRESS_KEYS {
        if let Some(address) = address
            && !values.contains_key(key)
        {
            let value = Value::String(address.clone());
            values.insert(key.to_owned(), (BIND_ADDRESS, value));
        }
    }
    values
        .into_iter()
        .map(|(path, (name, value))| {
            let origin = Origin::Variable(name.to_owned());
            (path, Located { value, origin })
        })
        .collect()
}

/// Returns `text` as a value of `kind`, or nothing if it is none.
pub(super) fn parse(kind: Kind, text: &str) -> Option<Value> {
    let trimmed = text.trim();
    let value = match kind {
        Kind::Bool if trimmed.eq_ignore_ascii_case("true") => Value::Boolean(true),
        Kind::Bool if trimmed.eq_ignore_ascii_case("false") => Value::Boolean(false),
        Kind::Bool => return None,
        Kind::Integer(..) => Value::Integer(trimmed.parse().ok()?),
        Kind::Text => Value::String(text.to_owned()),
        Kind::TextList if trimmed.starts_with('[') => {
            // Refuse a text that closes the array and adds keys of its own.
            let mut document: Table = format!("list = {trimmed}").parse().ok()?;
            let list = document.remove("list")?;
            return document
                .is_empty()
                .then_some(list)
                .and_then(|list| conform(kind, list).ok());
        }
        Kind::TextList => trimmed
            .split(',')
            .map(str::trim)
            .filter(|item| !item.is_empty())
            .map(|item| Value::String(item.to_owned()))
            .collect::<Vec<_>>()
            .into(),
    };
    conform(kind, value).ok()
}
