//! No password is in anything that the program says, whatever happens to it.

use std::path::Path;

use serde_json::Value;
use tasker_test_support::ordeal;

use crate::support::{folder, template};

#[tokio::test(flavor = "multi_thread")]
async fn no_password_is_printed_or_answered_through_all_failures() {
    let files = folder(&[
        ("order.yaml", template("shop", "order")),
        ("wrong.yaml", Value::Null),
    ]);
    let told = ordeal(
        "tasker-worker",
        Path::new(env!("CARGO_BIN_EXE_tasker-worker")),
        "TASKER__WORKER__WEB__BIND_ADDRESS",
        &[
            ("TASKER_TEMPLATE_PATH", &files.path().to_string_lossy()),
            ("TASKER_LOG_FORMAT", "human"),
        ],
    )
    .await
    .unwrap();
    for expected in [
        "TRACE",
        "sqlx::query",
        "a template file was not registered",
        "stopped",
    ] {
        assert!(told.log.contains(expected), "the log has no {expected}");
    }
    assert!(told.answered.contains("\"breaker\":\"open\""));
    assert_eq!(told.betrayal(), None);
}
