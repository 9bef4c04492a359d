//! The program `tasker-worker`.

use std::process::ExitCode;

use tasker_web::run_service;
use tasker_worker::service;

fn main() -> ExitCode {
    run_service(&service::INFO, service::start)
}
