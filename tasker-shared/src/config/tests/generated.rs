//! Checks that the committed schema and reference match the configuration structs.

use std::collections::BTreeSet;
use std::fs;

use tasker_test_support::assert_generated;
use toml::{Table, Value};

use super::super::explain::about;
use super::super::fields::{Fields, join};
use super::super::{flatten, layers};
use super::reference::{reference_markdown, schema_json};
use super::repository;

#[test]
fn the_committed_schema_is_current() {
    assert_generated(&repository().join("tasker/schema.json"), &schema_json());
}

#[test]
fn the_committed_reference_is_current() {
    assert_generated(
        &repository().join("../docs/configuration.md"),
        &reference_markdown(),
    );
}

#[test]
fn the_embedded_files_set_every_key_and_no_other() {
    let mut problems = Vec::new();
    let mut set = BTreeSet::new();
    for layer in layers::embedded() {
        for (path, _) in flatten::flatten(layer.table, &layer.origin, &mut problems) {
            assert!(set.insert(path.clone()), "{path} is set twice");
        }
    }
    assert!(problems.is_empty(), "{problems:?}");
    assert_eq!(set, Fields::all().values.keys().cloned().collect());
}

#[test]
fn every_key_has_a_comment_in_the_base_files_and_a_meaning_in_the_reference() {
    for path in Fields::all().values.keys() {
        assert!(!about(path).is_empty(), "{path} has no documentation");
    }
    for name in ["common", "orchestration", "worker"] {
        let text =
            fs::read_to_string(repository().join(format!("tasker/base/{name}.toml"))).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        for (number, line) in lines.iter().enumerate() {
            let is_key = line.contains(" = ") && !line.starts_with('#');
            let about = &lines[number.saturating_sub(2)..number];
            assert!(
                !is_key || about.iter().any(|line| line.starts_with('#')),
                "{name}.toml: {line}"
            );
        }
    }
}

#[test]
fn the_schema_knows_every_key_that_the_files_set_and_refuses_others() {
    let schema: serde_json::Value = serde_json::from_str(&schema_json()).unwrap();
    for layer in layers::embedded() {
        assert_described("", &layer.table, &schema);
    }
}

fn assert_described(parent: &str, table: &Table, schema: &serde_json::Value) {
    assert_eq!(schema["type"], "object", "{parent}");
    assert_eq!(schema["additionalProperties"], false, "{parent}");
    assert_eq!(schema.get("required"), None, "{parent}");
    for (name, value) in table {
        let path = join(parent, name);
        let property = &schema["properties"][name];
        assert!(property.is_object(), "{path}");
        match value {
            Value::Table(table) => assert_described(&path, table, property),
            value => assert_eq!(
                property["default"],
                serde_json::to_value(value).unwrap(),
                "{path}"
            ),
        }
    }
}

#[test]
fn the_reference_lists_every_key_with_its_variable() {
    let page = reference_markdown();
    for path in Fields::all().values.keys() {
        let variable = format!("`TASKER__{}`", path.replace('.', "__").to_uppercase());
        assert!(page.contains(&variable), "{path}");
    }
    assert!(page.contains("| `url` | text | `redis://localhost:6379` | `REDIS_URL`, `TASKER__COMMON__CACHE__REDIS__URL` |"));
}
