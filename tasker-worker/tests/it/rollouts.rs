//! A rollout of template files is visible: in the log, in metrics, in health and in the configuration.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tasker_shared::config::tasker::TaskerConfig;
use tasker_test_support::TestDatabase;

use crate::support::{TestWorker, context, folder, start, start_program, template};

const ORDER: &str = "/templates/shop/order/1.0.0";
const PATIENCE: Duration = Duration::from_secs(20);

fn changed() -> Value {
    let mut template = template("shop", "order");
    template["description"] = json!("changed under the same version");
    template
}

fn bad() -> Value {
    json!({"name": "half of a template"})
}

#[tokio::test]
async fn health_and_the_configuration_show_the_files_of_the_boot() {
    let files = [("a.yaml", template("shop", "order")), ("b.yaml", bad())];
    let worker = TestWorker::without_cache(&files).await;
    let health = worker.get("/health/detailed").await.body;
    let check = &health["checks"]["templates"];
    assert_eq!(check["status"], "degraded", "{check}");
    assert_eq!(health["status"], "healthy");
    assert_eq!(
        (&check["found"], &check["registered"], &check["refused"]),
        (&json!(2), &json!(1), &json!(1))
    );
    let folders = worker.get("/config").await.body["template_folders"].clone();
    assert_eq!(folders["named_by"], "TASKER_TEMPLATE_PATH");
    assert_eq!(folders["folders"], json!([worker.folder.path()]));
    worker.stop().await;
}

#[tokio::test]
async fn changed_content_of_a_version_can_be_refused() {
    let mut config = TaskerConfig::default();
    config.common.task_templates.on_changed_version = "refuse".into();
    let files = [("order.yaml", template("shop", "order"))];
    let mut worker = TestWorker::boot(&files, config).await;
    let before = worker.get(ORDER).await.body["handler_metadata"].clone();

    let file = worker.folder.path().join("order.yaml");
    std::fs::write(&file, changed().to_string()).unwrap();
    worker.boot_again().await;
    let after = worker.get(ORDER).await.body["handler_metadata"].clone();
    assert_eq!(before, after);
    let health = worker.get("/health/detailed").await.body;
    assert_eq!(health["checks"]["templates"]["refused"], 1, "{health}");

    // A new version is no changed version.
    let mut next = changed();
    next["version"] = json!("1.0.1");
    std::fs::write(&file, next.to_string()).unwrap();
    worker.boot_again().await;
    assert_eq!(worker.get("/templates/shop/order/1.0.1").await.status, 200);
    worker.stop().await;
}

#[tokio::test]
async fn a_strict_boot_registers_nothing_from_a_folder_with_a_bad_file() {
    let database = TestDatabase::create().await.unwrap();
    let mut config = TaskerConfig::default();
    config.common.task_templates.strict_boot = true;
    let context = context(&database, config).await;
    let files = folder(&[("a.yaml", template("shop", "order")), ("b.yaml", bad())]);
    let error = start(&context, files.path()).await.unwrap_err();
    assert_eq!(error.exit_code(), tasker_web::exit::CONFIG);
    let shown = tasker_web::causes(&error);
    assert!(shown.contains("strict_boot"), "{shown}");
    let registered = context.task_handler_registry.list_templates(None).await;
    assert_eq!(registered.unwrap().len(), 0);

    std::fs::remove_file(files.path().join("b.yaml")).unwrap();
    assert!(start(&context, files.path()).await.is_ok());
    context.shutdown().await;
}

/// Starts the program on `files`, waits until it is ready, stops it, and returns its log and metrics.
async fn run(database: &TestDatabase, files: &Path) -> (Vec<Value>, String) {
    let (worker, address) = start_program(
        database,
        &[
            ("TASKER_TEMPLATE_PATH", &files.to_string_lossy()),
            ("TASKER_LOG_FORMAT", "json"),
        ],
    )
    .await;
    let started = Instant::now();
    let metrics = loop {
        let answer = reqwest::get(format!("http://{address}/metrics")).await;
        if let Ok(answer) = answer
            && answer.status() == 200
        {
            break answer.text().await.unwrap();
        }
        worker.check_alive().unwrap();
        assert!(started.elapsed() < PATIENCE, "{}", worker.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    worker.stop().await.unwrap();
    let log = worker.log();
    let lines = log
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok());
    (lines.collect(), metrics)
}

fn line<'a>(log: &'a [Value], message: &str) -> &'a Value {
    let found = log.iter().find(|line| line["message"] == message);
    found.unwrap_or_else(|| panic!("{message:?} is not in {log:#?}"))
}

#[tokio::test]
async fn the_log_has_a_line_for_each_template_and_a_warning_for_a_replaced_version() {
    let database = TestDatabase::create().await.unwrap();
    let files = folder(&[("order.yaml", template("shop", "order")), ("b.yaml", bad())]);
    let (log, metrics) = run(&database, files.path()).await;
    let created = line(&log, "template created");
    assert_eq!(created["level"], "INFO");
    let name = ["namespace", "name", "version"].map(|key| &created[key]);
    assert_eq!(name, ["shop", "order", "1.0.0"]);
    assert!(created["file"].as_str().unwrap().ends_with("order.yaml"));
    for sample in [
        "tasker_template_files{result=\"registered\"} 1",
        "tasker_template_files{result=\"refused\"} 1",
        "tasker_template_versions_replaced_total 0",
    ] {
        assert!(metrics.contains(sample), "{sample}: {metrics}");
    }

    std::fs::write(files.path().join("order.yaml"), changed().to_string()).unwrap();
    let (log, metrics) = run(&database, files.path()).await;
    let message = "template updated; the content of a registered version was replaced";
    let updated = line(&log, message);
    assert_eq!(updated["level"], "WARN");
    assert_eq!(updated["old_hash"], created["hash"]);
    assert_ne!(updated["hash"], created["hash"]);
    assert!(
        metrics.contains("tasker_template_versions_replaced_total 1"),
        "{metrics}"
    );
}
