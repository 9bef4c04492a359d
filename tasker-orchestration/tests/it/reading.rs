//! Listing tasks.

use axum::body::Body;
use http::Request;
use serde_json::{Value, json};
use sqlx::PgConnection;

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

#[tokio::test]
async fn an_unknown_state_is_refused_with_those_that_there_are() {
    let app = TestApp::start().await;
    let answer = app.get("/v1/tasks?status=nonsense").await;
    let problem = answer.problem();
    assert_eq!(
        (answer.status, &problem["code"]),
        (422, &json!("validation_failed"))
    );
    let detail = problem["errors"][0]["detail"].as_str().unwrap();
    assert!(detail.contains("pending, ") && detail.contains("steps_in_process"));
}

/// Only one that reads the other steps finds a time that is none.
#[tokio::test]
async fn a_step_is_read_and_changed_without_reading_the_other_steps_of_its_task() {
    let app = TestApp::start().await;
    let step = |name: &str| json!({"name": name, "handler": {"callable": "Shop::Only"}});
    let steps = json!({"steps": [step("one"), step("other")]});
    app.register("order", steps).await;
    let task = app.task_of("order", json!({})).await.json();
    let path = format!(
        "/v1/tasks/{}/workflow_steps",
        task["task_uuid"].as_str().unwrap()
    );
    let listed = app.get(&path).await.json();
    assert_eq!(listed.as_array().unwrap().len(), 2);
    sqlx::query(
        "UPDATE tasker.workflow_steps SET created_at = 'infinity' WHERE named_step_uuid = (
             SELECT named_step_uuid FROM tasker.named_steps WHERE name = 'other')",
    )
    .execute(app.pool())
    .await
    .unwrap();
    assert!(app.get(&path).await.status >= 500);

    let one = task["step_mapping"]["one"].as_str().unwrap();
    let path = format!("{path}/{one}");
    let read = app.get(&path).await;
    assert_eq!((read.status, &read.json()["name"]), (200, &json!("one")));
    let action = json!({
        "action_type": "complete_manually", "completion_data": {}, "reason": "done by hand",
        "completed_by": "ann",
    });
    let request = Request::patch(&path)
        .header("content-type", "application/json")
        .body(Body::from(action.to_string()))
        .unwrap();
    let changed = app.send(request).await;
    assert_eq!(
        (changed.status, &changed.json()["status"]),
        (200, &json!("complete"))
    );
}

/// Returns the names of the steps, and whether their values are left out.
fn left_out(steps: &Value) -> Vec<(&str, bool)> {
    let steps = steps.as_array().unwrap().iter();
    steps
        .map(|step| {
            let is_left_out = step["values_left_out"] == true;
            assert_eq!(is_left_out, step["results"].is_null());
            (step["name"].as_str().unwrap(), is_left_out)
        })
        .collect()
}

#[tokio::test]
async fn a_list_of_steps_has_4_mib_of_values_and_lacks_the_largest() {
    let app = TestApp::start().await;
    let step = |name: &str| json!({"name": name, "handler": {"callable": "Shop::Only"}});
    let steps = json!({"steps": [step("a"), step("b"), step("c")]});
    app.register("order", steps).await;
    let task = app.task_of("order", json!({})).await.json();
    let path = format!("/v1/tasks/{}", task["task_uuid"].as_str().unwrap());
    // 1.5 MiB each, and 3 MiB for the first: as stored, and only as text.
    for value in [
        "(SELECT string_agg(md5(n::text), '') FROM generate_series(1, 49152) n)",
        "repeat('x', 1572864)",
    ] {
        let fill = format!(
            "UPDATE tasker.workflow_steps s SET results = to_jsonb(
                 CASE WHEN n.name = 'a' THEN {value} || {value} ELSE {value} END)
             FROM tasker.named_steps n WHERE n.named_step_uuid = s.named_step_uuid"
        );
        let fill = sqlx::query(sqlx::AssertSqlSafe(fill));
        fill.execute(app.pool()).await.unwrap();
        let expected = [("a", true), ("b", false), ("c", false)];
        let details = app.get(&path).await.json();
        assert_eq!(left_out(&details["steps"]), expected);
        assert_eq!(details["total_steps"], 3);
        let listed = app.get(&format!("{path}/workflow_steps")).await.json();
        assert_eq!(left_out(&listed), expected);
        let largest = task["step_mapping"]["a"].as_str().unwrap();
        let largest = app.get(&format!("{path}/workflow_steps/{largest}")).await;
        assert_eq!(left_out(&json!([largest.json()])), [("a", false)]);
    }
}

#[tokio::test]
async fn attempts_failures_and_documents_have_4_mib_of_values() {
    let app = TestApp::start().await;
    let step = json!({"name": "only", "handler": {"callable": "Shop::Only"}});
    app.register("order", json!({"steps": [step]})).await;
    let task = app.task_of("order", json!({})).await.json();
    let path = format!("/v1/tasks/{}", task["task_uuid"].as_str().unwrap());
    let only = task["step_mapping"]["only"].as_str().unwrap();
    let action = json!({
        "action_type": "complete_manually", "completion_data": {}, "reason": "done by hand",
        "completed_by": "ann",
    });
    let request = Request::patch(format!("{path}/workflow_steps/{only}"))
        .header("content-type", "application/json")
        .body(Body::from(action.to_string()))
        .unwrap();
    assert_eq!(app.send(request).await.status, 200);
    let record = "INSERT INTO tasker.workflow_step_result_audit
                      (workflow_step_uuid, workflow_step_transition_uuid, task_uuid, success)
                  SELECT s.workflow_step_uuid, x.workflow_step_transition_uuid, s.task_uuid, true
                  FROM tasker.workflow_steps s
                  JOIN tasker.workflow_step_transitions x USING (workflow_step_uuid)
                  WHERE x.most_recent";
    sqlx::query(record).execute(app.pool()).await.unwrap();
    let audit = format!("{path}/workflow_steps/{only}/audit");
    let attempts = app.get(&audit).await.json();
    assert_eq!(attempts[0].get("values_left_out"), None);
    assert_eq!(attempts[0]["metadata"]["by"], "ann", "{attempts}");
    let fill = "UPDATE tasker.workflow_step_transitions
                SET metadata = to_jsonb(repeat('x', 5 * 1024 * 1024))";
    sqlx::query(fill).execute(app.pool()).await.unwrap();
    let attempts = app.get(&audit).await.json();
    assert_eq!(attempts[0]["values_left_out"], true);
    assert_eq!(attempts[0]["metadata"], Value::Null);

    let entries = "INSERT INTO tasker.tasks_dlq
                       (task_uuid, original_state, dlq_reason, task_snapshot, metadata)
                   SELECT task_uuid, 'steps_in_process', 'max_retries_exceeded',
                          jsonb_build_object('x', repeat('x', n * 1024 * 1024)),
                          jsonb_build_object('x', repeat('x', n * 1024 * 1024))
                   FROM tasker.tasks, generate_series(1, 5, 2) n";
    sqlx::query(entries).execute(app.pool()).await.unwrap();
    let entries = app.get("/v1/dlq").await.json();
    let mut whole = 0;
    for entry in entries["entries"].as_array().unwrap() {
        let is_left_out = entry["values_left_out"] == true;
        assert_eq!(is_left_out, entry["metadata"].is_null());
        let entry = entry["dlq_entry_uuid"].as_str().unwrap();
        let entry = app.get(&format!("/v1/dlq/{entry}")).await.json();
        let is_empty = entry["task_snapshot"] == json!({});
        assert_eq!(is_empty, entry["values_left_out"] == true);
        whole += usize::from(!is_left_out) * 10 + usize::from(!is_empty);
    }
    // The smallest metadata, and both snapshots that are within the bound.
    assert_eq!(whole, 12);

    for letter in ["a", "b", "c"] {
        let notes = letter.repeat(3 * 512 * 1024);
        app.register("large", json!({"notes": notes})).await;
    }
    let path = "/v1/handlers/shop/large/1.0.0/history?documents=true";
    let changes = app.get(path).await.json();
    let is_left_out = |change: &Value| {
        assert_eq!(
            change.get("document").is_none(),
            change["document_left_out"] == true
        );
        change["document_left_out"] == true
    };
    let left_out: Vec<bool> = changes
        .as_array()
        .unwrap()
        .iter()
        .map(is_left_out)
        .collect();
    assert_eq!(left_out, [false, false, true]);
}

#[tokio::test]
async fn the_steps_of_a_large_task_are_listed_whole_or_in_pages() {
    let app = TestApp::start().await;
    app.register("order", json!({})).await;
    let task = app.task_of("order", json!({})).await.json();
    sqlx::query(
        "INSERT INTO tasker.workflow_steps (task_uuid, named_step_uuid, callable)
         SELECT task_uuid, named_step_uuid, callable
         FROM tasker.workflow_steps, generate_series(1, 1500)",
    )
    .execute(app.pool())
    .await
    .unwrap();
    let path = format!(
        "/v1/tasks/{}/workflow_steps",
        task["task_uuid"].as_str().unwrap()
    );
    for (query, pages) in [("", &[1501][..]), ("?limit=700", &[700, 700, 101])] {
        let mut next = Some(format!("{path}{query}"));
        let mut seen = Vec::new();
        for size in pages {
            let page = app.get(&next.unwrap()).await;
            let steps = page.json();
            let steps = steps.as_array().unwrap();
            assert_eq!(steps.len(), *size, "{query}");
            seen.extend(
                steps
                    .iter()
                    .map(|step| step["workflow_step_uuid"].to_string()),
            );
            let link = page.headers.get("link").map(|link| link.to_str().unwrap());
            let link = link.and_then(|link| link.strip_prefix('<')?.split('>').next());
            next = link.map(str::to_owned);
        }
        assert_eq!(next, None, "{query}");
        assert!(seen.is_sorted_by(|one, other| one < other), "{query}");
    }
    for wrong in ["limit=0", "limit=1001", "cursor=7"] {
        let answer = app.get(&format!("{path}?{wrong}")).await;
        assert_eq!(answer.status, 400, "{wrong}");
    }
}

/// Tasks that have ended, whose number only retention limits. One template has none.
const COMPLETE: &str = "
    WITH made AS (
        INSERT INTO tasker.tasks (named_task_uuid, template_hash, identity_hash, complete, ended_at)
        SELECT named_task_uuid, '', md5(n::text), true, now()
        FROM tasker.named_tasks, generate_series(1, 20000) n WHERE name = 'order'
        RETURNING task_uuid
    )
    INSERT INTO tasker.task_transitions (task_uuid, to_state, sort_key)
    SELECT task_uuid, 'complete', 3 FROM made";
const FAILED: &str = "
    WITH made AS (
        INSERT INTO tasker.tasks (named_task_uuid, template_hash, identity_hash, ended_at)
        SELECT named_task_uuid, '', md5('failed' || n::text), now()
        FROM tasker.named_tasks, generate_series(1, 2000) n WHERE name = 'order'
        RETURNING task_uuid
    )
    INSERT INTO tasker.task_transitions (task_uuid, to_state, sort_key, most_recent)
    SELECT task_uuid, s.state, s.key, s.key = 4
    FROM made, (VALUES ('blocked_by_failures', 3), ('error', 4)) AS s (state, key)";
/// Tasks that wait for workers.
const BACKLOG: i64 = 2000;
const WAITING: &str = "
    WITH made AS (
        INSERT INTO tasker.tasks (named_task_uuid, template_hash, identity_hash)
        SELECT named_task_uuid, '', md5('waiting' || n::text)
        FROM tasker.named_tasks, generate_series(1, 2000) n WHERE name = 'order'
        RETURNING task_uuid
    ), moved AS (
        INSERT INTO tasker.task_transitions (task_uuid, to_state, sort_key)
        SELECT task_uuid, 'pending', 1 FROM made
    ), steps AS (
        INSERT INTO tasker.workflow_steps (task_uuid, named_step_uuid, callable)
        SELECT task_uuid, named_step_uuid, 'only' FROM made, tasker.named_steps
        RETURNING task_uuid, workflow_step_uuid
    )
    INSERT INTO tasker.step_queue
        (task_uuid, workflow_step_uuid, callable, priority, due_at, state, sort_key, attempt,
         uncounted)
    SELECT task_uuid, workflow_step_uuid, 'only', 0, now(), 'enqueued', 0, 1, 0 FROM steps";

/// The rows that this session has read and not reported yet.
async fn rows_read(connection: &mut PgConnection) -> i64 {
    sqlx::query_scalar(
        "SELECT sum(seq_tup_read + coalesce(idx_tup_fetch, 0))::bigint
         FROM pg_stat_xact_user_tables WHERE schemaname = 'tasker'",
    )
    .fetch_one(connection)
    .await
    .unwrap()
}

/// Rows that a page may read beside those of the queue.
const FEW: i64 = 200;

#[tokio::test]
async fn a_page_of_tasks_reads_few_rows_whatever_has_ended_or_waits() {
    let app = TestApp::start().await;
    app.register("order", json!({})).await;
    app.register("refund", json!({})).await;
    let mut connection = app.pool().acquire().await.unwrap();
    let named = "INSERT INTO tasker.named_steps (name) VALUES ('only')";
    for sql in [named, FAILED, WAITING, COMPLETE, "VACUUM (ANALYZE)"] {
        sqlx::query(sql).execute(&mut *connection).await.unwrap();
    }
    for (name, status, count, reads) in [
        (None, None, 20, FEW),
        (None, Some("complete"), 20, FEW),
        (None, Some("error"), 20, FEW),
        (None, Some("cancelled"), 0, FEW),
        (None, Some("pending"), 20, FEW),
        (None, Some("waiting_for_retry"), 0, BACKLOG + FEW),
        // Each task of the queue may have a step that has ended.
        (None, Some("steps_in_process"), 0, 2 * BACKLOG + FEW),
        (None, Some("waiting_for_dependencies"), 0, FEW),
        (None, Some("blocked_by_failures"), 0, FEW),
        (Some("order"), Some("complete"), 20, FEW),
        (Some("order"), Some("error"), 20, FEW),
        (Some("refund"), None, 0, FEW),
        (Some("refund"), Some("complete"), 0, FEW),
        (Some("refund"), Some("error"), 0, FEW),
    ] {
        // Several times, because a plan that is kept from the sixth time on must be as good.
        for _ in 0..8 {
            let mut transaction = sqlx::Connection::begin(&mut *connection).await.unwrap();
            let before = rows_read(&mut transaction).await;
            let found: i64 = sqlx::query_scalar(
                "SELECT count(*) FROM tasker.tasks_list('shop', $1, $2, NULL, 20)",
            )
            .bind(name)
            .bind(status)
            .fetch_one(&mut *transaction)
            .await
            .unwrap();
            assert_eq!(found, count, "{name:?} {status:?}");
            let read = rows_read(&mut transaction).await - before;
            assert!(read <= reads, "{name:?} {status:?} read {read} rows");
            transaction.rollback().await.unwrap();
        }
    }
}
