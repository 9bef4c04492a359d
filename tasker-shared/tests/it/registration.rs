//! Registering: what is written, what is not, and who is told.

use std::sync::Arc;

use tasker_shared::cache::CacheProvider;
use tasker_shared::config::tasker::CacheConfig;
use tasker_shared::events::{EventPublisher, RegistryEvent};
use tasker_shared::models::core::task_template::TemplateDocument;
use tasker_shared::registry::{RegistrationStatus, TaskHandlerRegistry};

use crate::app::{TestApp, document, filled, keys, own_redis, template};

#[tokio::test]
async fn an_unchanged_template_writes_nothing() {
    let app = TestApp::start().await;
    let registry = app.uncached();
    let document = template("payments", "refund", 1);
    let first = registry.register_task_template(&document).await.unwrap();
    assert_eq!(first.status, RegistrationStatus::Created);
    let (sequence, lsn) = (app.sequence().await, wal(&app).await);
    let second = registry.register_task_template(&document).await.unwrap();
    assert_eq!(second.status, RegistrationStatus::Unchanged);
    assert_eq!(second.named_task_uuid, first.named_task_uuid);
    assert_eq!((app.sequence().await, wal(&app).await), (sequence, lsn));
    let third = registry
        .register_task_template(&template("payments", "refund", 2))
        .await
        .unwrap();
    assert_eq!(third.status, RegistrationStatus::Updated);
    assert_eq!(third.named_task_uuid, first.named_task_uuid);
}

// Rows written to the templates' tables, as the table statistics have them.
async fn wal(app: &TestApp) -> Vec<(String, String)> {
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

#[tokio::test]
async fn a_number_that_is_written_otherwise_is_other_content() {
    let app = TestApp::start().await;
    let registry = app.uncached();
    registry
        .register_task_template(&template("payments", "refund", 1))
        .await
        .unwrap();
    let changed = registry
        .register_task_template(&template("payments", "refund", 1.0))
        .await
        .unwrap();
    assert_eq!(changed.status, RegistrationStatus::Updated);
}

#[tokio::test]
async fn a_batch_is_registered_in_one_commit() {
    let app = TestApp::start().await;
    let registry = app.uncached();
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

/// Large enough together that PostgreSQL is asked for what it has before anything is sent.
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

#[tokio::test]
async fn of_a_large_batch_only_what_changed_is_written() {
    let app = TestApp::start().await;
    let registry = app.uncached();
    let mut documents = large_batch();
    let first = registry.register_task_templates(&documents).await.unwrap();
    let (sequence, rows) = (app.sequence().await, wal(&app).await);
    let second = registry.register_task_templates(&documents).await.unwrap();
    for (first, second) in first.iter().zip(&second) {
        assert_eq!(first.status, RegistrationStatus::Created);
        assert_eq!(second.status, RegistrationStatus::Unchanged);
        assert_eq!(second.named_task_uuid, first.named_task_uuid);
    }
    assert_eq!((app.sequence().await, wal(&app).await), (sequence, rows));

    documents[7] = template("payments", "t7", "other");
    documents.push(template("payments", "new", 1));
    let third = registry.register_task_templates(&documents).await.unwrap();
    for (place, third) in third.iter().enumerate() {
        let expected = match place {
            7 => RegistrationStatus::Updated,
            100 => RegistrationStatus::Created,
            _ => RegistrationStatus::Unchanged,
        };
        assert_eq!(third.status, expected, "{}", third.name);
    }
    assert_eq!(third[7].named_task_uuid, first[7].named_task_uuid);
    assert_eq!(app.sequence().await, sequence + 1);
}

#[tokio::test]
async fn columns_that_were_changed_by_hand_are_put_right() {
    let app = TestApp::start().await;
    let registry = app.uncached();
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

#[tokio::test]
async fn a_hash_that_we_reckon_otherwise_than_postgresql_costs_time_only() {
    let app = TestApp::start().await;
    let registry = app.uncached();
    let documents = large_batch();
    registry.register_task_templates(&documents).await.unwrap();
    // As if PostgreSQL had another way to write these documents.
    sqlx::query("UPDATE tasker.template_versions SET content_hash = repeat('0', 64)")
        .execute(&app.pool)
        .await
        .unwrap();
    let rows = wal(&app).await;
    let again = registry.register_task_templates(&documents).await.unwrap();
    assert!(
        again
            .iter()
            .all(|one| one.status == RegistrationStatus::Unchanged)
    );
    assert_eq!(wal(&app).await, rows);
}

#[tokio::test]
async fn ten_processes_that_register_the_same_templates_write_each_once() {
    let app = TestApp::start().await;
    let documents: Arc<Vec<_>> = Arc::new(
        (0..100)
            .map(|number| template(["a", "b", "c"][number % 3], &format!("t{number}"), number))
            .collect(),
    );
    let processes: Vec<_> = (0..10)
        .map(|_| {
            let registry = app.local_only(app.cache_config());
            let documents = Arc::clone(&documents);
            tokio::spawn(async move { registry.register_task_templates(&documents).await.unwrap() })
        })
        .collect();
    let mut created = 0;
    for process in processes {
        let registered = process.await.unwrap();
        assert_eq!(registered.len(), 100);
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
}

#[tokio::test]
async fn registering_deletes_the_cached_entry() {
    let app = TestApp::start().await;
    let redis = own_redis().await;
    let registry = app.with_redis(&redis.url()).await;
    registry
        .register_task_template(&template("payments", "refund", 1))
        .await
        .unwrap();
    registry
        .get_template("payments", "refund", "1.0.0")
        .await
        .unwrap();
    filled(&redis.url(), &app.key("payments", "refund", "1.0.0")).await;
    registry
        .register_task_template(&template("payments", "refund", 2))
        .await
        .unwrap();
    assert!(keys(&redis.url(), &app.prefix).await.is_empty());
}

#[tokio::test]
async fn a_discovery_deletes_all_cached_templates_unless_told_not_to() {
    let app = TestApp::start().await;
    let redis = own_redis().await;
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(
        folder.path().join("refund.yaml"),
        "name: refund\nnamespace_name: payments\nversion: 1.0.0\n\
         task_handler: {callable: Tests::Handler}\n\
         steps:\n  - name: only\n    handler: {callable: Tests::Step}\n",
    )
    .unwrap();
    std::fs::write(folder.path().join("wrong.yaml"), "name: [unclosed\n").unwrap();

    for invalidate_on_boot in [true, false] {
        let config = CacheConfig {
            invalidate_on_boot,
            ..app.cache_config()
        };
        let registry = app.with_redis_config(&redis.url(), config).await;
        registry
            .register_task_template(&template("other", "removed_from_disk", 1))
            .await
            .unwrap();
        registry
            .get_template("other", "removed_from_disk", "1.0.0")
            .await
            .unwrap();
        filled(
            &redis.url(),
            &app.key("other", "removed_from_disk", "1.0.0"),
        )
        .await;
        let result = registry
            .discover_and_register_templates(folder.path())
            .await
            .unwrap();
        assert_eq!(result.total_files, 2);
        assert_eq!(
            result.registered.len(),
            1,
            "a bad file does not stop the others"
        );
        assert_eq!(result.errors.len(), 1);
        assert!(result.errors[0].file.ends_with("wrong.yaml"));
        assert_eq!(result.invalidation.attempted, invalidate_on_boot);
        assert_eq!(
            keys(&redis.url(), &app.prefix).await.is_empty(),
            invalidate_on_boot
        );
    }
}

#[tokio::test]
async fn a_registry_that_resolved_nothing_shuts_down() {
    let app = TestApp::start().await;
    for registers in [false, true] {
        let registry = app.local_only(app.cache_config());
        if registers {
            registry
                .register_task_template(&template("payments", "refund", 1))
                .await
                .unwrap();
        }
        tokio::time::timeout(std::time::Duration::from_secs(10), registry.shutdown())
            .await
            .expect("there is nothing to wait for");
    }
}

#[tokio::test]
async fn listeners_hear_what_the_registry_did() {
    let app = TestApp::start().await;
    let publisher = Arc::new(EventPublisher::new());
    let mut events = publisher.subscribe();
    let registry = TaskHandlerRegistry::with_cache(
        app.pool.clone(),
        Arc::new(CacheProvider::noop()),
        app.cache_config(),
    )
    .with_event_publisher(Arc::clone(&publisher));
    let document = template("payments", "refund", 1);
    registry.register_task_template(&document).await.unwrap();
    registry.register_task_template(&document).await.unwrap();
    registry.invalidate_namespace_templates("payments").await;
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
        Some(RegistryEvent::Registered {
            namespace,
            name,
            version
        })
    );
    let (namespace, name, version) = named();
    assert_eq!(
        events.recv().await,
        Some(RegistryEvent::Unchanged {
            namespace,
            name,
            version
        })
    );
    let namespace = Some(String::from("payments"));
    assert_eq!(
        events.recv().await,
        Some(RegistryEvent::Invalidated {
            namespace,
            template: None
        })
    );
}
