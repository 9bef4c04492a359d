//! Watches that the triggers of the templates' tables fire as they have to.
//!
//! `ALTER TABLE ... DISABLE TRIGGER USER` and `ENABLE TRIGGER USER`, which tools run around a load of
//! rows, leave them in another mode than before, and nobody would notice that changes are missed.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tasker_shared::metrics::TEMPLATE_TRIGGERS_WRONG;
use tasker_shared::registry::TaskHandlerRegistry;

const PAUSE: Duration = Duration::from_mins(1);

/// The triggers that were wrong when they were looked at last.
#[derive(Debug, Default)]
pub(crate) struct TriggerWatch {
    wrong: Mutex<Vec<String>>,
}

impl TriggerWatch {
    /// Returns the triggers that do not fire as they have to.
    pub(crate) fn wrong(&self) -> Vec<String> {
        let wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        wrong.clone()
    }

    /// Looks at the triggers now and every minute, for ever.
    pub(crate) async fn run(&self, registry: &TaskHandlerRegistry) {
        loop {
            match registry.wrong_triggers().await {
                Ok(wrong) => self.note(wrong),
                Err(error) => tracing::debug!(%error, "the triggers cannot be looked at"),
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Logs a change, once.
    fn note(&self, now: Vec<String>) {
        let count = u32::try_from(now.len()).unwrap_or(u32::MAX);
        metrics::gauge!(TEMPLATE_TRIGGERS_WRONG.name).set(f64::from(count));
        let mut wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        if *wrong == now {
            return;
        }
        if now.is_empty() {
            tracing::info!("the triggers of the templates' tables fire again");
        } else {
            tracing::error!(
                triggers = now.join(" "),
                remedy = "SELECT tasker.template_repair() as their owner",
                "triggers of the templates' tables are disabled; changes of templates may be missed"
            );
        }
        *wrong = now;
    }
}
