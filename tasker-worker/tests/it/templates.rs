//! Templates over HTTP.

use serde_json::{Value, json};

use crate::support::{TestWorker, template};

const ORDER: &str = "/templates/shop/order/1.0.0";

async fn worker() -> TestWorker {
    TestWorker::without_cache(&[
        ("order.yaml", template("shop", "order")),
        ("count.yaml", template("stock", "count")),
    ])
    .await
}

#[tokio::test]
async fn a_template_has_the_overrides_of_the_environment_and_all_that_its_author_wrote() {
    let worker = worker().await;
    let answer = worker.get(ORDER).await;

    assert_eq!(answer.status, 200);
    let document = &answer.body["template"];
    assert_eq!(document["steps"][0]["timeout_seconds"], 1);
    assert_eq!(
        document["steps"][0]["handler"]["callable"],
        "orders.Reserve"
    );
    assert_eq!(document["metadata"]["notes"], "a key that nobody knows");
    let metadata = &answer.body["handler_metadata"];
    assert_eq!(metadata["namespace"], "shop");
    assert_eq!(metadata["name"], "order");
    assert_eq!(metadata["version"], "1.0.0");
    assert_eq!(metadata["handler_class"], "orders.Handler");
    assert_eq!(metadata["identity_strategy"], "strict");
    worker.stop().await;
}

#[tokio::test]
async fn the_first_answer_is_resolved_and_the_second_is_cached() {
    let worker = worker().await;
    let first = worker.get(ORDER).await.body;
    assert_eq!(first["cached"], false);
    assert_eq!(first["cache_age_seconds"], 0);
    assert_eq!(first["access_count"], 1);

    let second = worker.get(ORDER).await.body;
    assert_eq!(second["cached"], true);
    assert_eq!(second["access_count"], 2);
    assert_eq!(first["template"], second["template"]);
    assert_eq!(first["handler_metadata"], second["handler_metadata"]);
    worker.stop().await;
}

#[tokio::test]
async fn the_etag_is_the_content_hash_and_changes_with_the_content() {
    let worker = worker().await;
    let answer = worker.get(ORDER).await;
    let etag = answer.headers["etag"].to_str().unwrap().to_owned();
    let hash = answer.body["handler_metadata"]["hash"].as_str().unwrap();
    assert_eq!(etag, format!("\"{hash}\""));

    for tags in [
        etag.clone(),
        format!("W/{etag}"),
        format!("\"other\", {etag}"),
        "*".into(),
    ] {
        let held = worker.get_if_none_match(ORDER, &tags).await;
        assert_eq!(held.status, 304, "{tags}");
        assert_eq!(held.headers["etag"], *etag);
        assert_eq!(held.body, Value::Null);
    }

    let mut changed = template("shop", "order");
    changed["description"] = json!("changed");
    worker.register(changed).await;
    let changed = worker.get_if_none_match(ORDER, &etag).await;
    assert_eq!(changed.status, 200);
    assert_ne!(changed.headers["etag"], *etag);
    assert_eq!(changed.body["template"]["description"], "changed");
    assert_eq!(changed.body["cached"], false);
    worker.stop().await;
}

#[tokio::test]
async fn templates_are_listed_with_what_the_worker_can_do() {
    let worker = worker().await;
    let list = worker.get("/templates").await.body;

    assert_eq!(list["supported_namespaces"], json!(["shop", "stock"]));
    assert_eq!(list["template_count"], 2);
    assert!(list.get("cache_stats").is_none());
    assert_eq!(
        list["worker_capabilities"],
        json!([
            "batch_worker",
            "batchable",
            "decision",
            "deferred_convergence",
            "standard"
        ])
    );
    let order = &list["templates"][0];
    assert_eq!(order["namespace"], "shop");
    assert_eq!(order["name"], "order");
    assert_eq!(order["version"], "1.0.0");
    assert_eq!(order["hash"].as_str().unwrap().len(), 64);

    let stock = worker
        .get("/templates?namespace=stock&include_cache_stats=true")
        .await
        .body;
    assert_eq!(stock["template_count"], 1);
    assert_eq!(stock["templates"][0]["name"], "count");
    assert_eq!(stock["cache_stats"]["total_cached"], 0);
    assert_eq!(
        worker.get("/templates?namespace=none").await.body["template_count"],
        0
    );
    worker.stop().await;
}

#[tokio::test]
async fn an_unknown_template_is_a_problem_with_a_code() {
    let worker = worker().await;
    let path = "/templates/shop/order/9.9.9";
    let answers = [
        worker.get(path).await,
        worker.post(&format!("{path}/validate")).await,
        worker.post(&format!("{path}/refresh")).await,
    ];
    for answer in answers {
        assert_eq!(answer.status, 404);
        assert_eq!(answer.headers["content-type"], "application/problem+json");
        assert_eq!(answer.body["code"], "template_not_found");
        assert!(answer.body["request_id"].is_string());
    }
    worker.stop().await;
}

#[tokio::test]
async fn a_bad_query_is_a_problem() {
    let worker = worker().await;
    let answer = worker.get("/templates?include_cache_stats=perhaps").await;
    assert_eq!(answer.status, 400);
    assert_eq!(answer.body["code"], "invalid_query_parameter");
    worker.stop().await;
}

#[tokio::test]
async fn a_namespace_called_cache_is_as_reachable_as_any_other() {
    let worker = TestWorker::without_cache(&[
        ("a.yaml", template("cache", "stats")),
        ("b.yaml", template("cache", "maintain")),
    ])
    .await;
    for name in ["stats", "maintain"] {
        let path = format!("/templates/cache/{name}/1.0.0");
        let answer = worker.get(&path).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.body["template"]["name"], name);
        let checked = worker.post(&format!("{path}/validate")).await;
        assert_eq!(checked.body["valid"], true);
    }
    let stats = worker.get("/templates/cache/stats").await.body;
    assert_eq!(stats["total_cached"], 2);
    worker.stop().await;
}

#[tokio::test]
async fn a_registered_template_is_valid() {
    let worker = worker().await;
    let checked = worker.post(&format!("{ORDER}/validate")).await;
    assert_eq!(checked.status, 200);
    assert_eq!(
        checked.body,
        json!({
            "valid": true,
            "errors": [],
            "warnings": [],
            "required_capabilities": ["decision", "standard"],
            "step_handlers": ["orders.Reserve", "orders.Decide"],
        })
    );
    worker.stop().await;
}

#[tokio::test]
async fn a_template_in_the_body_is_checked_instead_of_the_registered_one() {
    let worker = worker().await;
    let body = json!({
        "name": "draft", "namespace_name": "shop", "version": "1.0.0", "owner": "me",
        "input_schema": {"required": "id"}, "steps": [],
    });
    let answer = worker
        .post_json("/templates/shop/draft/1.0.0/validate", &body)
        .await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(answer.body["valid"], false);
    assert!(
        answer.body["errors"]
            .to_string()
            .contains("input_schema.required")
    );
    assert!(answer.body["warnings"].to_string().contains("owner"));
    worker.stop().await;
}

#[tokio::test]
async fn a_template_that_was_broken_by_hand_is_not_valid() {
    let worker = worker().await;
    set_configuration(
        &worker,
        "order",
        "jsonb_set(configuration, '{steps,1,dependencies}', '[\"nowhere\"]')",
    )
    .await;
    set_configuration(&worker, "count", "'{\"name\": 5}'::jsonb").await;

    let answer = worker.post(&format!("{ORDER}/validate")).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(answer.body["valid"], false);
    assert!(
        answer.body["errors"].to_string().contains("nowhere"),
        "{}",
        answer.body
    );

    let unreadable = worker.post("/templates/stock/count/1.0.0/validate").await;
    assert_eq!(unreadable.status, 200, "{}", unreadable.body);
    assert_eq!(unreadable.body["valid"], false);
    assert_eq!(unreadable.body["errors"].as_array().unwrap().len(), 1);
    worker.stop().await;
}

async fn set_configuration(worker: &TestWorker, name: &str, expression: &'static str) {
    let mut update = sqlx::QueryBuilder::new("UPDATE tasker.named_tasks SET configuration = ");
    update
        .push(expression)
        .push(" WHERE name = ")
        .push_bind(name);
    let done = update.build().execute(&worker.admin()).await.unwrap();
    assert_eq!(done.rows_affected(), 1);
}
