//! Recognising a template file by its bytes, so that it need not be parsed to learn that what it
//! says is registered already.
//!
//! A row that is registered from a file keeps two marks: the file's, and that of all that was
//! registered from it. While the row still says the same, which the second mark tells, parsing the
//! file could come to nothing else. Whatever changed the row since, by whomever, the second mark
//! no longer agrees, and the file is parsed like one that was never seen.

use std::time::Duration;

use sha2::{Digest, Sha256};
use sqlx::PgPool;

use super::RegistryError;
use super::submission::{Content, Submission};
use crate::database;
use crate::models::core::identity_strategy::IdentityStrategy;
use crate::models::core::task_template::RULES_REVISION;
use crate::types::ContentHash;

/// How long looking up a folder's files may take.
const LIMIT: Duration = Duration::from_secs(30);

/// The mark of a file's bytes, as these rules read them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FileMark([u8; 32]);

impl FileMark {
    pub(super) fn of(bytes: &[u8]) -> Self {
        let hash = Sha256::new().chain_update(RULES_REVISION.to_be_bytes());
        Self(hash.chain_update(bytes).finalize().into())
    }

    pub(super) const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// The mark of all that is registered of a template.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RegisteredMark([u8; 32]);

impl RegisteredMark {
    /// That of `submission`, with `strategy` for its own.
    fn of(submission: &Submission, strategy: Option<&str>) -> Self {
        let mut hash = Sha256::new();
        let texts = [
            Some(submission.namespace.as_str()),
            Some(&submission.name),
            Some(&submission.version),
            submission.description.as_deref(),
            strategy,
        ];
        for text in texts {
            // No two lists of texts are written alike: a length that no text has is for none.
            let length = text.map_or(u64::MAX, |text| text.len() as u64);
            hash.update(length.to_be_bytes());
            hash.update(text.unwrap_or_default());
        }
        hash.update(submission.hash.as_bytes());
        Self(hash.finalize().into())
    }

    pub(super) const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// Both marks of a template that was read from a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Marks {
    pub(super) file: FileMark,
    pub(super) registered: RegisteredMark,
}

impl Marks {
    pub(super) fn new(file: FileMark, submission: &Submission) -> Self {
        Self {
            file,
            registered: RegisteredMark::of(submission, submission.strategy),
        }
    }
}

/// For each of `files` what is registered from it, where that is just what the file says. One
/// statement.
pub(super) async fn look_up(
    pool: &PgPool,
    files: &[FileMark],
) -> Result<Vec<Option<Submission>>, RegistryError> {
    let mut found = vec![None; files.len()];
    if files.is_empty() {
        return Ok(found);
    }
    let marks: Vec<Vec<u8>> = files.iter().map(|file| file.0.to_vec()).collect();
    let rows = database::read(pool, LIMIT, |connection| {
        let marks = marks.clone();
        Box::pin(async move {
            sqlx::query!(
                r#"
                -- OFFSET keeps the planner from joining whole tables: it cannot know how few the
                -- files are.
                SELECT i.item AS "item!", t.namespace, t.name, t.version, t.description,
                       t.identity_strategy::text AS "identity_strategy!",
                       v.content_hash AS "content_hash!", t.named_task_uuid,
                       t.registered_mark AS "registered_mark!"
                FROM unnest($1::bytea[]) WITH ORDINALITY AS i (file_mark, item)
                CROSS JOIN LATERAL (
                    SELECT n.name AS namespace, t.*
                    FROM tasker.named_tasks t
                    JOIN tasker.task_namespaces n USING (task_namespace_uuid)
                    WHERE t.file_mark = i.file_mark AND t.registered_mark IS NOT NULL
                    OFFSET 0
                ) t
                CROSS JOIN LATERAL (
                    SELECT v.content_hash FROM tasker.template_versions v
                    WHERE v.namespace = t.namespace AND v.name = t.name AND v.version = t.version
                        AND v.named_task_uuid = t.named_task_uuid AND v.content_hash IS NOT NULL
                    OFFSET 0
                ) v
                "#,
                &marks,
            )
            .fetch_all(connection)
            .await
        })
    })
    .await?;
    for row in rows {
        let place = usize::try_from(row.item - 1).ok();
        let Some(place) = place.and_then(|place| found.get_mut(place)) else {
            continue;
        };
        let (Ok(hash), Some(strategy)) = (
            row.content_hash.parse::<ContentHash>(),
            IdentityStrategy::from_name(&row.identity_strategy),
        ) else {
            continue;
        };
        let mut submission = Submission {
            namespace: row.namespace,
            name: row.name,
            version: row.version,
            description: row.description,
            strategy: None,
            content: Content::Registered(row.named_task_uuid),
            hash,
            marks: None,
        };
        // A file that names no strategy leaves the row's as it is.
        let strategies = [None, Some(strategy.name())];
        let said = strategies.into_iter().find(|strategy| {
            RegisteredMark::of(&submission, *strategy).0[..] == row.registered_mark
        });
        if let Some(said) = said {
            submission.strategy = said;
            *place = Some(submission);
        }
    }
    Ok(found)
}
