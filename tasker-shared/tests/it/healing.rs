//! Pointers and triggers that were bypassed, and how they heal.

use sqlx::Executor;
use tasker_shared::registry::{RegistrationStatus, RegistryError};

use crate::app::{Cache, TestApp, current, eventually, marker, template};

/// As `pg_dump --data-only --disable-triggers` loads rows.
async fn without_triggers(app: &TestApp, statements: &[&'static str]) {
    let mut transaction = app.pool.begin().await.unwrap();
    for table in ["task_namespaces", "named_tasks"] {
        let disable = format!("ALTER TABLE tasker.{table} DISABLE TRIGGER ALL");
        transaction
            .execute(sqlx::AssertSqlSafe(disable))
            .await
            .unwrap();
    }
    for statement in statements {
        transaction.execute(*statement).await.unwrap();
    }
    for table in ["task_namespaces", "named_tasks"] {
        let enable = format!("ALTER TABLE tasker.{table} ENABLE TRIGGER ALL");
        transaction
            .execute(sqlx::AssertSqlSafe(enable))
            .await
            .unwrap();
    }
    transaction.commit().await.unwrap();
}

async fn wrong_triggers(app: &TestApp) -> Vec<String> {
    sqlx::query_scalar("SELECT tasker.template_triggers_wrong()")
        .fetch_one(&app.pool)
        .await
        .unwrap()
}

/// The templates and namespaces of an app, taken out without a trace.
const FORGET: &[&str] = &[
    "CREATE TABLE kept_tasks AS SELECT * FROM tasker.named_tasks",
    "CREATE TABLE kept_namespaces AS SELECT * FROM tasker.task_namespaces",
    "DELETE FROM tasker.named_tasks",
    "DELETE FROM tasker.task_namespaces",
    "DELETE FROM tasker.template_versions",
];
const LOAD: &[&str] = &[
    "INSERT INTO tasker.task_namespaces SELECT * FROM kept_namespaces",
    "INSERT INTO tasker.named_tasks SELECT * FROM kept_tasks",
];

#[tokio::test]
async fn rows_that_were_loaded_with_triggers_off_are_found_after_a_registration() {
    for cache in [Cache::Disabled, Cache::Absent] {
        let app = TestApp::with(cache).await;
        let registry = app.registry().await;
        let templates: Vec<_> = (0..20)
            .map(|n| template("payments", &format!("refund_{n}"), n))
            .collect();
        registry.register_task_templates(&templates).await.unwrap();
        without_triggers(&app, FORGET).await;
        without_triggers(&app, LOAD).await;

        let registry = app.registry().await;
        let lost = registry.get_template("payments", "refund_7", "1.0.0").await;
        assert!(
            matches!(lost, Err(RegistryError::NotFound { .. })),
            "{lost:?}"
        );
        let outcomes = registry.register_task_templates(&templates).await.unwrap();
        assert!(
            outcomes
                .iter()
                .all(|one| one.status == RegistrationStatus::Updated)
        );
        let found = registry.get_template("payments", "refund_7", "1.0.0").await;
        assert_eq!(marker(&found.unwrap()), 7);
        let again = registry.register_task_templates(&templates).await.unwrap();
        assert!(
            again
                .iter()
                .all(|one| one.status == RegistrationStatus::Unchanged)
        );
    }
}

/// As logical replication leaves it that does not copy the clock.
#[tokio::test]
async fn a_pointer_beyond_the_clock_is_followed() {
    let app = TestApp::start().await;
    let writer = app.uncached();
    for name in ["refund", "charge"] {
        writer
            .register_task_template(&template("payments", name, 1))
            .await
            .unwrap();
    }
    let reader = app.local_only(app.cache_config());
    assert_eq!(current(&reader).await, 1);
    let clock = app.sequence().await;
    for statement in [
        "ALTER TABLE tasker.named_tasks DISABLE TRIGGER named_tasks_updated",
        "UPDATE tasker.named_tasks SET configuration =
             jsonb_set(configuration, '{task_handler,initialization,marker}', '2')
         WHERE name = 'refund'",
        "UPDATE tasker.template_versions v
         SET sequence = 5000, content_hash = tasker.template_hash(t.configuration)
         FROM tasker.named_tasks t WHERE t.name = 'refund' AND v.name = 'refund'",
        "ALTER TABLE tasker.named_tasks ENABLE ALWAYS TRIGGER named_tasks_updated",
    ] {
        app.pool.execute(statement).await.unwrap();
    }
    assert_eq!(app.sequence().await, clock);
    for registry in [&reader, &app.local_only(app.cache_config())] {
        eventually("the pointer is followed", || async {
            (current(registry).await == 2).then_some(())
        })
        .await;
    }
    // Changes at positions below it are seen as well.
    writer
        .register_task_template(&template("payments", "charge", 3))
        .await
        .unwrap();
    assert!(app.sequence().await < 5000);
    eventually("the change is seen", || async {
        let charge = reader.get_template("payments", "charge", "1.0.0").await;
        (marker(&charge.unwrap()) == 3).then_some(())
    })
    .await;
    reader.shutdown().await;
}

#[tokio::test]
async fn a_wrong_pointer_is_corrected_by_a_registration() {
    let app = TestApp::start().await;
    let registry = app.uncached();
    let refund = template("payments", "refund", 1);
    registry.register_task_template(&refund).await.unwrap();
    app.commit(&["UPDATE tasker.template_versions SET content_hash = repeat('0', 64)"])
        .await;
    let outcome = registry.register_task_template(&refund).await.unwrap();
    assert_eq!(outcome.status, RegistrationStatus::Updated);
    assert_eq!(current(&registry).await, 1);
    let right: bool = sqlx::query_scalar(
        "SELECT v.content_hash = tasker.template_hash(t.configuration)
         FROM tasker.template_versions v JOIN tasker.named_tasks t USING (named_task_uuid)",
    )
    .fetch_one(&app.pool)
    .await
    .unwrap();
    assert!(right);
}

#[tokio::test]
async fn a_retired_template_stays_retired_when_it_is_registered_again() {
    let app = TestApp::start().await;
    let registry = app.uncached();
    let refund = template("payments", "refund", 1);
    registry.register_task_template(&refund).await.unwrap();
    app.commit(&["UPDATE tasker.named_tasks SET retired_at = now()"])
        .await;
    let outcome = registry.register_task_template(&refund).await.unwrap();
    assert_eq!(outcome.status, RegistrationStatus::Unchanged);
    let lost = registry.get_template("payments", "refund", "1.0.0").await;
    assert!(
        matches!(lost, Err(RegistryError::NotFound { .. })),
        "{lost:?}"
    );
}

#[tokio::test]
async fn one_function_repairs_triggers_and_pointers() {
    let app = TestApp::start().await;
    let registry = app.uncached();
    for name in ["refund", "charge", "gone"] {
        registry
            .register_task_template(&template("payments", name, 1))
            .await
            .unwrap();
    }
    assert_eq!(wrong_triggers(&app).await, Vec::<String>::new());
    for table in [
        "named_tasks",
        "task_namespaces",
        "template_changes",
        "template_versions",
    ] {
        for mode in ["DISABLE", "ENABLE"] {
            let sql = format!("ALTER TABLE tasker.{table} {mode} TRIGGER USER");
            app.pool.execute(sqlx::AssertSqlSafe(sql)).await.unwrap();
        }
    }
    assert_eq!(wrong_triggers(&app).await.len(), 12);
    without_triggers(
        &app,
        &[
            "UPDATE tasker.named_tasks SET configuration = configuration || '{\"extra\": 1}'
             WHERE name = 'refund'",
            "DELETE FROM tasker.named_tasks WHERE name = 'gone'",
            "INSERT INTO tasker.named_tasks (task_namespace_uuid, name, version, configuration)
             SELECT task_namespace_uuid, 'loaded', version, configuration
             FROM tasker.named_tasks WHERE name = 'charge'",
        ],
    )
    .await;
    let repaired: i64 = sqlx::query_scalar("SELECT tasker.template_repair()")
        .fetch_one(&app.pool)
        .await
        .unwrap();
    assert_eq!(repaired, 3);
    assert_eq!(wrong_triggers(&app).await, Vec::<String>::new());
    let gone = registry.get_template("payments", "gone", "1.0.0").await;
    assert!(
        matches!(gone, Err(RegistryError::NotFound { .. })),
        "{gone:?}"
    );
    registry
        .get_template("payments", "loaded", "1.0.0")
        .await
        .unwrap();
    let refund = registry
        .get_template("payments", "refund", "1.0.0")
        .await
        .unwrap();
    assert!(refund.document.get().contains("extra"));
    // Replication fires them again.
    let before = app.sequence().await;
    let mut connection = app.pool.acquire().await.unwrap();
    connection
        .execute("SET session_replication_role = replica")
        .await
        .unwrap();
    connection
        .execute("UPDATE tasker.named_tasks SET configuration = '{}' WHERE name = 'charge'")
        .await
        .unwrap();
    assert!(app.sequence().await > before);
    let idle: i64 = sqlx::query_scalar("SELECT tasker.template_repair()")
        .fetch_one(&app.pool)
        .await
        .unwrap();
    assert_eq!(idle, 0);
}
