//! The parts of a task that depend on its template alone, cached by hash: the compiled input schema, the
//! plan of the initial steps, and the ids of their names.

use std::sync::Arc;
use std::time::Duration;

use crate::models::workflow_step::ensure_named_steps;
use moka::sync::Cache;
use sqlx::PgPool;
use tasker_shared::database;
use tasker_shared::execution::keep_document;
use tasker_shared::models::core::task_template::input_schema::InputSchema;
use tasker_shared::models::core::task_template::{TaskTemplate, apply_environment};
use tasker_shared::types::{ContentHash, HandlerMetadata};
use tokio::sync::OnceCell;
use uuid::Uuid;

use super::check_pool::CheckPool;
use super::errors::TaskInitializationError;
use super::plan::StepPlan;
use super::together::Line;
use crate::QUERY_LIMIT;

/// The most templates that are kept prepared. With more in use, some are prepared again.
const CAPACITY: u64 = 1_000;
/// The time for which a template is kept prepared. Preparing it again renews the date until which retention
/// spares its document.
const LIFETIME: Duration = Duration::from_hours(1);

/// A template that tasks can be made from.
#[derive(Debug)]
pub(super) struct PreparedTemplate {
    /// The schema of contexts, if the template has one.
    pub(super) input_schema: Option<InputSchema>,
    /// The initial steps.
    pub(super) plan: StepPlan,
    /// The ids of the steps' names, in the order of the plan.
    pub(super) named_steps: Vec<Uuid>,
    /// The tasks that wait to be created.
    pub(super) line: Arc<Line>,
}

/// Prepared templates.
#[derive(Debug)]
pub(super) struct PreparedTemplates {
    pool: PgPool,
    checks: Arc<CheckPool>,
    /// The environment whose overrides apply, as in workers.
    pub(super) environment: String,
    kept: Cache<ContentHash, Arc<OnceCell<Arc<PreparedTemplate>>>>,
}

impl PreparedTemplates {
    pub(super) fn new(pool: PgPool, checks: Arc<CheckPool>) -> Self {
        Self {
            pool,
            checks,
            environment: String::new(),
            kept: Cache::builder()
                .max_capacity(CAPACITY)
                .time_to_live(LIFETIME)
                .build(),
        }
    }

    /// Returns `template`, prepared. Concurrent callers share the work. If the caller that does it is
    /// cancelled or fails, the next one does it again.
    pub(super) async fn get(
        &self,
        template: &HandlerMetadata,
    ) -> Result<Arc<PreparedTemplate>, TaskInitializationError> {
        let cell = self.kept.get_with(template.hash, Arc::default);
        cell.get_or_try_init(|| self.prepare(template))
            .await
            .cloned()
    }

    /// Makes the next caller prepare the template again.
    pub(super) fn forget(&self, hash: &ContentHash) {
        self.kept.invalidate(hash);
    }

    async fn prepare(
        &self,
        template: &HandlerMetadata,
    ) -> Result<Arc<PreparedTemplate>, TaskInitializationError> {
        let input_schema = match template.template.input_schema.clone() {
            Some(schema) => {
                let compiled = self.checks.run(move || InputSchema::read(&schema)).await;
                let compiled = compiled.map_err(|_busy| TaskInitializationError::Busy)?;
                Some(compiled.map_err(TaskInitializationError::Schema)?)
            }
            None => None,
        };
        let has_overrides = template.template.environments.is_some();
        let overridden = has_overrides
            .then(|| overridden(template.document.get(), &self.environment))
            .flatten();
        let plan = StepPlan::new(overridden.as_ref().unwrap_or(&template.template));
        let names: Arc<[String]> = plan.steps.iter().map(|step| step.name.clone()).collect();
        let (hash, document) = (template.hash.to_string(), template.document.clone());
        let ids = database::run_idempotent(&self.pool, QUERY_LIMIT, |connection| {
            let names = Arc::clone(&names);
            let (hash, document) = (hash.clone(), document.clone());
            Box::pin(async move {
                keep_document(connection, &hash, &document).await?;
                ensure_named_steps(connection, &names).await
            })
        })
        .await?;
        Ok(Arc::new(PreparedTemplate {
            input_schema,
            named_steps: names.iter().map(|name| ids[name]).collect(),
            plan,
            line: Arc::default(),
        }))
    }
}

/// Returns the template with the overrides of `environment`. `None` if it cannot be read with them; workers
/// then fail its steps and say why.
pub(crate) fn overridden(document: &str, environment: &str) -> Option<TaskTemplate> {
    let document = serde_json::from_str(document).ok()?;
    serde_json::from_str(&apply_environment(&document, environment).to_string()).ok()
}
