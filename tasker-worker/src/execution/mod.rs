//! Runs steps: claims them, runs their handlers, and records how they end.
//!
//! ```text
//! queue --claim--> Session --spawn--> handler --AttemptEnd--> Session --complete_and_claim--> queue
//! ```
//!
//! A `Session` is one registration of this process as a worker. It has one statement
//! under way at a time; results that finish meanwhile go out together with the next one. A worker
//! that cannot renew its lease ends its session and starts another, under another id.

mod answer;
mod attempt;
mod claimed;
mod context;
mod dependencies;
mod documents;
mod execute;
mod finish;
mod handlers;
mod heartbeat;
mod http;
mod link;
mod outcome;
mod report;
mod session;
mod shared;
mod unrecorded;
mod wake;
mod worker;

pub use claimed::TaskInfo;
pub use context::StepContext;
pub use handlers::{Handlers, StepHandler};
pub use outcome::{StepError, StepOutcome};
pub use worker::{Worker, WorkerBuilder};
