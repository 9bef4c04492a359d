//! Turns the `validator` crate's errors, which print values, into problems without values.

use std::borrow::Cow;

use validator::{Validate, ValidationError, ValidationErrors, ValidationErrorsKind};

use super::fields::join;
use super::tasker::TaskerConfig;

/// Returns the (path, constraint) pairs that `config` breaks, by path.
pub(super) fn broken_constraints(config: &TaskerConfig) -> Vec<(String, String)> {
    let mut found = Vec::new();
    if let Err(errors) = config.validate() {
        collect("", &errors, &mut found);
    }
    found.sort();
    found
}

fn collect(parent: &str, errors: &ValidationErrors, found: &mut Vec<(String, String)>) {
    for (name, kind) in errors.errors() {
        // The crate's name for constraints over several fields of a struct.
        let path = if name == "__all__" {
            parent.to_owned()
        } else {
            join(parent, name)
        };
        match kind {
            ValidationErrorsKind::Struct(errors) => collect(&path, errors, found),
            ValidationErrorsKind::List(items) => {
                for (index, errors) in items {
                    collect(&format!("{path}[{index}]"), errors, found);
                }
            }
            ValidationErrorsKind::Field(errors) => {
                found.extend(errors.iter().map(|error| (path.clone(), constraint(error))));
            }
        }
    }
}

/// Returns the broken constraint as a predicate, such as `must be at least 1`.
fn constraint(error: &ValidationError) -> String {
    if let Some(message) = &error.message {
        return message.clone().into_owned();
    }
    let bound = |name: &'static str| error.params.get(&Cow::Borrowed(name));
    let bounds = match (bound("min"), bound("max")) {
        (Some(min), Some(max)) => format!("from {min} to {max}"),
        (Some(min), None) => format!("at least {min}"),
        (None, Some(max)) => format!("at most {max}"),
        (None, None) => return format!("breaks the constraint `{}`", error.code),
    };
    if error.code == "length" {
        format!("must be {bounds} characters long")
    } else {
        format!("must be {bounds}")
    }
}
