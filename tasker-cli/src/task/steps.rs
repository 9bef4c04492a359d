//! A task with its steps, as text.

use std::collections::HashMap;
use std::fmt::Write as _;

use serde_json::Value;

use crate::answer::Answer;
use crate::error::{CliError, exit};
use crate::service::{Service, Shape};
use crate::style::{Paint, Style};

/// States that a task can have, those of other software on the database included.
pub(super) const STATES: [&str; 12] = [
    "pending",
    "initializing",
    "enqueuing_steps",
    "steps_in_process",
    "evaluating_results",
    "waiting_for_dependencies",
    "waiting_for_retry",
    "blocked_by_failures",
    "complete",
    "error",
    "cancelled",
    "resolved_manually",
];

/// States in which a task stays.
const ENDS: [&str; 4] = ["complete", "error", "cancelled", "resolved_manually"];

/// Gets a task with its steps.
pub(crate) async fn get(service: &Service, uuid: &str) -> Result<Answer, CliError> {
    let keys = &[
        "task_uuid",
        "status",
        "completed_steps",
        "total_steps",
        "steps",
    ];
    let path = ["v1", "tasks", uuid];
    service.get(&path, &[], Shape::Object(keys)).await
}

/// Returns true if the task has ended.
pub(crate) fn has_ended(task: &Value) -> bool {
    ENDS.contains(&text(task, "status"))
}

/// Returns the exit code for a task that has ended.
pub(crate) fn exit_code(task: &Value) -> u8 {
    match text(task, "status") {
        "complete" | "resolved_manually" => exit::OK,
        _ => exit::NO,
    }
}

/// Returns the text under a key, or nothing.
pub(crate) fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

/// Returns the colour of a state.
pub(crate) fn paint_of(state: &str) -> Paint {
    match state {
        "complete" | "resolved_manually" => Paint::Green,
        "error" | "blocked_by_failures" => Paint::Red,
        "cancelled" => Paint::Dim,
        "waiting_for_retry" => Paint::Yellow,
        "in_progress" | "steps_in_process" | "enqueued" => Paint::Blue,
        _ => Paint::Plain,
    }
}

/// Draws the task: a line for each step, below the steps that it runs after, and one for its error.
pub(crate) fn draw(task: &Value, style: Style) -> String {
    let state = text(task, "status");
    let mut drawing = format!(
        "{} {}/{} {}: {}",
        text(task, "task_uuid"),
        text(task, "namespace"),
        text(task, "name"),
        text(task, "version"),
        style.paint(paint_of(state), state),
    );
    let _ = writeln!(
        drawing,
        " ({} of {} steps complete)",
        task["completed_steps"], task["total_steps"]
    );
    let no_steps = Vec::new();
    let steps = task["steps"].as_array().unwrap_or(&no_steps);
    let depths = depths(steps);
    let mut order: Vec<usize> = (0..steps.len()).collect();
    order.sort_by_key(|step| depths[*step]);
    for step in order {
        let depth = depths[step];
        let step = &steps[step];
        let state = text(step, "status");
        let indent = "  ".repeat(depth + 1);
        let _ = write!(drawing, "{indent}{}  ", text(step, "name"));
        drawing.push_str(&style.paint(paint_of(state), state));
        let attempts = step["attempts"].as_i64().unwrap_or(0);
        if attempts > 1 || state == "error" || state == "waiting_for_retry" {
            let _ = write!(drawing, ", attempt {attempts} of {}", step["max_attempts"]);
        }
        if let Some(next) = step["next_retry_at"].as_str() {
            let _ = write!(drawing, ", next at {next}");
        }
        let after: Vec<&str> = names(step).collect();
        if !after.is_empty() {
            let after = style.paint(Paint::Dim, &format!("  after {}", after.join(", ")));
            drawing.push_str(&after);
        }
        drawing.push('\n');
        if let Some(failure) = failure(step) {
            let failure = style.paint(Paint::Red, failure);
            let _ = writeln!(drawing, "{indent}  error: {failure}");
        }
    }
    drawing
}

/// Returns the first line of the error with which the last attempt of a step failed.
fn failure(step: &Value) -> Option<&str> {
    if !matches!(text(step, "status"), "error" | "waiting_for_retry") {
        return None;
    }
    let message = text(&step["results"]["error"], "message");
    message.lines().find(|line| !line.trim().is_empty())
}

fn names(step: &Value) -> impl Iterator<Item = &str> {
    let list = step["dependencies"].as_array();
    list.into_iter().flatten().filter_map(Value::as_str)
}

/// Returns how many steps each step has above it, on the longest way.
fn depths(steps: &[Value]) -> Vec<usize> {
    let index: HashMap<&str, usize> = steps
        .iter()
        .enumerate()
        .map(|(index, step)| (text(step, "name"), index))
        .collect();
    let mut depths = vec![0; steps.len()];
    // Each round settles at least one more depth, and a graph without cycles needs no more.
    for _ in 0..steps.len() {
        let mut is_settled = true;
        for (step, value) in steps.iter().enumerate() {
            let above = names(value).filter_map(|name| index.get(name));
            let depth = above.map(|above| depths[*above] + 1).max().unwrap_or(0);
            if depth > depths[step] && depth < steps.len() {
                depths[step] = depth;
                is_settled = false;
            }
        }
        if is_settled {
            break;
        }
    }
    depths
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::draw;
    use crate::style::Style;

    #[test]
    fn a_step_shows_why_it_failed_and_when_it_runs_again() {
        let task = json!({"task_uuid": "1", "namespace": "shop", "name": "orders", "version": "2",
            "status": "waiting_for_retry", "completed_steps": 1, "total_steps": 2, "steps": [
            {"name": "check", "status": "complete", "results": {"error": {"message": "old"}}},
            {"name": "pay", "status": "waiting_for_retry", "attempts": 1, "max_attempts": 3,
             "dependencies": ["check"], "next_retry_at": "2026-12-01T09:00:00Z",
             "results": {"error": {"message": "\nthe bank is busy\nat pay.rs:1"}}},
        ]});
        let drawing = draw(&task, Style::of_stdout());
        assert_eq!(
            drawing.lines().skip(1).collect::<Vec<_>>(),
            [
                "  check  complete",
                "    pay  waiting_for_retry, attempt 1 of 3, next at 2026-12-01T09:00:00Z  after check",
                "      error: the bank is busy",
            ]
        );
    }

    #[test]
    fn depths_follow_the_longest_way() {
        let steps = [
            json!({"name": "d", "dependencies": ["b", "c"]}),
            json!({"name": "b", "dependencies": ["a"]}),
            json!({"name": "c", "dependencies": ["b"]}),
            json!({"name": "a", "dependencies": []}),
        ];
        assert_eq!(super::depths(&steps), [3, 1, 2, 0]);
    }
}
