//! Runs the handler of one attempt.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use http::Uri;
use serde::Deserialize;
use serde_json::json;

use super::claimed::Attempt;
use super::context::StepContext;
use super::finish::{Finish, failure, success};
use super::handlers::StepHandler;
use super::http::HttpHandlers;
use super::outcome::{StepError, StepOutcome};

/// The type of the error of a handler that says that it completed its step in a transaction of its own. If
/// the transaction was committed, the error is refused.
pub(super) const NOT_COMMITTED: &str = "NotCommitted";

/// The code that runs a step, here or elsewhere.
pub(super) enum Runner<'a> {
    Function(Arc<dyn StepHandler>),
    Http(&'a HttpHandlers, Uri),
}

/// Runs `handler` until it ends, panics or has had its time.
pub(super) async fn run(attempt: &Arc<Attempt>, handler: Option<Runner<'_>>) -> Finish {
    let outcome = match handler {
        _ if is_placeholder(attempt) => Ok(StepOutcome::from(json!({"is_no_op": true}))),
        Some(handler) => guarded(attempt, handler).await,
        None => Err(
            StepError::permanent("the worker has no handler for the callable")
                .with_type("NoHandler"),
        ),
    };
    match outcome {
        Ok(outcome) if outcome.recorded => {
            let error = StepError::retryable(
                "the handler did not commit the transaction that completes the step",
            );
            Finish::Record(failure(attempt, &error.with_type(NOT_COMMITTED)))
        }
        Ok(outcome) => success(attempt, &outcome)
            .unwrap_or_else(|error| Finish::Record(failure(attempt, &error))),
        Err(error) => Finish::Record(failure(attempt, &error)),
    }
}

/// Returns whether the step stands for the batches of a batchable step that found nothing to do.
fn is_placeholder(attempt: &Attempt) -> bool {
    #[derive(Deserialize)]
    struct Inputs {
        is_no_op: bool,
    }
    let inputs = attempt.inputs.as_deref();
    inputs
        .and_then(|inputs| serde_json::from_str::<Inputs>(inputs.get()).ok())
        .is_some_and(|inputs| inputs.is_no_op)
}

async fn guarded(attempt: &Arc<Attempt>, handler: Runner<'_>) -> Result<StepOutcome, StepError> {
    let timeout = attempt.definition().and_then(|step| step.timeout_seconds);
    // Calling the handler is part of what may panic.
    let step = StepContext(Arc::clone(attempt));
    let run = async {
        match handler {
            Runner::Function(handler) => handler.run(step).await,
            Runner::Http(http, uri) => http.run(&step, uri).await,
        }
    };
    // Dropping the handler is also part of it.
    let limited = async {
        let Some(seconds) = timeout else {
            return run.await;
        };
        let ended = tokio::time::timeout(Duration::from_secs(seconds), run).await;
        ended.unwrap_or_else(|_elapsed| {
            let message = format!("the handler did not end within {seconds} s");
            Err(StepError::retryable(message).with_type("Timeout"))
        })
    };
    let ended = AssertUnwindSafe(limited).catch_unwind().await;
    ended.unwrap_or_else(|panic| {
        let message = panic
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned())
            .or_else(|| panic.downcast_ref::<String>().cloned())
            .unwrap_or_else(|| String::from("a value that is no text"));
        Err(StepError::retryable(format!("the handler panicked: {message}")).with_type("Panic"))
    })
}
