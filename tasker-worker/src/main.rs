//! The program `tasker-worker`: registers templates, and runs steps over HTTP. Handlers in Rust need
//! a program of their own; see [`tasker_worker::run`].

use std::process::ExitCode;

use tasker_worker::Handlers;

fn main() -> ExitCode {
    tasker_worker::run(Handlers::new())
}
