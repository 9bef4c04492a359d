//! The members of a run: two agents, a worker and an orchestration service.

use super::agent;
use crate::processes::{Member, ORCHESTRATION_ADDRESS, WORKER_ADDRESS};

/// Their names, by index.
pub(super) const MEMBERS: [&str; 4] = ["agent 1", "agent 2", "worker", "orchestration"];
pub(super) const AGENTS: std::ops::Range<usize> = 0..2;
pub(super) const WORKER: usize = 2;
pub(super) const ORCHESTRATION: usize = 3;

/// Returns the members of a run with this bound.
pub(super) fn all(max_staleness_ms: u32) -> Vec<Member> {
    let one = |(index, name)| {
        let is_agent = AGENTS.contains(&index);
        let (program, address) = match index {
            WORKER => ("tasker-worker", Some(WORKER_ADDRESS)),
            ORCHESTRATION => ("tasker-orchestration", Some(ORCHESTRATION_ADDRESS)),
            _ => ("tasker-chaos", None),
        };
        let bound = max_staleness_ms.to_string();
        Member {
            name,
            program,
            address,
            numbered_by: is_agent.then_some(agent::PROCESS),
            environment: vec![
                ("TASKER__COMMON__CACHE__MAX_STALENESS_MS", bound),
                ("RUST_LOG", String::from("error")),
            ],
        }
    };
    MEMBERS.into_iter().enumerate().map(one).collect()
}
