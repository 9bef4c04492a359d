//! What the directory asks PostgreSQL.

use chrono::{DateTime, Utc};
use futures::TryStreamExt;
use sqlx::PgConnection;
use uuid::Uuid;

use super::snapshot::{Change, Pointer};
use crate::models::core::identity_strategy::IdentityStrategy;

/// A place in the database's history. The stamp tells histories apart that reach the same
/// number: a restored backup, a promoted replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) sequence: i64,
    pub(super) stamp: Uuid,
}

/// What a poll found.
#[derive(Debug)]
pub(super) enum News {
    /// The database is at `place`, and `changes` lead there.
    Since {
        place: Place,
        changes: Vec<Change>,
        /// How long ago the oldest of the commits happened, by the database's clock.
        lag_seconds: Option<f64>,
    },
    /// The database does not know the place that was asked from.
    OtherHistory,
}

/// Everything after `place`, from one snapshot of the database.
pub(super) async fn poll(connection: &mut PgConnection, place: Place) -> Result<News, sqlx::Error> {
    // The clock's row is joined to every change; without a change it comes alone. One statement,
    // hence one snapshot, hence a prefix of the history.
    //
    // Most polls find the clock where it was. The planner cannot know that and may choose to read
    // the whole table; OFFSET keeps the subquery apart, so that it is not begun at all unless the
    // clock has moved. LIMIT tells it that the clock is one row.
    let rows = sqlx::query!(
        r#"
        SELECT c.sequence AS clock,
               latest.stamp AS "stamp?",
               here.stamp IS NOT DISTINCT FROM $2 AS "same_history!",
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
        place.sequence,
        place.stamp,
    )
    .fetch_all(connection)
    .await?;

    let Some(first) = rows.first() else {
        return Ok(News::OtherHistory);
    };
    let known = first.same_history && first.clock >= place.sequence;
    let (true, Some(stamp)) = (known, first.stamp) else {
        return Ok(News::OtherHistory);
    };
    let place = Place {
        sequence: first.clock,
        stamp,
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
    Ok(News::Since {
        place,
        changes,
        lag_seconds,
    })
}

/// All registered names, from one snapshot of the database.
pub(super) async fn load(
    connection: &mut PgConnection,
) -> Result<(Place, Vec<Change>), sqlx::Error> {
    let mut rows = sqlx::query!(
        r#"
        SELECT c.sequence AS "clock?", latest.stamp AS "stamp?",
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

    // Without its clock or its latest stamp a history cannot be followed, but it can be read: the
    // nil stamp makes the next poll read it again.
    let mut place = Place {
        sequence: 0,
        stamp: Uuid::nil(),
    };
    let mut names = Vec::new();
    // Taken over one by one: all rows and all names together would need twice the memory.
    while let Some(row) = rows.try_next().await? {
        if names.is_empty() {
            place = Place {
                sequence: row.clock.unwrap_or(place.sequence),
                stamp: row.stamp.unwrap_or(place.stamp),
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
    Ok((place, names))
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
        // The trigger writes 64 hexadecimal digits. Anything else is nothing that a body's hash
        // could match, so the name counts as not registered.
        hash: hash?.parse().ok()?,
        named_task_uuid: named_task_uuid?,
        // As text: the type of its own would have to be asked for on each connection.
        identity_strategy: IdentityStrategy::from_name(identity_strategy?)?,
        registered_at,
    })
}
