//! The cache layer's own metrics, each with its moment.
//!
//! A program has one recorder, so one subject with a Redis is observed at a time.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use metrics::{
    Counter, CounterFn, Gauge, Histogram, HistogramFn, Key, KeyName, Label, Metadata, Recorder,
    SharedString, Unit,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    /// A GET of a request.
    Get,
    /// A delete of a registration or an invalidation.
    Delete,
    BreakerOpened,
    BreakerClosed,
    /// A document of Redis that was not the current one.
    Refused,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Observation {
    pub(crate) event: Event,
    pub(crate) started: Instant,
    /// The duration of an operation; zero for the others.
    pub(crate) took: Duration,
}

impl Observation {
    pub(crate) fn ended(&self) -> Instant {
        self.started + self.took
    }
}

/// Observations in the order in which they ended.
#[derive(Debug, Clone, Default)]
pub(crate) struct Observed(pub(crate) Vec<Observation>);

impl Observed {
    pub(crate) fn of(&self, event: Event) -> impl Iterator<Item = &Observation> + Clone {
        let of = move |observation: &&Observation| observation.event == event;
        self.0.iter().filter(of)
    }

    /// Returns true if the breaker was open at this moment.
    pub(crate) fn open_at(&self, moment: Instant) -> bool {
        let is_turn = |event| matches!(event, Event::BreakerOpened | Event::BreakerClosed);
        let turns = self
            .0
            .iter()
            .filter(|observation| is_turn(observation.event));
        let last = turns.take_while(|turn| turn.started < moment).last();
        last.is_some_and(|turn| turn.event == Event::BreakerOpened)
    }
}

/// The recorder.
#[derive(Debug, Clone, Default)]
pub(crate) struct Observer(Arc<Mutex<Observed>>);

impl Observer {
    /// Makes a new observer the recorder of this process.
    pub(crate) fn install() -> Self {
        let observer = Self::default();
        // Fails only if there is one already, and this program installs no other.
        let _ = metrics::set_global_recorder(observer.clone());
        observer
    }

    /// Returns all observations since the last call.
    pub(crate) fn take(&self) -> Observed {
        std::mem::take(&mut self.observed())
    }

    fn observed(&self) -> MutexGuard<'_, Observed> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn probe(&self, key: &Key) -> Option<Arc<Probe>> {
        let has = |name, value| key.labels().any(|label| *label == Label::new(name, value));
        let event = match key.name() {
            "tasker_cache_operation_duration_seconds" if has("operation", "get") => Event::Get,
            "tasker_cache_operation_duration_seconds" if has("operation", "delete") => {
                Event::Delete
            }
            "tasker_cache_breaker_transitions_total" if has("to", "open") => Event::BreakerOpened,
            "tasker_cache_breaker_transitions_total" => Event::BreakerClosed,
            "tasker_template_fills_total" if has("result", "useless") => Event::Refused,
            _ => return None,
        };
        Some(Arc::new(Probe(event, self.clone())))
    }
}

impl Recorder for Observer {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        self.probe(key)
            .map_or_else(Counter::noop, Counter::from_arc)
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        self.probe(key)
            .map_or_else(Histogram::noop, Histogram::from_arc)
    }
}

struct Probe(Event, Observer);

impl CounterFn for Probe {
    fn increment(&self, _: u64) {
        self.record(0.0);
    }

    fn absolute(&self, _: u64) {}
}

impl HistogramFn for Probe {
    fn record(&self, seconds: f64) {
        let now = Instant::now();
        let took = Duration::try_from_secs_f64(seconds).unwrap_or_default();
        self.1.observed().0.push(Observation {
            event: self.0,
            started: now.checked_sub(took).unwrap_or(now),
            took,
        });
    }
}
