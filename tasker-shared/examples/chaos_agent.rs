//! One process under the eyes of `cargo xtask chaos`: it reads templates through the registry all
//! the time, registers what it is told to, and tells what it saw. It judges nothing. It fails when
//! a part of it ends.
//!
//! It speaks lines of text with the coordinator. To the coordinator: `slot N` once, then
//! `r TEMPLATE ANSWER START END` for a read, where the answer is a marker, `-` for "not found" or
//! `!CODE`, and `w NUMBER END` or `w NUMBER END !CODE` for a write. From it: `w NUMBER DOCUMENT`
//! and `end`. Moments are nanoseconds of the machine's monotonic clock, which all processes share.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tasker_shared::SystemContext;
use tasker_shared::config::ConfigLoader;
use tasker_shared::models::core::task_template::TemplateDocument;
use tasker_shared::registry::{RegistryError, TaskHandlerRegistry};
use tasker_shared::types::HandlerMetadata;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// The first template is read this often, so that one can tell when a change of it arrives.
const WATCH_PAUSE: Duration = Duration::from_millis(1);
/// The others are read at random, by several readers.
const READ_PAUSE: Duration = Duration::from_millis(2);
const READERS: usize = 4;
const CONNECT_PAUSE: Duration = Duration::from_millis(100);
const VERSION: &str = "1.0.0";

type Failure = Box<dyn Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let coordinator = std::env::var("CHAOS_COORDINATOR")?;
    let slot = std::env::var("CHAOS_SLOT")?;
    let templates: Arc<[(String, String)]> = std::env::var("CHAOS_TEMPLATES")?
        .split(',')
        .filter_map(|template| template.split_once('/'))
        .map(|(namespace, name)| (namespace.to_owned(), name.to_owned()))
        .collect();
    let context = connect().await?;
    let registry = Arc::clone(&context.task_handler_registry);

    let (orders, lines) = TcpStream::connect(coordinator).await?.into_split();
    let (told, telling) = unbounded_channel();
    told.send(format!("slot {slot}\n"))?;
    let writer = tokio::spawn(tell(lines, telling));
    let mut readers = tokio::task::JoinSet::new();
    readers.spawn(watch(
        Arc::clone(&registry),
        templates.clone(),
        told.clone(),
    ));
    for _ in 0..READERS {
        readers.spawn(read_at_random(
            Arc::clone(&registry),
            templates.clone(),
            told.clone(),
        ));
    }

    let mut registering = tokio::task::JoinSet::new();
    let mut orders = BufReader::new(orders).lines();
    loop {
        let order = tokio::select! {
            order = orders.next_line() => order?,
            // Each goes on until it is stopped. Without one this process would seem to be well.
            Some(ended) = readers.join_next() => {
                ended?;
                return Err("a reader ended".into());
            }
            Some(written) = registering.join_next() => {
                written?;
                continue;
            }
        };
        let Some((number, document)) = order
            .as_deref()
            .and_then(|order| order.strip_prefix("w "))
            .and_then(|rest| rest.split_once(' '))
        else {
            break;
        };
        let (number, document) = (number.to_owned(), serde_json::from_str(document)?);
        let (registry, told) = (Arc::clone(&registry), told.clone());
        registering.spawn(async move {
            let result = register(&registry, document).await;
            let end = now();
            let failed = result
                .err()
                .map_or(String::new(), |code| format!(" !{code}"));
            // The coordinator may be gone, and this process is next.
            told.send(format!("w {number} {end}{failed}\n")).ok();
        });
    }
    readers.shutdown().await;
    registering.shutdown().await;
    drop(told);
    writer.await??;
    context.shutdown().await;
    Ok(())
}

/// A context, however long PostgreSQL takes to be there.
async fn connect() -> Result<SystemContext, Failure> {
    let config = ConfigLoader::load_from_process()?;
    loop {
        match SystemContext::connect(config.clone()).await {
            Ok(context) => return Ok(context),
            Err(_) => tokio::time::sleep(CONNECT_PAUSE).await,
        }
    }
}

async fn register(
    registry: &TaskHandlerRegistry,
    document: serde_json::Value,
) -> Result<(), &'static str> {
    let document = TemplateDocument::from_json(document).map_err(|_| "template_invalid")?;
    let registered = registry.register_task_template(&document).await;
    registered.map(drop).map_err(|error| error.code())
}

async fn watch(
    registry: Arc<TaskHandlerRegistry>,
    templates: Arc<[(String, String)]>,
    told: UnboundedSender<String>,
) {
    while read(&registry, &templates, 0, &told).await {
        tokio::time::sleep(WATCH_PAUSE).await;
    }
}

async fn read_at_random(
    registry: Arc<TaskHandlerRegistry>,
    templates: Arc<[(String, String)]>,
    told: UnboundedSender<String>,
) {
    loop {
        let index = rand::random_range(0..templates.len());
        if !read(&registry, &templates, index, &told).await {
            return;
        }
        tokio::time::sleep(READ_PAUSE).await;
    }
}

async fn read(
    registry: &TaskHandlerRegistry,
    templates: &[(String, String)],
    index: usize,
    told: &UnboundedSender<String>,
) -> bool {
    let (namespace, name) = &templates[index];
    let start = now();
    let resolved = registry.get_template(namespace, name, VERSION).await;
    let end = now();
    let answer = match resolved {
        Ok(metadata) => marker(&metadata),
        Err(RegistryError::NotFound { .. }) => String::from("-"),
        Err(error) => format!("!{}", error.code()),
    };
    told.send(format!("r {index} {answer} {start} {end}\n"))
        .is_ok()
}

fn marker(metadata: &HandlerMetadata) -> String {
    let document: serde_json::Value =
        serde_json::from_str(metadata.document.get()).unwrap_or_default();
    match document.pointer("/task_handler/initialization/marker") {
        Some(marker) => marker.to_string(),
        None => String::from("!no_marker"),
    }
}

async fn tell(
    mut lines: OwnedWriteHalf,
    mut telling: UnboundedReceiver<String>,
) -> std::io::Result<()> {
    let mut batch = Vec::new();
    while telling.recv_many(&mut batch, 1024).await > 0 {
        lines.write_all(batch.concat().as_bytes()).await?;
        batch.clear();
    }
    lines.shutdown().await
}

fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    let (seconds, nanos) = (time.tv_sec.cast_unsigned(), time.tv_nsec.cast_unsigned());
    seconds * 1_000_000_000 + nanos
}
