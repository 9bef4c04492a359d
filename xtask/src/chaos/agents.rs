//! The coordinator's end of the lines to the agents.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

use super::clock;
use super::history::{Answer, Read};
use super::recorder::Recorder;
use super::stage::AGENTS;
use crate::error::XtaskError;

/// How long an agent may take to tell the rest when it is told to end.
const END_LIMIT: Duration = Duration::from_secs(10);
/// Longer than any fault lets a registration take.
const REPLY_LIMIT: Duration = Duration::from_mins(1);

/// What an agent told of a write.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) end: u64,
    /// Why it failed, if it did.
    pub(super) code: Option<String>,
}

/// A line to a running agent.
#[derive(Debug, Clone)]
struct Line {
    process: u16,
    orders: mpsc::UnboundedSender<String>,
    pending: Arc<Mutex<HashMap<u32, oneshot::Sender<Reply>>>>,
}

/// The lines to all agents, each there while its agent lives.
pub(super) struct Agents {
    lines: watch::Sender<[Option<Line>; AGENTS.len()]>,
    recorder: Arc<Recorder>,
}

impl Agents {
    /// Listens for agents. The address is for them; the task set serves them.
    pub(super) async fn listen(
        recorder: Arc<Recorder>,
        tasks: &mut JoinSet<()>,
    ) -> Result<(Arc<Self>, String), XtaskError> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .map_err(XtaskError::file("the agents' socket"))?;
        let address = listener
            .local_addr()
            .map_err(XtaskError::file("the agents' socket"))?;
        let agents = Arc::new(Self {
            lines: watch::Sender::new([const { None }; AGENTS.len()]),
            recorder,
        });
        let serving = Arc::clone(&agents);
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let agents = Arc::clone(&serving);
                connections.spawn(async move { agents.serve(stream).await });
            }
        });
        Ok((agents, address.to_string()))
    }

    /// The first slot whose agent is not there.
    pub(super) fn missing(&self) -> Option<usize> {
        self.lines.borrow().iter().position(Option::is_none)
    }

    /// Whether the agent of this slot is there. Waits for it for a while, `limit` at most.
    pub(super) async fn ready_in(&self, slot: usize, limit: Duration) -> bool {
        let mut lines = self.lines.subscribe();
        let ready = lines.wait_for(|lines| lines[slot].is_some());
        tokio::time::timeout(limit, ready).await.is_ok()
    }

    /// Has an agent register a template. `None`: there is no agent, or it was lost on the way. An
    /// agent that says nothing for a minute has failed.
    pub(super) async fn register(
        &self,
        slot: usize,
        number: u32,
        document: &Value,
    ) -> Option<Reply> {
        let line = self.lines.borrow()[slot].clone()?;
        let (sender, reply) = oneshot::channel();
        lock(&line.pending).insert(number, sender);
        self.recorder.with(|history| {
            history.writes[number as usize].process = Some(line.process);
        });
        line.orders.send(format!("w {number} {document}\n")).ok()?;
        let Ok(reply) = tokio::time::timeout(REPLY_LIMIT, reply).await else {
            return Some(Reply {
                end: clock::now(),
                code: Some(String::from("no_reply")),
            });
        };
        reply.ok()
    }

    /// Tells all agents to end, and waits until they have told the rest.
    pub(super) async fn end(&self) {
        let mut lines = self.lines.subscribe();
        for line in lines.borrow().iter().flatten() {
            line.orders.send(String::from("end\n")).ok();
        }
        let none = |lines: &[Option<Line>; AGENTS.len()]| lines.iter().all(Option::is_none);
        tokio::time::timeout(END_LIMIT, lines.wait_for(none))
            .await
            .ok();
    }

    async fn serve(&self, stream: TcpStream) {
        let (lines, mut orders) = stream.into_split();
        let mut lines = BufReader::with_capacity(1 << 16, lines).lines();
        let Some(slot) = hello(lines.next_line().await) else {
            return;
        };
        let (sender, mut ordered) = mpsc::unbounded_channel::<String>();
        let process = self.recorder.with(|history| history.process(slot, false));
        let line = Line {
            process,
            orders: sender,
            pending: Arc::default(),
        };
        self.lines
            .send_modify(|lines| lines[slot] = Some(line.clone()));
        let forward = async {
            while let Some(order) = ordered.recv().await {
                if orders.write_all(order.as_bytes()).await.is_err() {
                    break;
                }
            }
            std::future::pending::<()>().await;
        };
        let listen = async {
            while let Ok(Some(text)) = lines.next_line().await {
                self.note(&line, &text);
            }
        };
        tokio::select! {
            () = forward => {}
            () = listen => {}
        }
        self.lines.send_modify(|lines| lines[slot] = None);
        // Those who wait for replies learn that there will be none.
        lock(&line.pending).clear();
    }

    fn note(&self, line: &Line, text: &str) {
        let words: Vec<&str> = text.split(' ').collect();
        match words[..] {
            ["r", template, answer, start, end] => {
                self.recorder.with(|history| {
                    let answer = match answer.strip_prefix('!') {
                        Some(code) => Answer::Failed(history.code(code)),
                        None if answer == "-" => Answer::Absent,
                        None => match answer.parse() {
                            Ok(marker) => Answer::Content(marker),
                            Err(_) => Answer::Failed(history.code("not_a_marker")),
                        },
                    };
                    let read = || {
                        Some(Read {
                            template: template.parse().ok()?,
                            process: line.process,
                            start: start.parse().ok()?,
                            end: end.parse().ok()?,
                            answer,
                        })
                    };
                    history.reads.extend(read());
                });
            }
            ["w", number, end, ref code @ ..] => {
                let (Ok(number), Ok(end)) = (number.parse(), end.parse()) else {
                    return;
                };
                let code = code.first().map(|code| code.trim_matches('!').to_owned());
                if let Some(waiting) = lock(&line.pending).remove(&number) {
                    waiting.send(Reply { end, code }).ok();
                }
            }
            // The last line of an agent that was killed may be cut off.
            _ => {}
        }
    }
}

fn hello(line: std::io::Result<Option<String>>) -> Option<usize> {
    let slot = line.ok()??.strip_prefix("slot ")?.parse().ok()?;
    AGENTS.contains(&slot).then_some(slot)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
