//! The program `tasker-orchestration`.

use std::process::ExitCode;

use tasker_orchestration::service;
use tasker_web::run_service;

fn main() -> ExitCode {
    run_service(&service::INFO, service::start)
}
