//! The instances of batch workers.

use serde::Serialize;
use serde_json::{Value, json};

use super::{Batches, ExpansionError, PlannedStep, Planner, refuse};
use crate::{FreeForm, StepDefinition, StepType};

/// The most steps that one outcome can create.
const MAX_BATCHES: usize = 10_000;
/// The number of items between two checkpoints of a batch worker, unless its template says.
const CHECKPOINT_INTERVAL: u64 = 100;

/// The inputs of one batch.
#[derive(Serialize)]
struct Inputs<'a> {
    cursor: &'a FreeForm,
    batch_metadata: &'a Value,
    is_no_op: bool,
}

impl Inputs<'_> {
    fn write(&self) -> FreeForm {
        let raw = serde_json::value::to_raw_value(self);
        raw.expect("serde_json writes what it has read").into()
    }
}

impl Planner<'_, '_> {
    /// Creates the instances of a batch worker.
    pub(super) fn cut(&mut self, batches: Option<&Batches>) -> Result<(), ExpansionError> {
        let is_worker = |step: &StepDefinition| {
            step.step_type == StepType::BatchWorker
                && step.dependencies.iter().any(|name| *name == *self.current)
        };
        let worker = if let Some(batches) = batches {
            let name = batches.worker_template_name.as_str();
            let step = self.steps.get(name).copied().filter(|step| is_worker(step));
            step.ok_or_else(|| {
                ExpansionError(format!(
                    "`{name}` is no batch worker that depends on `{}`",
                    self.current
                ))
            })?
        } else {
            let creator = self.steps.get(self.current);
            let configured = creator.and_then(|step| step.batch_worker_name());
            let is_meant = |step: &StepDefinition| {
                is_worker(step) && configured.as_ref().is_none_or(|name| step.name == *name)
            };
            match self.template.steps.iter().find(|step| is_meant(step)) {
                Some(worker) => worker,
                None => return Ok(()),
            }
        };
        let none = [FreeForm::from(Value::Null)];
        let (cursors, is_no_op) = match batches {
            Some(batches) => (batches.cursor_configs.as_slice(), false),
            None => (none.as_slice(), true),
        };
        if let Some(batches) = batches {
            let count = batches.worker_count.unwrap_or(cursors.len());
            if count != cursors.len() || !(1..=MAX_BATCHES).contains(&count) {
                return refuse(format!(
                    "worker_count is {count} for {} cursor_configs; they must be equal, from 1 to \
                     {MAX_BATCHES}",
                    cursors.len()
                ));
            }
        }
        let metadata = self.batch_metadata(worker);
        // Above all instances that another step has cut. The placeholder of the first one is 000.
        let earlier = self.instances.get(worker.name.as_str());
        let numbers = earlier.into_iter().flatten().filter_map(|name| {
            let (_, number) = name.rsplit_once('_')?;
            number.parse::<usize>().ok()
        });
        let first = numbers
            .max()
            .map_or(usize::from(!is_no_op), |highest| highest.saturating_add(1));
        let parents: Vec<String> = self.parents(worker);
        let steps = self.steps.clone();
        let names = (first..)
            .map(|number| format!("{}_{number:03}", worker.name))
            .filter(|name| !steps.contains_key(name.as_str()));
        for (name, cursor) in names.zip(cursors) {
            self.names.insert(name.clone());
            let inputs = Inputs {
                cursor,
                batch_metadata: &metadata,
                is_no_op,
            };
            let own = self
                .instances
                .entry(worker.name.as_str().to_owned())
                .or_default();
            own.push(name.clone());
            self.created.push(PlannedStep {
                name,
                definition: worker,
                parents: parents.clone(),
                inputs: Some(inputs.write()),
            });
        }
        Ok(())
    }

    /// Settings of batches stand at their worker, or else at the step that cuts them.
    fn batch_metadata(&self, worker: &StepDefinition) -> Value {
        let steps = [Some(worker), self.steps.get(self.current).copied()];
        let configs = steps.map(|step| step?.batch_config.as_deref());
        let configs = || configs.into_iter().flatten();
        let size = configs().find_map(|config| config.batch_size);
        let field = configs().find_map(|config| config.cursor_field.as_deref());
        let strategy = configs().find_map(|config| config.failure_strategy.as_deref());
        json!({
            "checkpoint_interval": CHECKPOINT_INTERVAL.min(size.unwrap_or(u64::MAX)),
            "cursor_field": field.unwrap_or("id"),
            "failure_strategy": strategy.unwrap_or("continue_on_failure"),
        })
    }
}
