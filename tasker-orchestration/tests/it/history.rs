//! `/v1/handlers/{namespace}/{name}/{version}/history`

use serde_json::{Value, json};

use crate::app::TestApp;

const PATH: &str = "/v1/handlers/shop/orders/1.0.0/history";

async fn history(app: &TestApp, query: &str) -> Vec<Value> {
    let answer = app.get(&format!("{PATH}{query}")).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json().as_array().unwrap().clone()
}

#[tokio::test]
async fn each_document_of_a_name_is_listed_with_its_time_its_process_and_its_text() {
    let app = TestApp::start().await;
    assert_eq!(app.get(PATH).await.status, 404);
    app.register("orders", json!({"description": "first"}))
        .await;
    // Registering the same again is no change.
    app.register("orders", json!({"description": "first"}))
        .await;
    app.register("orders", json!({"description": "second"}))
        .await;
    let changes = history(&app, "?documents=true").await;
    assert_eq!(changes.len(), 2, "{changes:?}");
    assert_eq!(changes[0]["document"]["description"], "second");
    assert_eq!(changes[1]["document"]["description"], "first");
    assert_eq!(changes[0].get("until"), None);
    assert_eq!(changes[1]["until"], changes[0]["changed_at"]);
    let process = changes[0]["process"].as_str().unwrap();
    assert!(
        process.contains(&format!(" {} on ", std::process::id())),
        "{process}"
    );
    assert_ne!(changes[0]["hash"], changes[1]["hash"]);
    assert_eq!(history(&app, "").await[0].get("document"), None);

    // Back to the first document, which is the same document as before.
    app.register("orders", json!({"description": "first"}))
        .await;
    let again = history(&app, "?documents=true").await;
    assert_eq!(again[0]["hash"], again[2]["hash"]);
    assert_eq!(again[0]["document"], again[2]["document"]);
}

#[tokio::test]
async fn retirement_and_deletion_are_changes() {
    let app = TestApp::start().await;
    app.register("orders", json!({})).await;
    let catalog = tasker_shared::registry::catalog::TemplateCatalog::new(app.pool().clone());
    catalog
        .retire("shop", "orders", "1.0.0", "ada")
        .await
        .unwrap()
        .unwrap();
    let retired = history(&app, "?documents=true").await;
    assert_eq!(retired[0].get("hash"), None);
    assert!(retired[1]["document"].is_object(), "{retired:?}");
    assert!(catalog.restore("shop", "orders", "1.0.0").await.unwrap());
    let sql = "DELETE FROM tasker.named_tasks WHERE name = 'orders'";
    sqlx::query(sql).execute(app.pool()).await.unwrap();
    let deleted = history(&app, "?documents=true").await;
    assert_eq!(deleted.len(), 4);
    assert_eq!(deleted[0].get("hash"), None);
    assert!(deleted[1]["document"].is_object(), "{deleted:?}");
}

#[tokio::test]
async fn a_change_by_hand_is_recorded_with_its_user() {
    let app = TestApp::start().await;
    app.register("orders", json!({})).await;
    let sql =
        "UPDATE tasker.named_tasks SET configuration = configuration || '{\"x-by\": \"hand\"}'";
    sqlx::query(sql).execute(app.pool()).await.unwrap();
    let changes = history(&app, "").await;
    assert_eq!(changes.len(), 2);
    let process = changes[0]["process"].as_str().unwrap();
    assert!(process.starts_with("hand as "), "{process}");
}
