//! What the cache layer tells about itself, with the moment at which it told.
//!
//! The cache layer measures each of its operations, and counts each time that its breaker turns; the
//! registry counts the bodies that Redis had and that it refused. This recorder keeps those; a
//! program has one, so one cache at a time is observed.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use metrics::{
    Counter, CounterFn, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder,
    SharedString, Unit,
};
use tasker_shared::metrics::{CACHE_BREAKER_TRANSITIONS, CACHE_OPERATION_DURATION, TEMPLATE_FILLS};

/// An operation of the cache that did I/O, or tried to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Operation {
    pub(crate) started: Instant,
    pub(crate) took: Duration,
}

/// What happened since the last time that somebody took it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Observed {
    /// Reads of requests.
    pub(crate) gets: Vec<Operation>,
    /// Deletes of registrations and invalidations.
    pub(crate) deletes: Vec<Operation>,
    /// When the breaker opened (true) and closed.
    pub(crate) transitions: Vec<(Instant, bool)>,
    /// How many bodies Redis answered that were not the current ones.
    pub(crate) refused_bodies: usize,
}

impl Observed {
    /// From when to when the breaker was open, up to `end`.
    pub(crate) fn open_spans(&self, end: Instant) -> Vec<(Instant, Instant)> {
        let mut spans = Vec::new();
        let mut since = None;
        for (at, opened) in &self.transitions {
            match (opened, since) {
                (true, _) => since = Some(*at),
                (false, Some(start)) => {
                    spans.push((start, *at));
                    since = None;
                }
                (false, None) => {}
            }
        }
        spans.extend(since.map(|start| (start, end)));
        spans
    }
}

/// The recorder.
#[derive(Debug, Clone, Default)]
pub(crate) struct Observer(Arc<Mutex<Observed>>);

impl Observer {
    /// An observer that this process' metrics go to from now on. The first call counts.
    pub(crate) fn install() -> Self {
        let observer = Self::default();
        // Nobody else in this program installs one.
        let _ = metrics::set_global_recorder(observer.clone());
        observer
    }

    pub(crate) fn take(&self) -> Observed {
        std::mem::take(&mut self.observed())
    }

    fn observed(&self) -> MutexGuard<'_, Observed> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Recorder for Observer {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        if key.name() == TEMPLATE_FILLS.name && label(key, "result") == Some("useless") {
            return Counter::from_arc(Arc::new(RefusedBodies(self.clone())));
        }
        if key.name() != CACHE_BREAKER_TRANSITIONS.name {
            return Counter::noop();
        }
        Counter::from_arc(Arc::new(Transitions {
            opened: label(key, "to") == Some("open"),
            observer: self.clone(),
        }))
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        let of = match label(key, "operation") {
            Some("get") => OperationKind::Get,
            Some("delete") => OperationKind::Delete,
            _ => return Histogram::noop(),
        };
        if key.name() != CACHE_OPERATION_DURATION.name {
            return Histogram::noop();
        }
        Histogram::from_arc(Arc::new(Operations {
            of,
            observer: self.clone(),
        }))
    }
}

fn label<'a>(key: &'a Key, name: &str) -> Option<&'a str> {
    key.labels()
        .find(|label| label.key() == name)
        .map(metrics::Label::value)
}

struct Transitions {
    opened: bool,
    observer: Observer,
}

impl CounterFn for Transitions {
    fn increment(&self, _: u64) {
        self.observer
            .observed()
            .transitions
            .push((Instant::now(), self.opened));
    }

    fn absolute(&self, _: u64) {}
}

struct RefusedBodies(Observer);

impl CounterFn for RefusedBodies {
    fn increment(&self, _: u64) {
        self.0.observed().refused_bodies += 1;
    }

    fn absolute(&self, _: u64) {}
}

enum OperationKind {
    Get,
    Delete,
}

struct Operations {
    of: OperationKind,
    observer: Observer,
}

impl HistogramFn for Operations {
    fn record(&self, seconds: f64) {
        let now = Instant::now();
        let took = Duration::try_from_secs_f64(seconds).unwrap_or_default();
        let operation = Operation {
            started: now.checked_sub(took).unwrap_or(now),
            took,
        };
        let mut observed = self.observer.observed();
        match self.of {
            OperationKind::Get => observed.gets.push(operation),
            OperationKind::Delete => observed.deletes.push(operation),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::Observed;

    #[test]
    fn a_breaker_that_is_still_open_is_so_until_the_end() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let observed = Observed {
            transitions: vec![(at(1), true), (at(2), false), (at(3), true)],
            ..Observed::default()
        };
        assert_eq!(observed.open_spans(at(9)), [(at(1), at(2)), (at(3), at(9))]);
    }
}
