//! The report of cached templates for operators.

use redis::AsyncCommands;
use serde_json::json;
use tasker_shared::registry::inspection::Inspection;

use crate::app::{TestApp, current, put, template};
use crate::redis_view::{filled, own_redis, redis_connection};

fn verified() -> Inspection {
    Inspection {
        limit: 10,
        verify: true,
        ..Inspection::default()
    }
}

#[tokio::test]
async fn each_tier_is_listed_with_its_document_and_whether_that_is_current() {
    let app = TestApp::start().await;
    let redis = own_redis().await;
    let registry = app.with_redis(&redis.url()).await;
    put(&registry, "current").await;
    let listed = registry.cache_entries(&verified()).await.unwrap();
    assert_eq!((listed.caching, listed.total), (true, 1));
    assert!(listed.directory_fresh && listed.directory_age_ms.is_some());
    let entry = &listed.entries[0];
    assert!(!entry.local.held && !entry.redis.as_ref().unwrap().held);
    assert!(entry.database.as_ref().unwrap().matches_directory);

    current(&registry).await;
    let key = app.key("payments", "refund", "1.0.0");
    let value = filled(&redis.url(), &key).await;
    let listed = registry.cache_entries(&verified()).await.unwrap();
    let entry = &listed.entries[0];
    for tier in [&entry.local, entry.redis.as_ref().unwrap()] {
        assert!(tier.held);
        assert_eq!(tier.hash, Some(entry.hash), "computed from the document");
        assert_eq!(tier.matches_database, Some(true));
    }
    assert!(entry.local.age_seconds.unwrap() < 60);

    // Without `verify` neither Redis nor the database is asked.
    let quick = Inspection {
        verify: false,
        ..verified()
    };
    let quick = registry.cache_entries(&quick).await.unwrap();
    let quick = &quick.entries[0];
    assert_eq!((&quick.redis, &quick.database), (&None, &None));
    assert_eq!(quick.local.matches_database, Some(true));

    let forged = value.replace("current", "forged!");
    let () = redis_connection(&redis.url())
        .await
        .set_ex(&key, forged, 60)
        .await
        .unwrap();
    let thorough = registry.cache_entries(&verified()).await.unwrap();
    let redis = thorough.entries[0].redis.as_ref().unwrap();
    assert_eq!(redis.matches_database, Some(false));
    assert_eq!(thorough.entries[0].local.matches_database, Some(true));
}

#[tokio::test]
async fn a_document_that_redis_refuses_to_return_is_not_reported_as_wrong() {
    let app = TestApp::start().await;
    let redis = own_redis().await;
    let registry = app.with_redis(&redis.url()).await;
    put(&registry, 1).await;
    current(&registry).await;
    filled(&redis.url(), &app.key("payments", "refund", "1.0.0")).await;
    let () = redis::cmd("ACL")
        .arg(&["SETUSER", "default", "-get"])
        .query_async(&mut redis_connection(&redis.url()).await)
        .await
        .unwrap();
    let listed = registry.cache_entries(&verified()).await.unwrap();
    assert!(listed.distributed_error.is_some());
    assert_eq!(listed.entries[0].redis, None);
    assert_eq!(listed.entries[0].local.matches_database, Some(true));
}

#[tokio::test]
async fn a_redis_that_does_not_answer_is_reported_and_hides_nothing_else() {
    let app = TestApp::start().await;
    let redis = own_redis().await;
    let registry = app.with_redis(&redis.url()).await;
    registry
        .register_task_template(&template("payments", "refund", json!(1)))
        .await
        .unwrap();
    redis.kill().await.unwrap();
    let listed = registry.cache_entries(&verified()).await.unwrap();
    assert!(listed.distributed_error.is_some());
    assert_eq!(listed.entries[0].redis, None);
    assert!(listed.entries[0].database.is_some());
}
