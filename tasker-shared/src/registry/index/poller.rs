//! The one task that writes the template index.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};
use tracing::{Instrument, debug, info, warn};

use super::clock::Moment;
use super::queries::{self, Changes, Position};
use super::{PollReason, Shared, TemplateIndex, listener};
use crate::database::{self, DatabaseError};
use crate::metrics::{
    DIRECTORY_AGE, DIRECTORY_LAG, DIRECTORY_POLLS, DIRECTORY_RELOADS, DIRECTORY_TEMPLATES,
};

/// The longest time that a poll may take.
const POLL_LIMIT: Duration = Duration::from_secs(2);
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
    let poller = Poller {
        interval: interval(shared.max_staleness),
        position: None,
        failures: 0,
        last_sent: None,
        shared,
    };
    cancel
        .run_until_cancelled(poller.run())
        .instrument(tracing::info_span!("template_index_poller"))
        .await;
}

// Four polls within the bound: one or two may be lost before a resolve has to wait.
fn interval(max_staleness: Duration) -> Duration {
    if max_staleness.is_zero() {
        // Every resolve polls anyway. This keeps the snapshot recent between resolves.
        return Duration::from_secs(1);
    }
    (max_staleness / 4).clamp(Duration::from_millis(5), Duration::from_secs(5))
}

struct Poller {
    shared: Arc<Shared>,
    interval: Duration,
    position: Option<Position>,
    failures: u32,
    last_sent: Option<Instant>,
}

impl Poller {
    async fn run(mut self) {
        let mut reason = PollReason::Start;
        loop {
            let sent = Moment::now();
            self.last_sent = Some(Instant::now());
            // Nobody waits for this change.
            self.shared.reports.send_if_modified(|report| {
                report.sent = Some(sent);
                false
            });
            let result = self.poll().await;
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
            () = sleep_until(sent + self.interval) => PollReason::Timer,
        }
    }

    /// Returns true if the last poll may have missed the announced position. In another history an
    /// equal position may be missed; the next poll by the interval finds it.
    fn is_news(&self, announced: i64) -> bool {
        self.position
            .is_none_or(|position| position.sequence < announced)
    }

    async fn poll(&mut self) -> Result<(), DatabaseError> {
        if let Some(position) = self.position {
            let answer =
                database::run_idempotent(&self.shared.pool, POLL_LIMIT, move |connection| {
                    Box::pin(queries::poll(connection, position))
                })
                .await?;
            match answer {
                Changes::Since {
                    position,
                    changes,
                    lag_seconds,
                } => {
                    if !changes.is_empty() {
                        self.publish(self.shared.snapshot.load().with_changes(changes));
                    }
                    metrics::gauge!(DIRECTORY_LAG.name).set(lag_seconds.unwrap_or(0.0));
                    self.position = Some(position);
                    return Ok(());
                }
                Changes::OtherHistory => {
                    info!(
                        sequence = position.sequence,
                        "the database has another history; loading all template names"
                    );
                }
            }
        }
        let reason = if self.position.is_none() {
            "start"
        } else {
            "other_history"
        };
        metrics::counter!(DIRECTORY_RELOADS.name, "reason" => reason).increment(1);
        let (position, names) =
            database::run_idempotent(&self.shared.pool, LOAD_LIMIT, |connection| {
                Box::pin(queries::load(connection))
            })
            .await?;
        self.publish(self.shared.snapshot.load().replaced_by(names));
        self.position = Some(position);
        Ok(())
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
                self.shared.validity.renew(sent);
                self.shared
                    .reports
                    .send_modify(|report| report.succeeded = Some(sent));
                metrics::gauge!(DIRECTORY_AGE.name).set(Moment::now().since(sent).as_secs_f64());
            }
            Err(error) => {
                self.failures += 1;
                if self.failures == 1 {
                    warn!(%error, "polling the template index failed; serving templates from memory until the staleness bound");
                } else {
                    debug!(%error, failures = self.failures, "polling the template index failed");
                }
                self.shared
                    .reports
                    .send_modify(|report| report.failed = Some(sent));
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
