//! Instances that migrate at the same time, and one that is gone before it has migrated.

use futures::future::try_join_all;
use sqlx::{Connection, Executor, PgConnection};
use tasker_shared::database::migrator;
use tasker_test_support::TestDatabase;

use crate::app::{direct_pool, eventually, pool};

#[tokio::test(flavor = "multi_thread")]
async fn instances_wait_for_each_other_longer_than_the_database_lets_queries_wait() {
    let database = TestDatabase::create().await.unwrap();
    let mut admin = PgConnection::connect(database.url()).await.unwrap();
    let limit = "DO $$ BEGIN EXECUTE
        format('ALTER DATABASE %I SET lock_timeout = 1', current_database()); END $$";
    admin.execute(limit).await.unwrap();
    let pools: Vec<_> = (0..4).map(|_| pool(database.url())).collect();
    try_join_all(pools.iter().map(migrator::migrate))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_migration_whose_instance_is_gone_stops_waiting_for_its_locks() {
    let database = TestDatabase::create_existing_workspace().await.unwrap();
    let admin = direct_pool(2, database.url());
    let mut reader = admin.begin().await.unwrap();
    reader
        .execute("LOCK TABLE tasker.named_tasks IN ACCESS SHARE MODE")
        .await
        .unwrap();
    let waits = |expected: bool| {
        let admin = &admin;
        move || async move {
            let waits = "SELECT EXISTS (SELECT FROM pg_stat_activity
                WHERE datname = current_database() AND wait_event_type = 'Lock')";
            let waits: bool = sqlx::query_scalar(waits).fetch_one(admin).await.unwrap();
            (waits == expected).then_some(())
        }
    };
    let pool = pool(database.url());
    let instance = tokio::spawn(async move { migrator::migrate(&pool).await });
    eventually("the migration waits for a lock", waits(true)).await;
    instance.abort();
    eventually("PostgreSQL ends the migration", waits(false)).await;
}
