//! The agent: one process that reads and registers templates through the registry all the time, and
//! reports to the collector. It judges nothing. It fails when a part of it ends.
//!
//! It sends lines of text: `p PROCESS` once; `r TEMPLATE ANSWER START END` for a read, with a marker,
//! `-` for "not found" or `!CODE` as the answer; `b NUMBER START` before it registers and
//! `w NUMBER END` or `w NUMBER END CODE` after. It ends when the collector closes its side.

use std::sync::Arc;
use std::time::Duration;

use tasker_shared::SystemContext;
use tasker_shared::config::ConfigLoader;
use tasker_shared::models::core::task_template::TemplateDocument;
use tasker_shared::registry::{RegistryError, TaskHandlerRegistry};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;

use crate::clock;
use crate::error::ChaosError;
use crate::templates::{self, STAYING, VERSION, WATCHED};

pub(crate) const COLLECTOR: &str = "CHAOS_COLLECTOR";
/// The number of the process. A program that has it in its environment is an agent.
pub(crate) const PROCESS: &str = "CHAOS_PROCESS";
/// A process numbers its writes from its own number times this.
pub(crate) const WRITES_PER_PROCESS: u32 = 2_000_000;

/// The watched template is read this often, so that the arrival of a change can be measured.
const WATCH_PAUSE: Duration = Duration::from_millis(1);
const READ_PAUSE: Duration = Duration::from_millis(2);
const READERS: usize = 4;
const WRITE_PAUSE_MS: std::ops::Range<u64> = 30..90;
const CONNECT_PAUSE: Duration = Duration::from_millis(100);

type Registry = Arc<TaskHandlerRegistry>;
type Lines = UnboundedSender<String>;

pub(crate) async fn run() -> Result<(), ChaosError> {
    let variable = |name| std::env::var(name).map_err(|_| ChaosError::NotAnAgent(name));
    let collector = variable(COLLECTOR)?;
    let process = variable(PROCESS)?.parse();
    let process: u32 = process.map_err(|_| ChaosError::NotAnAgent(PROCESS))?;
    let context = connect().await?;
    let registry = &context.task_handler_registry;

    let stream = TcpStream::connect(collector).await;
    let (mut closed, sending) = stream.map_err(ChaosError::io("connecting"))?.into_split();
    let (lines, queue) = unbounded_channel();
    lines.send(format!("p {process}\n")).ok();
    let sender = tokio::spawn(send(sending, queue));
    let mut work = JoinSet::new();
    work.spawn(read(Arc::clone(registry), lines.clone(), true));
    for _ in 0..READERS {
        work.spawn(read(Arc::clone(registry), lines.clone(), false));
    }
    work.spawn(register(Arc::clone(registry), lines.clone(), process));
    tokio::select! {
        _ = closed.read_u8() => {}
        Some(ended) = work.join_next() => {
            ended?;
            return Err(ChaosError::Ended("a reader or the writer"));
        }
    }
    work.shutdown().await;
    drop(lines);
    sender.await?.map_err(ChaosError::io("sending lines"))?;
    context.shutdown().await;
    Ok(())
}

/// Connects, and waits for PostgreSQL as long as it takes.
async fn connect() -> Result<SystemContext, ChaosError> {
    let config = ConfigLoader::load_from_process()?;
    loop {
        match SystemContext::connect(config.clone()).await {
            Ok(context) => return Ok(context),
            Err(_) => tokio::time::sleep(CONNECT_PAUSE).await,
        }
    }
}

/// Reads the watched template, or random ones, until the collector is gone.
async fn read(registry: Registry, lines: Lines, watched: bool) {
    let templates = templates::all();
    loop {
        let number = if watched {
            WATCHED
        } else {
            rand::random_range(0..templates.len())
        };
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
        let line = format!("r {number} {answer} {start} {end}\n");
        if lines.send(line).is_err() {
            return;
        }
        tokio::time::sleep(if watched { WATCH_PAUSE } else { READ_PAUSE }).await;
    }
}

async fn register(registry: Registry, lines: Lines, process: u32) {
    let first = process * WRITES_PER_PROCESS;
    for number in first..first + WRITES_PER_PROCESS {
        let name = templates::any_staying(&mut rand::rng());
        let document = templates::document(STAYING, &name, number);
        let begin = format!("b {number} {}\n", clock::now());
        if lines.send(begin).is_err() {
            return;
        }
        let failed = match TemplateDocument::from_json(document) {
            Ok(document) => match registry.register_task_template(&document).await {
                Ok(_) => "",
                Err(error) => error.code(),
            },
            Err(_) => "template_invalid",
        };
        let line = format!("w {number} {} {failed}\n", clock::now());
        lines.send(line).ok();
        let pause = rand::random_range(WRITE_PAUSE_MS);
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }
}

async fn send(
    mut sending: OwnedWriteHalf,
    mut queue: UnboundedReceiver<String>,
) -> std::io::Result<()> {
    let mut batch = Vec::new();
    while queue.recv_many(&mut batch, 1024).await > 0 {
        sending.write_all(batch.concat().as_bytes()).await?;
        batch.clear();
    }
    sending.shutdown().await
}
