//! A worker with handlers for every template in `config/tasks`.

use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Value, json};
use tasker_worker::{Handlers, StepContext, StepError, StepOutcome};
use tokio::time::sleep;

type Result<T = Value> = std::result::Result<T, StepError>;

/// Stands for the work of handlers that call other systems.
async fn work(step: StepContext) -> Result {
    sleep(Duration::from_millis(20)).await;
    Ok(json!({"step": step.name(), "attempt": step.attempt(), "after": step.dependencies()}))
}

async fn create_account(step: StepContext) -> Result {
    let email: String = step.input("email")?;
    if !email.contains('@') {
        return Err(StepError::permanent("the address has no @").with_type("InvalidAddress"));
    }
    Ok(json!({"account": email, "key": step.idempotency_key()}))
}

/// Fails the first time, as mail servers do.
async fn welcome(step: StepContext) -> Result {
    if !step.is_retry() {
        let error = StepError::retryable("the mail server is busy");
        return Err(error.retry_after(Duration::from_millis(200)));
    }
    let account: Value = step.dependency("create_account")?;
    Ok(json!({"welcomed": account["account"]}))
}

async fn plan_batches(_step: StepContext) -> Result<StepOutcome> {
    let cursor = |n: u64| {
        json!({
            "batch_id": format!("{n:03}"), "start_cursor": n * 5000, "end_cursor": (n + 1) * 5000,
            "batch_size": 5000,
        })
    };
    Ok(StepOutcome::create_batches(
        "import_rows",
        (0..5).map(cursor).collect(),
        25_000,
    ))
}

async fn import_rows(step: StepContext) -> Result {
    let inputs: Value = step.inputs()?;
    let (start, end) = (
        &inputs["cursor"]["start_cursor"],
        &inputs["cursor"]["end_cursor"],
    );
    let rows = end
        .as_u64()
        .zip(start.as_u64())
        .map(|(end, start)| end - start);
    step.save_checkpoint(json!({"cursor": end, "items_processed": rows}))
        .await?;
    Ok(json!({"rows": rows}))
}

async fn summarize(step: StepContext) -> Result {
    let batches: Vec<(String, Value)> = step.batch("import_rows")?;
    let rows: u64 = batches
        .iter()
        .filter_map(|(_, batch)| batch["rows"].as_u64())
        .sum();
    Ok(json!({"batches": batches.len(), "rows": rows}))
}

async fn choose_path(step: StepContext) -> Result<StepOutcome> {
    let amount: u64 = step.input("amount_cents")?;
    let path = match amount {
        0..=500_000 => "approve_automatically",
        500_001..=10_000_000 => "ask_an_officer",
        _ => "ask_the_committee",
    };
    Ok(StepOutcome::create_steps([path]))
}

fn main() -> ExitCode {
    let mut handlers = Handlers::new()
        .function("accounts.CreateAccount", create_account)
        .function("accounts.Welcome", welcome)
        .function("data_import.PlanBatches", plan_batches)
        .function("data_import.ImportRows", import_rows)
        .function("data_import.Summarize", summarize)
        .function("lending.ChoosePath", choose_path);
    for callable in [
        "accounts.ConfirmEmail",
        "lending.CollectDocuments",
        "lending.ScoreApplicant",
        "lending.ApproveAutomatically",
        "lending.AskAnOfficer",
        "lending.AskTheCommittee",
        "lending.RecordOutcome",
        "reporting.CountOrders",
        "reporting.CountSignups",
        "reporting.CountIncidents",
        "reporting.RenderDigest",
        "reporting.MailDigest",
        "storefront.checkout.PriceBasket",
        "storefront.checkout.AuthorizeCard",
        "storefront.checkout.ReserveGoods",
        "storefront.checkout.PlaceOrder",
        "storefront.checkout.SendReceipt",
    ] {
        handlers = handlers.function(callable, work);
    }
    tasker_worker::run(handlers)
}
