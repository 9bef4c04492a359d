//! Starts counters at 0 with each of their labels.
//!
//! Prometheus computes increases between two samples. A series that first appears above 0 has no
//! earlier sample, so an alert on its first increase would not fire.

use metrics::Label;

use super::Metric;

/// Creates all series of a counter. The values of its labels are those that its help lists; a label
/// without a list, such as a route, has no series before its first increment.
pub(super) fn start_at_zero(counter: &'static Metric) {
    for labels in series(counter.help).unwrap_or_default() {
        metrics::counter!(counter.name, labels).increment(0);
    }
}

/// Returns the labels of each series, or `None` if a label has no list of values. Help names a label
/// as "`label` (value, value)".
fn series(help: &'static str) -> Option<Vec<Vec<Label>>> {
    let Some((_, mut rest)) = help.split_once(", by `") else {
        return Some(vec![Vec::new()]);
    };
    let mut all = vec![Vec::new()];
    loop {
        let (label, after) = rest.split_once('`')?;
        let (values, after) = after.strip_prefix(" (")?.split_once(')')?;
        let values: Vec<&str> = values.split(", ").collect();
        if !values.iter().all(|value| is_value(value)) {
            return None;
        }
        all = all
            .iter()
            .flat_map(|labels: &Vec<Label>| {
                values.iter().map(|value| {
                    let mut labels = labels.clone();
                    labels.push(Label::from_static_parts(label, value));
                    labels
                })
            })
            .collect();
        match after.strip_prefix(" and `") {
            Some(next) => rest = next,
            None => return Some(all),
        }
    }
}

fn is_value(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte == b'_' || byte.is_ascii_lowercase() || byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::super::{
        ALL, CACHE_REFUSALS, HTTP_REQUESTS, Kind, LOG_LINES_DROPPED, TASKS_CREATED,
    };
    use super::series;

    #[test]
    fn each_combination_of_labels_is_a_series() {
        let all = series("Reads, by `tier` (local, redis) and `result` (hit, miss, error).");
        assert_eq!(all.expect("values are listed").len(), 6);
        assert_eq!(series(LOG_LINES_DROPPED.help), Some(vec![Vec::new()]));
        let tasks = series(TASKS_CREATED.help).expect("values are listed");
        assert!(tasks.iter().any(|labels| labels[0].value() == "failed"));
    }

    #[test]
    fn only_labels_without_bound_have_no_series_at_the_start() {
        let unbounded = [HTTP_REQUESTS.name, CACHE_REFUSALS.name];
        for metric in ALL.iter().filter(|metric| metric.kind == Kind::Counter) {
            assert_eq!(
                series(metric.help).is_none(),
                unbounded.contains(&metric.name),
                "{}",
                metric.name
            );
        }
    }
}
