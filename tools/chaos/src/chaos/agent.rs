//! The agent: one process that reads and registers templates through the registry all the time. It
//! judges nothing. It fails when a part of it ends.
//!
//! It prints `r TEMPLATE ANSWER START END` for a read, with a marker, `-` for "not found" or
//! `!CODE` as the answer; `b NUMBER START` before it registers and `w NUMBER END` or `w NUMBER END
//! CODE` after.

use std::sync::Arc;
use std::time::Duration;

use tasker_shared::SystemContext;
use tasker_shared::config::ConfigLoader;
use tasker_shared::models::core::task_template::TemplateDocument;
use tasker_shared::registry::{RegistryError, TaskHandlerRegistry};
use tokio::task::JoinSet;

use crate::clock;
use crate::error::Result;
use crate::judge::history::{Answer, History, Read};
use crate::templates::{self, STAYING, VERSION, WATCHED};

/// The number of the process. A program that has it in its environment is an agent.
pub(crate) const PROCESS: &str = "CHAOS_PROCESS";

/// A process numbers its writes from its own number times this.
const WRITES_PER_PROCESS: u32 = 2_000_000;
/// The watched template is read this often, so that reads meet its changes.
const WATCH_PAUSE: Duration = Duration::from_millis(1);
const READ_PAUSE: Duration = Duration::from_millis(2);
const READERS: usize = 4;
const WRITE_PAUSE_MS: std::ops::Range<u64> = 30..90;
const CONNECT_PAUSE: Duration = Duration::from_millis(100);

pub(crate) async fn run(process: &str) -> Result {
    let process = process.parse::<u32>()?;
    let context = connect().await?;
    let registry = &context.task_handler_registry;
    let mut work = JoinSet::new();
    work.spawn(read(Arc::clone(registry), true));
    for _ in 0..READERS {
        work.spawn(read(Arc::clone(registry), false));
    }
    work.spawn(register(Arc::clone(registry), process));
    // All work until this process is killed.
    if let Some(ended) = work.join_next().await {
        ended?;
    }
    Err("a reader or the writer ended before it was stopped".into())
}

/// Connects, and waits for PostgreSQL as long as it takes.
async fn connect() -> Result<SystemContext> {
    let config = ConfigLoader::load_from_process()?;
    loop {
        match SystemContext::connect(config.clone()).await {
            Ok(context) => return Ok(context),
            Err(_) => tokio::time::sleep(CONNECT_PAUSE).await,
        }
    }
}

/// Reads the watched template, or random ones.
async fn read(registry: Arc<TaskHandlerRegistry>, watched: bool) {
    let templates = templates::all();
    loop {
        let any = rand::random_range(0..templates.len());
        let number = if watched { WATCHED } else { any };
        let (namespace, name) = &templates[number];
        let start = clock::now();
        let resolved = registry.get_template(namespace, name, VERSION).await;
        let end = clock::now();
        let answer = match resolved {
            Ok(found) => templates::marker(found.document.get())
                .map_or_else(|| String::from("!no_marker"), |marker| marker.to_string()),
            Err(RegistryError::NotFound { .. }) => String::from("-"),
            Err(error) => format!("!{}", error.code()),
        };
        println!("r {number} {answer} {start} {end}");
        tokio::time::sleep(if watched { WATCH_PAUSE } else { READ_PAUSE }).await;
    }
}

async fn register(registry: Arc<TaskHandlerRegistry>, process: u32) {
    let first = process * WRITES_PER_PROCESS;
    for number in first..first + WRITES_PER_PROCESS {
        let name = templates::any_staying(&mut rand::rng());
        let document = templates::document(STAYING, &name, number);
        println!("b {number} {}", clock::now());
        let failed = match TemplateDocument::from_json(document) {
            Ok(document) => match registry.register_task_template(&document).await {
                Ok(_) => "",
                Err(error) => error.code(),
            },
            Err(_) => "template_invalid",
        };
        println!("w {number} {} {failed}", clock::now());
        let pause = rand::random_range(WRITE_PAUSE_MS);
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }
}

/// Notes one line of an agent's output. Returns `None` for one that is not understood, such as the
/// last one of an agent that was killed.
pub(super) fn note(history: &mut History, process: u16, line: &str) -> Option<()> {
    let words: Vec<&str> = line.split_whitespace().collect();
    match words[..] {
        ["r", template, answer, start, end] => {
            let answer = match answer.strip_prefix('!') {
                Some(code) => Answer::Failed(history.code(code)),
                None if answer == "-" => Answer::Absent,
                None => Answer::Content(answer.parse().ok()?),
            };
            history.reads.push(Read {
                template: template.parse().ok()?,
                process,
                start: start.parse().ok()?,
                end: end.parse().ok()?,
                answer,
            });
        }
        ["b", number, start] => {
            let (number, start) = (number.parse().ok()?, start.parse().ok()?);
            history.write(number, start, Some(process));
        }
        ["w", number, end, ref code @ ..] => {
            let (number, end) = (number.parse().ok()?, end.parse().ok()?);
            history.written(number, end, code.first().copied());
        }
        _ => return None,
    }
    Some(())
}
