//! A worker that pays refunds.

use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Value, json};
use tasker_worker::{Handlers, StepContext, StepError};

async fn check_payment(step: StepContext) -> Result<Value, StepError> {
    // A missing or mistyped input fails the step for good, with the path in the error.
    let payment: String = step.input("payment_id")?;
    // Stands for a slow service: long enough to kill the worker meanwhile.
    tokio::time::sleep(Duration::from_secs(3)).await;
    Ok(json!({"payment": payment, "checked_by_attempt": step.attempt()}))
}

async fn pay_back(step: StepContext) -> Result<Value, StepError> {
    let checked: Value = step.dependency("check_payment")?;
    if !step.is_retry() {
        return Err(StepError::retryable("the bank is busy"));
    }
    // The key is the same for all attempts, so that the bank pays back once.
    Ok(json!({"paid_back": checked["payment"], "key": step.idempotency_key()}))
}

fn main() -> ExitCode {
    let handlers = Handlers::new()
        .function("Payments::CheckPayment", check_payment)
        .function("Payments::PayBack", pay_back);
    tasker_worker::run(handlers)
}
