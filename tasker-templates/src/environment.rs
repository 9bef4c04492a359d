//! Overrides that belong to one environment.

use schemars::JsonSchema;
use serde_json::{Map, Value};

use super::RetryConfiguration;

/// The overrides of one environment.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "only the JSON Schema is used, to check documents")]
pub(super) struct EnvironmentOverrides {
    /// Overrides for the task's handler.
    task_handler: Option<HandlerOverrides>,
    /// Overrides for steps.
    steps: Option<Vec<StepOverrides>>,
}

#[derive(JsonSchema)]
#[expect(dead_code, reason = "only the JSON Schema is used, to check documents")]
struct HandlerOverrides {
    /// Settings to merge into the handler's.
    initialization: Option<Map<String, Value>>,
}

#[derive(JsonSchema)]
#[expect(dead_code, reason = "only the JSON Schema is used, to check documents")]
struct StepOverrides {
    /// The step's name, or `ALL`.
    name: String,
    /// Overrides for the step's handler.
    handler: Option<HandlerOverrides>,
    /// Longest duration of an attempt, in seconds.
    #[schemars(range(max = 2_147_483_647))]
    timeout_seconds: Option<u64>,
    /// Retries after a failed attempt.
    retry: Option<RetryConfiguration>,
}

/// The step name whose override applies to each step.
pub(super) const ALL_STEPS: &str = "ALL";

/// Returns the document with the overrides of `environments.<environment>` applied.
///
/// Overrides may change `initialization` of the task's handler and of steps' handlers, and
/// `timeout_seconds` and `retry` of steps. Overrides for `ALL` apply first, then those for single
/// steps, in the order of the document. Mappings are merged, other values are replaced, and a null
/// overrides nothing. All other keys stay, `environments` too. An unknown environment changes
/// nothing.
#[must_use]
pub fn apply_environment(document: &Value, environment: &str) -> Value {
    let mut result = document.clone();
    let Some(overrides) = document
        .get("environments")
        .and_then(|environments| environments.get(environment))
    else {
        return result;
    };
    if let Some(initialization) = initialization_of(overrides.get("task_handler")) {
        override_initialization(&mut result, "task_handler", initialization);
    }
    let steps = result.get_mut("steps").and_then(Value::as_array_mut);
    let step_overrides = overrides.get("steps").and_then(Value::as_array);
    if let (Some(steps), Some(step_overrides)) = (steps, step_overrides) {
        let (general, particular): (Vec<_>, Vec<_>) = step_overrides
            .iter()
            .partition(|step| name_of(step) == Some(ALL_STEPS));
        for step in steps {
            for change in &general {
                override_step(step, change);
            }
            for change in &particular {
                if name_of(change).is_some() && name_of(change) == name_of(step) {
                    override_step(step, change);
                }
            }
        }
    }
    result
}

fn name_of(step: &Value) -> Option<&str> {
    step.get("name")?.as_str()
}

fn initialization_of(handler: Option<&Value>) -> Option<&Value> {
    handler?.get("initialization")
}

fn override_step(step: &mut Value, change: &Value) {
    if let Some(initialization) = initialization_of(change.get("handler")) {
        override_initialization(step, "handler", initialization);
    }
    let Value::Object(step) = step else {
        return;
    };
    for key in ["timeout_seconds", "retry"] {
        if let Some(value) = change.get(key) {
            override_key(step, key, value);
        }
    }
}

/// Overrides the settings of the handler under `key`; without a handler it changes nothing.
fn override_initialization(owner: &mut Value, key: &str, initialization: &Value) {
    if let Some(Value::Object(handler)) = owner.get_mut(key) {
        override_key(handler, "initialization", initialization);
    }
}

fn override_key(target: &mut Map<String, Value>, key: &str, change: &Value) {
    if change.is_null() {
        return;
    }
    match (target.get_mut(key), change) {
        (Some(Value::Object(current)), Value::Object(change)) => {
            for (key, change) in change {
                override_key(current, key, change);
            }
        }
        (Some(current), _) => *current = change.clone(),
        (None, _) => {
            target.insert(key.to_owned(), change.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::apply_environment;

    fn document() -> Value {
        json!({
            "name": "orders",
            "task_handler": {"callable": "A", "initialization": {"url": "live", "deep": {"a": 1, "b": 2}}},
            "steps": [
                {"name": "first", "handler": {"callable": "B", "initialization": null},
                 "timeout_seconds": 30, "retry": {"max_attempts": 3, "backoff": "linear"}},
                {"name": "second", "handler": {"callable": "C"}, "notes": "kept"},
            ],
            "environments": {
                "test": {
                    "task_handler": {"initialization": {"url": "test", "deep": {"b": 3, "a": null}, "list": [1]}},
                    "steps": [
                        {"name": "second", "timeout_seconds": 1, "retry": {"max_attempts": 1}},
                        {"name": "ALL", "timeout_seconds": 5, "handler": {"initialization": {"debug": true}}},
                        {"name": "first", "timeout_seconds": null, "retry": {"max_attempts": 2}},
                        {"name": "absent", "timeout_seconds": 99},
                    ],
                },
            },
        })
    }

    #[test]
    fn settings_are_merged_into_the_handlers() {
        let test = apply_environment(&document(), "test");
        assert_eq!(
            test["task_handler"]["initialization"],
            json!({"url": "test", "deep": {"a": 1, "b": 3}, "list": [1]})
        );
        for step in 0..2 {
            assert_eq!(
                test["steps"][step]["handler"]["initialization"],
                json!({"debug": true})
            );
        }
    }

    #[test]
    fn a_step_by_its_name_wins_over_all_steps_wherever_it_is_written() {
        let test = apply_environment(&document(), "test");
        assert_eq!(test["steps"][0]["timeout_seconds"], 5);
        assert_eq!(test["steps"][1]["timeout_seconds"], 1);
        assert_eq!(
            test["steps"][0]["retry"],
            json!({"max_attempts": 2, "backoff": "linear"})
        );
        assert_eq!(test["steps"][1]["retry"], json!({"max_attempts": 1}));
    }

    #[test]
    fn everything_else_stays() {
        let document = document();
        let test = apply_environment(&document, "test");
        assert_eq!(test["environments"], document["environments"]);
        assert_eq!(test["steps"][1]["notes"], "kept");
        assert_eq!(apply_environment(&document, "production"), document);
    }

    #[test]
    fn a_document_of_any_shape_is_no_danger() {
        for odd in [
            json!(null),
            json!([1]),
            json!({"environments": {"test": 1}}),
            json!({"environments": {"test": {"steps": [1, null, {"name": "ALL", "retry": 1}],
                   "task_handler": {"initialization": 1}}}, "steps": [1, {}, {"handler": 2}]}),
        ] {
            assert!(apply_environment(&odd, "test").is_object() || !odd.is_object());
        }
    }
}
