//! Statements that read very many rows.

use std::time::Duration;

use sqlx::postgres::Postgres;
use sqlx::{Connection, Decode, PgPool, Type};
use tasker_shared::database::{self, DatabaseError};

/// The longest that one may take, in place of the limit for other statements.
const LIMIT: Duration = Duration::from_mins(1);

/// Returns the value that `statement` selects.
pub(super) async fn select<T>(pool: &PgPool, statement: &'static str) -> Result<T, DatabaseError>
where
    T: for<'r> Decode<'r, Postgres> + Type<Postgres> + Send + Unpin + 'static,
{
    let selected = database::run_idempotent(pool, LIMIT, move |connection| {
        Box::pin(async move {
            let mut transaction = connection.begin().await?;
            sqlx::query("SELECT set_config('statement_timeout', $1, true)")
                .bind(LIMIT.as_millis().to_string())
                .execute(&mut *transaction)
                .await?;
            let value = sqlx::query_scalar(statement)
                .fetch_one(&mut *transaction)
                .await?;
            transaction.commit().await?;
            Ok(value)
        })
    });
    selected.await
}
