//! A backup that is restored into the database of a running service.

use std::path::Path;

use serde_json::{Value, json};
use sqlx::{Executor, PgPool};
use tasker_test_support::postgres_program;
use tokio::process::Command;

use crate::app::TestApp;

/// Runs a program of PostgreSQL, which must succeed.
async fn run(program: &str, arguments: &[&str]) {
    let mut command = Command::new(postgres_program(program).await.unwrap());
    let output = command.args(arguments).output().await.unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program}: {errors}");
}

async fn dump(url: &str, file: &Path) {
    run("pg_dump", &["-Fc", "-f", file.to_str().unwrap(), url]).await;
}

async fn restore(url: &str, file: &Path) {
    restore_part(url, file, &["--clean", "--if-exists"]).await;
}

async fn restore_part(url: &str, file: &Path, part: &[&str]) {
    let file = file.to_str().unwrap();
    run("pg_restore", &[part, &["-d", url, file]].concat()).await;
}

/// Uses every connection of the pool for the requests of a client, so that each has its statements.
async fn use_all(app: &TestApp, task: &str) {
    for _ in 0..5 {
        let requests = (0..20).map(|number| async move {
            match number % 5 {
                0 => app.get(&format!("/v1/tasks/{task}")).await,
                1 => app.get("/v1/tasks").await,
                2 => app.get("/v1/handlers").await,
                3 => app.get("/v1/queue").await,
                _ => app.task_of("order", json!({"number": number})).await,
            }
        });
        for answer in futures::future::join_all(requests).await {
            assert!(answer.status < 300, "{answer:?}");
        }
    }
}

fn uuid(task: &Value) -> String {
    task["task_uuid"].as_str().unwrap().to_owned()
}

/// Changes what prepared statements were planned for, as a migration of a later release may.
async fn migrate(pool: &PgPool) {
    for statement in [
        "ALTER TABLE tasker.named_tasks ALTER COLUMN version TYPE varchar(32)",
        "ALTER TABLE tasker.template_versions ALTER COLUMN version TYPE varchar(32)",
        "ALTER TABLE tasker.tasks ALTER COLUMN reason TYPE text",
        "ALTER TABLE tasker.named_steps ALTER COLUMN name TYPE text",
    ] {
        sqlx::query(statement).execute(pool).await.unwrap();
    }
}

#[tokio::test]
async fn the_first_requests_after_a_restore_in_place_are_right() {
    for app in [TestApp::start().await, TestApp::start_cached().await] {
        app.register("order", json!({})).await;
        let task = uuid(&app.task_of("order", json!({})).await.json());
        use_all(&app, &task).await;
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("backup");
        dump(app.url(), &file).await;
        let later = uuid(&app.task_of("order", json!({"later": true})).await.json());
        use_all(&app, &task).await;

        restore(app.url(), &file).await;
        let created = app.task_of("order", json!({"after": 1})).await;
        assert_eq!(created.status, 201, "{created:?}");
        assert_eq!(app.get(&format!("/v1/tasks/{later}")).await.status, 404);
        use_all(&app, &task).await;
        app.register("order", json!({"description": "changed"}))
            .await;
        app.register("new", json!({})).await;
        assert_eq!(app.task_of("new", json!({})).await.status, 201);
    }
}

#[tokio::test]
async fn a_running_service_survives_a_migration_that_changes_its_tables() {
    let app = TestApp::start_cached().await;
    app.register("order", json!({})).await;
    let task = uuid(&app.task_of("order", json!({})).await.json());
    use_all(&app, &task).await;
    migrate(app.pool()).await;
    use_all(&app, &task).await;
}

/// A restore commits the rows of each table on their own.
#[tokio::test]
async fn templates_are_found_after_a_restore_that_an_index_saw_half_done() {
    let app = TestApp::start_cached().await;
    app.register("order", json!({})).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("backup");
    dump(app.url(), &file).await;
    assert_eq!(app.task_of("order", json!({})).await.status, 201);

    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT relname::text FROM pg_class
         WHERE relnamespace = 'tasker'::regnamespace AND relkind = 'r' ORDER BY relname",
    )
    .fetch_all(app.pool())
    .await
    .unwrap();
    let drop = "DROP SCHEMA tasker CASCADE";
    app.pool().execute(drop).await.unwrap();
    restore_part(app.url(), &file, &["--section=pre-data"]).await;
    // The index is read while the tables are empty, and before the pointers are there.
    let (clock, others): (Vec<&String>, Vec<&String>) = tables
        .iter()
        .partition(|table| matches!(&***table, "template_clock" | "template_commits"));
    for tables in [vec![], clock, others] {
        for table in tables {
            restore_part(
                app.url(),
                &file,
                &["--data-only", "-n", "tasker", "-t", table],
            )
            .await;
        }
        app.become_current().await;
        // Refused in one way or the other until everything is there.
        let early = app.task_of("order", json!({"early": 1})).await;
        assert_ne!(early.status, 201, "{early:?}");
    }
    restore_part(app.url(), &file, &["--section=post-data"]).await;
    let created = app.task_of("order", json!({"after": 1})).await;
    assert_eq!(created.status, 201, "{created:?}");
}
