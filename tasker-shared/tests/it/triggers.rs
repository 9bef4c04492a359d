//! Statements of other software, and their effect on the pointers.

use sqlx::{Executor, PgPool};

use crate::app::{TestApp, template, waits_for_a_lock};

/// The hashes that the directory reads beside those of the rows, by name.
async fn pointers(pool: &PgPool) -> Vec<(String, Option<String>, Option<String>)> {
    sqlx::query_as(
        "SELECT coalesce(v.name, t.name), v.content_hash::text,
                CASE WHEN t.named_task_uuid IS NOT NULL
                    THEN tasker.template_hash(t.configuration)::text END
         FROM tasker.template_versions v
         FULL JOIN tasker.named_tasks t USING (named_task_uuid)
         ORDER BY 1",
    )
    .fetch_all(pool)
    .await
    .expect("the tables can be read")
}

async fn assert_agreement(pool: &PgPool, names: usize) {
    let pointers = pointers(pool).await;
    assert_eq!(pointers.len(), names, "{pointers:?}");
    for (name, pointer, row) in pointers {
        assert_eq!(pointer, row, "{name}");
    }
    let left: i64 = sqlx::query_scalar("SELECT count(*) FROM tasker.template_changes")
        .fetch_one(pool)
        .await
        .expect("the notes can be read");
    assert_eq!(left, 0, "a transaction leaves no notes behind");
}

async fn register(app: &TestApp, names: &[&str]) {
    for name in names {
        app.uncached()
            .register_task_template(&template("payments", name, 1))
            .await
            .expect("a template is registered");
    }
}

#[tokio::test]
async fn many_statements_of_a_transaction_are_one_step_of_the_clock() {
    let app = TestApp::start().await;
    register(&app, &["a", "b", "c"]).await;
    let before = app.sequence().await;
    app.commit(&[
        "UPDATE tasker.named_tasks SET configuration = '{\"n\": 1}' WHERE name = 'a'",
        "UPDATE tasker.named_tasks SET configuration = '{\"n\": 2}' WHERE name IN ('a', 'b')",
        "DELETE FROM tasker.named_tasks WHERE name = 'c'",
        "INSERT INTO tasker.named_tasks (task_namespace_uuid, name, configuration)
         SELECT task_namespace_uuid, 'd', '{}' FROM tasker.task_namespaces",
    ])
    .await;
    assert_eq!(app.sequence().await, before + 1);
    // The pointer of what was deleted stays, and points nowhere.
    assert_agreement(&app.pool, 4).await;
}

#[tokio::test]
async fn what_changes_after_the_triggers_ran_is_noted_again() {
    let app = TestApp::start().await;
    register(&app, &["a"]).await;
    app.commit(&[
        "UPDATE tasker.named_tasks SET configuration = '{\"n\": 1}'",
        "SET CONSTRAINTS ALL IMMEDIATE",
        "SAVEPOINT here",
        "UPDATE tasker.named_tasks SET configuration = '{\"n\": 2}'",
        "ROLLBACK TO SAVEPOINT here",
        "SET CONSTRAINTS ALL DEFERRED",
        "UPDATE tasker.named_tasks SET configuration = '{\"n\": 3}'",
    ])
    .await;
    assert_agreement(&app.pool, 1).await;
}

#[tokio::test]
async fn a_name_that_moves_leaves_its_old_place() {
    let app = TestApp::start().await;
    register(&app, &["a", "b"]).await;
    app.pool
        .execute("UPDATE tasker.named_tasks SET name = 'z' WHERE name = 'a'")
        .await
        .unwrap();
    assert_agreement(&app.pool, 3).await;
}

#[tokio::test]
async fn a_template_that_changes_while_its_namespace_is_renamed_is_pointed_to_by_its_new_name() {
    const RENAME: &str = "UPDATE tasker.task_namespaces SET name = 'renamed'";
    let changes = [
        (
            "UPDATE tasker.named_tasks SET configuration = '{\"n\": 1}'",
            "a",
        ),
        ("UPDATE tasker.named_tasks SET name = 'moved'", "moved"),
        ("DELETE FROM tasker.named_tasks", ""),
    ];
    for (change, left) in changes {
        for (first, second) in [(change, RENAME), (RENAME, change)] {
            let app = TestApp::start().await;
            register(&app, &["a"]).await;
            let (mut one, mut other) = (
                app.pool.begin().await.unwrap(),
                app.pool.begin().await.unwrap(),
            );
            one.execute(first).await.unwrap();
            other.execute(second).await.unwrap();
            // As at the commit, which is then still to come.
            one.execute("SET CONSTRAINTS ALL IMMEDIATE").await.unwrap();
            let committed = tokio::spawn(other.commit());
            waits_for_a_lock(&app).await;
            one.commit().await.unwrap();
            committed.await.unwrap().unwrap();
            let pointing: Vec<(String, String, bool)> = sqlx::query_as(
                "SELECT v.namespace, v.name,
                        v.content_hash IS NOT DISTINCT FROM tasker.template_hash(t.configuration)
                 FROM tasker.template_versions v
                 LEFT JOIN tasker.named_tasks t USING (named_task_uuid)
                 WHERE v.content_hash IS NOT NULL",
            )
            .fetch_all(&app.pool)
            .await
            .unwrap();
            let expected: Vec<_> = [left]
                .into_iter()
                .filter(|name| !name.is_empty())
                .map(|name| (String::from("renamed"), name.to_owned(), true))
                .collect();
            assert_eq!(pointing, expected, "{first}, then {second}");
        }
    }
}

#[tokio::test]
async fn rows_that_replication_applies_count() {
    let app = TestApp::start().await;
    register(&app, &["a", "b"]).await;
    let before = app.sequence().await;
    let mut connection = app.pool.acquire().await.unwrap();
    // Replication applies rows one by one, which fires no trigger of a statement.
    for sql in [
        "ALTER TABLE tasker.named_tasks DISABLE TRIGGER named_tasks_inserted",
        "ALTER TABLE tasker.named_tasks DISABLE TRIGGER named_tasks_updated",
        "ALTER TABLE tasker.named_tasks DISABLE TRIGGER named_tasks_deleted",
        "SET session_replication_role = replica",
        "UPDATE tasker.named_tasks SET configuration = '{\"n\": 1}' WHERE name = 'a'",
        "DELETE FROM tasker.named_tasks WHERE name = 'b'",
        "INSERT INTO tasker.named_tasks (task_namespace_uuid, name, configuration)
         SELECT task_namespace_uuid, 'c', '{}' FROM tasker.task_namespaces",
    ] {
        connection.execute(sql).await.unwrap();
    }
    assert_eq!(app.sequence().await, before + 3);
    assert_agreement(&app.pool, 3).await;
}

#[tokio::test]
async fn who_may_write_templates_needs_no_right_to_write_the_clock() {
    let app = TestApp::start().await;
    register(&app, &["a"]).await;
    let mut transaction = app.pool.begin().await.unwrap();
    let role = format!("writer_of_{}", app.database.name());
    for sql in [
        format!("CREATE ROLE {role}"),
        format!("GRANT USAGE ON SCHEMA tasker TO {role}"),
        format!("GRANT SELECT, UPDATE ON tasker.named_tasks TO {role}"),
        format!("SET LOCAL ROLE {role}"),
        String::from("UPDATE tasker.named_tasks SET configuration = '{\"n\": 1}'"),
        String::from("SET CONSTRAINTS ALL IMMEDIATE"),
        String::from("RESET ROLE"),
    ] {
        transaction.execute(sqlx::AssertSqlSafe(sql)).await.unwrap();
    }
    let differing: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM tasker.template_versions v
         JOIN tasker.named_tasks t USING (named_task_uuid)
         WHERE v.content_hash <> tasker.template_hash(t.configuration)",
    )
    .fetch_one(&mut *transaction)
    .await
    .unwrap();
    assert_eq!(differing, 0);
    // A role belongs to the whole server, so it must not outlive the test.
    transaction.rollback().await.unwrap();
}
