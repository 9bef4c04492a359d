//! A flood of names that nobody registered costs a bounded number of polls, and no memory.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tasker_shared::config::tasker::CacheConfig;
use tasker_shared::metrics::{DIRECTORY_POLLS, DIRECTORY_TEMPLATES, TEMPLATE_LOCAL_ENTRIES};
use tasker_shared::registry::RegistryError;

use crate::app::{TestApp, current, put};
use crate::metrics_view::Metrics;

/// The registry's promise, whatever the flood.
const POLLS_PER_SECOND: f64 = 20.0;
const CALLERS: usize = 2000;
const FLOOD: Duration = Duration::from_secs(3);

#[tokio::test]
async fn a_flood_of_unknown_names_costs_few_polls_and_no_memory() {
    let metrics = Metrics::of_this_thread();
    let app = TestApp::start().await;
    // A bound and hence a poll interval that the test does not live to see: all polls are asked for.
    let registry = Arc::new(app.local_only(CacheConfig {
        max_staleness_ms: 3_600_000,
        ..app.cache_config()
    }));
    put(&registry, 1).await;
    current(&registry).await;
    let before = metrics.sum(&DIRECTORY_POLLS);
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
    let polls = metrics.sum(&DIRECTORY_POLLS) - before;
    eprintln!("{asked} unknown names in {took:?}: {polls} polls");
    assert!(polls >= 1.0, "an unknown name is confirmed by a poll");
    // One poll may be under way at either end.
    assert!(
        polls <= took.as_secs_f64() * POLLS_PER_SECOND + 2.0,
        "{polls} polls for {asked} names in {took:?}"
    );
    for held in [DIRECTORY_TEMPLATES, TEMPLATE_LOCAL_ENTRIES] {
        assert_eq!(metrics.sum(&held).to_string(), "1", "{}", held.name);
    }
}
