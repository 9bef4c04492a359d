//! The order of commits, noted by triggers of this mode's own.

use sqlx::PgConnection;

use crate::judge::history::Change;
use crate::templates;

/// Notes every change from now on. The schema must exist, and the templates must not.
pub(super) async fn install(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    let triggers = sqlx::raw_sql(include_str!("audit.sql"));
    triggers.execute(connection).await.map(drop)
}

/// Returns every change of a template, in the order of commits.
pub(super) async fn read(connection: &mut PgConnection) -> Result<Vec<Change>, sqlx::Error> {
    let rows: Vec<(String, String, Option<i64>, Option<i64>)> = sqlx::query_as(
        "SELECT namespace, name, content, write FROM chaos.history ORDER BY position",
    )
    .fetch_all(connection)
    .await?;
    let templates = templates::all();
    let changes = rows
        .into_iter()
        .filter_map(|(namespace, name, content, write)| {
            let template = templates
                .iter()
                .position(|known| (known.0, &known.1) == (namespace.as_str(), &name))?;
            Some(Change {
                template: u16::try_from(template).ok()?,
                content: content.and_then(|marker| u32::try_from(marker).ok()),
                write: u32::try_from(write?).ok()?,
            })
        });
    Ok(changes.collect())
}
