//! Generates the JSON Schema of the configuration and the page that lists its keys.
//!
//! Both are committed. A test fails if a committed file is not current, and rewrites it if
//! `UPDATE_GENERATED=1` is set.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use schemars::Schema;
use schemars::transform::transform_subschemas;
use serde_json::Value as Json;
use toml::Value;

use super::super::env_override::variable_for;
use super::super::explain::about;
use super::super::fields::{Bounds, Fields, Kind, schema};
use super::super::flatten::Located;
use super::super::interpolation::{self, Piece};
use super::super::variables::EnvVarRule;
use super::super::{layers, merge};

const INTRODUCTION: &str = "\
# Configuration

This page is generated from `tasker-shared/src/config`; `cargo xtask generate` renews it.

A service reads its configuration once, at start. Each source overrides the sources above it, key by
key:

1. the defaults below, which are compiled in from `config/tasker/base`,
2. `config/tasker/base/*.toml`,
3. `config/tasker/environments/$TASKER_ENV/*.toml`,
4. `DATABASE_URL`, `REDIS_URL`, and `TASKER_WEB_BIND_ADDRESS`, the `bind_address` of whichever service
   the process is,
5. the variables in the tables below that begin with `TASKER__`, such as
   `TASKER__COMMON__CACHE__ENABLED=false`.

A text of a file that itself refers to one of these, such as `${DATABASE_URL}?sslmode=require`, is used
as it is written.

`TASKER_CONFIG_ROOT` names the folder that holds `tasker/`. By default it is `config` in the working
directory. Without such a folder only the compiled defaults and the variables apply. `TASKER_ENV` is
`development` by default. Files of one folder apply in the order of their names.

`TASKER_CONFIG_PATH` names one file that replaces 2 and 3. It may be the merged file of other software:
its unknown keys are not errors. One warning, \"settings are present and have no effect\", names them,
the variables that begin with `TASKER_` and mean nothing here, and those of the next table that are set
and that nothing in force refers to, such as `REDIS_PASSWORD` without a file that has `${REDIS_PASSWORD}`.

Redis is used only if the cache is enabled and `REDIS_URL`, a file or a variable names it; the default
below is for a section that leaves `url` out.

The type of the key determines how a variable is read: `true` or `false`, a number, a text, or a
list, which is separated by commas or written as in TOML. Names are not case-sensitive.

A text in a file may contain `${NAME}` or `${NAME:-default}` for these variables and no others. An
empty variable counts as unset.

";

const CHECKS: &str = "
An unknown key, a value of the wrong type and a value out of bounds are errors. `--check-config`
lists all of them and does not start the service. Errors in `[common.cache]` alone do not keep a service
from starting: it starts without the cache, logs them, and its status has them in `refused`. With the
cache off, those in `[common.cache.redis]` are no errors of a start. No error, log or endpoint shows a password.
";

/// Returns the JSON Schema of the configuration. Each key is optional, an unknown key is an error.
pub(super) fn schema_json() -> String {
    let mut schema = schema();
    schema.insert("title".to_owned(), "Tasker configuration".into());
    // Replace the structs' defaults, which hide secrets and lack the services' own addresses.
    remove_defaults(&mut schema);
    for (path, default) in defaults() {
        let field = schema
            .pointer_mut(&pointer_to(&path))
            .and_then(Json::as_object_mut)
            .expect("every default is the default of a field");
        let default = serde_json::to_value(default.value).expect("defaults are plain values");
        field.insert("default".to_owned(), default);
    }
    let mut text = serde_json::to_string_pretty(&schema).expect("a schema is JSON");
    text.push('\n');
    text
}

fn pointer_to(path: &str) -> String {
    format!("/properties/{}", path.replace('.', "/properties/"))
}

fn remove_defaults(schema: &mut Schema) {
    schema.remove("default");
    transform_subschemas(&mut remove_defaults, schema);
}

/// Returns the page that lists all keys, in Markdown.
pub(super) fn reference_markdown() -> String {
    let mut page = INTRODUCTION.to_owned();
    page.push_str("| variable | meaning | value |\n| --- | --- | --- |\n");
    for rule in EnvVarRule::ALLOWLIST {
        line(
            &mut page,
            &[&format!("`{}`", rule.name), rule.meaning, rule.pattern],
        );
    }
    page.push_str(CHECKS);

    let defaults = defaults();
    let mut section = "";
    for (path, kind) in by_section(&Fields::all().values) {
        let (parent, key) = path.rsplit_once('.').unwrap_or(("", path));
        if parent != section {
            section = parent;
            let _ = writeln!(page, "\n## `[{section}]`\n");
            page.push_str("| key | type | default | variable | meaning |\n");
            page.push_str("| --- | --- | --- | --- | --- |\n");
        }
        let (default, mut variables) = default_and_variables(&defaults[path].value);
        variables.push(variable_for(path));
        let variables: Vec<String> = variables.iter().map(|name| format!("`{name}`")).collect();
        line(
            &mut page,
            &[
                &format!("`{key}`"),
                &type_of(kind),
                &if default.is_empty() {
                    String::from("none")
                } else {
                    format!("`{default}`")
                },
                &variables.join(", "),
                &about(path),
            ],
        );
    }
    page
}

/// Returns the fields in the order of their sections, so that subsections follow their section.
fn by_section(fields: &BTreeMap<String, Kind>) -> Vec<(&str, Kind)> {
    let mut sorted: Vec<_> = fields
        .iter()
        .map(|(path, kind)| (path.as_str(), *kind))
        .collect();
    sorted.sort_by_key(|(path, _)| path.rsplit_once('.'));
    sorted
}

fn line(page: &mut String, cells: &[&str]) {
    for cell in cells {
        page.push_str("| ");
        page.push_str(&cell.replace('|', "\\|"));
        page.push(' ');
    }
    page.push_str("|\n");
}

/// Returns the embedded defaults with unresolved references.
fn defaults() -> BTreeMap<String, Located> {
    let files = layers::embedded().collect();
    merge::merge(files, Vec::new(), |_| None, &mut Vec::new())
}

/// Returns the default without references, and the variables that it refers to.
fn default_and_variables(value: &Value) -> (String, Vec<String>) {
    let Value::String(text) = value else {
        return (value.to_string(), Vec::new());
    };
    let mut variables = Vec::new();
    let mut default = String::new();
    for piece in interpolation::parse(text).unwrap_or_default() {
        match piece {
            Piece::Literal(literal) => default.push_str(literal),
            Piece::Reference {
                name,
                default: otherwise,
            } => {
                variables.push(name.to_owned());
                default.push_str(otherwise.unwrap_or_default());
            }
        }
    }
    (default, variables)
}

fn type_of(kind: Kind) -> String {
    match kind {
        Kind::Bool => "boolean".to_owned(),
        Kind::Integer(of_type, Bounds { least, most }) => {
            // A lower bound of 0 needs no mention.
            match (least > of_type.least, most < of_type.most) {
                (true, true) => format!("integer, {least} to {most}"),
                (true, false) => format!("integer, at least {least}"),
                (false, true) => format!("integer, at most {most}"),
                (false, false) => "integer".to_owned(),
            }
        }
        Kind::Text => "text".to_owned(),
        Kind::TextList => "list of texts".to_owned(),
    }
}
