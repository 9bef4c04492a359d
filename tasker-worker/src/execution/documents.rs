//! Templates by the hashes of their documents.
//!
//! A task runs on the document that it was created from. Documents never change, so what was read
//! once is right for ever.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use moka::sync::Cache;
use serde_json::Value;
use sqlx::PgPool;
use tasker_shared::database::{self, DatabaseError};
use tasker_shared::models::core::task_template::{StepDefinition, TaskTemplate, apply_environment};
use tokio::sync::OnceCell;

use crate::QUERY_LIMIT;

/// The bytes of the documents whose templates are kept. Parsed they take a few times as much.
const CAPACITY: u64 = 16 * 1024 * 1024;
/// The time for which a template is kept that no step needs.
const IDLE: Duration = Duration::from_mins(10);

/// Reads a document. After a restore the table may lack one that orchestration services have stored before:
/// then it is that of a registered template, and is stored again, for when the template changes.
const FIND: &str = "
    WITH kept AS (
        SELECT document FROM tasker.template_documents WHERE hash = $1
    ), restored AS (
        INSERT INTO tasker.template_documents (hash, document)
        SELECT $1, t.configuration FROM tasker.template_versions v
        JOIN tasker.named_tasks t USING (named_task_uuid)
        WHERE NOT EXISTS (SELECT FROM kept)
            AND v.content_hash = $1 AND tasker.template_hash(t.configuration) = $1
        LIMIT 1
        ON CONFLICT (hash) DO UPDATE SET used_at = now()
        RETURNING document
    )
    SELECT document::text FROM kept UNION ALL SELECT document::text FROM restored";

/// The reason why a task's template cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum DocumentError {
    #[error("the template's document {0} is not in the database")]
    Missing(String),
    #[error("the template's document cannot be read by this release")]
    Unreadable(#[source] serde_json::Error),
    #[error("the template's document cannot be loaded")]
    Database(#[from] DatabaseError),
}

/// Templates with the overrides of one environment, by hash.
#[derive(Debug)]
pub(super) struct Documents {
    pool: PgPool,
    environment: String,
    kept: Cache<Arc<str>, Arc<OnceCell<Loaded>>>,
}

/// A template whose steps are found by their names, because each attempt looks for its own.
#[derive(Debug)]
pub(super) struct Document {
    pub(super) template: TaskTemplate,
    /// The position of each step.
    positions: HashMap<Box<str>, usize>,
}

impl Document {
    fn new(template: TaskTemplate) -> Self {
        let names = template.steps.iter().map(|step| step.name.as_str().into());
        // The first of two steps with one name counts.
        let positions = names.enumerate().map(|(n, name)| (name, n)).rev().collect();
        Self {
            template,
            positions,
        }
    }

    /// Finds the definition of the step `name`. An instance of a batch worker is `NAME_001`.
    pub(super) fn definition(&self, name: &str) -> Option<&StepDefinition> {
        let position = self.positions.get(name).or_else(|| {
            let (base, number) = name.rsplit_once('_')?;
            let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
            is_number.then(|| self.positions.get(base)).flatten()
        })?;
        self.template.steps.get(*position)
    }
}

#[derive(Debug)]
struct Loaded {
    document: Arc<Document>,
    /// The bytes of its text.
    bytes: usize,
}

/// The weight of a template in the cache. One that is being loaded has none yet.
fn weight(cell: &OnceCell<Loaded>) -> u32 {
    let bytes = cell.get().map_or(0, |loaded| loaded.bytes);
    u32::try_from(bytes).unwrap_or(u32::MAX).max(1)
}

impl Documents {
    pub(super) fn new(pool: PgPool, environment: String) -> Self {
        Self {
            pool,
            environment,
            kept: Cache::builder()
                .max_capacity(CAPACITY)
                .weigher(|_, cell: &Arc<OnceCell<Loaded>>| weight(cell))
                .time_to_idle(IDLE)
                .build(),
        }
    }

    /// Returns the template of this hash. Concurrent callers share one query.
    pub(super) async fn get(&self, hash: &Arc<str>) -> Result<Arc<Document>, DocumentError> {
        let cell = self.kept.get_with(Arc::clone(hash), Arc::default);
        let mut is_new = false;
        let load = async || {
            is_new = true;
            self.load(hash).await
        };
        let loaded = cell.get_or_try_init(load).await?;
        let document = Arc::clone(&loaded.document);
        if is_new {
            self.keep(hash, &cell);
        }
        Ok(document)
    }

    /// Stores a template again, because its weight is that of the moment at which it is stored.
    fn keep(&self, hash: &Arc<str>, cell: &Arc<OnceCell<Loaded>>) {
        self.kept.insert(Arc::clone(hash), Arc::clone(cell));
    }

    async fn load(&self, hash: &Arc<str>) -> Result<Loaded, DocumentError> {
        let document = database::run_idempotent(&self.pool, QUERY_LIMIT, |connection| {
            let hash = Arc::clone(hash);
            Box::pin(async move {
                sqlx::query_scalar::<_, String>(FIND)
                    .bind(&*hash)
                    .fetch_optional(connection)
                    .await
            })
        })
        .await?
        .ok_or_else(|| DocumentError::Missing(hash.to_string()))?;
        let document: Value = serde_json::from_str(&document).map_err(DocumentError::Unreadable)?;
        let document = apply_environment(&document, &self.environment).to_string();
        let template = serde_json::from_str(&document).map_err(DocumentError::Unreadable)?;
        Ok(Loaded {
            document: Arc::new(Document::new(template)),
            bytes: document.len(),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;
    use sqlx::PgPool;
    use tokio::sync::OnceCell;

    use super::{CAPACITY, Document, Documents, Loaded};

    #[test]
    fn steps_are_found_by_their_names_and_batches_by_that_of_their_worker() {
        let handler = json!({"callable": "f"});
        let template = json!({"name": "t", "steps": [
            {"name": "a", "description": "first", "handler": handler},
            {"name": "b_7", "handler": handler},
            {"name": "a", "handler": handler},
        ]});
        let document = Document::new(serde_json::from_value(template).unwrap());
        let found = |name| document.definition(name).map(|step| step.name.as_str());
        assert_eq!(
            document.definition("a").unwrap().description.as_deref(),
            Some("first")
        );
        let names = ["a", "a_001", "b_7", "b_7_1", "b", "b_8", "a_", "a_x", ""].map(found);
        let a = Some("a");
        let b = Some("b_7");
        assert_eq!(names, [a, a, b, b, None, None, None, None, None]);
    }

    #[tokio::test]
    async fn kept_templates_are_bounded_by_the_bytes_of_their_documents() {
        const BYTES: u64 = 1024 * 1024;
        let pool = PgPool::connect_lazy("postgres://localhost/none").unwrap();
        let documents = Documents::new(pool, String::from("test"));
        let template = serde_json::from_value(json!({"name": "t", "steps": []})).unwrap();
        let document = Arc::new(Document::new(template));
        for n in 0..100 {
            let hash: Arc<str> = format!("{n}").into();
            let cell: Arc<OnceCell<Loaded>> =
                documents.kept.get_with(Arc::clone(&hash), Arc::default);
            let loaded = Loaded {
                document: Arc::clone(&document),
                bytes: usize::try_from(BYTES).unwrap(),
            };
            assert!(cell.set(loaded).is_ok());
            documents.keep(&hash, &cell);
        }
        documents.kept.run_pending_tasks();
        let kept = documents.kept.entry_count();
        assert!((1..=CAPACITY / BYTES).contains(&kept), "{kept}");
        assert!(documents.kept.weighted_size() <= CAPACITY);
    }
}
