//! Templates as they are written in the field, run to their ends by generated handlers, with the
//! graphs that they must give.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tasker_shared::models::core::task_request::TaskRequest;
use tasker_shared::models::core::task_template::{TemplateDocument, TemplateLimits};
use tasker_worker::{Handlers, StepContext, StepError, StepOutcome};
use uuid::Uuid;

use super::dynamic::edges;
use super::engine::{Engine, step};

const BATCHES: u64 = 5;
/// A folder whose templates are run as well. For templates that are not ours.
const FOLDER: &str = "TASKER_TEST_TEMPLATES";

fn read(path: &Path) -> TemplateDocument {
    let yaml = std::fs::read(path).unwrap();
    TemplateDocument::from_yaml(&yaml, TemplateLimits::default())
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn folder(path: &Path) -> BTreeMap<String, TemplateDocument> {
    let files = std::fs::read_dir(path).unwrap();
    let paths = files.map(|file| file.unwrap().path());
    let is_template = |path: &PathBuf| path.extension().is_some_and(|kind| kind == "yaml");
    paths
        .filter(is_template)
        .map(|path| {
            (
                path.file_stem().unwrap().to_string_lossy().into(),
                read(&path),
            )
        })
        .collect()
}

/// Returns a value that fits a schema, as far as our templates use them.
fn value_for(schema: &Value) -> Value {
    match schema["type"].as_str() {
        Some("object") => {
            let required = schema["required"].as_array().cloned().unwrap_or_default();
            let names = required.iter().filter_map(Value::as_str);
            let members =
                names.map(|name| (name.to_owned(), value_for(&schema["properties"][name])));
            Value::Object(members.collect())
        }
        Some("array") => json!([value_for(&schema["items"])]),
        Some("integer" | "number") => json!(schema["minimum"].as_i64().unwrap_or(1)),
        Some("boolean") => json!(true),
        _ if schema["format"] == "uuid" => json!(Uuid::from_u128(7)),
        _ => json!("text"),
    }
}

/// Returns a handler for each step: decisions choose all their branches, batchable steps make
/// [`BATCHES`] batches, and the others say which steps they depend on.
fn handlers(document: &TemplateDocument) -> Handlers {
    let steps = document.json()["steps"].as_array().unwrap();
    let followers = |name: &str, kinds: &[&str]| -> Vec<String> {
        let depends = |step: &&Value| {
            let dependencies = step["dependencies"].as_array();
            dependencies.is_some_and(|all| all.iter().any(|it| it == name))
                && kinds.contains(&step["type"].as_str().unwrap_or("standard"))
        };
        let followers = steps.iter().filter(depends);
        followers
            .map(|step| step["name"].as_str().unwrap().to_owned())
            .collect()
    };
    steps.iter().fold(Handlers::new(), |handlers, step| {
        let name = step["name"].as_str().unwrap();
        let outcome = match step["type"].as_str() {
            Some("decision") => {
                StepOutcome::create_steps(followers(name, &["standard", "decision", "batchable"]))
            }
            Some("batchable") => {
                let cursor = |n: u64| json!({"batch_id": format!("{n:03}"), "start_cursor": n * 10, "end_cursor": (n + 1) * 10, "batch_size": 10});
                let worker = followers(name, &["batch_worker"]).remove(0);
                let cursors = (0..BATCHES).map(cursor).collect();
                StepOutcome::create_batches(&worker, cursors, BATCHES * 10)
            }
            _ => StepOutcome::from(Value::Null),
        };
        let callable = step["handler"]["callable"].as_str().unwrap();
        handlers.function(callable, move |step: StepContext| {
            let outcome = outcome.clone();
            async move {
                if !outcome.result().is_null() {
                    return Ok::<_, StepError>(outcome);
                }
                let mut names = step.dependencies();
                names.sort_unstable();
                Ok(StepOutcome::from(json!(names)))
            }
        })
    })
}

/// Registers a template, runs a task of it to its end, and returns its edges.
async fn run(engine: &Engine, document: &TemplateDocument) -> (Uuid, Vec<String>) {
    let registry = &engine.context.task_handler_registry;
    registry.register_task_template(document).await.unwrap();
    let worker = engine.work(handlers(document));
    let json = document.json();
    let text = |key: &str| json[key].as_str().unwrap().to_owned();
    let mut request = TaskRequest::new(text("name"), text("namespace_name"));
    request.version = text("version");
    request.context = value_for(&json["input_schema"]).into();
    if json["input_schema"].is_null() {
        request.context = json!({}).into();
    }
    let task = engine
        .initializer
        .initialize(request)
        .await
        .unwrap()
        .task_uuid;
    let state = engine.end(task).await;
    assert_eq!(
        state,
        "complete",
        "{}: {:#?}",
        text("name"),
        engine.journal(task).await
    );
    worker.drain().await;
    (task, edges(engine, task).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn templates_of_the_field_run_to_their_end_with_their_graphs() {
    let engine = Engine::start().await;
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/execution/templates");
    let templates = folder(&own);
    let expected: [(&str, &[&str], (&str, Value)); 5] = [
        (
            "order",
            &["charge>confirm", "check_items>charge"],
            ("confirm", json!(["charge", "check_items"])),
        ),
        (
            "diamond",
            &["left>end", "right>end", "start>left", "start>right"],
            ("end", json!(["left", "right", "start"])),
        ),
        ("no_attempts", &[], ("only", json!([]))),
        (
            "approval",
            &[
                "automatic>finish",
                "finance>finish",
                "manager>finish",
                "route>automatic",
                "route>finance",
                "route>manager",
                "validate>route",
            ],
            (
                "finish",
                json!(["automatic", "finance", "manager", "route", "validate"]),
            ),
        ),
        (
            "batch",
            &[
                "analyze>work_001",
                "analyze>work_002",
                "analyze>work_003",
                "analyze>work_004",
                "analyze>work_005",
                "work_001>aggregate",
                "work_002>aggregate",
                "work_003>aggregate",
                "work_004>aggregate",
                "work_005>aggregate",
            ],
            (
                "aggregate",
                json!([
                    "analyze", "work_001", "work_002", "work_003", "work_004", "work_005"
                ]),
            ),
        ),
    ];
    assert_eq!(templates.len(), expected.len());
    for (name, graph, (last, result)) in expected {
        let (task, edges) = run(&engine, &templates[name]).await;
        assert_eq!(edges, graph, "{name}");
        assert_eq!(engine.result(task, last).await, result, "{name}");
    }
    if let Some(path) = std::env::var_os(FOLDER) {
        for (name, document) in folder(Path::new(&path)) {
            let (_, edges) = run(&engine, &document).await;
            println!("{name}: {edges:#?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_whose_document_a_restore_took_runs_on_the_registered_template() {
    let engine = Engine::start().await;
    let steps = json!([step("a", "ok", &[])]);
    engine.register("restored", steps).await;
    let task = engine.create("restored", json!({})).await;
    let lose = "DELETE FROM tasker.template_documents";
    sqlx::query(lose).execute(engine.pool()).await.unwrap();
    let _worker = engine.work(Handlers::new().function("ok", async |_: StepContext| Ok(())));
    assert_eq!(engine.end(task).await, "complete");
    // For other workers, when the template has changed.
    let documents = "SELECT count(*) FROM tasker.template_documents d
                     JOIN tasker.tasks t ON t.template_hash = d.hash";
    assert_eq!(engine.count(documents).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_whose_document_this_release_cannot_read_fails() {
    let engine = Engine::start().await;
    let steps = json!([step("a", "ok", &[])]);
    engine.register("unreadable", steps).await;
    let task = engine.create("unreadable", json!({})).await;
    // A number that PostgreSQL can store and a double cannot.
    let spoil = "UPDATE tasker.template_documents SET document = document || '{\"x-n\": 1e400}'";
    sqlx::query(spoil).execute(engine.pool()).await.unwrap();
    let _worker = engine.work(Handlers::new().function("ok", async |_: StepContext| Ok(())));
    assert_eq!(engine.end(task).await, "error");
    let error = engine.result(task, "a").await["error"].clone();
    assert_eq!(error["type"], "TemplateUnusable", "{error}");
}
