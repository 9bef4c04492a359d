//! Receives the agents' lines and notes them in the history.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use super::noted;
use crate::error::ChaosError;
use crate::judge::history::{Answer, History, Read, WriteKind};

/// How long an agent may take to send the rest when the run ends.
const END_LIMIT: Duration = Duration::from_secs(10);
/// How long agents may take to start while nothing fails.
const START_LIMIT: Duration = Duration::from_mins(1);

/// Listens for agents until it ends.
pub(super) struct Collector {
    pub(super) address: String,
    connected: watch::Receiver<usize>,
    ending: watch::Sender<bool>,
    serving: JoinHandle<()>,
}

impl Collector {
    pub(super) async fn listen(history: Arc<Mutex<History>>) -> Result<Self, ChaosError> {
        let failed = || ChaosError::io("listening for agents");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let listener = listener.map_err(failed())?;
        let address = listener.local_addr().map_err(failed())?.to_string();
        let (connecting, connected) = watch::channel(0);
        let (ending, mut ended) = watch::channel(false);
        let serving = tokio::spawn(async move {
            let mut agents = JoinSet::new();
            loop {
                tokio::select! {
                    accepted = listener.accept() => if let Ok((stream, _)) = accepted {
                        connecting.send_modify(|count| *count += 1);
                        agents.spawn(receive(stream, Arc::clone(&history), ended.clone()));
                    },
                    _ = ended.changed() => break,
                }
            }
            agents.join_all().await;
        });
        Ok(Self {
            address,
            connected,
            ending,
            serving,
        })
    }

    /// Waits until so many agents have connected.
    pub(super) async fn until_connected(&self, agents: usize) -> Result<(), ChaosError> {
        let mut connected = self.connected.clone();
        let all = connected.wait_for(|count| *count >= agents);
        match tokio::time::timeout(START_LIMIT, all).await {
            Ok(_) => Ok(()),
            Err(_) => Err(ChaosError::TooSlow {
                what: "the agents",
                action: "connect",
                seconds: START_LIMIT.as_secs(),
                log: String::new(),
            }),
        }
    }

    /// Makes all agents end, and waits for the rest of their lines.
    pub(super) async fn end(self) {
        self.ending.send_replace(true);
        tokio::time::timeout(END_LIMIT, self.serving).await.ok();
    }
}

async fn receive(
    stream: TcpStream,
    history: Arc<Mutex<History>>,
    mut ended: watch::Receiver<bool>,
) {
    let (receiving, sending) = stream.into_split();
    let close = async {
        // An error means that the collector is gone, which ends the run as well.
        ended.wait_for(|ended| *ended).await.ok();
        drop(sending);
    };
    let receive = async {
        let mut receiving = BufReader::with_capacity(1 << 16, receiving);
        let (mut line, mut process) = (String::new(), 0);
        // The last line of a killed agent may be cut off.
        while receiving.read_line(&mut line).await.is_ok() && line.ends_with('\n') {
            noted(&history, |history| note(history, &mut process, &line));
            line.clear();
        }
    };
    tokio::join!(close, receive);
}

/// Notes one line. Returns `None` for one that is not understood.
fn note(history: &mut History, process: &mut u16, line: &str) -> Option<()> {
    let words: Vec<&str> = line.split_whitespace().collect();
    match words[..] {
        ["p", number] => *process = number.parse().ok()?,
        ["r", template, answer, start, end] => {
            let answer = match answer.strip_prefix('!') {
                Some(code) => Answer::Failed(history.code(code)),
                None if answer == "-" => Answer::Absent,
                None => Answer::Content(answer.parse().ok()?),
            };
            history.reads.push(Read {
                template: template.parse().ok()?,
                process: *process,
                start: start.parse().ok()?,
                end: end.parse().ok()?,
                answer,
            });
        }
        ["b", number, start] => {
            let (number, start) = (number.parse().ok()?, start.parse().ok()?);
            history.write(number, WriteKind::Registered, start, Some(*process));
        }
        ["w", number, end, ref code @ ..] => {
            let (number, end) = (number.parse().ok()?, end.parse().ok()?);
            history.written(number, end, code.first().copied());
        }
        _ => {}
    }
    Some(())
}
