//! The handlers of a worker, by the names that templates use.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::future::BoxFuture;

use super::context::StepContext;
use super::outcome::{StepError, StepOutcome};

/// The code that runs a step.
///
/// It runs at least once for each step, and again after a failure or a lost worker. Dropping its
/// future must be safe at every await point: a timeout, and a worker that loses its lease, drop it.
pub trait StepHandler: Send + Sync {
    /// Runs one attempt.
    fn run(&self, step: StepContext) -> BoxFuture<'_, Result<StepOutcome, StepError>>;
}

struct FunctionHandler<F>(F);

impl<F, Fut, R> StepHandler for FunctionHandler<F>
where
    F: Fn(StepContext) -> Fut + Send + Sync,
    Fut: Future<Output = Result<R, StepError>> + Send + 'static,
    R: Into<StepOutcome>,
{
    fn run(&self, step: StepContext) -> BoxFuture<'_, Result<StepOutcome, StepError>> {
        let run = (self.0)(step);
        Box::pin(async move { run.await.map(Into::into) })
    }
}

/// Handlers by callable. Steps with other callables are left to other workers.
#[derive(Clone, Default)]
pub struct Handlers {
    by_callable: BTreeMap<String, Arc<dyn StepHandler>>,
}

impl Handlers {
    /// No handlers.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an async function for `callable`. A second one for the same callable replaces the first.
    ///
    /// ```
    /// use serde_json::json;
    /// use tasker_worker::{Handlers, StepContext, StepError};
    ///
    /// async fn greet(step: StepContext) -> Result<serde_json::Value, StepError> {
    ///     let name: String = step.input("name")?;
    ///     Ok(json!({"greeting": format!("Hello {name}")}))
    /// }
    ///
    /// let handlers = Handlers::new().function("demo.Greet", greet);
    /// ```
    #[must_use]
    pub fn function<F, Fut, R>(self, callable: impl Into<String>, function: F) -> Self
    where
        F: Fn(StepContext) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<R, StepError>> + Send + 'static,
        R: Into<StepOutcome> + 'static,
    {
        self.handler(callable, FunctionHandler(function))
    }

    /// Adds a handler for `callable`. A second one for the same callable replaces the first.
    #[must_use]
    pub fn handler(
        mut self,
        callable: impl Into<String>,
        handler: impl StepHandler + 'static,
    ) -> Self {
        self.by_callable.insert(callable.into(), Arc::new(handler));
        self
    }

    /// Returns the callables, sorted.
    pub fn callables(&self) -> impl Iterator<Item = &str> {
        self.by_callable.keys().map(String::as_str)
    }

    pub(super) fn get(&self, callable: &str) -> Option<Arc<dyn StepHandler>> {
        self.by_callable.get(callable).cloned()
    }
}

impl std::fmt::Debug for Handlers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.by_callable.keys()).finish()
    }
}
