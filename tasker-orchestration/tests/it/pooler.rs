//! Services behind pgbouncer with its default settings.

use std::time::Duration;

use futures::future::join_all;
use reqwest::Client;
use sqlx::{Connection, Executor, PgConnection};
use tasker_test_support::{PgBouncer, TestDatabase};

use crate::locked_row::{TEMPLATES, post};
use crate::process::{PATIENCE, Service, program};

async fn start(pooler: &PgBouncer) -> Service {
    let mut program = program();
    program
        .env("TASKER__COMMON__CACHE__ENABLED", "true")
        // The pooler has 20 sessions of the server.
        .env("TASKER__COMMON__DATABASE__POOL__MAX_CONNECTIONS", "10");
    Service::start_at(program, pooler.url()).await
}

#[tokio::test]
async fn services_run_behind_a_pooler_in_session_mode() {
    let database = TestDatabase::create().await.unwrap();
    let pooler = PgBouncer::before(database.url(), "session").await.unwrap();
    let service = start(&pooler).await;
    let mut admin = PgConnection::connect(database.url()).await.unwrap();
    admin.execute(TEMPLATES).await.unwrap();
    let client = Client::builder().timeout(PATIENCE).build().unwrap();
    for _ in 0..5 {
        let posts = (0..40).map(|_| post(&client, &service.url, "free"));
        for status in join_all(posts).await {
            assert_eq!(status, 201);
        }
    }
    let retire = "UPDATE tasker.named_tasks SET retired_at = now() WHERE name = 'free'";
    admin.execute(retire).await.unwrap();
    let gone = async {
        while post(&client, &service.url, "free").await != 404 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.unwrap();
    assert_eq!(post(&client, &service.url, "locked").await, 201);
}
