//! The two queries of the poller.

use chrono::{DateTime, Utc};
use futures::TryStreamExt;
use sqlx::PgConnection;
use uuid::Uuid;

use super::snapshot::{Change, Pointer};
use crate::database::standby;
use crate::models::core::identity_strategy::IdentityStrategy;

/// A position in the order of commits. The stamp distinguishes histories that reach the same number,
/// as after a restored backup or a failover.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) sequence: i64,
    pub(super) stamp: Uuid,
    /// The newest pointer, if it is beyond the clock, as where logical replication writes the pointers
    /// of another database.
    pub(super) beyond: Option<i64>,
}

/// The answer of a poll.
#[derive(Debug)]
pub(super) enum Changes {
    /// The database is at `position`, and `changes` lead there.
    Since {
        position: Position,
        changes: Vec<Change>,
        /// The age of the oldest of the commits, by the database's clock.
        lag_seconds: Option<f64>,
    },
    /// The database does not know the position that was sent, or has got pointers that its clock does
    /// not order.
    OtherHistory,
}

/// Reads all changes after `position`, from one snapshot of the database.
pub(super) async fn poll(
    connection: &mut PgConnection,
    position: Position,
) -> Result<Changes, sqlx::Error> {
    // The clock's row is joined to every change; without a change it is the only row. One statement
    // reads one snapshot, hence a prefix of the history.
    //
    // Most polls find no change. The planner cannot know that and may choose to read the whole table.
    // OFFSET keeps the subquery apart, so that it does not start unless the clock has moved. LIMIT
    // says that the clock is one row.
    let rows = sqlx::query!(
        r#"
        SELECT c.sequence AS clock,
               latest.stamp AS "stamp?",
               here.stamp IS NOT DISTINCT FROM $2 AS "same_history!",
               pg_is_in_recovery() AS "is_standby!",
               (SELECT max(sequence) FROM tasker.template_versions) AS newest,
               (SELECT extract(epoch FROM clock_timestamp() - unseen.committed_at)::float8
                FROM tasker.template_commits unseen
                WHERE unseen.sequence = $1 + 1) AS lag_seconds,
               v.namespace AS "namespace?", v.name AS "name?", v.version AS "version?",
               v.sequence AS "sequence?", v.content_hash, v.named_task_uuid,
               v.identity_strategy::text AS "identity_strategy?",
               v.registered_at AS "registered_at?"
        FROM (SELECT sequence FROM tasker.template_clock LIMIT 1) c
        LEFT JOIN tasker.template_commits latest ON latest.sequence = c.sequence
        LEFT JOIN tasker.template_commits here ON here.sequence = $1
        LEFT JOIN LATERAL (
            SELECT * FROM tasker.template_versions v
            WHERE v.sequence > $1
                AND c.sequence > $1 AND here.stamp IS NOT DISTINCT FROM $2
            OFFSET 0
        ) v ON true
        "#,
        position.sequence,
        position.stamp,
    )
    .fetch_all(connection)
    .await?;

    let Some(first) = rows.first() else {
        return Ok(Changes::OtherHistory);
    };
    if first.is_standby {
        return Err(standby());
    }
    let beyond = first.newest.filter(|newest| *newest > first.clock);
    let known = first.same_history
        && first.clock >= position.sequence
        && (beyond.is_none() || beyond == position.beyond);
    let (true, Some(stamp)) = (known, first.stamp) else {
        return Ok(Changes::OtherHistory);
    };
    let position = Position {
        sequence: first.clock,
        stamp,
        beyond,
    };
    let lag_seconds = first.lag_seconds;
    let changes = rows
        .into_iter()
        .filter_map(|row| {
            Some(Change {
                pointer: pointer(
                    row.sequence?,
                    row.content_hash.as_deref(),
                    row.named_task_uuid,
                    row.identity_strategy.as_deref(),
                    row.registered_at?,
                ),
                namespace: row.namespace?,
                name: row.name?,
                version: row.version?,
            })
        })
        .collect();
    Ok(Changes::Since {
        position,
        changes,
        lag_seconds,
    })
}

/// The pointers are not all there yet.
#[derive(Debug, thiserror::Error)]
#[error("tasker.template_versions has no primary key, because a restore has not ended")]
struct HalfRestored;

/// Reads all registered names, from one snapshot of the database.
pub(super) async fn load(
    connection: &mut PgConnection,
) -> Result<(Position, Vec<Change>), sqlx::Error> {
    let mut rows = sqlx::query!(
        r#"
        SELECT c.sequence AS "clock?", latest.stamp AS "stamp?",
               pg_is_in_recovery() AS "is_standby!",
               EXISTS (SELECT FROM pg_index
                       WHERE indrelid = 'tasker.template_versions'::regclass AND indisprimary)
                   AS "is_whole!",
               (SELECT max(sequence) FROM tasker.template_versions) AS newest,
               v.namespace AS "namespace?", v.name AS "name?", v.version AS "version?",
               v.sequence AS "sequence?", v.content_hash, v.named_task_uuid,
               v.identity_strategy::text AS "identity_strategy?",
               v.registered_at AS "registered_at?"
        FROM (VALUES (1)) AS always_one_row
        LEFT JOIN (SELECT sequence FROM tasker.template_clock LIMIT 1) c ON true
        LEFT JOIN tasker.template_commits latest ON latest.sequence = c.sequence
        LEFT JOIN tasker.template_versions v ON v.content_hash IS NOT NULL
        "#
    )
    .fetch(connection);

    // Without a clock or a latest stamp the history cannot be followed, but it can be read. The nil
    // stamp makes the next poll load everything again.
    let mut position = Position {
        sequence: 0,
        stamp: Uuid::nil(),
        beyond: None,
    };
    let mut names = Vec::new();
    // Converted one by one, because all rows and all names together would need twice the memory.
    while let Some(row) = rows.try_next().await? {
        if names.is_empty() {
            if row.is_standby {
                return Err(standby());
            }
            // A restore makes the key after the rows. What it has loaded until then may be the clock
            // without the pointers, and no later poll would miss them.
            if !row.is_whole {
                return Err(sqlx::Error::AnyDriverError(Box::new(HalfRestored)));
            }
            let sequence = row.clock.unwrap_or(position.sequence);
            position = Position {
                sequence,
                stamp: row.stamp.unwrap_or(position.stamp),
                beyond: row.newest.filter(|newest| *newest > sequence),
            };
        }
        if let (Some(sequence), Some(registered_at)) = (row.sequence, row.registered_at)
            && let (Some(namespace), Some(name), Some(version)) =
                (row.namespace, row.name, row.version)
        {
            names.push(Change {
                pointer: pointer(
                    sequence,
                    row.content_hash.as_deref(),
                    row.named_task_uuid,
                    row.identity_strategy.as_deref(),
                    registered_at,
                ),
                namespace,
                name,
                version,
            });
        }
    }
    Ok((position, names))
}

fn pointer(
    sequence: i64,
    hash: Option<&str>,
    named_task_uuid: Option<Uuid>,
    identity_strategy: Option<&str>,
    registered_at: DateTime<Utc>,
) -> Option<Pointer> {
    Some(Pointer {
        sequence,
        // The trigger writes 64 hexadecimal digits. No document could match anything else, so the
        // name counts as not registered.
        hash: hash?.parse().ok()?,
        named_task_uuid: named_task_uuid?,
        // As text, because sqlx would look up the enum type on each connection.
        identity_strategy: IdentityStrategy::from_name(identity_strategy?)?,
        registered_at,
    })
}
