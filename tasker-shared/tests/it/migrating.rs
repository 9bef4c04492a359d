//! Instances that migrate at the same time.

use futures::future::try_join_all;
use sqlx::{Connection, Executor, PgConnection};
use tasker_shared::database::migrator;
use tasker_test_support::TestDatabase;

use crate::app::pool;

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
