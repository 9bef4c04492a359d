//! Looks at a task that go on while the service restarts.

use std::future::pending;
use std::time::Duration;

use tasker_shared::error_chain::Chain;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep, timeout_at};

use super::steps;
use crate::answer::Answer;
use crate::error::CliError;
use crate::progress;
use crate::service::Service;

/// The pause after a look that failed.
const PAUSE: Duration = Duration::from_millis(500);

/// The end of a wait; none if it is further away than an [`Instant`] can be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deadline(Option<Instant>);

impl Deadline {
    pub(super) fn after(limit: Duration) -> Self {
        Self(Instant::now().checked_add(limit))
    }

    pub(super) fn is_over(self) -> bool {
        self.is_within(Duration::ZERO)
    }

    fn is_within(self, pause: Duration) -> bool {
        self.0.is_some_and(|end| Instant::now() + pause >= end)
    }

    /// Awaits `work`. Returns nothing if it is not done at the deadline.
    pub(super) async fn bound<T>(self, work: impl Future<Output = T>) -> Option<T> {
        match self.0 {
            Some(end) => timeout_at(end, work).await.ok(),
            None => Some(work.await),
        }
    }
}

/// A task, as a look has found it.
#[derive(Debug)]
pub(super) struct Look {
    pub(super) task: Answer,
    /// Looks before it failed, which was said on standard error.
    pub(super) was_away: bool,
}

/// Looks at a task. Tries again until the deadline if the service does not answer or cannot serve,
/// because a task runs on while a service restarts.
///
/// # Errors
/// The last failure before the deadline, and one that will not pass at once.
pub(super) async fn look(
    service: &Service,
    uuid: &str,
    deadline: Deadline,
) -> Result<Look, CliError> {
    let mut was_away = false;
    loop {
        let error = match steps::get(service, uuid).await {
            Ok(task) => return Ok(Look { task, was_away }),
            Err(error) => error,
        };
        if !error.may_pass() || deadline.is_within(PAUSE) {
            return Err(error);
        }
        if !was_away {
            progress::note(&format!("warning: {}; trying again", Chain(&error)));
            was_away = true;
        }
        sleep(PAUSE).await;
    }
}

/// Waits for Ctrl-C or a request to terminate; for ever if those cannot be received.
pub(super) async fn interrupted() {
    let received = async |kind| match signal(kind) {
        Ok(mut signals) => {
            signals.recv().await;
        }
        Err(_) => pending().await,
    };
    tokio::select! {
        () = received(SignalKind::interrupt()) => {}
        () = received(SignalKind::terminate()) => {}
    }
}
