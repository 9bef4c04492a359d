//! Reads that come together are sent together.
//!
//! Whoever reads a key hands it over and waits. One task sends what has been handed over, many keys
//! at a time, so that the connection, the limit and the breaker are seen to once for all of them. In
//! a cluster, where each key has a primary of its own, each is sent by itself.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use redis::Value;
use tokio::sync::{Notify, oneshot};

use super::commands;
use super::faults;
use super::link::Request;
use super::operation::Core;
use crate::cache::{BadAnswer, CacheError, ConnectionFault};

/// The most keys that are sent together: a connection that stalls holds up all of them.
const TOGETHER: usize = 32;
/// About how many bytes the answers of those may have, by what answers had so far: all of them have to
/// arrive within the budget.
const TOGETHER_BYTES: usize = 256 * 1024;

type Answer = Result<Option<String>, CacheError>;

/// The reads that are to be sent.
#[derive(Default)]
pub(super) struct Gets {
    state: Mutex<State>,
    added: Notify,
}

#[derive(Default)]
struct State {
    waiting: Vec<Get>,
    /// Nobody sends any more.
    closed: bool,
}

struct Get {
    key: String,
    since: Instant,
    answer: oneshot::Sender<Answer>,
}

impl Gets {
    /// The value of `key`, within the budget of one request, which the task that sends keeps. A
    /// caller that goes away takes no answer from the others.
    pub(super) async fn get(&self, core: &Core, key: &str) -> Answer {
        if let Err(error) = core.admit() {
            return refused(core, error);
        }
        let (answer, told) = oneshot::channel();
        let get = Get {
            key: key.to_owned(),
            since: Instant::now(),
            answer,
        };
        let first = {
            let mut state = self.state();
            if state.closed {
                return refused(core, SHUT_DOWN);
            }
            state.waiting.push(get);
            state.waiting.len() == 1
        };
        if first {
            self.added.notify_one();
        }
        match told.await {
            Ok(answer) => answer,
            Err(_closed) => refused(core, SHUT_DOWN),
        }
    }

    fn take(&self) -> Vec<Get> {
        std::mem::take(&mut self.state().waiting)
    }

    fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        state.waiting.clear();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const SHUT_DOWN: CacheError = CacheError::ConnectionError(ConnectionFault::ShutDown);

/// The answer to a read that was never sent.
fn refused(core: &Core, error: CacheError) -> Answer {
    core.measure_many("get", Instant::now(), error.kind(), 1);
    Err(error)
}

/// Tells all who wait that nobody sends any more, however the sending ends.
struct Closing(Arc<Gets>);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// Sends what is handed over, until stopped. Whoever drops this ends it, polled or not.
pub(super) fn run(core: Arc<Core>, gets: Arc<Gets>) -> impl Future<Output = ()> {
    let closing = Closing(gets);
    async move { send_all(&core, &closing.0).await }
}

async fn send_all(core: &Core, gets: &Gets) {
    let mut mean_bytes = 0;
    let mut under_way = FuturesUnordered::new();
    loop {
        tokio::select! {
            () = gets.added.notified() => {
                // Those who are about to run come along.
                tokio::task::yield_now().await;
                let together = match core.endpoint.cluster() {
                    Some(_) => 1,
                    None => (TOGETHER_BYTES / mean_bytes.max(1)).clamp(1, TOGETHER),
                };
                let mut waiting = gets.take().into_iter().peekable();
                while waiting.peek().is_some() {
                    let batch = waiting.by_ref().take(together).collect();
                    under_way.push(send(core, batch));
                }
            }
            Some(bytes) = under_way.next() => mean_bytes = (mean_bytes * 3 + bytes) / 4,
        }
    }
}

/// Sends a batch and tells its answers; how many bytes one of them has on average.
async fn send(core: &Core, batch: Vec<Get>) -> usize {
    let mut pipeline = redis::Pipeline::with_capacity(batch.len());
    for get in &batch {
        pipeline.cmd("GET").arg(&get.key);
    }
    let answers: Vec<Answer> = match core.call(&Request::Each(&pipeline), core.budget).await {
        Ok(Value::Array(values)) if values.len() == batch.len() => {
            values.into_iter().map(|value| text(core, value)).collect()
        }
        Ok(_) => vec![Err(core.bad_answer(BadAnswer::Garbage)); batch.len()],
        Err(error) => vec![of_key(core, error); batch.len()],
    };
    measure(core, &batch, &answers);
    let texts = answers.iter().flatten().flatten();
    let bytes = texts.map(String::len).sum::<usize>() / batch.len().max(1);
    for (get, answer) in batch.into_iter().zip(answers) {
        // A reader that has gone away wants no answer.
        let _ = get.answer.send(answer);
    }
    bytes
}

/// Counts each result once for all that have it.
fn measure(core: &Core, batch: &[Get], answers: &[Answer]) {
    let Some(since) = batch.first().map(|get| get.since) else {
        return;
    };
    let mut results: Vec<&'static str> = answers.iter().map(result).collect();
    results.sort_unstable();
    for same in results.chunk_by(PartialEq::eq) {
        let count = u32::try_from(same.len()).unwrap_or(u32::MAX);
        core.measure_many("get", since, same[0], count);
    }
}

fn result(answer: &Answer) -> &'static str {
    match answer {
        Ok(Some(_)) => "hit",
        Ok(None) => "miss",
        Err(error) => error.kind(),
    }
}

/// What one of the answers says.
fn text(core: &Core, value: Value) -> Answer {
    match value.extract_error().map_err(faults::of_operation) {
        Ok(value) => commands::text(value).map_err(|bad| core.bad_answer(bad)),
        Err(error) => {
            core.answered_with(None, &error);
            of_key(core, error)
        }
    }
}

/// An error as the reader of a key sees it.
fn of_key(core: &Core, error: CacheError) -> Answer {
    Err(if commands::is_wrong_type(&error) {
        core.bad_answer(BadAnswer::WrongType)
    } else {
        error
    })
}
