//! A database whose settings are not PostgreSQL's own.

use futures::future::join_all;
use reqwest::Client;
use serde_json::json;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use tasker_shared::config::tasker::TaskerConfig;
use tasker_test_support::TestDatabase;

use crate::app::TestApp;
use crate::locked_row::{TEMPLATES, post};
use crate::process::{PATIENCE, Service};

/// Makes these the settings of new sessions.
async fn set(database: &TestDatabase, settings: &[&str]) {
    let mut admin = PgConnection::connect(database.url()).await.unwrap();
    for setting in settings {
        let set = format!("ALTER DATABASE {} SET {setting}", database.name());
        admin.execute(AssertSqlSafe(set)).await.unwrap();
    }
}

#[tokio::test]
async fn tasks_and_registrations_beside_each_other_need_no_other_isolation() {
    for isolation in ["repeatable read", "serializable"] {
        let database = TestDatabase::create().await.unwrap();
        let setting = format!("default_transaction_isolation = '{isolation}'");
        set(&database, &[&setting]).await;
        let url = database.url().to_owned();
        let app = TestApp::start_on(database, &url, TaskerConfig::default()).await;
        app.register("order", json!({})).await;
        let tasks = (0..30).map(|number| app.task_of("order", json!({"id": number % 10})));
        let names: Vec<String> = (0..10).map(|number| format!("other{number}")).collect();
        let registrations = names.iter().map(|name| app.register(name, json!({})));
        let (tasks, _) = tokio::join!(join_all(tasks), join_all(registrations));
        for task in tasks {
            assert!(matches!(task.status, 200 | 201), "{isolation}: {task:?}");
        }
        assert_eq!(app.count("tasks").await, 10);
    }
}

#[tokio::test]
async fn sessions_that_the_server_ends_while_they_are_idle_are_replaced() {
    let database = TestDatabase::create().await.unwrap();
    let service = Service::start(&database).await;
    drop(service);
    set(
        &database,
        &["idle_session_timeout = '300ms'", "lock_timeout = '1ms'"],
    )
    .await;
    let service = Service::start(&database).await;
    let mut admin = PgConnection::connect(database.url()).await.unwrap();
    admin.execute(TEMPLATES).await.unwrap();
    let client = Client::builder().timeout(PATIENCE).build().unwrap();
    for pause in [0, 250, 300, 310, 350, 500, 900, 1100, 1500] {
        tokio::time::sleep(std::time::Duration::from_millis(pause)).await;
        let posts = (0..8).map(|_| post(&client, &service.url, "free"));
        for status in join_all(posts).await {
            assert_eq!(status, 201, "after {pause} ms");
        }
    }
}
