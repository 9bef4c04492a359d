//! Counts the statements that PostgreSQL executes, by its log.

use std::time::Duration;

use sqlx::PgPool;
use tasker_test_support::PostgresServer;

use crate::error::Result;

/// The time for which a change of the setting reaches all sessions, and the log its file.
const SETTLE: Duration = Duration::from_millis(500);

/// Returns how many statements all services sent during `work`, without those that create a task:
/// the resolve of its template, and the `INSERT` of all its rows.
pub(super) async fn beside_creation(
    server: &PostgresServer,
    pool: &PgPool,
    work: impl Future<Output = Result>,
) -> Result<usize> {
    set(pool, "ALTER SYSTEM SET log_statement = 'all'").await?;
    let before = server.log().len();
    work.await?;
    let log = server.log();
    set(pool, "ALTER SYSTEM RESET log_statement").await?;
    let is_creation = |text: &str| {
        text.contains("INSERT INTO tasker.tasks") || text.contains("FROM tasker.named_tasks")
    };
    let entries = split(&log[before..]);
    let counted = entries.iter().filter(|text| !is_creation(text));
    Ok(counted.count())
}

async fn set(pool: &PgPool, statement: &'static str) -> Result {
    sqlx::query(statement).execute(pool).await?;
    sqlx::query("SELECT pg_reload_conf()").execute(pool).await?;
    tokio::time::sleep(SETTLE).await;
    Ok(())
}

/// Returns the statements in a log. The lines of one after the first begin with a tab.
fn split(log: &str) -> Vec<String> {
    let mut statements: Vec<String> = Vec::new();
    let mut is_statement = false;
    for line in log.lines() {
        if !line.starts_with('\t') {
            is_statement = line.contains("LOG:  execute ") || line.contains("LOG:  statement: ");
            if is_statement {
                statements.push(String::new());
            }
        }
        if is_statement && let Some(last) = statements.last_mut() {
            last.push_str(line);
        }
    }
    statements
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn a_statement_of_several_lines_is_one() {
        let log = "2026 [1] LOG:  execute a: SELECT\n\t1\n2026 [1] DETAIL:  parameters: $1 = '2'\n\
                   2026 [1] LOG:  statement: COMMIT\n2026 [1] LOG:  checkpoint starting\n";
        assert_eq!(
            split(log),
            [
                "2026 [1] LOG:  execute a: SELECT\t1",
                "2026 [1] LOG:  statement: COMMIT"
            ]
        );
    }
}
