//! Templates of a given size.

use std::fmt::Write;

/// The version of all templates of the benchmark.
pub(crate) const VERSION: &str = "1.0.0";

/// A size of templates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) label: &'static str,
    /// The length of the document as JSON, roughly.
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

/// A step is this long as JSON, and all that is not a step is as long as one.
const STEP_BYTES: usize = 420;

const HEAD: &str = r"
version: '1.0.0'
description: Takes an order from its validation to its shipment
metadata: {author: The benchmark, tags: [orders, shop]}
task_handler:
  callable: Shop::OrderHandler
  initialization: {currency: EUR, limit: 5000}
input_schema:
  type: object
  required: [order_id]
  properties: {order_id: {type: integer}, note: {type: string}}
steps:
";

const STEP: &str = r"
    description: Asks the inventory for all items of the order
    handler:
      callable: Shop::StepHandler
      initialization: {service: inventory, strict: true}
    system_dependency: inventory
    retry:
      retryable: true
      max_attempts: 3
      backoff: exponential
      backoff_base_ms: 100
      max_backoff_ms: 10000
    timeout_seconds: 30
";

/// Returns the YAML of a template of about `size`: a chain of steps with settings, as authors write
/// them.
pub(crate) fn yaml(namespace: &str, name: &str, size: Size) -> String {
    let mut text = format!("name: {name}\nnamespace_name: {namespace}{HEAD}");
    for step in 1..size.bytes / STEP_BYTES {
        let dependencies = match step {
            1 => String::new(),
            _ => format!("step_{}", step - 1),
        };
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            "  - name: step_{step}\n    dependencies: [{dependencies}]{STEP}"
        );
    }
    text
}

/// Returns the names `template_0`, `template_1`, and so on.
pub(crate) fn names(count: usize) -> Vec<String> {
    (0..count)
        .map(|number| format!("template_{number}"))
        .collect()
}
