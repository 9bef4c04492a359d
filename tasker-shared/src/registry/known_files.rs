//! Recognising a template file by its bytes, so that it need not be parsed to learn that what it
//! says is registered already.
//!
//! A row that is registered from a file keeps two marks: the file's, and that of all that was
//! registered from it. While the row still says the same, which the second mark tells, parsing the
//! file could come to nothing else. Once its content, name or description is changed, by whomever,
//! the second mark no longer agrees, and the file is parsed like one that was never seen. So it is if
//! the strategy is, where the file says one. What the content is, the row's pointer tells; so a row
//! that is changed with its triggers disabled passes for what it was.
//!
//! A row that says what a parsed file says, but has not its marks, is given them: it was registered
//! by other means, from a file with other bytes or by other rules. It has those of one file at a time.

use std::time::Duration;

use sha2::{Digest, Sha256};
use sqlx::PgPool;
use tracing::warn;
use uuid::Uuid;

use super::RegistryError;
use super::submission::{Content, Submission};
use crate::database::{self, WithoutTurns};
use crate::models::core::identity_strategy::IdentityStrategy;
use crate::models::core::task_template::RULES_REVISION;
use crate::types::ContentHash;

/// How long looking up a folder's files, or marking their rows, may take.
const LIMIT: Duration = Duration::from_secs(10);

/// The mark of a file's bytes, as these rules read them within a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FileMark([u8; 32]);

impl FileMark {
    /// `max_bytes` also limits what the file's aliases add.
    pub(super) fn of(bytes: &[u8], max_bytes: u64) -> Self {
        let rules = Sha256::new()
            .chain_update(RULES_REVISION.to_be_bytes())
            .chain_update(max_bytes.to_be_bytes());
        Self(rules.chain_update(bytes).finalize().into())
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
    connections: WithoutTurns<'_>,
    files: &[FileMark],
) -> Result<Vec<Option<Submission>>, RegistryError> {
    let mut found = vec![None; files.len()];
    if files.is_empty() {
        return Ok(found);
    }
    let marks: Vec<Vec<u8>> = files.iter().map(|file| file.0.to_vec()).collect();
    let rows = database::read_on(&connections, LIMIT, |connection| {
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

/// Gives these rows the marks of the files that say the same. One statement, or none.
///
/// Rows that somebody else is writing are left out. That it fails costs another boot a parse.
pub(super) async fn mark(pool: &PgPool, rows: Vec<(Uuid, Marks)>) {
    if rows.is_empty() {
        return;
    }
    let uuids: Vec<Uuid> = rows.iter().map(|(uuid, _)| *uuid).collect();
    let of = |mark: fn(&Marks) -> &[u8; 32]| -> Vec<Vec<u8>> {
        rows.iter().map(|(_, marks)| mark(marks).to_vec()).collect()
    };
    let file_marks = of(|marks| marks.file.as_bytes());
    let registered_marks = of(|marks| marks.registered.as_bytes());
    let marked = database::read(pool, LIMIT, |connection| {
        let columns = (uuids.clone(), file_marks.clone(), registered_marks.clone());
        Box::pin(async move {
            let (uuids, file_marks, registered_marks) = columns;
            sqlx::query!(
                r#"
                UPDATE tasker.named_tasks t
                SET file_mark = i.file_mark, registered_mark = i.registered_mark
                FROM (
                    SELECT i.* FROM unnest($1::uuid[], $2::bytea[], $3::bytea[])
                        AS i (named_task_uuid, file_mark, registered_mark)
                    JOIN tasker.named_tasks t USING (named_task_uuid)
                    WHERE (t.file_mark, t.registered_mark)
                        IS DISTINCT FROM (i.file_mark, i.registered_mark)
                    FOR NO KEY UPDATE OF t SKIP LOCKED
                ) i
                WHERE t.named_task_uuid = i.named_task_uuid
                "#,
                &uuids,
                &file_marks,
                &registered_marks,
            )
            .execute(connection)
            .await
        })
    })
    .await;
    if let Err(error) = marked {
        warn!(%error, "template files cannot be marked; they are parsed again by the next discovery");
    }
}

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};

    use super::RegisteredMark;
    use crate::models::core::task_template::{RULES_REVISION, TemplateDocument, TemplateLimits};
    use crate::registry::submission::Submission;

    const TEXT: &str = include_str!("../models/core/task_template/tests/complete.yaml");
    const VALUES: [&str; 12] = [
        "",
        "~",
        "yes",
        "-1",
        "010",
        "1.50",
        "1e400",
        "99999999999999999999",
        "2026-11-26",
        "\"\\u00e9\\0\"",
        "[1, {a: b}]",
        "a text of some words, é and a: colon",
    ];

    /// `TEXT`, and what it becomes when one of its lines is missing, is there twice, or has another
    /// value.
    fn texts() -> impl Iterator<Item = String> {
        let lines: Vec<&str> = TEXT.lines().collect();
        let with = move |place: usize, instead: &[String]| {
            let (before, after) = (&lines[..place], &lines[place + 1..]);
            let before = before.iter().map(|line| (*line).to_owned());
            let after = after.iter().map(|line| (*line).to_owned());
            let all: Vec<String> = before.chain(instead.to_vec()).chain(after).collect();
            all.join("\n")
        };
        let changed = TEXT.lines().enumerate().flat_map(move |(place, line)| {
            let mut texts = vec![
                with(place, &[]),
                with(place, &[line.to_owned(), line.to_owned()]),
            ];
            if let Some((key, _)) = line.split_once(": ") {
                let values = VALUES.iter().map(|value| format!("{key}: {value}"));
                texts.extend(values.map(|line| with(place, &[line])));
            }
            texts
        });
        std::iter::once(TEXT.to_owned()).chain(changed)
    }

    #[test]
    fn other_rules_have_another_revision() {
        let mut outcomes = Sha256::new();
        let (mut refused, mut read) = (0, 0);
        for text in texts() {
            match TemplateDocument::from_yaml(text.as_bytes(), TemplateLimits::default()) {
                Err(_) => {
                    refused += 1;
                    outcomes.update(b"refused");
                }
                Ok(document) => {
                    read += 1;
                    let submission = Submission::from(&document);
                    let mark = RegisteredMark::of(&submission, submission.strategy);
                    outcomes.update(mark.as_bytes());
                    // How many, as the text itself is warned of.
                    outcomes.update(document.warnings().len().to_be_bytes());
                }
            }
        }
        assert!(refused > 100 && read > 100, "{refused} {read}");
        let outcomes = hex::encode(outcomes.finalize());
        assert_eq!(
            (RULES_REVISION, outcomes.as_str()),
            (
                1,
                "b7e4d58e03906656532bcf73922b481fb5f79e5596186e05fcb42091fe8462c6"
            ),
            "files come to something else than by the rules of this revision. Raise RULES_REVISION, \
             unless only the text of this test was changed, and note the outcome here"
        );
    }
}
