//! Reads that come together are sent together.
//!
//! Whoever reads a key while nobody else does sends it itself. Whoever comes meanwhile hands its key
//! over and waits: one task sends what has been handed over, many keys at a time, so that the
//! connection, the limit and the breaker are seen to once for all of them. In a cluster, where each
//! key has a primary of its own, each is sent by itself.

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
    /// How many requests are under way.
    under_way: usize,
    /// Nobody sends any more.
    closed: bool,
}

struct Get {
    key: String,
    since: Instant,
    answer: oneshot::Sender<Answer>,
}

impl Gets {
    /// The value of `key`, within the budget of one request. A caller that goes away takes no answer
    /// from the others.
    pub(super) async fn get(&self, core: &Core, key: &str) -> Answer {
        if let Err(error) = core.admit() {
            return refused(core, error);
        }
        match self.turn(key) {
            // Boxed: it is large, and few of many reads at a time are alone.
            Some(Turn::Alone(under_way)) => Box::pin(alone(core, key, under_way)).await,
            Some(Turn::Together(told)) => match told.await {
                Ok(answer) => answer,
                Err(_closed) => refused(core, SHUT_DOWN),
            },
            None => refused(core, SHUT_DOWN),
        }
    }

    /// Whether a read that comes now is alone; else its key is handed over. None if nobody sends any
    /// more.
    fn turn(&self, key: &str) -> Option<Turn<'_>> {
        let mut state = self.state();
        if state.closed {
            return None;
        }
        if state.under_way == 0 && state.waiting.is_empty() {
            state.under_way = 1;
            return Some(Turn::Alone(UnderWay(self)));
        }
        let (answer, told) = oneshot::channel();
        state.waiting.push(Get {
            key: key.to_owned(),
            since: Instant::now(),
            answer,
        });
        if state.waiting.len() == 1 {
            // Not before the lock is released: the task that is woken takes it.
            drop(state);
            self.added.notify_one();
        }
        Some(Turn::Together(told))
    }

    fn begin(&self) -> UnderWay<'_> {
        self.state().under_way += 1;
        UnderWay(self)
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

/// How a read is sent.
enum Turn<'a> {
    Alone(UnderWay<'a>),
    Together(oneshot::Receiver<Answer>),
}

/// A request that is under way, until it is dropped.
struct UnderWay<'a>(&'a Gets);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.state().under_way -= 1;
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
                    under_way.push(send(core, batch, gets.begin()));
                }
            }
            Some(bytes) = under_way.next() => mean_bytes = (mean_bytes * 3 + bytes) / 4,
        }
    }
}

/// Sends one key, for the caller that reads it.
async fn alone(core: &Core, key: &str, _under_way: UnderWay<'_>) -> Answer {
    let since = Instant::now();
    let command = commands::get(key);
    let answer = match core.call(&Request::One(&command), core.budget).await {
        Ok(value) => commands::text(value).map_err(|bad| core.bad_answer(bad)),
        Err(error) => of_key(core, error),
    };
    core.measure_many("get", since, result(&answer), 1);
    answer
}

/// Sends a batch and tells its answers; how many bytes one of them has on average.
async fn send(core: &Core, batch: Vec<Get>, _under_way: UnderWay<'_>) -> usize {
    let mut pipeline = redis::Pipeline::with_capacity(batch.len());
    for get in &batch {
        pipeline.add_command(commands::get(&get.key));
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

#[cfg(test)]
mod tests {
    use super::{Gets, Turn};

    fn is_alone(turn: Option<&Turn<'_>>) -> bool {
        match turn {
            Some(Turn::Alone(_)) => true,
            Some(Turn::Together(_)) => false,
            None => panic!("nobody sends any more"),
        }
    }

    #[test]
    fn a_read_is_alone_while_no_other_is_waiting_or_under_way() {
        let gets = Gets::default();
        let first = gets.turn("a");
        assert!(is_alone(first.as_ref()));
        assert!(!is_alone(gets.turn("b").as_ref()));
        // As if the caller went away.
        drop(first);
        assert!(!is_alone(gets.turn("c").as_ref()), "b is not sent yet");
        assert_eq!(gets.take().len(), 2);
        let batch = gets.begin();
        assert!(!is_alone(gets.turn("d").as_ref()));
        assert_eq!(gets.take().len(), 1);
        drop(batch);
        assert!(is_alone(gets.turn("e").as_ref()));
        gets.close();
        assert!(gets.turn("f").is_none());
    }
}
