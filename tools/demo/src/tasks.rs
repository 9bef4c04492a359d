//! Tasks that run to their end, also when a worker is killed meanwhile.

use std::time::{Duration, Instant};

use futures::future::try_join_all;
use serde_json::{Value, json};
use tasker_test_support::Result;
use tokio::time::timeout;
use uuid::Uuid;

use crate::service::Service;

const TASKS: usize = 20;
const KILL_LIMIT: Duration = Duration::from_secs(30);

/// A registered template, and a request for a task of it.
pub(crate) struct Template {
    pub(crate) name: String,
    request: Value,
}

/// Returns all registered templates. Each has an example of a task's context in its file.
pub(crate) async fn templates(worker: &Service<'_>) -> Result<Vec<Template>> {
    let list = worker.get("/templates").await?;
    let mut templates = Vec::new();
    for listed in list["templates"].as_array().into_iter().flatten() {
        let name = ["namespace", "name", "version"]
            .map(|key| text(&listed[key]))
            .join("/");
        let template = worker.get(&format!("/templates/{name}")).await?;
        let request = json!({
            "namespace": listed["namespace"], "name": listed["name"], "version": listed["version"],
            "context": template["template"]["input_schema"]["examples"][0],
        });
        templates.push(Template { name, request });
    }
    Ok(templates)
}

/// Creates a task and returns the answer.
pub(crate) async fn create(
    service: &Service<'_>,
    template: &Template,
    query: &str,
) -> reqwest::Result<Value> {
    let mut request = template.request.clone();
    // Without a key of its own it would be a duplicate of the task before.
    request["idempotency_key"] = json!(Uuid::now_v7());
    service.post(&format!("/v1/tasks{query}"), &request).await
}

/// Creates a task and waits for its end. Returns the task with its steps, and how long that took.
/// Fails if it is not complete.
async fn run(service: &Service<'_>, template: &Template) -> Result<(Value, Duration)> {
    let started = Instant::now();
    let created = create(service, template, "?wait=60s").await?;
    let took = started.elapsed();
    let path = format!("/v1/tasks/{}", text(&created["task_uuid"]));
    let task = service.get(&path).await?;
    if task["status"] != "complete" {
        return Err(format!("a task of {} is not complete: {task:#}", template.name).into());
    }
    Ok((task, took))
}

/// Runs a task of each template.
pub(crate) async fn show(service: &Service<'_>, templates: &[Template]) -> Result {
    println!("\nA task of each template, by POST /v1/tasks?wait=60s:");
    let title = "template";
    println!("{title:<34} status    steps      took  ran again");
    for template in templates {
        let (task, took) = run(service, template).await?;
        let (name, steps, took) = (&template.name, &task["steps"], took.as_millis());
        let steps = steps.as_array().map_or(0, Vec::len);
        let again: Vec<String> = ran_again(&task)
            .map(|step| format!("{} ({} attempts)", text(&step["name"]), step["attempts"]))
            .collect();
        let again = again.join(", ");
        println!(
            "{name:<34} {:<9} {steps:>5} {took:>6} ms  {again}",
            text(&task["status"])
        );
    }
    Ok(())
}

/// Runs tasks, and kills a worker that has claims on some of their steps.
pub(crate) async fn show_kill(
    service: &Service<'_>,
    template: &Template,
    victim: &Service<'_>,
) -> Result {
    println!("\n{TASKS} tasks of {} on two workers:", template.name);
    let tasks = try_join_all((0..TASKS).map(|_| run(service, template)));
    let kill = async {
        while victim.metric("tasker_steps_running").await? == 0.0 {}
        victim.process.kill().await?;
        Ok(Instant::now())
    };
    let kill = async { timeout(KILL_LIMIT, kill).await? };
    let (tasks, killed) = tokio::try_join!(tasks, kill)?;
    let took = killed.elapsed().as_secs_f64();
    let again = tasks.iter().flat_map(|(task, _)| ran_again(task)).count();
    println!("one worker was killed (kill -9) while it ran steps");
    println!("{again} steps ran again on the other, when the lease of the first had ended");
    println!("all {TASKS} tasks were complete {took:.1} s after the kill");
    Ok(())
}

/// Returns the steps that needed more than one attempt.
fn ran_again(task: &Value) -> impl Iterator<Item = &Value> {
    let steps = task["steps"].as_array().into_iter().flatten();
    steps.filter(|step| step["attempts"].as_u64() > Some(1))
}

/// Returns a text without quotes.
pub(crate) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
