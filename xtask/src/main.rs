//! Development tasks: `cargo xtask demo`, `test`, `pooled`, `bench`, `chaos`, `faults`, `soak`
//! and `generate`.
//!
//! Each builds and starts a program of this workspace, which gets its own servers. This program
//! depends on no other crate, so it builds at once, and while the others do not.

mod generate;
mod launch;

use std::error::Error;
use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use crate::launch::{ALL, become_command, become_tool, with_servers};

/// Failures are printed and end the program, so none has a type.
type Result<T = ()> = std::result::Result<T, Box<dyn Error>>;

const HELP: &str = "\
Development tasks of Tasker.

Usage: cargo xtask TASK [ARGUMENTS]

Tasks:
  demo      Show tasks that run, a worker that is killed, and the cache of templates
  test      Run all tests of the workspace. Further arguments are those of `cargo test`
  pooled    Run the tests of the registry and of the services behind a pgbouncer in transaction mode
  bench     Measure what resolving, booting, invalidating and running steps cost, beside their yardsticks
  chaos     Run real processes under random faults, and judge every read; with `--steps`, every task
  faults    Measure the delays that requests notice under each fault of Redis
  soak      Run tasks under random faults for a long time, and compare the levels of resources
  generate  Renew the files that are generated: the query cache, OpenAPI documents, the config reference.
            With `--check`, change nothing; fail if a committed file is not what would be generated,
            or if clippy has a warning

`cargo xtask TASK --help` describes the arguments of demo, bench, chaos, faults and soak.
";

/// The tests that a pooler does not change: about Redis alone, about passwords, and those that
/// have a pooler of their own.
const NOT_POOLED: [&str; 5] = [
    "cache::",
    "cache_faults::",
    "redis_kinds::",
    "secrets",
    "pooler::",
];

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let task = arguments.next().unwrap_or_default();
    let Err(error) = run(&task.to_string_lossy(), arguments.collect()) else {
        return ExitCode::SUCCESS;
    };
    eprintln!("error: {error}");
    ExitCode::FAILURE
}

fn run(task: &str, mut arguments: Vec<OsString>) -> Result {
    match task {
        "demo" => become_tool("dev", "tasker-demo", arguments),
        "bench" => become_tool("bench-run", "tasker-bench", arguments),
        "chaos" | "faults" | "soak" => {
            arguments.insert(0, task.into());
            become_tool("dev", "tasker-chaos", arguments)
        }
        "test" => {
            let mut tests = with_servers()?;
            tests.args(["cargo", "test", "--no-fail-fast"]).args(ALL);
            become_command(tests.args(arguments))
        }
        "pooled" => {
            let mut tests = with_servers()?;
            tests
                .args(["--pooler", "cargo", "test", "--no-fail-fast"])
                .args(ALL);
            tests.args(["--test", "it", "--exclude", "tasker-cli"]);
            // Its features are enabled nevertheless, so that nothing is built again.
            tests.args(["--exclude", "tasker-test-support", "--features"]);
            tests.arg("tasker-test-support/test-services,tasker-test-support/test-messaging");
            tests
                .arg("--")
                .args(NOT_POOLED.map(|module| format!("--skip={module}")));
            become_command(tests.args(arguments))
        }
        "generate" => match arguments.as_slice() {
            [] => generate::run(false),
            [option] if option == "--check" => generate::run(true),
            _ => Err("usage: cargo xtask generate [--check]".into()),
        },
        "help" | "-h" | "--help" => Ok(write!(std::io::stdout(), "{HELP}")?),
        _ => Err(format!("`{task}` is not a task\n\n{HELP}").into()),
    }
}
