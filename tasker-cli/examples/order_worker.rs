//! The worker of the tutorial.

use serde_json::json;
use tasker_worker::{Handlers, StepContext, StepError};

fn main() -> std::process::ExitCode {
    let done = async |_: StepContext| Ok::<_, StepError>(json!({"done": true}));
    let charge = async |_: StepContext| match std::fs::exists("bank-is-open") {
        Ok(true) => Ok(json!({"charged": true})),
        _ => Err(StepError::permanent("the bank is closed")),
    };
    tasker_worker::run(
        Handlers::new()
            .function("orders.Validate", done)
            .function("orders.Charge", charge)
            .function("orders.Notify", done),
    )
}
