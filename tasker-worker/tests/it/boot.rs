//! A boot registers template files and leaves the caches empty.

use serde_json::json;
use tasker_shared::config::tasker::TaskerConfig;
use tasker_test_support::{PostgresServer, RedisServer, TestDatabase};

use crate::support::{TestWorker, context, folder, keys, start, template, wait_for_keys};

const ORDER: &str = "/templates/shop/order/1.0.0";

#[tokio::test]
async fn a_boot_leaves_no_template_in_redis() {
    let redis = RedisServer::start().await.unwrap();
    let mut worker =
        TestWorker::with_redis(&[("order.yaml", template("shop", "order"))], &redis).await;
    assert_eq!(keys(&redis).await, [""; 0]);

    assert_eq!(worker.get(ORDER).await.status, 200);
    wait_for_keys(&redis, &["tasker:task_template:shop:order:1.0.0"]).await;

    worker.boot_again().await;
    assert_eq!(keys(&redis).await, [""; 0]);
    worker.stop().await;
}

#[tokio::test]
async fn a_second_boot_on_the_same_files_changes_nothing() {
    let mut worker = TestWorker::without_cache(&[("order.yaml", template("shop", "order"))]).await;
    let first = worker.get(ORDER).await.body["handler_metadata"].clone();

    worker.boot_again().await;
    let second = worker.get(ORDER).await.body["handler_metadata"].clone();
    assert_eq!(first, second);
    worker.stop().await;
}

#[tokio::test]
async fn a_bad_file_does_not_stop_the_others() {
    let worker = TestWorker::without_cache(&[
        ("a.yaml", template("shop", "order")),
        ("b.yaml", json!({"name": "half of a template"})),
        ("c.yaml", template("stock", "count")),
    ])
    .await;

    let list = worker.get("/templates").await.body;
    assert_eq!(list["template_count"], 2);
    assert_eq!(list["supported_namespaces"], json!(["shop", "stock"]));
    worker.stop().await;
}

#[tokio::test]
async fn an_empty_folder_is_a_worker_without_templates() {
    let worker = TestWorker::without_cache(&[]).await;
    let list = worker.get("/templates").await.body;
    assert_eq!(list["templates"], json!([]));
    assert_eq!(list["supported_namespaces"], json!([]));
    worker.stop().await;
}

#[tokio::test]
async fn a_lost_database_stops_the_boot_and_starting_again_may_help() {
    let server = PostgresServer::start().await.unwrap();
    let database = TestDatabase::create_on(&server.url("postgres"))
        .await
        .unwrap();
    let context = context(&database, TaskerConfig::default()).await;
    let files = folder(&[("order.yaml", template("shop", "order"))]);
    server.kill().await.unwrap();

    let error = start(&context, files.path()).await.unwrap_err();
    assert_eq!(error.exit_code(), tasker_web::exit::UNAVAILABLE);
    context.shutdown().await;
}
