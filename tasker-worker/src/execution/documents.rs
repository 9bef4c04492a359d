//! Templates by the hashes of their documents.
//!
//! A task runs on the document that it was created from. Documents never change, so what was read
//! once is right for ever.

use std::sync::Arc;

use moka::sync::Cache;
use serde_json::Value;
use sqlx::PgPool;
use tasker_shared::database::{self, DatabaseError};
use tasker_shared::models::core::task_template::{StepDefinition, TaskTemplate, apply_environment};
use tokio::sync::OnceCell;

use crate::QUERY_LIMIT;

/// The number of templates that are kept.
const CAPACITY: u64 = 1_000;

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
    kept: Cache<Arc<str>, Arc<OnceCell<Arc<TaskTemplate>>>>,
}

impl Documents {
    pub(super) fn new(pool: PgPool, environment: String) -> Self {
        Self {
            pool,
            environment,
            kept: Cache::new(CAPACITY),
        }
    }

    /// Returns the template of this hash. Concurrent callers share one query.
    pub(super) async fn get(&self, hash: &Arc<str>) -> Result<Arc<TaskTemplate>, DocumentError> {
        let cell = self.kept.get_with(Arc::clone(hash), Arc::default);
        cell.get_or_try_init(|| self.load(hash)).await.cloned()
    }

    async fn load(&self, hash: &Arc<str>) -> Result<Arc<TaskTemplate>, DocumentError> {
        let document = database::run_idempotent(&self.pool, QUERY_LIMIT, |connection| {
            let hash = Arc::clone(hash);
            Box::pin(async move {
                sqlx::query_scalar::<_, Value>(
                    "SELECT document FROM tasker.template_documents WHERE hash = $1",
                )
                .bind(&*hash)
                .fetch_optional(connection)
                .await
            })
        })
        .await?
        .ok_or_else(|| DocumentError::Missing(hash.to_string()))?;
        let document = apply_environment(&document, &self.environment);
        serde_json::from_str(&document.to_string())
            .map(Arc::new)
            .map_err(DocumentError::Unreadable)
    }
}

/// Finds the definition of the step `name`. An instance of a batch worker is `NAME_001`.
pub(super) fn definition<'a>(template: &'a TaskTemplate, name: &str) -> Option<&'a StepDefinition> {
    let find = |name: &str| template.steps.iter().find(|step| step.name == *name);
    find(name).or_else(|| {
        let (base, number) = name.rsplit_once('_')?;
        let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| find(base)).flatten()
    })
}
