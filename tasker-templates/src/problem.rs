//! Problems of templates: errors and warnings.

use std::fmt;

use super::suggestion::perhaps;

/// The most problems of one document that are listed; the rest is counted.
const MAX_LISTED: usize = 100;

/// Characters of each end of a long path that are shown.
const SHOWN_PATH_ENDS: usize = 120;

/// A line and a column, counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Location {
    pub(super) line: usize,
    pub(super) column: usize,
}

/// An error or a warning about one key or value of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The line, counted from 1. None if the document did not come from YAML.
    pub line: Option<usize>,
    /// The column of the key, or of the list's item, in characters counted from 1.
    pub column: Option<usize>,
    /// The path in the document, such as `steps[2].dependencies[0]`; empty for the document itself.
    pub path: String,
    /// The kind of problem. Its `Display` is a sentence for the author.
    pub kind: ProblemKind,
}

impl Problem {
    /// Returns false for the count of further problems, which has no place in the document.
    pub(super) fn is_of_a_place(&self) -> bool {
        !matches!(self.kind, ProblemKind::More { .. })
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}")?;
            if let Some(column) = self.column {
                write!(f, ", column {column}")?;
            }
            f.write_str(": ")?;
        }
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        self.kind.fmt(f)
    }
}

/// The kinds of problems. Texts of the author are shortened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, strum::IntoStaticStr)]
#[cfg_attr(test, derive(strum::VariantNames))]
#[strum(serialize_all = "snake_case")]
#[non_exhaustive]
#[expect(
    missing_docs,
    reason = "the messages say what the variants and their fields are"
)]
pub enum ProblemKind {
    // Errors in a YAML text.
    #[error(
        "{bytes} bytes are more than the limit of {limit}; split the template, or raise common.task_templates.max_file_bytes"
    )]
    TooLarge { bytes: u64, limit: u64 },
    #[error("this is not UTF-8 text")]
    NotUtf8,
    #[error(
        "a control character (U+{code:04X}) is not allowed in YAML; write it as an escape in a \"quoted\" text"
    )]
    ControlCharacter { code: u32 },
    #[error(
        "there is no document in this file; a template is a mapping with name, namespace_name, version and steps"
    )]
    Empty,
    #[error("a second document begins here; put each template in a file of its own")]
    SeveralDocuments,
    #[error("this is not valid YAML: {detail}")]
    Syntax { detail: String },
    #[error("this is nested more than {limit} levels deep")]
    TooDeep { limit: usize },
    #[error("the document has more than {limit} values when its aliases are written out")]
    TooManyNodes { limit: usize },
    #[error("aliases add more than {limit} bytes to the document")]
    AliasesTooLarge { limit: u64 },
    #[error("this alias refers to the value that it is a part of")]
    AliasOfItself,
    #[error("the key {key:?} was given on line {first_line} already; remove one of the two")]
    DuplicateKey { key: String, first_line: usize },
    #[error("a list or a mapping cannot be a key")]
    NotAKey,
    #[error("`<<` merges a mapping, or a list of mappings; this is neither")]
    NotMergeable,
    #[error("JSON has no number for {text:?}; quote it if it is meant as text")]
    NotAJsonNumber { text: String },
    #[error("the whole number {text:?} does not fit into 64 bits; quote it to keep its digits")]
    HugeNumber { text: String },
    #[error("the tag {tag:?} has no meaning here; remove it")]
    UnknownTag { tag: String },
    #[error("the tag {tag:?} does not fit {text:?}")]
    TagMismatch { tag: String, text: String },
    #[error("a text with a NUL character cannot be stored; remove it")]
    NulCharacter,

    // Warnings about a YAML text.
    #[error("the version {text} is a number to YAML; it is kept as the text {text:?}; quote it")]
    UnquotedVersion { text: String },
    #[error("the key {key:?} is not text to YAML; it is kept as text; quote it")]
    KeyIsNotText { key: String },
    #[error(
        "{text} is read as a decimal number, without its leading zeros; quote it if it is meant as text"
    )]
    LeadingZero { text: String },
    #[error(
        "{text} is read as the text {text:?}, not as true or false; quote it, or write true or false"
    )]
    OldBoolean { text: String },

    // Errors in a document.
    #[error("this is missing, or empty")]
    Missing,
    #[error("{expected} is expected here, not {found}")]
    WrongType {
        expected: &'static str,
        found: &'static str,
    },
    #[error("{value} is expected to be a whole number from {min} to {max}")]
    OutOfRange { value: String, min: u64, max: u64 },
    #[error("{length} characters are more than the limit of {max}")]
    TooLong { length: usize, max: usize },
    #[error("{text:?} has characters other than {allowed}")]
    BadCharacters { text: String, allowed: &'static str },
    #[error("{value:?} is not one of {}{}", .known.join(", "), perhaps(*.suggestion))]
    UnknownValue {
        value: String,
        known: &'static [String],
        suggestion: Option<&'static str>,
    },
    #[error("`type` and `step_type` are two names for one thing; remove one of the two")]
    TypeGivenTwice,
    #[error("steps[{first}] has the name {name:?} already; names of steps are unique")]
    DuplicateStep { name: String, first: usize },
    #[error("no step has the name {name:?}{}", perhaps(.suggestion.as_deref()))]
    UnknownDependency {
        name: String,
        suggestion: Option<String>,
    },
    #[error("a step cannot depend on itself")]
    SelfDependency,
    #[error("a batch of the batch worker {worker:?} may get this name")]
    BatchName { worker: String },
    #[error(
        "the key {key:?} is unknown, and without {known:?} other steps run, or in another order; {known:?} is probably meant"
    )]
    MisspeltGraphKey { key: String, known: &'static str },
    #[error("this is not a JSON Schema that can be used: {reason}")]
    InputSchema { reason: String },
    #[error("these steps wait for each other: {}", .steps.join(" -> "))]
    Cycle { steps: Vec<String> },
    #[error("and {count} more")]
    More { count: usize },

    // Warnings about a document.
    #[error("there are no steps, so a task of this template has nothing to do")]
    NoSteps,
    #[error(
        "{length} characters are more than the {max} that lists of templates show; the document keeps them all"
    )]
    LongDescription { length: usize, max: usize },
    #[error("with 0 attempts only the first one is made; write 1, or `retryable: false`")]
    ZeroAttempts,
    #[error(
        "with 0 seconds an attempt ends before its handler can wait for anything; write 1 or more, or remove it"
    )]
    ZeroTimeout,
    #[error(
        "this has no effect with `retryable: false`, which allows one attempt; remove one of the two"
    )]
    AttemptsWithoutRetry,
    #[error("this has no effect with `backoff: none`, which makes no pause; remove one of the two")]
    BaseWithoutBackoff,
    #[error(
        "the first pause of {base} ms is cut to `max_backoff_ms`, which is {max}; lower this, or raise that"
    )]
    BaseAboveMax { base: u64, max: u64 },
    #[error(
        "the batchable step {batchable:?} names this batch worker, which does not depend on it, so no batch can be made from it; add {batchable:?} here"
    )]
    MissingBatchable { batchable: String },
    #[error("the dependency {name:?} is listed twice")]
    RepeatedDependency { name: String },
    #[error("no step has the name {name:?}, so this changes nothing{}", perhaps(.suggestion.as_deref()))]
    UnknownStep {
        name: String,
        suggestion: Option<String>,
    },
    #[error("the step {name:?} is not of the type batch_worker; set its `type`")]
    NotABatchWorker { name: String },
    #[error(
        "no batchable step names this batch worker, so no batch is made from it; the step that makes its batches needs `type: batchable`, and this name as its `batch_config.worker_template`"
    )]
    UnusedBatchWorker,
    #[error(
        "no batch worker depends on this batchable step, so it can make no batch; the step that runs each batch needs `type: batch_worker`, and this step as a dependency"
    )]
    NoBatchWorker,
    #[error("this convergence step has no dependencies, so it has nothing to wait for")]
    NothingToConverge,
    #[error("`domain_events` does not declare the event {name:?}{}", perhaps(.suggestion.as_deref()))]
    UndeclaredEvent {
        name: String,
        suggestion: Option<String>,
    },
    #[error("the key {key:?} is unknown and has no effect; {}", instead(.suggestion.as_deref()))]
    UnknownKey {
        key: String,
        suggestion: Option<String>,
    },
    #[error(
        "the key {key:?} has no effect here; an environment can override only `initialization` of handlers, and `timeout_seconds` and `retry` of steps"
    )]
    NotOverridable { key: String },
    #[error("this has no effect, because the template has no `task_handler`")]
    NoTaskHandler,
    #[error("this override is empty and has no effect")]
    EmptyOverride,
}

impl ProblemKind {
    /// Returns the name of the kind, such as `unknown_key`. It stays the same in all releases.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.into()
    }
}

fn instead(suggestion: Option<&str>) -> String {
    suggestion.map_or_else(
        || String::from("keep notes under `metadata` or under a key that begins with `x-`"),
        |known| format!("perhaps {known:?} is meant"),
    )
}

/// A bounded list of problems, because a hostile document may have one in each line.
#[derive(Debug, Default)]
pub(super) struct Problems {
    listed: Vec<Problem>,
    more: usize,
}

impl Problems {
    pub(super) fn push(
        &mut self,
        at: Option<Location>,
        path: impl fmt::Display,
        kind: ProblemKind,
    ) {
        self.push_with(at, path, || kind);
    }

    /// Adds a problem. `kind` runs only if the problem is listed.
    pub(super) fn push_with(
        &mut self,
        at: Option<Location>,
        path: impl fmt::Display,
        kind: impl FnOnce() -> ProblemKind,
    ) {
        if self.listed.len() < MAX_LISTED {
            let path = shortened(path.to_string());
            self.listed.push(Problem {
                line: at.map(|at| at.line),
                column: at.map(|at| at.column),
                path,
                kind: kind(),
            });
        } else {
            self.more += 1;
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.listed.is_empty()
    }

    /// Returns true if further problems are only counted, so that a suggestion for them is not
    /// needed.
    pub(super) fn is_full(&self) -> bool {
        self.listed.len() >= MAX_LISTED
    }

    pub(super) fn into_vec(mut self) -> Vec<Problem> {
        if self.more > 0 {
            self.listed.push(Problem {
                line: None,
                column: None,
                path: String::new(),
                kind: ProblemKind::More { count: self.more },
            });
        }
        self.listed
    }
}

/// Replaces the middle of a long path by an ellipsis.
fn shortened(path: String) -> String {
    let count = path.chars().count();
    if count <= 2 * SHOWN_PATH_ENDS {
        return path;
    }
    let start = path.chars().take(SHOWN_PATH_ENDS);
    let end = path.chars().skip(count - SHOWN_PATH_ENDS);
    start.chain(['…']).chain(end).collect()
}

/// Shows the first problem and the number of others.
pub(super) struct Listed<'a>(pub(super) &'a [Problem]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((first, rest)) = self.0.split_first() else {
            return Ok(());
        };
        first.fmt(f)?;
        let more = match rest.last().map(|last| &last.kind) {
            Some(ProblemKind::More { count }) => rest.len() - 1 + count,
            _ => rest.len(),
        };
        if more > 0 {
            write!(f, " (and {more} more)")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use strum::VariantNames;

    use super::ProblemKind;

    #[test]
    fn programs_find_the_codes_that_they_know() {
        let codes = "too_large not_utf8 control_character empty several_documents syntax too_deep \
             too_many_nodes aliases_too_large alias_of_itself duplicate_key not_a_key \
             not_mergeable not_a_json_number huge_number unknown_tag tag_mismatch \
             nul_character unquoted_version key_is_not_text leading_zero old_boolean missing \
             wrong_type out_of_range too_long bad_characters unknown_value type_given_twice \
             duplicate_step unknown_dependency self_dependency batch_name misspelt_graph_key \
             input_schema cycle more no_steps long_description zero_attempts zero_timeout \
             attempts_without_retry base_without_backoff base_above_max missing_batchable \
             repeated_dependency \
             unknown_step not_a_batch_worker unused_batch_worker no_batch_worker nothing_to_converge \
             undeclared_event unknown_key not_overridable no_task_handler empty_override";
        assert_eq!(ProblemKind::VARIANTS.join(" "), codes);
    }
}
