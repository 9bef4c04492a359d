use sqlx::{Connection, PgConnection};
use tasker_test_support::{TestDatabase, postgres};

#[tokio::test]
async fn every_test_has_a_database_of_its_own() {
    let (first, second) = tokio::join!(TestDatabase::create(), TestDatabase::create());
    let (first, second) = (first.unwrap(), second.unwrap());
    assert_ne!(first.url(), second.url());

    let mut connection = PgConnection::connect(first.url()).await.unwrap();
    let name: String = sqlx::query_scalar("select current_database()")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert_eq!(name, first.name());
}

#[tokio::test]
async fn a_database_is_dropped_with_its_connections() {
    let database = TestDatabase::create().await.unwrap();
    let name = database.name().to_owned();
    let _connection = PgConnection::connect(database.url()).await.unwrap();
    drop(database);

    let mut admin = PgConnection::connect(postgres().await.unwrap().url())
        .await
        .unwrap();
    let left: i64 = sqlx::query_scalar("select count(*) from pg_database where datname = $1")
        .bind(name)
        .fetch_one(&mut admin)
        .await
        .unwrap();
    assert_eq!(left, 0);
}
