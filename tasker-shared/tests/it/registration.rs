//! Registration: rows that are written and rows that are not, and events.

use std::collections::HashSet;
use std::sync::Arc;

use tasker_shared::events::{EventPublisher, RegistryEvent};
use tasker_shared::models::core::task_template::TemplateDocument;
use tasker_shared::registry::RegistrationStatus;

use uuid::Uuid;

use crate::app::{TestApp, document, put, template, waits_for_a_lock};
use crate::every_cache::with_every_cache;

with_every_cache! {
    an_unchanged_template_writes_nothing,
    a_number_that_is_written_otherwise_is_other_content,
    a_batch_is_registered_in_one_commit,
    of_a_large_batch_only_what_changed_is_written,
    columns_that_were_changed_by_hand_are_put_right,
    a_hash_that_differs_from_postgresqls_costs_time_only,
    ten_processes_that_register_the_same_templates_write_each_once,
    a_registration_that_a_deadlock_aborts_is_tried_again,
    a_registry_that_resolved_nothing_shuts_down,
    listeners_hear_what_the_registry_did,
}

async fn an_unchanged_template_writes_nothing(app: TestApp) {
    let registry = app.registry().await;
    let document = template("payments", "refund", 1);
    let first = registry.register_task_template(&document).await.unwrap();
    assert_eq!(first.status, RegistrationStatus::Created);
    let (sequence, lsn) = (app.sequence().await, written_rows(&app).await);
    let second = registry.register_task_template(&document).await.unwrap();
    assert_eq!(second.status, RegistrationStatus::Unchanged);
    assert_eq!(second.named_task_uuid, first.named_task_uuid);
    assert_eq!(
        (app.sequence().await, written_rows(&app).await),
        (sequence, lsn)
    );
    let third = registry
        .register_task_template(&template("payments", "refund", 2))
        .await
        .unwrap();
    assert_eq!(third.status, RegistrationStatus::Updated);
    assert_eq!(third.named_task_uuid, first.named_task_uuid);
}

/// Returns the versions of all rows of the templates' tables, which change with every write.
pub(crate) async fn written_rows(app: &TestApp) -> Vec<(String, String)> {
    sqlx::query_as::<_, (String, String)>(
        "SELECT 'named_tasks', string_agg(xmin::text || ctid::text || xmax::text, ',')
         FROM tasker.named_tasks
         UNION ALL
         SELECT 'task_namespaces', string_agg(xmin::text || ctid::text || xmax::text, ',')
         FROM tasker.task_namespaces
         UNION ALL
         SELECT 'template_clock', string_agg(xmin::text || ctid::text || xmax::text, ',')
         FROM tasker.template_clock",
    )
    .fetch_all(&app.pool)
    .await
    .expect("the tables can be read")
}

async fn a_number_that_is_written_otherwise_is_other_content(app: TestApp) {
    let registry = app.registry().await;
    put(&registry, 1).await;
    let changed = registry
        .register_task_template(&template("payments", "refund", 1.0))
        .await
        .unwrap();
    assert_eq!(changed.status, RegistrationStatus::Updated);
}

async fn a_batch_is_registered_in_one_commit(app: TestApp) {
    let registry = app.registry().await;
    let before = app.sequence().await;
    let documents: Vec<_> = (0..100)
        .map(|number| template("payments", &format!("t{number}"), number))
        .collect();
    let registered = registry.register_task_templates(&documents).await.unwrap();
    assert!(
        registered
            .iter()
            .all(|one| one.status == RegistrationStatus::Created)
    );
    assert_eq!(registered[42].name, "t42");
    assert_eq!(app.sequence().await, before + 1);
}

/// Returns a batch that is large enough that hashes are compared before documents are sent.
fn large_batch() -> Vec<TemplateDocument> {
    let padding = "x".repeat(2_000);
    (0..100)
        .map(|number| {
            template(
                "payments",
                &format!("t{number}"),
                format!("{number}{padding}"),
            )
        })
        .collect()
}

async fn of_a_large_batch_only_what_changed_is_written(app: TestApp) {
    let registry = app.registry().await;
    let mut documents = large_batch();
    let first = registry.register_task_templates(&documents).await.unwrap();
    let (sequence, rows) = (app.sequence().await, written_rows(&app).await);
    let second = registry.register_task_templates(&documents).await.unwrap();
    for (first, second) in first.iter().zip(&second) {
        assert_eq!(first.status, RegistrationStatus::Created);
        assert_eq!(second.status, RegistrationStatus::Unchanged);
        assert_eq!(second.named_task_uuid, first.named_task_uuid);
    }
    assert_eq!(
        (app.sequence().await, written_rows(&app).await),
        (sequence, rows)
    );

    documents[7] = template("payments", "t7", "other");
    documents.push(template("payments", "new", 1));
    let third = registry.register_task_templates(&documents).await.unwrap();
    for (index, third) in third.iter().enumerate() {
        let expected = match index {
            7 => RegistrationStatus::Updated,
            100 => RegistrationStatus::Created,
            _ => RegistrationStatus::Unchanged,
        };
        assert_eq!(third.status, expected, "{}", third.name);
    }
    assert_eq!(third[7].named_task_uuid, first[7].named_task_uuid);
    assert_eq!(app.sequence().await, sequence + 1);
}

async fn columns_that_were_changed_by_hand_are_put_right(app: TestApp) {
    let registry = app.registry().await;
    let mut documents = large_batch();
    let mut always = document("payments", "always", 1);
    always["identity_strategy"] = "always_unique".into();
    documents.push(TemplateDocument::from_json(always).unwrap());
    registry.register_task_templates(&documents).await.unwrap();
    sqlx::query("UPDATE tasker.named_tasks SET description = 'by hand' WHERE name = 't3'")
        .execute(&app.pool)
        .await
        .unwrap();
    sqlx::query("UPDATE tasker.named_tasks SET identity_strategy = 'strict'")
        .execute(&app.pool)
        .await
        .unwrap();
    let again = registry.register_task_templates(&documents).await.unwrap();
    let updated: Vec<&str> = again
        .iter()
        .filter(|one| one.status != RegistrationStatus::Unchanged)
        .map(|one| one.name.as_str())
        .collect();
    assert_eq!(updated, ["t3", "always"]);
}

async fn a_hash_that_differs_from_postgresqls_costs_time_only(app: TestApp) {
    let registry = app.registry().await;
    let documents = large_batch();
    registry.register_task_templates(&documents).await.unwrap();
    // As if PostgreSQL wrote these documents in another way.
    sqlx::query("UPDATE tasker.template_versions SET content_hash = repeat('0', 64)")
        .execute(&app.pool)
        .await
        .unwrap();
    let rows = row_versions(&app).await;
    let again = registry.register_task_templates(&documents).await.unwrap();
    // The pointers are corrected, and no row has a new version: it is only locked.
    assert!(
        again
            .iter()
            .all(|one| one.status == RegistrationStatus::Updated)
    );
    assert_eq!(row_versions(&app).await, rows);
}

async fn row_versions(app: &TestApp) -> String {
    let sql = "SELECT string_agg(xmin::text || ctid::text, ',' ORDER BY ctid)
               FROM tasker.named_tasks";
    sqlx::query_scalar(sql).fetch_one(&app.pool).await.unwrap()
}

async fn ten_processes_that_register_the_same_templates_write_each_once(app: TestApp) {
    let documents: Arc<Vec<_>> = Arc::new(
        (0..100)
            .map(|number| template(["a", "b", "c"][number % 3], &format!("t{number}"), number))
            .collect(),
    );
    let mut processes = Vec::new();
    for _ in 0..10 {
        let registry = app.registry().await;
        let documents = Arc::clone(&documents);
        processes.push(tokio::spawn(async move {
            registry.register_task_templates(&documents).await.unwrap()
        }));
    }
    let mut created = 0;
    let mut keys = HashSet::new();
    for process in processes {
        let registered = process.await.unwrap();
        assert_eq!(registered.len(), 100);
        keys.extend(
            registered
                .iter()
                .map(|one| (one.name.clone(), one.named_task_uuid)),
        );
        created += registered
            .iter()
            .filter(|one| one.status == RegistrationStatus::Created)
            .count();
        assert!(
            registered
                .iter()
                .all(|one| one.status != RegistrationStatus::Updated)
        );
    }
    assert_eq!(created, 100);
    // All of them got the keys of the rows, even of rows that others made.
    let rows: Vec<(String, Uuid)> =
        sqlx::query_as("SELECT name::text, named_task_uuid FROM tasker.named_tasks")
            .fetch_all(&app.pool)
            .await
            .unwrap();
    assert_eq!(keys, rows.into_iter().collect());
}

async fn a_registration_that_a_deadlock_aborts_is_tried_again(app: TestApp) {
    let registry = app.registry().await;
    let names = ["a", "b"];
    let documents = |marker: i32| names.map(|name| template("payments", name, marker));
    registry
        .register_task_templates(&documents(1))
        .await
        .unwrap();
    let mut other = app.pool.begin().await.unwrap();
    let change = "UPDATE tasker.named_tasks SET updated_at = now() WHERE name = $1";
    sqlx::query(change)
        .bind("b")
        .execute(&mut *other)
        .await
        .unwrap();
    let changed = documents(2);
    let registering = registry.register_task_templates(&changed);
    let interfering = async {
        waits_for_a_lock(&app).await;
        // The registration has waited for longer, so PostgreSQL aborts it.
        sqlx::query(change)
            .bind("a")
            .execute(&mut *other)
            .await
            .unwrap();
        other.commit().await.unwrap();
    };
    let (registered, ()) = tokio::join!(registering, interfering);
    for registered in registered.unwrap() {
        assert_eq!(registered.status, RegistrationStatus::Updated);
    }
}

async fn a_registry_that_resolved_nothing_shuts_down(app: TestApp) {
    for registers in [false, true] {
        let registry = app.registry().await;
        if registers {
            put(&registry, 1).await;
        }
        tokio::time::timeout(std::time::Duration::from_secs(10), registry.shutdown())
            .await
            .expect("there is nothing to wait for");
    }
}

async fn listeners_hear_what_the_registry_did(app: TestApp) {
    let publisher = Arc::new(EventPublisher::new());
    let mut events = publisher.subscribe();
    let registry = app
        .registry()
        .await
        .with_event_publisher(Arc::clone(&publisher));
    let document = template("payments", "refund", 1);
    registry.register_task_template(&document).await.unwrap();
    registry.register_task_template(&document).await.unwrap();
    let named = || {
        (
            String::from("payments"),
            String::from("refund"),
            String::from("1.0.0"),
        )
    };
    let (namespace, name, version) = named();
    assert_eq!(
        events.recv().await,
        Ok(RegistryEvent::Registered {
            namespace,
            name,
            version
        })
    );
    let (namespace, name, version) = named();
    assert_eq!(
        events.recv().await,
        Ok(RegistryEvent::Unchanged {
            namespace,
            name,
            version
        })
    );
}
