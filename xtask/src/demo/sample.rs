//! A context that a template's input schema accepts, for the schemas that people commonly write.

use serde_json::{Map, Value, json};

/// The smallest value that meets a JSON Schema made of types, properties, bounds and choices.
/// Patterns and combinations of schemas are beyond it; orchestration says if the guess was wrong.
pub(crate) fn sample(schema: &Value) -> Value {
    for chosen in [
        schema.get("const"),
        schema.get("default"),
        schema.pointer("/examples/0"),
        schema.pointer("/enum/0"),
    ] {
        if let Some(value) = chosen.filter(|value| !value.is_null()) {
            return value.clone();
        }
    }
    match kind(schema) {
        "string" => string(schema),
        "integer" | "number" => number(schema),
        "boolean" => json!(true),
        "array" => {
            let items = schema.get("items").unwrap_or(&Value::Null);
            let length = schema.get("minItems").and_then(Value::as_u64).unwrap_or(0);
            (0..length).map(|_| sample(items)).collect()
        }
        "object" => object(schema),
        _ => json!("demo"),
    }
}

fn kind(schema: &Value) -> &str {
    let types = match schema.get("type") {
        Some(Value::Array(types)) => types.iter().find(|name| *name != "null"),
        single => single,
    };
    match types.and_then(Value::as_str) {
        Some(name) => name,
        None if schema.get("properties").is_some() => "object",
        None => "",
    }
}

fn object(schema: &Value) -> Value {
    let required = schema
        .get("required")
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
    let members: Map<String, Value> = required
        .filter_map(Value::as_str)
        .map(|name| {
            let property = schema.get("properties").and_then(|all| all.get(name));
            (name.to_owned(), sample(property.unwrap_or(&Value::Null)))
        })
        .collect();
    Value::Object(members)
}

fn string(schema: &Value) -> Value {
    let text = match schema.get("format").and_then(Value::as_str) {
        Some("date-time") => "2026-01-01T00:00:00Z",
        Some("date") => "2026-01-01",
        Some("email") => "demo@example.com",
        Some("uri" | "url") => "https://example.com/",
        Some("uuid") => "00000000-0000-7000-8000-000000000000",
        _ => "demo",
    };
    let shortest = schema.get("minLength").and_then(Value::as_u64).unwrap_or(0);
    let missing = usize::try_from(shortest)
        .unwrap_or(0)
        .saturating_sub(text.len());
    json!(format!("{text}{}", "x".repeat(missing)))
}

fn number(schema: &Value) -> Value {
    let bound = |name| schema.get(name).and_then(Value::as_i64);
    let least = bound("minimum").or_else(|| Some(bound("exclusiveMinimum")? + 1));
    let most = bound("maximum").or_else(|| Some(bound("exclusiveMaximum")? - 1));
    json!(least.unwrap_or(1).min(most.unwrap_or(i64::MAX)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::sample;

    #[test]
    fn what_is_required_is_there_and_within_its_bounds() {
        let schema = json!({
            "type": "object",
            "required": ["order", "when", "currency", "tags"],
            "properties": {
                "order": {
                    "properties": {"amount": {"type": "number", "exclusiveMinimum": 9}},
                    "required": ["amount"]
                },
                "when": {"type": ["null", "string"], "format": "date-time"},
                "currency": {"enum": ["EUR", "USD"]},
                "tags": {"type": "array", "minItems": 1, "items": {"type": "string", "minLength": 6}},
                "note": {"type": "string"}
            }
        });
        assert_eq!(
            sample(&schema),
            json!({
                "order": {"amount": 10},
                "when": "2026-01-01T00:00:00Z",
                "currency": "EUR",
                "tags": ["demoxx"]
            })
        );
    }

    #[test]
    fn no_schema_asks_for_nothing() {
        assert_eq!(sample(&json!({"type": "object"})), json!({}));
    }
}
