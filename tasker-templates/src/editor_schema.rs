//! The JSON Schema of templates for editors and for other checkers of YAML.

use serde_json::{Map, Value, json};

use super::validation;

/// Returns the JSON Schema of templates as authors write them.
///
/// It has the keys, types and bounds that a registration checks, and refuses unknown keys, for which
/// a registration has only a warning. It cannot say how values depend on each other: only a check
/// such as [`TemplateDocument::from_yaml`](super::TemplateDocument::from_yaml) finds an unknown
/// dependency or a cycle.
#[must_use]
pub fn json_schema() -> Value {
    let mut schema = validation::schema();
    close(&mut schema);
    // The keywords that are used mean the same in all drafts, and editors know this one best.
    schema["$schema"] = json!("http://json-schema.org/draft-07/schema#");
    schema["title"] = json!("Tasker task template");
    // An unquoted version such as 1.0 is a number to YAML, and is kept as text.
    schema["properties"]["version"]["type"] = json!(["string", "number"]);
    schema
}

/// Refuses unknown keys, and allows null for optional ones, in this schema and below.
fn close(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            for value in map.values_mut() {
                close(value);
            }
            if map.contains_key("properties") {
                close_mapping(map);
            } else if let Some(named @ Value::Object(_)) = map.get_mut("additionalProperties") {
                allow_null(named);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(close),
        _ => {}
    }
}

fn close_mapping(schema: &mut Map<String, Value>) {
    let required = schema.get("required").cloned().unwrap_or(json!([]));
    let is_required = |key: &str| {
        required
            .as_array()
            .is_some_and(|keys| keys.iter().any(|name| name == key))
    };
    let mut twice = Vec::new();
    if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        for (key, property) in properties.iter_mut() {
            if is_required(key) {
                not_blank(property);
            } else {
                allow_null(property);
            }
        }
        let aliases: Vec<(String, String)> = properties
            .iter()
            .filter_map(|(key, property)| Some((key.clone(), property["x-alias"].as_str()?.into())))
            .collect();
        for (key, alias) in aliases {
            let mut property = properties[&key].clone();
            if let Some(property) = property.as_object_mut() {
                property.remove("x-alias");
            }
            properties.insert(key.clone(), property.clone());
            properties.insert(alias.clone(), property);
            twice.push(json!({"required": [key, alias]}));
        }
        properties.entry("metadata").or_insert(json!({
            "description": "Notes, which are not read."
        }));
    }
    if !twice.is_empty() {
        schema.insert("not".to_owned(), json!({"anyOf": twice}));
    }
    schema.insert("patternProperties".to_owned(), json!({"^x-": {}}));
    schema.insert("additionalProperties".to_owned(), json!(false));
}

fn not_blank(property: &mut Value) {
    if property["type"] == "string" && property["pattern"].is_null() {
        property["pattern"] = json!("\\S");
    }
}

fn allow_null(property: &mut Value) {
    match &mut property["type"] {
        Value::String(kind) if kind != "null" => property["type"] = json!([kind, "null"]),
        Value::Array(kinds) if !kinds.contains(&json!("null")) => kinds.push(json!("null")),
        _ => {}
    }
    let Some(map) = property.as_object_mut() else {
        return;
    };
    map.retain(|_, value| !value.is_null());
    let words = map.remove("oneOf").or_else(|| map.remove("enum"));
    if let Some(words) = words {
        let words = if words[0].is_object() {
            json!({"oneOf": words})
        } else {
            json!({"enum": words})
        };
        map.remove("type");
        map.insert("anyOf".to_owned(), json!([words, {"type": "null"}]));
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::{Path, PathBuf};

    use serde_json::{Value, json};
    use tasker_test_support::assert_generated;

    use super::json_schema;
    use crate::{TemplateDocument, TemplateLimits};

    fn repository() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
    }

    fn document(yaml: &str) -> Value {
        let limits = TemplateLimits::default();
        let read = TemplateDocument::from_yaml(yaml.as_bytes(), limits);
        read.unwrap_or_else(|error| panic!("{error}: {yaml}"))
            .json()
            .clone()
    }

    fn base() -> Value {
        json!({"name": "n", "namespace_name": "s", "version": "1", "steps": [
            {"name": "a", "handler": {"callable": "A"}},
            {"name": "b", "handler": {"callable": "B"}, "dependencies": ["a"]}]})
    }

    #[test]
    fn the_generated_schema_is_current() {
        let mut text = serde_json::to_string_pretty(&json_schema()).unwrap();
        text.push('\n');
        assert_generated(&repository().join("config/template.schema.json"), &text);
    }

    #[test]
    fn the_schema_accepts_the_samples_and_the_shipped_templates() {
        let validator = jsonschema::validator_for(&json_schema()).unwrap();
        let samples = repository().join("tasker-templates/src/tests");
        let folders = [samples.join("samples"), repository().join("config/tasks")];
        let mut checked = 0;
        for entry in folders.iter().flat_map(walkdir::WalkDir::new) {
            let path = entry.unwrap().into_path();
            if path
                .extension()
                .is_some_and(|extension| extension == "yaml")
            {
                let document = document(&fs::read_to_string(&path).unwrap());
                let errors: Vec<_> = validator
                    .iter_errors(&document)
                    .map(|error| format!("{}: {error}", error.instance_path()))
                    .collect();
                assert!(errors.is_empty(), "{}: {errors:?}", path.display());
                checked += 1;
            }
        }
        assert!(checked > 10, "{checked}");
    }

    #[test]
    fn nulls_aliases_notes_and_numbers_as_versions_are_accepted() {
        let validator = jsonschema::validator_for(&json_schema()).unwrap();
        for (pointer, key, value) in [
            ("", "description", json!(null)),
            ("", "version", json!(1.5)),
            ("", "x-notes", json!([1])),
            ("", "steps", json!(null)),
            ("", "environments", json!({"test": null})),
            ("/steps/0", "type", json!(null)),
            ("/steps/0", "step_type", json!("decision")),
            ("/steps/0", "metadata", json!({"a": 1})),
            (
                "/steps/0",
                "retry",
                json!({"backoff": null, "max_attempts": 0}),
            ),
            ("/steps/0", "timeout_seconds", json!(null)),
        ] {
            let mut document = base();
            document.pointer_mut(pointer).unwrap()[key] = value;
            assert!(validator.is_valid(&document), "{document}");
        }
    }

    #[test]
    fn wrong_keys_and_values_are_refused() {
        let validator = jsonschema::validator_for(&json_schema()).unwrap();
        assert!(validator.is_valid(&base()));
        for (pointer, key, value) in [
            ("", "owner", json!("me")),
            ("", "name", json!("")),
            ("", "name", json!("a b")),
            ("", "name", json!("x".repeat(65))),
            ("", "namespace_name", json!("a-b")),
            ("", "namespace_name", json!(null)),
            ("", "version", json!("1/2")),
            ("", "steps", json!({})),
            ("", "identity_strategy", json!("sometimes")),
            ("", "input_schema", json!([])),
            ("/steps/0", "name", json!(" ")),
            ("/steps/0", "depends_on", json!([])),
            ("/steps/0", "type", json!("desicion")),
            ("/steps/0", "timeout", json!(1)),
            ("/steps/0", "timeout_seconds", json!(-1)),
            ("/steps/0", "timeout_seconds", json!("soon")),
            ("/steps/0", "handler", json!({"callable": ""})),
            (
                "/steps/0",
                "handler",
                json!({"callable": "A", "metod": "run"}),
            ),
            ("/steps/0", "retry", json!({"backoff": "squared"})),
            ("/steps/0", "retry", json!({"retries": 1})),
            ("/steps/0", "batch_config", json!({"batch_size": 0})),
            ("/steps/1", "dependencies", json!("a")),
            ("/steps/1", "dependencies", json!([null])),
            (
                "",
                "environments",
                json!({"test": {"steps": [{"name": "a", "dependencies": []}]}}),
            ),
        ] {
            let mut document = base();
            document.pointer_mut(pointer).unwrap()[key] = value;
            assert!(!validator.is_valid(&document), "{document}");
        }
        let mut twice = base();
        twice["steps"][0]["type"] = json!("decision");
        twice["steps"][0]["step_type"] = json!("decision");
        assert!(!validator.is_valid(&twice));
    }
}
