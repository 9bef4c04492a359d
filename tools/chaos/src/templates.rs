//! The templates of the load.

use serde_json::json;
use tasker_shared::cache::keys;
use tasker_shared::config::tasker::CacheConfig;
use tasker_shared::models::core::task_template::TemplateDocument;

use crate::error::FaultsError;

pub(crate) const NAMESPACE: &str = "faults";
pub(crate) const VERSION: &str = "1.0.0";

/// So many templates are registered. Each resolver has its own share, so that no two requests
/// wait for the same load and each read of Redis is one request's.
pub(crate) const COUNT: usize = 128;

pub(crate) fn name(number: usize) -> String {
    format!("template_{number}")
}

/// The keys of all templates in Redis.
pub(crate) fn keys() -> impl Iterator<Item = String> {
    let prefix = CacheConfig::default().key_prefix;
    (0..COUNT).map(move |number| {
        keys::key(
            &prefix,
            "task_template",
            &[NAMESPACE, &name(number), VERSION],
        )
    })
}

/// A template of some 2 KB; `revision` tells its contents apart.
pub(crate) fn document(name: &str, revision: u64) -> Result<TemplateDocument, FaultsError> {
    let steps: Vec<_> = (0..6)
        .map(|number| {
            json!({
                "name": format!("step_{number}"),
                "description": "Asks the inventory whether all items of the order are there",
                "handler": {
                    "callable": "Shop::StepHandler",
                    "initialization": {"service": "inventory", "strict": true},
                },
                "dependencies": [],
                "retry": {"retryable": true, "max_attempts": 3, "backoff": "exponential"},
            })
        })
        .collect();
    Ok(TemplateDocument::from_json(json!({
        "name": name,
        "namespace_name": NAMESPACE,
        "version": VERSION,
        "task_handler": {
            "callable": "Shop::OrderHandler",
            "initialization": {"revision": revision},
        },
        "steps": steps,
    }))?)
}
