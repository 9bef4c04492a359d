//! Readings of metrics.

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};
use tasker_shared::metrics::Metric;

/// The metrics of what runs on this thread while it is there. The runtime of a test has one thread,
/// so these are the test's metrics, and nobody else's.
pub(crate) struct Metrics {
    handle: PrometheusHandle,
    _recorder: metrics::LocalRecorderGuard<'static>,
}

impl Metrics {
    pub(crate) fn of_this_thread() -> Self {
        // A recorder must outlive its guard; a test's may live for as long as its process.
        let recorder: &'static PrometheusRecorder =
            Box::leak(Box::new(PrometheusBuilder::new().build_recorder()));
        Self {
            handle: recorder.handle(),
            _recorder: metrics::set_default_local_recorder(recorder),
        }
    }

    /// A gauge without labels; none before it is set.
    pub(crate) fn gauge(&self, metric: &Metric) -> Option<f64> {
        let text = self.handle.render();
        text.lines()
            .find_map(|line| line.strip_prefix(metric.name)?.strip_prefix(' '))?
            .parse()
            .ok()
    }

    /// A metric over all of its labels.
    pub(crate) fn sum(&self, metric: &Metric) -> f64 {
        self.sum_of(metric, "")
    }

    /// A metric over those of its labels that have `label` among them, such as `kind="some"`.
    pub(crate) fn sum_of(&self, metric: &Metric, label: &str) -> f64 {
        let text = self.handle.render();
        let lines = text.lines().filter(|line| {
            let rest = line.strip_prefix(metric.name);
            rest.is_some_and(|rest| rest.starts_with(['{', ' ']) && rest.contains(label))
        });
        lines
            .filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok())
            .sum()
    }
}
