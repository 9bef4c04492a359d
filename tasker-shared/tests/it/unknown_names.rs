//! A flood of names that nobody registered costs a bounded number of polls, and no memory.

use std::sync::Arc;
use std::time::{Duration, Instant};

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tasker_shared::config::tasker::CacheConfig;
use tasker_shared::metrics::{DIRECTORY_POLLS, DIRECTORY_TEMPLATES, TEMPLATE_LOCAL_ENTRIES};
use tasker_shared::registry::RegistryError;

use crate::app::{TestApp, template};

/// What the registry promises, whatever the flood.
const POLLS_PER_SECOND: f64 = 20.0;
const CALLERS: usize = 2000;
const FLOOD: Duration = Duration::from_secs(3);

#[tokio::test]
async fn a_flood_of_unknown_names_costs_few_polls_and_no_memory() {
    // This test's runtime has one thread, so the recorder hears of all that it does, and of
    // nothing else.
    let recorder = PrometheusBuilder::new().build_recorder();
    let metrics = recorder.handle();
    let _local = metrics::set_default_local_recorder(&recorder);
    let app = TestApp::start().await;
    // A bound and hence a poll interval that the test does not live to see: all polls are asked for.
    let registry = Arc::new(app.local_only(CacheConfig {
        max_staleness_ms: 3_600_000,
        ..app.cache_config()
    }));
    registry
        .register_task_template(&template("payments", "refund", 1))
        .await
        .unwrap();
    registry
        .get_template("payments", "refund", "1.0.0")
        .await
        .unwrap();
    let before = sum(&metrics, DIRECTORY_POLLS.name);
    let started = Instant::now();
    let callers: Vec<_> = (0..CALLERS)
        .map(|caller| {
            let registry = registry.clone();
            tokio::spawn(async move {
                let mut asked = 0_u64;
                while started.elapsed() < FLOOD {
                    let name = format!("unknown_{caller}_{asked}");
                    let answer = registry.get_template("payments", &name, "1.0.0").await;
                    assert!(matches!(answer, Err(RegistryError::NotFound { .. })));
                    asked += 1;
                }
                asked
            })
        })
        .collect();
    let mut asked = 0_u64;
    for caller in callers {
        asked += caller.await.unwrap();
    }
    let took = started.elapsed();
    let polls = sum(&metrics, DIRECTORY_POLLS.name) - before;
    eprintln!("{asked} unknown names in {took:?}: {polls} polls");
    assert!(polls >= 1.0, "an unknown name is confirmed by a poll");
    // One poll may be under way at either end.
    assert!(
        polls <= took.as_secs_f64() * POLLS_PER_SECOND + 2.0,
        "{polls} polls for {asked} names in {took:?}"
    );
    for held in [DIRECTORY_TEMPLATES, TEMPLATE_LOCAL_ENTRIES] {
        let held = sum(&metrics, held.name);
        assert!(held <= 1.0, "one template is registered, {held} are held");
    }
}

/// A metric over all of its labels.
fn sum(metrics: &PrometheusHandle, name: &str) -> f64 {
    let text = metrics.render();
    let lines = text.lines().filter(|line| {
        let rest = line.strip_prefix(name);
        rest.is_some_and(|rest| rest.starts_with(['{', ' ']))
    });
    lines
        .filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok())
        .sum()
}
