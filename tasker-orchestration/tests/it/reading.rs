//! Listing tasks.

use serde_json::{Value, json};

use crate::app::TestApp;

fn uuids(page: &Value) -> Vec<String> {
    page["tasks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|task| task["task_uuid"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn pages_follow_each_other_newest_first_without_gap_or_repetition() {
    let app = TestApp::start().await;
    app.register("order", json!({})).await;
    let mut made = Vec::new();
    for n in 0..5 {
        let body = app.task_of("order", json!({"n": n})).await.json();
        made.push(body["task_uuid"].as_str().unwrap().to_owned());
    }
    made.reverse();

    let mut read = Vec::new();
    let mut path = String::from("/v1/tasks?limit=2");
    loop {
        let page = app.get(&path).await.json();
        read.extend(uuids(&page));
        let Some(cursor) = page.get("next_cursor") else {
            break;
        };
        path = format!("/v1/tasks?limit=2&cursor={}", cursor.as_str().unwrap());
    }
    assert_eq!(read, made);
}

#[tokio::test]
async fn filters_choose_by_template_and_state() {
    let app = TestApp::start().await;
    app.register("order", json!({})).await;
    app.register("refund", json!({})).await;
    let order = app.task_of("order", json!({})).await.json()["task_uuid"].clone();
    app.task_of("refund", json!({})).await;
    for (query, count) in [
        ("", 2),
        ("?namespace=shop", 2),
        ("?namespace=other", 0),
        ("?name=order", 1),
        ("?name=order&status=pending", 1),
        ("?status=complete", 0),
    ] {
        let page = app.get(&format!("/v1/tasks{query}")).await.json();
        assert_eq!(uuids(&page).len(), count, "{query}");
    }
    let page = app.get("/v1/tasks?name=order").await.json();
    assert_eq!(page["tasks"][0]["task_uuid"], order);
    assert_eq!(page["tasks"][0]["name"], "order");
}
