//! The connection of a session.

use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::{Connection, PgConnection, PgPool, Postgres};
use tasker_shared::database::{self, DatabaseError};
use tokio::time::timeout;

/// The longest that one statement may take, its wait for a connection included.
pub(super) const STATEMENT_LIMIT: Duration = Duration::from_secs(12);
/// The longest that PostgreSQL may take for one. It is below [`STATEMENT_LIMIT`], so that a statement that
/// takes too long is told from a server that does not answer.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(10);

/// A connection that stays with its session, because a pool tests each that it gets back.
pub(super) struct Link {
    pool: PgPool,
    /// Set if the limit of PostgreSQL for the statements of the pool is above [`STATEMENT_TIMEOUT`].
    lowers_timeout: bool,
    connection: Option<PoolConnection<Postgres>>,
}

impl Link {
    pub(super) fn new(pool: PgPool, statement_timeout: Duration) -> Self {
        Self {
            pool,
            lowers_timeout: statement_timeout > STATEMENT_TIMEOUT,
            connection: None,
        }
    }

    /// Runs one statement. After an error the connection is closed, and whether the statement took
    /// effect is unknown.
    pub(super) async fn run<T>(
        &mut self,
        statement: impl AsyncFnOnce(&mut PgConnection) -> Result<T, sqlx::Error>,
    ) -> Result<T, DatabaseError> {
        let answer = self.try_run(statement).await;
        // The next connection must not have the same fault.
        answer.inspect_err(database::note_failure)
    }

    /// Returns why there is no connection.
    async fn diagnosed(&self, error: DatabaseError) -> DatabaseError {
        Box::pin(database::diagnose(&self.pool, error)).await
    }

    async fn try_run<T>(
        &mut self,
        statement: impl AsyncFnOnce(&mut PgConnection) -> Result<T, sqlx::Error>,
    ) -> Result<T, DatabaseError> {
        let kept = self.connection.take();
        let lowers_timeout = self.lowers_timeout;
        let is_new = kept.is_none();
        let mut connection = match kept {
            Some(connection) => connection,
            None => match timeout(STATEMENT_LIMIT, database::acquire(&self.pool)).await {
                Ok(Ok(connection)) => connection,
                Ok(Err(error)) => return Err(self.diagnosed(error.into()).await),
                Err(_elapsed) => {
                    return Err(self.diagnosed(DatabaseError::Late(STATEMENT_LIMIT)).await);
                }
            },
        };
        // If this future is dropped, the connection must not be used again.
        connection.close_on_drop();
        let begin = database::begin(&self.pool);
        let answer = async {
            let Some(begin) = begin else {
                if lowers_timeout && is_new {
                    lower_timeout(&mut connection, false).await?;
                }
                return statement(&mut connection).await;
            };
            let mut transaction = connection.begin_with(begin).await?;
            if lowers_timeout {
                lower_timeout(&mut transaction, true).await?;
            }
            let answer = statement(&mut transaction).await?;
            transaction.commit().await?;
            Ok(answer)
        };
        let answer = timeout(STATEMENT_LIMIT, answer)
            .await
            .map_err(|_elapsed| DatabaseError::Late(STATEMENT_LIMIT))??;
        self.connection = Some(connection);
        Ok(answer)
    }
}

/// Sets the limit of PostgreSQL for the statements of a session, or of a transaction if `is_local`.
async fn lower_timeout(connection: &mut PgConnection, is_local: bool) -> Result<(), sqlx::Error> {
    sqlx::query("SELECT set_config('statement_timeout', $1, $2)")
        .bind(STATEMENT_TIMEOUT.as_millis().to_string())
        .bind(is_local)
        .execute(connection)
        .await?;
    Ok(())
}

/// Returns whether PostgreSQL refuses the values of a statement, so that it would fail again.
pub(super) fn is_refusal(error: &DatabaseError) -> bool {
    error
        .sqlstate()
        .is_some_and(|code| matches!(code.get(..2), Some("22" | "23" | "54")))
}

/// Returns whether a statement exceeds a limit of PostgreSQL, as a value that is too large and a commit while
/// the queue of notifications is full.
pub(super) fn exceeds_a_limit(error: &DatabaseError) -> bool {
    error.sqlstate().is_some_and(|code| code.starts_with("54"))
}

/// Returns whether PostgreSQL cancelled a statement because it took too long.
pub(super) fn is_too_slow(error: &DatabaseError) -> bool {
    error.sqlstate().is_some_and(|code| code == "57014")
}

/// Returns whether the statement, or its answer, took too long.
pub(super) fn took_too_long(error: &DatabaseError) -> bool {
    is_too_slow(error) || matches!(error, DatabaseError::Late(_))
}

/// Returns whether a statement that failed may have been carried out, because its answer was lost. A
/// pooler reports a server that it has lost as an error of that server.
pub(super) fn may_have_taken_effect(error: &DatabaseError) -> bool {
    !matches!(error, DatabaseError::Failed(error) if database::is_refusal(error))
}
