//! The bound: what reaches whom, by which way, and when.

use std::time::Duration;

use serde_json::json;
use tasker_shared::config::tasker::CacheConfig;
use tasker_shared::metrics::TEMPLATE_STALE_SERVED;
use tasker_shared::registry::{RegistryError, TaskHandlerRegistry};
use tasker_test_support::{PostgresServer, TestDatabase};

use crate::app::{TestApp, current, eventually, marker, pool, put, template};
use crate::every_cache::with_every_cache;
use crate::metrics_view::Metrics;

with_every_cache! {
    every_kind_of_write_by_hand_reaches_other_processes,
    with_a_bound_of_zero_every_resolve_sees_what_was_committed_before_it,
    a_process_sees_its_own_writes,
    what_was_registered_unchanged_is_seen_even_if_another_process_wrote_it,
}

async fn wait_for_marker(registry: &TaskHandlerRegistry, name: &str, expected: serde_json::Value) {
    eventually("the change", || async {
        let resolved = registry
            .get_template("payments", name, "1.0.0")
            .await
            .expect("the name stays registered");
        (marker(&resolved) == expected).then_some(())
    })
    .await;
}

async fn wait_until_gone(registry: &TaskHandlerRegistry, namespace: &str, name: &str) {
    eventually("the deletion", || async {
        matches!(
            registry.get_template(namespace, name, "1.0.0").await,
            Err(RegistryError::NotFound { .. })
        )
        .then_some(())
    })
    .await;
}

async fn every_kind_of_write_by_hand_reaches_other_processes(app: TestApp) {
    let reader = app.registry().await;
    for name in ["updated", "deleted", "renamed"] {
        app.uncached()
            .register_task_template(&template("payments", name, "old"))
            .await
            .unwrap();
        reader
            .get_template("payments", name, "1.0.0")
            .await
            .unwrap();
    }
    let run = async |sql: &'static str| {
        sqlx::query(sql).execute(&app.pool).await.unwrap();
    };

    run("UPDATE tasker.named_tasks SET configuration =
         jsonb_set(configuration, '{task_handler,initialization,marker}', '\"new\"')
         WHERE name = 'updated'")
    .await;
    wait_for_marker(&reader, "updated", json!("new")).await;

    run("DELETE FROM tasker.named_tasks WHERE name = 'deleted'").await;
    wait_until_gone(&reader, "payments", "deleted").await;

    run("UPDATE tasker.task_namespaces SET name = 'refunds' WHERE name = 'payments'").await;
    wait_until_gone(&reader, "payments", "renamed").await;
    let moved = reader
        .get_template("refunds", "renamed", "1.0.0")
        .await
        .unwrap();
    assert_eq!(moved.namespace, "refunds");

    run("UPDATE tasker.named_tasks SET identity_strategy = 'always_unique'").await;
    eventually("the new strategy", || async {
        let resolved = reader
            .get_template("refunds", "renamed", "1.0.0")
            .await
            .unwrap();
        (resolved.identity_strategy
            == tasker_shared::models::core::identity_strategy::IdentityStrategy::AlwaysUnique)
            .then_some(())
    })
    .await;

    run("TRUNCATE tasker.named_tasks CASCADE").await;
    wait_until_gone(&reader, "refunds", "updated").await;
}

#[tokio::test]
async fn what_is_rolled_back_leaves_no_trace() {
    let app = TestApp::start().await;
    app.uncached()
        .register_task_template(&template("payments", "refund", 1))
        .await
        .unwrap();
    let before = app.sequence().await;
    let mut transaction = app.pool.begin().await.unwrap();
    sqlx::query("UPDATE tasker.named_tasks SET configuration = '{\"name\": \"refund\"}'")
        .execute(&mut *transaction)
        .await
        .unwrap();
    sqlx::query("SET CONSTRAINTS ALL IMMEDIATE")
        .execute(&mut *transaction)
        .await
        .unwrap();
    transaction.rollback().await.unwrap();
    assert_eq!(app.sequence().await, before);
}

#[tokio::test]
async fn writers_wait_for_each_other_only_while_they_commit() {
    let app = TestApp::start().await;
    for name in ["one", "two"] {
        app.uncached()
            .register_task_template(&template("payments", name, 1))
            .await
            .unwrap();
    }
    let mut slow = app.pool.begin().await.unwrap();
    sqlx::query("UPDATE tasker.named_tasks SET configuration = '{}' WHERE name = 'one'")
        .execute(&mut *slow)
        .await
        .unwrap();
    // The slow writer is in the middle of its transaction; another one commits.
    let quick = app.uncached();
    let changed = template("payments", "two", 2);
    let registered = quick.register_task_template(&changed);
    tokio::time::timeout(Duration::from_secs(5), registered)
        .await
        .unwrap()
        .unwrap();
    let before = app.sequence().await;
    slow.commit().await.unwrap();
    assert_eq!(app.sequence().await, before + 1);
}

async fn with_a_bound_of_zero_every_resolve_sees_what_was_committed_before_it(app: TestApp) {
    let config = CacheConfig {
        max_staleness_ms: 0,
        ..app.cache_config()
    };
    let reader = app.registry_with(config).await;
    let writer = app.uncached();
    for round in 0..50 {
        put(&writer, round).await;
        assert_eq!(current(&reader).await, json!(round));
    }
}

async fn a_process_sees_its_own_writes(app: TestApp) {
    // A bound and hence a poll interval that the test does not live to see.
    let config = CacheConfig {
        max_staleness_ms: 3_600_000,
        ..app.cache_config()
    };
    let registry = app.registry_with(config).await;
    for round in 0..50 {
        put(&registry, round).await;
        assert_eq!(current(&registry).await, json!(round));
    }
}

async fn what_was_registered_unchanged_is_seen_even_if_another_process_wrote_it(app: TestApp) {
    // A listener would bring the news; with this bound nothing else does before the test ends.
    let config = CacheConfig {
        max_staleness_ms: 3_600_000,
        ..app.cache_config()
    };
    let registry = app.registry_with(config).await;
    for round in 0..20 {
        let document = template("payments", "refund", round);
        app.uncached()
            .register_task_template(&document)
            .await
            .unwrap();
        registry.register_task_template(&document).await.unwrap();
        assert_eq!(current(&registry).await, json!(round));
    }
}

#[tokio::test]
async fn a_restored_backup_is_noticed_by_its_clock_and_by_its_history() {
    let app = TestApp::start().await;
    let reader = app.local_only(CacheConfig {
        max_staleness_ms: 0,
        ..app.cache_config()
    });
    for round in 0..5 {
        app.uncached()
            .register_task_template(&template("payments", "refund", round))
            .await
            .unwrap();
        current(&reader).await;
    }
    // Does the work of a restore: rows and clock of an earlier time, behind the triggers' back.
    let restore = [
        "ALTER TABLE tasker.named_tasks DISABLE TRIGGER ALL",
        "UPDATE tasker.named_tasks SET configuration =
         jsonb_set(configuration, '{task_handler,initialization,marker}', '\"restored\"')",
        "UPDATE tasker.template_versions v SET sequence = 3, content_hash =
         (SELECT tasker.template_hash(configuration) FROM tasker.named_tasks)",
        "UPDATE tasker.template_clock SET sequence = 3",
        "DELETE FROM tasker.template_commits WHERE sequence > 3",
        "ALTER TABLE tasker.named_tasks ENABLE TRIGGER ALL",
        "ALTER TABLE tasker.named_tasks ENABLE ALWAYS TRIGGER named_tasks_updated",
    ];
    app.commit(&restore).await;
    assert_eq!(current(&reader).await, json!("restored"));

    // Another history that has reached the same number: only its stamps differ.
    let other_history = [
        "UPDATE tasker.template_commits SET stamp = gen_random_uuid()",
        "ALTER TABLE tasker.named_tasks DISABLE TRIGGER ALL",
        "UPDATE tasker.named_tasks SET configuration =
         jsonb_set(configuration, '{task_handler,initialization,marker}', '\"promoted\"')",
        "UPDATE tasker.template_versions v SET content_hash =
         (SELECT tasker.template_hash(configuration) FROM tasker.named_tasks)",
        "ALTER TABLE tasker.named_tasks ENABLE TRIGGER ALL",
    ];
    app.commit(&other_history).await;
    assert_eq!(current(&reader).await, json!("promoted"));
}

#[tokio::test]
async fn a_lost_database_is_survived_within_the_bound_and_told_past_it() {
    let metrics = Metrics::of_this_thread();
    let server = PostgresServer::start()
        .await
        .expect("PostgreSQL's programs are needed");
    let database = TestDatabase::create_on(&server.url("postgres"))
        .await
        .unwrap();
    let app = TestApp::on(database).await;
    app.uncached()
        .register_task_template(&template("payments", "refund", 1))
        .await
        .unwrap();
    let patient = app.local_only(CacheConfig {
        max_staleness_ms: 600_000,
        ..app.cache_config()
    });
    let strict = app.local_only(CacheConfig {
        max_staleness_ms: 200,
        ..app.cache_config()
    });
    let stale = app.local_only(CacheConfig {
        max_staleness_ms: 200,
        serve_stale_seconds: 600,
        ..app.cache_config()
    });
    for registry in [&patient, &strict, &stale] {
        current(registry).await;
    }

    server.kill().await.unwrap();
    let warm = patient
        .resolve("payments", "refund", "1.0.0")
        .await
        .unwrap();
    assert_eq!(warm.stale_by, None);
    eventually("the end of the bound", || async {
        matches!(
            strict.get_template("payments", "refund", "1.0.0").await,
            Err(RegistryError::Stale { .. })
        )
        .then_some(())
    })
    .await;
    let flagged = eventually("the flag", || async {
        stale
            .resolve("payments", "refund", "1.0.0")
            .await
            .unwrap()
            .stale_by
    })
    .await;
    assert!(flagged < Duration::from_mins(10));
    assert!(metrics.sum(&TEMPLATE_STALE_SERVED) >= 1.0);
    let unknown = stale
        .get_template("payments", "unknown", "1.0.0")
        .await
        .unwrap_err();
    assert_eq!(unknown.code(), "template_directory_stale");

    server.restart().await.unwrap();
    eventually("the recovery", || async {
        strict
            .get_template("payments", "refund", "1.0.0")
            .await
            .ok()
    })
    .await;
    drop(app);
}

#[tokio::test]
async fn templates_of_an_existing_database_are_known_after_the_migration() {
    let database = TestDatabase::create().await.unwrap();
    let connection = pool(database.url());
    // The schema as other software has made it, with rows, and without our columns.
    sqlx::raw_sql(include_str!("../../migrations/0001_workflow_schema.sql"))
        .execute(&connection)
        .await
        .unwrap();
    sqlx::raw_sql(
        "INSERT INTO tasker.task_namespaces (name) VALUES ('payments');
         INSERT INTO tasker.named_tasks (task_namespace_uuid, name, version, configuration)
         SELECT task_namespace_uuid, 'refund', '1.0.0',
             '{\"name\": \"refund\", \"namespace_name\": \"payments\", \"version\": \"1.0.0\",
               \"task_handler\": {\"callable\": \"Old\", \"initialization\": {\"marker\": 7}},
               \"steps\": []}'
         FROM tasker.task_namespaces;",
    )
    .execute(&connection)
    .await
    .unwrap();
    let app = TestApp::on(database).await;
    let reader = app.local_only(app.cache_config());
    assert_eq!(current(&reader).await, json!(7));
}

#[tokio::test]
async fn a_change_is_told_even_if_its_transaction_has_emptied_the_clock() {
    let app = TestApp::start().await;
    let reader = app.local_only(CacheConfig {
        max_staleness_ms: 0,
        ..app.cache_config()
    });
    let document = template("payments", "refund", 1);
    app.uncached()
        .register_task_template(&document)
        .await
        .unwrap();
    current(&reader).await;
    app.commit(&[
        "DELETE FROM tasker.template_clock",
        "UPDATE tasker.named_tasks SET configuration =
         jsonb_set(configuration, '{task_handler,initialization,marker}', '\"changed\"')",
    ])
    .await;
    assert_eq!(current(&reader).await, json!("changed"));
}

#[tokio::test]
async fn truncating_in_a_savepoint_is_one_step_of_the_clock() {
    let app = TestApp::start().await;
    let documents: Vec<_> = (0..20)
        .map(|number| template("payments", &format!("refund{number}"), number))
        .collect();
    app.uncached()
        .register_task_templates(&documents)
        .await
        .unwrap();
    let before = app.sequence().await;
    app.commit(&[
        "SAVEPOINT here",
        "TRUNCATE tasker.named_tasks CASCADE",
        "RELEASE SAVEPOINT here",
    ])
    .await;
    assert_eq!(app.sequence().await, before + 1);
}
