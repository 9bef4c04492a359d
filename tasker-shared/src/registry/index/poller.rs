//! The one task that writes the directory.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};
use tracing::{Instrument, debug, info, warn};

use super::clock::Moment;
use super::queries::{self, News, Place};
use super::{PollReason, Shared};
use crate::database::{self, DatabaseError};
use crate::metrics::{
    DIRECTORY_AGE, DIRECTORY_LAG, DIRECTORY_POLLS, DIRECTORY_RELOADS, DIRECTORY_TEMPLATES,
};

/// How long a poll may take before its connection is given up.
const POLL_LIMIT: Duration = Duration::from_secs(2);
/// How long reading everything may take.
const LOAD_LIMIT: Duration = Duration::from_secs(30);
/// The pause between polls for names that are not known, which bounds what a flood of unknown
/// names costs the database.
const UNKNOWN_NAME_PAUSE: Duration = Duration::from_millis(50);
/// The pause between polls for notifications, which come as fast as commits do.
const NOTIFIED_PAUSE: Duration = Duration::from_millis(5);
/// The first pause after a poll that failed; it doubles up to the second.
const FIRST_FAILURE_PAUSE: Duration = Duration::from_millis(50);
const LAST_FAILURE_PAUSE: Duration = Duration::from_millis(500);

pub(super) async fn run(shared: Arc<Shared>) {
    let cancel = shared.cancel.clone();
    let poller = Poller {
        interval: interval(shared.max_staleness),
        place: None,
        failures: 0,
        last_sent: None,
        shared,
    };
    cancel
        .run_until_cancelled(poller.run())
        .instrument(tracing::info_span!("template_directory_poller"))
        .await;
}

// Four polls within the bound: one or two may be lost before a resolve has to wait.
fn interval(max_staleness: Duration) -> Duration {
    if max_staleness.is_zero() {
        // Every resolve polls anyway; this keeps the picture near when nobody asks.
        return Duration::from_secs(1);
    }
    (max_staleness / 4).clamp(Duration::from_millis(5), Duration::from_secs(5))
}

struct Poller {
    shared: Arc<Shared>,
    interval: Duration,
    place: Option<Place>,
    failures: u32,
    last_sent: Option<Instant>,
}

impl Poller {
    async fn run(mut self) {
        let mut reason = PollReason::Start;
        loop {
            let sent = Moment::now();
            self.last_sent = Some(Instant::now());
            // Nobody waits for this.
            self.shared.reports.send_if_modified(|report| {
                report.sent = Some(sent);
                false
            });
            let result = self.poll().await;
            self.report(sent, reason, result).await;
            reason = self.wait().await;
        }
    }

    // Waits for a reason to poll. A reason that comes while a poll is under way is kept.
    async fn wait(&self) -> PollReason {
        let sent = self.last_sent.unwrap_or_else(Instant::now);
        let shared = &self.shared;
        tokio::select! {
            biased;
            () = shared.wanted.notified() => PollReason::Stale,
            () = async {
                loop {
                    // What a poll for another reason came before was not looked at.
                    if shared.announced.load(Ordering::Acquire) == 0 {
                        shared.notified.notified().await;
                    }
                    sleep_until(sent + NOTIFIED_PAUSE).await;
                    // The sender is there as long as `shared` is.
                    let mut own_writes = shared.own_writes.subscribe();
                    own_writes.wait_for(|writes| *writes == 0).await.ok();
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

    /// Whether a poll may not have seen what was announced. In another history the same place may
    /// be news that is taken for old: it comes with the interval.
    fn is_news(&self, announced: i64) -> bool {
        self.place.is_none_or(|place| place.sequence < announced)
    }

    async fn poll(&mut self) -> Result<(), DatabaseError> {
        if let Some(place) = self.place {
            let news = database::read(&self.shared.pool, POLL_LIMIT, move |connection| {
                Box::pin(queries::poll(connection, place))
            })
            .await?;
            match news {
                News::Since {
                    place,
                    changes,
                    lag_seconds,
                } => {
                    if !changes.is_empty() {
                        let (next, gone) = self.shared.snapshot.load().with_changes(changes);
                        self.publish(next, &gone);
                    }
                    metrics::gauge!(DIRECTORY_LAG.name).set(lag_seconds.unwrap_or(0.0));
                    self.place = Some(place);
                    return Ok(());
                }
                News::OtherHistory => {
                    info!(
                        sequence = place.sequence,
                        "the database has another history; reading all templates"
                    );
                }
            }
        }
        let reason = if self.place.is_none() {
            "start"
        } else {
            "other_history"
        };
        metrics::counter!(DIRECTORY_RELOADS.name, "reason" => reason).increment(1);
        // Who waited for this reads next, as a boot does that looks its files up, and may do so on the
        // same connection.
        let connections = self.shared.connections.without_turns();
        let (place, names) = database::read_on(&connections, LOAD_LIMIT, |connection| {
            Box::pin(queries::load(connection))
        })
        .await?;
        let (next, gone) = self.shared.snapshot.load().replaced_by(names);
        self.publish(next, &gone);
        self.place = Some(place);
        Ok(())
    }

    fn publish(&self, next: super::Snapshot, gone: &[Arc<super::Entry>]) {
        #[expect(
            clippy::cast_precision_loss,
            reason = "there are fewer than 2^52 templates"
        )]
        metrics::gauge!(DIRECTORY_TEMPLATES.name).set(next.len() as f64);
        self.shared.snapshot.store(Arc::new(next));
        // After the picture, so that whoever still finds one of these current is heard of here.
        for entry in gone {
            (self.shared.on_gone)(entry);
        }
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
                        "the template directory is polled again"
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
                    warn!(%error, "the template directory cannot be polled; templates are served from memory until the bound");
                } else {
                    debug!(%error, failures = self.failures, "the template directory cannot be polled");
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
