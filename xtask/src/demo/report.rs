//! What the demonstration measured, as a short table.

use std::time::Duration;

/// Durations of one kind of request.
#[derive(Debug, Default)]
pub(crate) struct Latencies(Vec<Duration>);

impl Latencies {
    pub(crate) fn push(&mut self, latency: Duration) {
        self.0.push(latency);
    }

    fn median(&self) -> Option<Duration> {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        sorted.get(sorted.len() / 2).copied()
    }
}

/// One line of the table: the requests as a client saw them, and the template look-up within them
/// as the service measured it.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) title: &'static str,
    pub(crate) requests: Latencies,
    pub(crate) resolve: Option<Duration>,
}

/// Prints the table.
pub(crate) fn print(rows: &[Row]) {
    println!("\ntask requests over HTTP, on a development build: compare the rows with each other");
    println!(
        "{:<44} {:>6} {:>12} {:>18}",
        "where the template was found", "count", "median", "of that, resolving"
    );
    for row in rows {
        println!(
            "{:<44} {:>6} {:>12} {:>18}",
            row.title,
            row.requests.0.len(),
            row.requests
                .median()
                .map_or_else(|| String::from("-"), milliseconds),
            row.resolve.map_or_else(|| String::from("-"), milliseconds),
        );
    }
}

/// A duration in milliseconds, to the microsecond.
pub(crate) fn milliseconds(duration: Duration) -> String {
    format!("{:.3} ms", duration.as_secs_f64() * 1000.0)
}

/// The mean duration of the resolves that this tier answered between two looks at a service's
/// metrics.
pub(crate) fn mean_resolve(before: &str, after: &str, tier: &str) -> Option<Duration> {
    let grown = |part: &str| {
        let name = format!("tasker_template_resolve_duration_seconds_{part}");
        Some(sample(after, &name, tier)? - sample(before, &name, tier).unwrap_or(0.0))
    };
    let (count, sum) = (grown("count")?, grown("sum")?);
    (count > 0.0 && sum >= 0.0).then(|| Duration::from_secs_f64(sum / count))
}

/// The value of the first sample of this name with this tier.
fn sample(metrics: &str, name: &str, tier: &str) -> Option<f64> {
    let label = format!("tier=\"{tier}\"");
    metrics
        .lines()
        .find(|line| {
            line.strip_prefix(name)
                .is_some_and(|rest| rest.starts_with('{') && rest.contains(&label))
        })
        .and_then(|line| line.rsplit(' ').next()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Latencies, mean_resolve};

    #[test]
    fn the_mean_is_that_of_the_tier_and_the_time_asked_for() {
        let metrics = |count: u32, sum: f64| {
            let name = "tasker_template_resolve_duration_seconds";
            format!(
                "# TYPE {name} summary\n\
                 {name}{{tier=\"redis\",quantile=\"0.5\"}} 9\n\
                 {name}_sum{{tier=\"database\"}} 8\n\
                 {name}_sum{{tier=\"redis\"}} {sum}\n\
                 {name}_count{{tier=\"redis\"}} {count}\n"
            )
        };
        let (before, after) = (metrics(1, 7.0), metrics(3, 7.5));
        assert_eq!(
            mean_resolve(&before, &after, "redis"),
            Some(Duration::from_millis(250))
        );
        assert_eq!(
            mean_resolve("", &before, "redis"),
            Some(Duration::from_secs(7))
        );
        assert_eq!(mean_resolve(&after, &after, "redis"), None);
        assert_eq!(mean_resolve(&before, &after, "none"), None);
    }

    #[test]
    fn a_median_needs_a_request() {
        let mut latencies = Latencies::default();
        assert_eq!(latencies.median(), None);
        for seconds in [9, 1, 5] {
            latencies.push(Duration::from_secs(seconds));
        }
        assert_eq!(latencies.median(), Some(Duration::from_secs(5)));
    }
}
