//! The members of a run: workers, and orchestration services.

use super::agent;
use crate::processes::{Member, ORCHESTRATION_ADDRESS, WORKER_ADDRESS};

pub(super) const MEMBERS: [&str; 5] = [
    "worker 1",
    "worker 2",
    "worker 3",
    "orchestration 1",
    "orchestration 2",
];
pub(super) const WORKERS: std::ops::Range<usize> = 0..3;
pub(super) const ORCHESTRATIONS: std::ops::Range<usize> = 3..5;
/// The service that reads each template from Redis.
const WITHOUT_LOCAL_TIER: usize = 4;

/// The lease of all workers, in seconds.
pub(super) const LEASE_SECONDS: u64 = 5;
/// The time that an orchestration service may take to learn of a changed template.
pub(super) const STALENESS_MS: u64 = 1000;

pub(super) fn all() -> Vec<Member> {
    let one = |(index, name)| {
        let is_worker = WORKERS.contains(&index);
        let (program, address) = if is_worker {
            ("tasker-chaos", WORKER_ADDRESS)
        } else {
            ("tasker-orchestration", ORCHESTRATION_ADDRESS)
        };
        let log = if is_worker { "warn" } else { "error" };
        let mut environment = vec![
            (
                "TASKER__COMMON__CACHE__MAX_STALENESS_MS",
                STALENESS_MS.to_string(),
            ),
            ("RUST_LOG", String::from(log)),
            (
                "TASKER__WORKER__EXECUTION__LEASE_SECONDS",
                LEASE_SECONDS.to_string(),
            ),
            (
                "TASKER__WORKER__EXECUTION__DRAIN_TIMEOUT_SECONDS",
                String::from("1"),
            ),
            (
                "TASKER__WORKER__EXECUTION__MAX_CONCURRENT_STEPS",
                String::from("20"),
            ),
        ];
        if index == WITHOUT_LOCAL_TIER {
            let bytes = "TASKER__COMMON__CACHE__LOCAL_MAX_BYTES";
            environment.push((bytes, String::from("0")));
        }
        Member {
            name,
            program,
            address: Some(address),
            numbered_by: is_worker.then_some(agent::PROCESS),
            environment,
        }
    };
    MEMBERS.into_iter().enumerate().map(one).collect()
}
