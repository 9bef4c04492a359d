//! Checks of what operators send.

use axum::extract::{FromRequest, Request};
use serde::de::DeserializeOwned;
use tasker_shared::models::core::task_template::FreeForm;
use tasker_web::problem_kinds as kinds;
use tasker_web::{ApiJson, ApiResult, FieldError, Problem, parse_json};
use tokio::sync::Semaphore;

use crate::task_initialization::{TaskInitializationError, lossy_integers};

/// The width of the columns for a person, in characters.
pub(super) const MAX_PERSON: usize = 255;
/// The longest reason or note, in characters.
pub(super) const MAX_NOTE: usize = 10_000;

/// Checks of bodies that run at a time.
static TURNS: Semaphore = Semaphore::const_new(2);

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

/// A JSON body, as [`ApiJson`] reads it, whose numbers are stored as they were sent. Rejects integers that
/// would lose digits with 422.
#[derive(Debug)]
pub(crate) struct Exact<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Exact<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let ApiJson(body) = ApiJson::<FreeForm>::from_request(request, state).await?;
        // Apart from the runtime, because a body may be large.
        let turn = TURNS.acquire().await.map_err(Problem::internal)?;
        let check = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            (lossy_integers(&body), body)
        });
        let (violations, body) = check.await.map_err(Problem::internal)?;
        let read = parse_json(body.as_json().as_bytes())?;
        if violations.is_empty() {
            Ok(Self(read))
        } else {
            Err(TaskInitializationError::Invalid(violations).into())
        }
    }
}
