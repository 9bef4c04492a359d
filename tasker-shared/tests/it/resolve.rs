//! Resolving, whatever the cache.

use std::sync::Arc;

use serde_json::json;
use tasker_shared::events::{EventPublisher, RegistryEvent};
use tasker_shared::models::core::task_request::TaskRequest;
use tasker_shared::registry::RegistryError;

use crate::app::{TestApp, current, marker, put, template};
use crate::every_cache::with_every_cache;

with_every_cache! {
    a_registered_template_resolves_as_it_is_stored,
    an_unknown_name_is_not_found_and_a_name_that_was_registered_a_moment_ago_is,
    a_caller_that_goes_away_does_not_stop_the_load_of_the_others,
    an_invalidation_loses_nothing,
}

async fn a_registered_template_resolves_as_it_is_stored(app: TestApp) {
    app.uncached()
        .register_task_template(&template("payments", "refund", 1))
        .await
        .unwrap();
    let request = TaskRequest::new("refund", "payments").with_version("1.0.0");
    let expected = app.uncached().resolve_handler(&request).await.unwrap();
    assert_eq!(expected.handler_class, "Tests::Handler");
    assert_eq!(marker(&expected), json!(1));
    let registry = app.registry().await;
    for _ in 0..3 {
        let resolved = registry.resolve_handler(&request).await.unwrap();
        assert_eq!(*resolved, *expected);
    }
}

async fn an_unknown_name_is_not_found_and_a_name_that_was_registered_a_moment_ago_is(app: TestApp) {
    let reader = app.registry().await;
    let error = reader
        .get_template("payments", "refund", "1.0.0")
        .await
        .unwrap_err();
    assert!(matches!(error, RegistryError::NotFound { .. }), "{error:?}");
    for round in 0..20 {
        let name = format!("refund_{round}");
        app.uncached()
            .register_task_template(&template("payments", &name, round))
            .await
            .unwrap();
        let found = reader
            .get_template("payments", &name, "1.0.0")
            .await
            .unwrap();
        assert_eq!(marker(&found), json!(round));
    }
}

async fn a_caller_that_goes_away_does_not_stop_the_load_of_the_others(app: TestApp) {
    app.uncached()
        .register_task_template(&template("payments", "refund", 1))
        .await
        .unwrap();
    let registry = Arc::new(app.registry().await);
    let tasks: Vec<_> = (0..50)
        .map(|_| {
            let registry = Arc::clone(&registry);
            tokio::spawn(async move { registry.get_template("payments", "refund", "1.0.0").await })
        })
        .collect();
    tokio::task::yield_now().await;
    for task in tasks.iter().step_by(2) {
        task.abort();
    }
    for (number, task) in tasks.into_iter().enumerate() {
        match task.await {
            Ok(resolved) => assert_eq!(marker(&resolved.unwrap()), json!(1)),
            Err(cancelled) => assert!(cancelled.is_cancelled() && number % 2 == 0),
        }
    }
}

#[tokio::test]
async fn a_registry_that_is_shut_down_leaves_no_work_behind() {
    let app = TestApp::start().await;
    let registry = app.local_only(app.cache_config());
    put(&registry, 1).await;
    current(&registry).await;
    registry.shutdown().await;
    registry.shutdown().await;
    let error = registry
        .get_template("payments", "unknown", "1.0.0")
        .await
        .unwrap_err();
    assert!(matches!(error, RegistryError::ShutDown), "{error:?}");
}

async fn an_invalidation_loses_nothing(app: TestApp) {
    let registry = app.registry().await;
    put(&registry, 1).await;
    let resolve = async || {
        let resolved = registry.get_template("payments", "refund", "1.0.0").await;
        assert_eq!(marker(&resolved.unwrap()), json!(1));
    };
    resolve().await;
    let one = registry
        .invalidate_cache("payments", "refund", "1.0.0")
        .await;
    assert_eq!(one.error, None);
    resolve().await;
    let namespace = registry.invalidate_namespace_templates("payments").await;
    assert_eq!(namespace.error, None);
    resolve().await;
    assert_eq!(registry.invalidate_all_templates().await.error, None);
    resolve().await;
}

#[tokio::test]
async fn listeners_hear_of_an_invalidation() {
    let app = TestApp::start().await;
    let publisher = Arc::new(EventPublisher::new());
    let mut events = publisher.subscribe();
    let registry = app
        .local_only(app.cache_config())
        .with_event_publisher(Arc::clone(&publisher));
    registry.invalidate_namespace_templates("payments").await;
    let heard = RegistryEvent::Invalidated {
        namespace: Some(String::from("payments")),
        template: None,
    };
    assert_eq!(events.recv().await, Ok(heard));
}
