//! A template's `input_schema`, compiled, and checks of contexts that end.
//!
//! The cost of a check can be exponential in the size of a small context, because nested `$ref`s under
//! `oneOf` or `not` visit the same value again and again. The validator cannot be interrupted. So it
//! reads the context through `metered` nodes, which count each access and end the check when the
//! budget is spent. Patterns run on an engine without backtracking, in linear time.

mod metered;

use std::fmt::Write;

use jsonschema::{PatternOptions, Retrieve, Uri, ValidationError, Validator};
use serde_json::{Value, json};

pub use metered::Budget;
use metered::{Metered, Node};

use super::FreeForm;

/// The most patterns of a schema.
const MAX_PATTERNS: usize = 200;
/// The most memory of a compiled pattern. Counted repetitions of Unicode classes need some megabytes.
const MAX_PATTERN_BYTES: usize = 8 * 1024 * 1024;
/// The most memory of all compiled patterns of a schema, of which each may have the same share. Compiling
/// that much takes about a second.
const MAX_PATTERNS_BYTES: usize = 128 * 1024 * 1024;
/// The most violations that a check reports.
const MAX_VIOLATIONS: usize = 100;

/// An input schema cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InputSchemaError {
    /// It is not readable as JSON: it is nested too deeply, or a number is out of range.
    #[error("it cannot be read as JSON")]
    Unreadable(#[source] serde_json::Error),
    /// It is not a JSON Schema, or not one that can be checked in bounded time.
    #[error("{reason} (at {} of input_schema)", shown(.location))]
    Invalid {
        /// The problem, without the schema's values.
        reason: String,
        /// A JSON pointer into the schema.
        location: String,
    },
}

fn shown(pointer: &str) -> &str {
    if pointer.is_empty() {
        "the top"
    } else {
        pointer
    }
}

/// A part of a context that does not satisfy the schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemaViolation {
    /// A JSON pointer into the context.
    pub pointer: String,
    /// The problem, without values of the context.
    pub message: String,
}

/// A check took more steps, time or stack than its budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the check of the context exceeded its budget")]
pub struct BudgetExceeded;

/// Refuses each `$ref` to another document, because a template must not make the service send requests.
struct NothingRemote;

/// A schema refers to another document.
#[derive(Debug, thiserror::Error)]
#[error("`$ref` to {uri} is not allowed; put the definition into the schema's `$defs`")]
struct RemoteReference {
    uri: String,
}

impl Retrieve for NothingRemote {
    fn retrieve(
        &self,
        uri: &Uri<String>,
    ) -> Result<Value, Box<dyn std::error::Error + Send + Sync>> {
        Err(Box::new(RemoteReference {
            uri: uri.to_string(),
        }))
    }
}

/// A compiled schema.
#[derive(Debug)]
pub struct InputSchema(Validator<Metered>);

/// Compiles `schema`.
///
/// `$schema` selects draft 4 to 2020-12; without it 2020-12 applies. `format` is checked only in
/// drafts before 2019-09.
///
/// # Errors
/// [`InputSchemaError::Invalid`] if it is not a JSON Schema, refers to another document, or has a
/// pattern with look-around or back-references.
pub fn compile(schema: &Value) -> Result<InputSchema, InputSchemaError> {
    let patterns = patterns(schema);
    if patterns > MAX_PATTERNS {
        return Err(InputSchemaError::Invalid {
            reason: format!("it has more than {MAX_PATTERNS} patterns"),
            location: String::new(),
        });
    }
    let share = MAX_PATTERN_BYTES.min(MAX_PATTERNS_BYTES / patterns.max(1));
    build(schema, share)
        .map(InputSchema)
        .map_err(|error| schema_error(schema, &error, share))
}

fn build(schema: &Value, pattern_bytes: usize) -> Result<Validator<Metered>, ValidationError<'_>> {
    jsonschema::options_for::<Metered>()
        .with_retriever(NothingRemote)
        .with_pattern_options(PatternOptions::regex().size_limit(pattern_bytes))
        .build(schema)
}

impl InputSchema {
    /// Compiles the schema that a template holds.
    ///
    /// # Errors
    /// [`InputSchemaError`] if it cannot be used.
    pub fn read(schema: &FreeForm) -> Result<Self, InputSchemaError> {
        compile(&schema.to_value().map_err(InputSchemaError::Unreadable)?)
    }

    /// Returns the violations of `context`, at most 100. Blocks for as long as `budget` allows, so it
    /// must not run on a thread of the async runtime.
    ///
    /// # Errors
    /// [`BudgetExceeded`] if the check needs more than `budget`.
    pub fn violations(
        &self,
        context: &Value,
        budget: Budget,
    ) -> Result<Vec<SchemaViolation>, BudgetExceeded> {
        let node = Node::new(context);
        // Cheaper than collecting errors, and most contexts are valid.
        if budget.run(|| self.0.is_valid(node))? {
            return Ok(Vec::new());
        }
        let all = budget.run(|| {
            let errors = self.0.iter_errors(node).take(MAX_VIOLATIONS);
            errors.map(|error| violation(&error)).collect()
        });
        // Millions of errors exceed the budget. The first one is enough then.
        all.or_else(|_exceeded| {
            budget.run(|| {
                let first = self.0.validate(node).err();
                first.iter().map(violation).collect()
            })
        })
    }
}

fn violation(error: &ValidationError<'_>) -> SchemaViolation {
    SchemaViolation {
        pointer: error.instance_path().as_str().to_owned(),
        message: error.masked().to_string(),
    }
}

fn schema_error(
    schema: &Value,
    error: &ValidationError<'_>,
    pattern_bytes: usize,
) -> InputSchemaError {
    let location = error.instance_path().as_str().to_owned();
    let mut reason = error.masked().to_string();
    let pattern = schema.pointer(&location).and_then(Value::as_str);
    if pattern.is_some_and(needs_backtracking) {
        reason.push_str("; patterns with look-around or back-references are not supported, because they can take exponential time");
    } else if let Some(pattern) = pattern
        && location.ends_with("/pattern")
        && build(&json!({"pattern": pattern}), MAX_PATTERN_BYTES).is_ok()
    {
        let kib = pattern_bytes / 1024;
        write!(reason, "; as the schema has many patterns, each may take {kib} KiB when it is compiled; shorten its repetitions or use fewer patterns").ok();
    }
    InputSchemaError::Invalid { reason, location }
}

/// Counts the patterns of a schema, and a few members with their names.
fn patterns(schema: &Value) -> usize {
    match schema {
        Value::Object(members) => members
            .iter()
            .map(|(key, value)| {
                let own = match (key.as_str(), value) {
                    ("pattern", Value::String(_)) => 1,
                    ("patternProperties", Value::Object(patterns)) => patterns.len(),
                    _ => 0,
                };
                own + patterns(value)
            })
            .sum(),
        Value::Array(items) => items.iter().map(patterns).sum(),
        _ => 0,
    }
}

fn needs_backtracking(pattern: &str) -> bool {
    ["(?=", "(?!", "(?<=", "(?<!"]
        .iter()
        .any(|group| pattern.contains(group))
        || (1..=9).any(|number| pattern.contains(&format!("\\{number}")))
}

#[cfg(test)]
mod tests;
