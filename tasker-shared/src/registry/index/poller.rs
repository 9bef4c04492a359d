//! The one task that writes the template index.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use sqlx::{Connection, PgPool};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::{Instrument, debug, info, warn};

use super::clock::Moment;
use super::queries::{self, Changes, Position};
use super::{PollReason, Shared, TemplateIndex, listener};
use crate::database::{self, DatabaseError, pool};
use crate::metrics::{
    DIRECTORY_AGE, DIRECTORY_LAG, DIRECTORY_POLLS, DIRECTORY_RELOADS, DIRECTORY_TEMPLATES,
};

/// The longest time that a poll may take.
const POLL_LIMIT: Duration = Duration::from_secs(2);
/// The connections of the poller. They are its own, because the pool's may all wait for a lock.
const CONNECTIONS: u32 = 2;
/// The longest time that closing them may take.
const CLOSE_LIMIT: Duration = Duration::from_millis(500);
/// The polls that may be late in a row before all names are loaded instead, because loading may take longer.
const LATE_POLLS: u32 = 2;
/// The longest time that loading all names may take.
const LOAD_LIMIT: Duration = Duration::from_secs(30);
/// The pause between polls for unknown names, so that a flood of them costs the database little.
const UNKNOWN_NAME_PAUSE: Duration = Duration::from_millis(50);
/// The pause between polls for notifications, because they arrive as fast as commits.
const NOTIFIED_PAUSE: Duration = Duration::from_millis(5);
/// The first pause after a poll that failed; it doubles up to the second.
const FIRST_FAILURE_PAUSE: Duration = Duration::from_millis(50);
const LAST_FAILURE_PAUSE: Duration = Duration::from_millis(500);

impl TemplateIndex {
    /// Starts polling and listening. Does nothing the second time. Must be called within a
    /// Tokio runtime.
    pub(crate) fn start(&self) {
        if self.started.load(Ordering::Relaxed) || self.started.swap(true, Ordering::AcqRel) {
            return;
        }
        self.tasks.spawn(run(Arc::clone(&self.shared)));
        self.tasks.spawn(listener::run(Arc::clone(&self.shared)));
        self.tasks.close();
    }
}

async fn run(shared: Arc<Shared>) {
    let cancel = shared.cancel.clone();
    let pool = pool::apart(&shared.pool, CONNECTIONS);
    let poller = Poller {
        interval: interval(shared.max_staleness),
        pool: pool.clone(),
        position: None,
        failures: 0,
        late: 0,
        was_standby: false,
        last_sent: None,
        shared,
    };
    async {
        cancel.run_until_cancelled(Box::pin(poller.run())).await;
        timeout(CLOSE_LIMIT, pool.close()).await.ok();
    }
    .instrument(tracing::info_span!("template_index_poller"))
    .await;
}

// A poll that hangs, and is answered by a second connection, is still in time. More polls would cost
// the database more than two statements per second.
fn interval(max_staleness: Duration) -> Duration {
    if max_staleness.is_zero() {
        // Every resolve polls anyway. This keeps the snapshot recent between resolves.
        return Duration::from_secs(1);
    }
    (max_staleness * 2 / 3).clamp(Duration::from_millis(5), Duration::from_secs(5))
}

struct Poller {
    shared: Arc<Shared>,
    pool: PgPool,
    interval: Duration,
    position: Option<Position>,
    failures: u32,
    /// Polls without an answer in time since the last good one.
    late: u32,
    was_standby: bool,
    last_sent: Option<Instant>,
}

impl Poller {
    async fn run(mut self) {
        let mut reason = PollReason::Start;
        loop {
            self.last_sent = Some(Instant::now());
            let (sent, result) = self.poll().await;
            self.report(sent, reason, result).await;
            reason = self.wait().await;
        }
    }

    // Waits for a reason to poll. A reason that arrived during the last poll counts.
    async fn wait(&self) -> PollReason {
        let sent = self.last_sent.unwrap_or_else(Instant::now);
        let shared = &self.shared;
        tokio::select! {
            biased;
            () = shared.wanted.notified() => PollReason::Stale,
            () = async {
                loop {
                    // An announcement newer than the last poll is still pending.
                    if shared.announced.load(Ordering::Acquire) == 0 {
                        shared.notified.notified().await;
                    }
                    sleep_until(sent + NOTIFIED_PAUSE).await;
                    if self.is_news(shared.announced.swap(0, Ordering::AcqRel)) {
                        return;
                    }
                }
            } => PollReason::Notified,
            () = async {
                shared.wanted_for_unknown_name.notified().await;
                sleep_until(sent + UNKNOWN_NAME_PAUSE).await;
            } => PollReason::UnknownName,
            () = self.due(sent + self.interval) => PollReason::Timer,
        }
    }

    /// Waits until the pointers have to be renewed for resolves. That is never if nothing is resolved.
    async fn due(&self, mut next: Instant) {
        // The pause after a failure is over. Its end is looked for in any case, because metrics show it.
        if self.failures > 0 {
            return;
        }
        loop {
            sleep_until(next).await;
            if self.shared.usage.is_recent() {
                return;
            }
            next = Instant::now() + self.interval;
        }
    }

    /// Returns the moment of a poll that is sent now.
    fn sent_now(&self) -> Moment {
        let sent = Moment::now();
        // Nobody waits for this change.
        self.shared.reports.send_if_modified(|report| {
            report.sent = Some(sent);
            false
        });
        sent
    }

    /// Returns true if the last poll may have missed the announced position. In another history an
    /// equal position may be missed; the next poll by the interval finds it.
    fn is_news(&self, announced: i64) -> bool {
        self.position
            .is_none_or(|position| position.sequence < announced)
    }

    /// Polls, and returns the moment at which the answered poll was sent.
    async fn poll(&mut self) -> (Moment, Result<(), DatabaseError>) {
        let Some(position) = self.position else {
            return self.load("start").await;
        };
        // The changes of very many templates may take longer than a poll over a slow link. A load on a
        // lost connection would hang for all of its limit.
        if self.late >= LATE_POLLS && self.is_answered().await {
            return self.load("late").await;
        }
        match self.changes(position).await {
            (
                sent,
                Ok(Changes::Since {
                    position,
                    changes,
                    lag_seconds,
                }),
            ) => {
                if !changes.is_empty() {
                    self.publish(self.shared.snapshot.load().with_changes(changes));
                }
                metrics::gauge!(DIRECTORY_LAG.name).set(lag_seconds.unwrap_or(0.0));
                self.position = Some(position);
                self.late = 0;
                (sent, Ok(()))
            }
            (_, Ok(Changes::OtherHistory)) => {
                info!(
                    sequence = position.sequence,
                    "the database has another history; loading all template names"
                );
                self.load("other_history").await
            }
            (sent, Err(error)) => {
                self.late += u32::from(matches!(error, DatabaseError::Late(_)));
                (sent, Err(error))
            }
        }
    }

    /// Returns true if PostgreSQL answers now.
    async fn is_answered(&self) -> bool {
        let ping = database::run_idempotent(&self.pool, POLL_LIMIT, |connection| {
            Box::pin(connection.ping())
        });
        ping.await.is_ok()
    }

    /// Reads the changes after `position`. If the answer does not come soon, asks on a second
    /// connection, and returns the first answer.
    async fn changes(&self, position: Position) -> (Moment, Result<Changes, DatabaseError>) {
        let second = Box::pin(self.ask_anew(position));
        database::first_good(self.ask(position), second, |(_, answer)| answer.is_ok()).await
    }

    async fn ask(&self, position: Position) -> (Moment, Result<Changes, DatabaseError>) {
        let sent = self.sent_now();
        let answer = database::run_on(&self.pool, POLL_LIMIT, move |connection| {
            Box::pin(queries::poll(connection, position))
        });
        (sent, answer.await)
    }

    async fn ask_anew(&self, position: Position) -> (Moment, Result<Changes, DatabaseError>) {
        let sent = self.sent_now();
        // The pool of requests, because it may have moved to another address of the host.
        let answer = database::run_anew(&self.shared.pool, POLL_LIMIT, move |connection| {
            Box::pin(queries::poll(connection, position))
        });
        (sent, answer.await)
    }

    async fn load(&mut self, reason: &'static str) -> (Moment, Result<(), DatabaseError>) {
        metrics::counter!(DIRECTORY_RELOADS.name, "reason" => reason).increment(1);
        self.late = 0;
        let sent = self.sent_now();
        let loaded = database::run_idempotent(&self.pool, LOAD_LIMIT, |connection| {
            Box::pin(queries::load(connection))
        });
        let result = loaded.await.map(|(position, names)| {
            self.publish(self.shared.snapshot.load().replaced_by(names));
            self.position = Some(position);
        });
        (sent, result)
    }

    fn publish(&self, next: super::Snapshot) {
        #[expect(
            clippy::cast_precision_loss,
            reason = "there are fewer than 2^52 templates"
        )]
        metrics::gauge!(DIRECTORY_TEMPLATES.name).set(next.len() as f64);
        self.shared.snapshot.store(Arc::new(next));
    }

    async fn report(
        &mut self,
        sent: Moment,
        reason: PollReason,
        result: Result<(), DatabaseError>,
    ) {
        let label = match &result {
            Ok(()) => "ok",
            Err(DatabaseError::Late(_)) => "timeout",
            Err(_) => "error",
        };
        metrics::counter!(DIRECTORY_POLLS.name, "reason" => reason.label(), "result" => label)
            .increment(1);
        match result {
            Ok(()) => {
                if self.failures > 0 {
                    info!(
                        failures = self.failures,
                        "polling the template index succeeds again"
                    );
                }
                self.failures = 0;
                if std::mem::take(&mut self.was_standby) {
                    // The address leads to a primary again. Other connections may still lead to the
                    // standby.
                    database::expire_connections_now();
                }
                self.shared.note_error(None);
                self.shared.validity.renew(sent);
                self.shared.reports.send_modify(|report| {
                    // A second poll that was under way was given up.
                    report.sent = Some(sent);
                    report.succeeded = Some(sent);
                });
                metrics::gauge!(DIRECTORY_AGE.name).set(Moment::now().since(sent).as_secs_f64());
            }
            Err(error) => {
                let error = Arc::new(database::diagnose(&self.shared.pool, error).await);
                self.shared.note_error(Some(Arc::clone(&error)));
                self.failures += 1;
                // Another address of the host may be in use by now.
                let options = self.shared.pool.connect_options();
                self.pool.set_connect_options((*options).clone());
                self.was_standby |= matches!(*error, DatabaseError::Standby);
                if self.failures == 1 {
                    warn!(%error, "polling the template index failed; serving templates from memory until the staleness bound");
                } else {
                    debug!(%error, failures = self.failures, "polling the template index failed");
                }
                self.shared.reports.send_modify(|report| {
                    report.sent = Some(sent);
                    report.failed = Some(sent);
                });
                let age = self.shared.reports.borrow().succeeded;
                if let Some(age) = age {
                    metrics::gauge!(DIRECTORY_AGE.name).set(Moment::now().since(age).as_secs_f64());
                }
                let pause = FIRST_FAILURE_PAUSE * 2u32.saturating_pow(self.failures.min(5) - 1);
                sleep(
                    pause
                        .min(LAST_FAILURE_PAUSE)
                        .mul_f64(rand::random_range(0.5..1.0)),
                )
                .await;
            }
        }
    }
}
