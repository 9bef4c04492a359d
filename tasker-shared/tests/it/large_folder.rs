//! Discovering so many templates at once that they are registered in two halves.

use std::sync::Arc;

use tasker_shared::config::tasker::CacheConfig;
use tasker_shared::events::{EventPublisher, RegistryEvent};
use tasker_shared::metrics::DIRECTORY_POLLS;
use tasker_shared::registry::{RegistrationStatus, RegistryError, TaskHandlerRegistry};
use tempfile::TempDir;

use crate::app::{TestApp, document, eventually, marker, template};
use crate::every_cache::with_every_cache;
use crate::metrics_view::Metrics;

with_every_cache! {
    every_template_of_a_large_folder_is_registered_in_its_place,
    what_one_half_could_not_register_the_next_discovery_does,
}

const TEMPLATES: usize = 300;

/// Of two namespaces, and about 600 KB.
fn large_folder() -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let padding = "x".repeat(2_000);
    for number in 0..TEMPLATES {
        let name = name(number);
        let document = document(namespace(number), &name, format!("{number}{padding}"));
        let path = folder.path().join(format!("{name}.yaml"));
        std::fs::write(path, document.to_string()).expect("the folder can be written to");
    }
    folder
}

fn namespace(number: usize) -> &'static str {
    ["orders", "payments"][number % 2]
}

fn name(number: usize) -> String {
    format!("t{number:03}")
}

async fn every_template_of_a_large_folder_is_registered_in_its_place(app: TestApp) {
    let folder = large_folder();
    let registry = app.registry().await;
    let found = registry.discover_and_register_templates(folder.path());
    let found = found.await.unwrap();
    assert_eq!(found.registered.len(), TEMPLATES);
    for (number, registered) in found.registered.iter().enumerate() {
        assert_eq!(registered.namespace, namespace(number));
        assert_eq!(registered.name, name(number));
        assert_eq!(registered.status, RegistrationStatus::Created);
        let name = name(number);
        let resolved = registry.get_template(namespace(number), &name, "1.0.0");
        let resolved = resolved.await.unwrap();
        assert_eq!(resolved.named_task_uuid, registered.named_task_uuid);
        let marker = marker(&resolved);
        let number = number.to_string();
        assert_eq!(marker.as_str().unwrap().trim_end_matches('x'), number);
    }

    let sequence = app.sequence().await;
    let again = app.registry().await;
    let again = again.discover_and_register_templates(folder.path());
    let again = again.await.unwrap().registered;
    for (first, again) in found.registered.iter().zip(&again) {
        assert_eq!(again.status, RegistrationStatus::Unchanged);
        assert_eq!(again.named_task_uuid, first.named_task_uuid);
    }
    assert_eq!(app.sequence().await, sequence);
}

async fn what_one_half_could_not_register_the_next_discovery_does(app: TestApp) {
    let folder = large_folder();
    app.commit(&[
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
         $$ BEGIN RAISE EXCEPTION 'not this one'; END $$",
        "CREATE TRIGGER refuse BEFORE INSERT ON tasker.named_tasks
         FOR EACH ROW WHEN (NEW.name = 't299') EXECUTE FUNCTION refuse()",
    ])
    .await;
    let publisher = Arc::new(EventPublisher::new());
    let mut events = publisher.subscribe();
    let registry = app.registry().await.with_event_publisher(publisher);
    let refused = registry.discover_and_register_templates(folder.path());
    assert!(matches!(
        refused.await.unwrap_err(),
        RegistryError::Database(_)
    ));
    let committed: i64 = sqlx::query_scalar("SELECT count(*) FROM tasker.named_tasks")
        .fetch_one(&app.pool)
        .await
        .unwrap();
    // The first half, where there are two; all of it is told.
    let committed = usize::try_from(committed).unwrap();
    let is_divided = app.caches();
    assert!((is_divided && (1..TEMPLATES).contains(&committed)) || (!is_divided && committed == 0));
    for number in 0..committed {
        assert_eq!(
            events.recv().await,
            Some(RegistryEvent::Registered {
                namespace: namespace(number).to_owned(),
                name: name(number),
                version: String::from("1.0.0"),
            })
        );
    }
    app.commit(&["DROP TRIGGER refuse ON tasker.named_tasks"])
        .await;
    let found = registry.discover_and_register_templates(folder.path());
    let found = found.await.unwrap().registered;
    assert_eq!(found.len(), TEMPLATES);
    for (number, found) in found.iter().enumerate() {
        let expected = if number < committed {
            RegistrationStatus::Unchanged
        } else {
            RegistrationStatus::Created
        };
        assert_eq!(found.status, expected, "{number}");
    }
    for number in 0..TEMPLATES {
        let name = name(number);
        let resolved = registry.get_template(namespace(number), &name, "1.0.0");
        resolved.await.unwrap();
    }
}

/// Discovers the folder with a directory that is read, and tells in how many commits.
async fn commits(app: &TestApp, registry: &TaskHandlerRegistry) -> i64 {
    let folder = large_folder();
    let before = app.sequence().await;
    registry
        .discover_and_register_templates(folder.path())
        .await
        .unwrap();
    app.sequence().await - before
}

#[tokio::test]
async fn a_large_folder_is_registered_in_two_halves() {
    let app = TestApp::start().await;
    assert_eq!(commits(&app, &app.local_only(app.cache_config())).await, 2);
}

#[tokio::test]
async fn a_small_pool_is_not_asked_for_two_connections_at_once() {
    let app = TestApp::start().await;
    let registry = app.local_only_with_connections(5, app.cache_config());
    assert_eq!(commits(&app, &registry).await, 1);
}

#[tokio::test]
async fn what_this_process_writes_is_not_polled_for_when_it_is_announced() {
    let metrics = Metrics::of_this_thread();
    let polls = || metrics.sum_of(&DIRECTORY_POLLS, "reason=\"notified\"");
    let app = TestApp::start().await;
    // It polls for other reasons every five seconds.
    let registry = app.local_only(CacheConfig {
        max_staleness_ms: 60_000,
        ..app.cache_config()
    });
    let others = app.uncached();
    let announced = async |name: &str| {
        let before = polls();
        let template = template("others", name, 1);
        others.register_task_template(&template).await.unwrap();
        eventually("a poll for what others wrote", || async {
            (polls() > before).then_some(())
        })
        .await;
    };
    registry.get_template("others", "none", "1.0.0").await.ok();
    eventually("the listener", || async {
        let listeners = sqlx::query_scalar::<_, i64>(
            "SELECT count(*) FROM pg_stat_activity
             WHERE datname = current_database() AND query LIKE 'LISTEN%' AND state = 'idle'",
        );
        let listeners = listeners.fetch_one(&app.pool).await.unwrap();
        (listeners > 0).then_some(())
    })
    .await;
    announced("first").await;
    let before = polls();
    assert_eq!(commits(&app, &registry).await, 2);
    // Comes after what the commits above announced.
    announced("second").await;
    assert!(polls() <= before + 1.0, "{} polls", polls() - before);
}
