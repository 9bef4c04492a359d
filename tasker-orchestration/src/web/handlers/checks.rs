//! Checks of what operators send.

use tasker_web::problem_kinds as kinds;
use tasker_web::{ApiResult, FieldError, Problem};

/// The width of the columns for a person, in characters.
pub(super) const MAX_PERSON: usize = 255;
/// The longest reason or note, in characters.
pub(super) const MAX_NOTE: usize = 10_000;

/// Requires texts of at most so many characters that say something. Each has its pointer.
///
/// # Errors
/// `validation_failed` with all that do not.
pub(super) fn check_texts(texts: &[(&str, &str, usize)]) -> ApiResult<()> {
    let errors: Vec<FieldError> = texts
        .iter()
        .filter(|(_, text, max)| text.trim().is_empty() || text.chars().count() > *max)
        .map(|(pointer, _, max)| {
            let detail = format!("must have 1 to {max} characters, and not only spaces");
            FieldError::new(*pointer, detail)
        })
        .collect();
    if errors.is_empty() {
        return Ok(());
    }
    let detail =
        "The request is not valid; `errors` lists the reasons. Correct it and send it again.";
    Err(Problem::new(&kinds::VALIDATION_FAILED, detail).with_errors(errors))
}
