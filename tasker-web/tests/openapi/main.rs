//! The committed OpenAPI documents are valid.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

const DOCUMENTS: [&str; 2] = ["orchestration", "worker"];

fn document(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../docs/openapi")
        .join(format!("{name}.json"));
    let text = std::fs::read_to_string(path).expect("it is committed");
    serde_json::from_str(&text).expect("it is JSON")
}

/// Calls `visit` for `value` and every value in it.
fn walk<'a>(value: &'a Value, visit: &mut impl FnMut(&'a Value)) {
    visit(value);
    match value {
        Value::Array(items) => items.iter().for_each(|item| walk(item, visit)),
        Value::Object(members) => members.values().for_each(|member| walk(member, visit)),
        _ => {}
    }
}

/// The schema is the OpenAPI Initiative's, for version 3.1.
#[test]
fn documents_satisfy_the_schema_of_openapi() {
    let schema = serde_json::from_str(include_str!("schema-3.1.json")).expect("it is JSON");
    let validator = jsonschema::validator_for(&schema).expect("it is a JSON Schema");
    for name in DOCUMENTS {
        let document = document(name);
        let errors: Vec<_> = validator
            .iter_errors(&document)
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect();
        assert!(errors.is_empty(), "{name}: {errors:#?}");
    }
}

#[test]
fn references_lead_somewhere_and_schemas_compile() {
    for name in DOCUMENTS {
        let document = document(name);
        walk(&document, &mut |value| {
            if let Some(reference) = value.get("$ref").and_then(Value::as_str) {
                let pointer = reference.strip_prefix('#').expect("it is local");
                assert!(document.pointer(pointer).is_some(), "{name}: {reference}");
            }
        });
        let schemas = document["components"]["schemas"].as_object();
        for schema in schemas.expect("there are some").keys() {
            let mut root = serde_json::json!({"$ref": format!("#/components/schemas/{schema}")});
            root["components"] = document["components"].clone();
            jsonschema::validator_for(&root).unwrap_or_else(|e| panic!("{name}: {schema}: {e}"));
        }
    }
}

#[test]
fn operations_have_an_id_of_their_own_a_summary_and_their_path_parameters() {
    for name in DOCUMENTS {
        let document = document(name);
        let mut ids = BTreeSet::new();
        for (path, item) in document["paths"].as_object().expect("there are some") {
            for (method, operation) in item.as_object().expect("it is an object") {
                let at = format!("{name}: {method} {path}");
                let id = operation["operationId"].as_str().expect("there is one");
                assert!(ids.insert(id), "{at}: {id} is not unique");
                assert!(operation["summary"].is_string(), "{at}");
                let parameters = operation["parameters"].as_array();
                for part in path.split('{').skip(1) {
                    let wanted = part.split('}').next().expect("it is closed");
                    let is_wanted = |p: &Value| p["name"] == wanted && p["in"] == "path";
                    assert!(
                        parameters.is_some_and(|all| all.iter().any(is_wanted)),
                        "{at}"
                    );
                }
            }
        }
    }
}
