//! Templates of a given size.

use serde_json::{Value, json};
use tasker_shared::models::core::task_template::TemplateDocument;

use crate::error::BenchError;

/// The version of all templates of the benchmark.
pub(crate) const VERSION: &str = "1.0.0";

/// A size of templates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) label: &'static str,
    pub(crate) bytes: usize,
}

pub(crate) const SMALL: Size = Size {
    label: "2 KB",
    bytes: 2 * 1024,
};
pub(crate) const LARGE: Size = Size {
    label: "50 KB",
    bytes: 50 * 1024,
};

/// A template of about `size`, as authors write them: a chain of steps with settings.
pub(crate) fn document(namespace: &str, name: &str, size: Size) -> Value {
    let mut steps = Vec::new();
    let mut bytes = 500;
    while bytes < size.bytes {
        let step = step(steps.len());
        bytes += step.to_string().len() + 1;
        steps.push(step);
    }
    json!({
        "name": name,
        "namespace_name": namespace,
        "version": VERSION,
        "description": "Takes an order from its validation to its shipment",
        "metadata": {"author": "The benchmark", "tags": ["orders", "shop"]},
        "task_handler": {
            "callable": "Shop::OrderHandler",
            "initialization": {"currency": "EUR", "limit": 5000},
        },
        "input_schema": {
            "type": "object",
            "required": ["order_id"],
            "properties": {"order_id": {"type": "integer"}, "note": {"type": "string"}},
        },
        "steps": steps,
    })
}

fn step(number: usize) -> Value {
    let before: Vec<String> = number
        .checked_sub(1)
        .map(|before| format!("step_{before}"))
        .into_iter()
        .collect();
    json!({
        "name": format!("step_{number}"),
        "description": "Asks the inventory whether all items of the order are there",
        "handler": {
            "callable": "Shop::StepHandler",
            "initialization": {"service": "inventory", "retries": number, "strict": true},
        },
        "system_dependency": "inventory",
        "dependencies": before,
        "retry": {
            "retryable": true, "max_attempts": 3, "backoff": "exponential",
            "backoff_base_ms": 100, "max_backoff_ms": 10_000,
        },
        "timeout_seconds": 30,
    })
}

/// The names `prefix_0`, `prefix_1`, and so on.
pub(crate) fn names(prefix: &str, count: usize) -> Vec<String> {
    (0..count)
        .map(|number| format!("{prefix}_{number}"))
        .collect()
}

/// Templates with these names.
pub(crate) fn documents(
    namespace: &str,
    names: &[String],
    size: Size,
) -> Result<Vec<TemplateDocument>, BenchError> {
    names
        .iter()
        .map(|name| {
            Ok(TemplateDocument::from_json(document(
                namespace, name, size,
            ))?)
        })
        .collect()
}
