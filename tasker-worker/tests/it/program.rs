//! The program `tasker-worker`, as a supervisor sees it.

use std::process::{Command, Output};

use serde_json::Value;
use sqlx::{Connection, Executor, PgConnection};
use tasker_shared::config::tasker::TaskerConfig;
use tasker_test_support::{TestDatabase, until};

use crate::support::{context, folder, start_program, template};

/// Runs the program to its end, in a folder that has no templates.
fn run(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    Command::new(env!("CARGO_BIN_EXE_tasker-worker"))
        .args(arguments)
        .current_dir(folder.path())
        .env_clear()
        .envs(environment.iter().copied())
        .output()
        .unwrap()
}

fn code(output: &Output) -> u8 {
    u8::try_from(output.status.code().expect("it ended by itself")).unwrap()
}

#[tokio::test]
async fn a_missing_template_folder_ends_it_as_a_configuration_error_does() {
    let database = TestDatabase::create().await.unwrap();
    let output = run(
        &[],
        &[
            ("TASKER__COMMON__DATABASE__URL", database.url()),
            ("TASKER__WORKER__WEB__BIND_ADDRESS", "127.0.0.1:0"),
            ("TASKER_TEMPLATE_PATH", "/no/such/folder"),
        ],
    );
    assert_eq!(code(&output), tasker_web::exit::CONFIG);
    let shown = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert!(shown.contains("/no/such/folder"), "{shown}");
    assert!(shown.contains("TASKER_TEMPLATE_PATH"), "{shown}");
}

/// The merged file of the existing workspace has this pattern, relative to its root.
#[tokio::test]
async fn a_search_path_with_a_pattern_selects_the_files_of_its_folder() {
    let database = TestDatabase::create().await.unwrap();
    let root = folder(&[]);
    let templates = root.path().join("config/task_templates");
    std::fs::create_dir_all(templates.join("deeper")).unwrap();
    for (file, name) in [
        ("order.yaml", "order"),
        ("refund.yml", "refund"),
        ("deeper/not.yaml", "not"),
    ] {
        std::fs::write(templates.join(file), template("shop", name).to_string()).unwrap();
    }
    let pattern = root.path().join("config/task_templates/*.{yml,yaml}");
    let paths = format!("[\"{}\"]", pattern.display());
    let (worker, address) = start_program(
        &database,
        &[("TASKER__COMMON__TASK_TEMPLATES__SEARCH_PATHS", &paths)],
    )
    .await;
    answers(&address, "/health/ready", 200).await;
    assert_eq!(
        answers(&address, "/templates", 200).await["template_count"],
        2
    );
    worker.stop().await.unwrap();
}

#[tokio::test]
async fn a_worker_that_still_registers_templates_is_alive_and_not_ready() {
    let database = TestDatabase::create().await.unwrap();
    context(&database, TaskerConfig::default())
        .await
        .shutdown()
        .await;
    let mut lock = PgConnection::connect(database.url()).await.unwrap();
    lock.execute("BEGIN; LOCK TABLE tasker.named_tasks IN ACCESS EXCLUSIVE MODE")
        .await
        .unwrap();
    let files = folder(&[("order.yaml", template("shop", "order"))]);
    let (worker, address) = start_program(
        &database,
        &[("TASKER_TEMPLATE_PATH", &files.path().to_string_lossy())],
    )
    .await;

    answers(&address, "/health/live", 200).await;
    let ready = answers(&address, "/health/ready", 503).await;
    assert_eq!(ready["code"], "starting");
    lock.execute("COMMIT").await.unwrap();
    answers(&address, "/health/ready", 200).await;
    let listed = answers(&address, "/templates", 200).await;
    assert_eq!(listed["template_count"], 1);
    let metrics = reqwest::get(format!("http://{address}/metrics"))
        .await
        .unwrap();
    let metrics = metrics.text().await.unwrap();
    let registered = "tasker_template_registrations_total{status=\"created\"} 1";
    assert!(metrics.contains(registered), "{metrics}");
    // Probes of a start are no fault.
    assert!(
        !worker.log().contains("request not served"),
        "{}",
        worker.log()
    );
    worker.stop().await.unwrap();
}

/// Waits until the program answers `path` with `status`.
async fn answers(address: &str, path: &str, status: u16) -> Value {
    until(&format!("{path} is {status}"), async || {
        let answer = reqwest::get(format!("http://{address}{path}")).await;
        let answer = answer.ok().filter(|answer| answer.status() == status)?;
        Some(answer.json().await.unwrap())
    })
    .await
}
