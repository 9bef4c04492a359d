//! A template that the demonstration asks for tasks of.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::demo::sample::sample;
use crate::demo::service::Service;
use crate::demo::template_file::TemplateFile;
use crate::error::XtaskError;

/// A template with a context that should meet its input schema.
#[derive(Debug)]
pub(crate) struct Subject {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) file: TemplateFile,
    context: Value,
}

/// An answered request for a task.
#[derive(Debug)]
pub(crate) struct Requested {
    pub(crate) took: Duration,
    pub(crate) template_hash: String,
}

impl Subject {
    /// The templates that the worker registered from files in this folder.
    pub(crate) async fn all(worker: &Service, folder: &Path) -> Result<Vec<Self>, XtaskError> {
        let list = worker.get("/templates").await?;
        let mut subjects = Vec::new();
        for listed in list["templates"].as_array().into_iter().flatten() {
            let text = |key: &str| listed[key].as_str().unwrap_or_default().to_owned();
            let (namespace, name, version) = (text("namespace"), text("name"), text("version"));
            let Some(file) = TemplateFile::find(folder, &name)? else {
                continue;
            };
            let path = format!("/templates/{namespace}/{name}/{version}");
            let answer = worker.get(&path).await?;
            let schema = &answer["template"]["input_schema"];
            let context = if schema.is_object() {
                sample(schema)
            } else {
                json!({})
            };
            subjects.push(Self {
                namespace,
                name,
                version,
                file,
                context,
            });
        }
        Ok(subjects)
    }

    /// Asks for a task that nobody asked for before.
    pub(crate) async fn request(&self, orchestration: &Service) -> Result<Requested, XtaskError> {
        let body = json!({
            "name": self.name,
            "namespace": self.namespace,
            "version": self.version,
            "context": self.context,
            "initiator": "cargo xtask demo",
            "reason": "demonstration",
            "idempotency_key": unique_key(),
        });
        let start = Instant::now();
        let answer = orchestration.post("/v1/tasks", &body).await?;
        let took = start.elapsed();
        let template_hash = answer["template_hash"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        Ok(Requested {
            took,
            template_hash,
        })
    }
}

fn unique_key() -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    format!(
        "demo-{}-{}",
        std::process::id(),
        now.unwrap_or_default().as_nanos()
    )
}
