//! Development tasks: `cargo xtask demo`, `test`, `pooled`, `bench`, `chaos`, `faults`, `soak`
//! and `generate`.
//!
//! Each builds and starts a program of this workspace, which gets its own servers. This program
//! depends on no other crate of the workspace, so it builds while they do not.

mod generate;
mod launch;

use std::error::Error;
use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

/// Failures are printed and end the program, so none has a type.
type Failure = Box<dyn Error>;
type Result<T = ()> = std::result::Result<T, Failure>;

/// Development tasks of Tasker.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", version)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Show tasks that run, a worker that is killed, and the cache of templates.
    #[command(disable_help_flag = true)]
    Demo(Arguments),
    /// Run all tests of the workspace. Further arguments are those of `cargo test`.
    #[command(disable_help_flag = true)]
    Test(Arguments),
    /// Run the tests of the registry and of the services behind a pgbouncer in transaction mode.
    #[command(disable_help_flag = true)]
    Pooled(Arguments),
    /// Measure what resolving, booting, invalidating and running steps cost, beside their yardsticks.
    #[command(disable_help_flag = true)]
    Bench(Arguments),
    /// Run real processes under random faults, and judge every read; with `--steps`, every task.
    #[command(disable_help_flag = true)]
    Chaos(Arguments),
    /// Measure the delays that requests notice under each fault of Redis.
    #[command(disable_help_flag = true)]
    Faults(Arguments),
    /// Let Redis fail at random for a long time, and compare the levels of resources.
    #[command(disable_help_flag = true)]
    Soak(Arguments),
    /// Renew the files that are generated: the query cache, OpenAPI documents, the config reference.
    Generate {
        /// Change nothing; fail if a committed file is not what would be generated.
        #[arg(long)]
        check: bool,
    },
}

/// Arguments of the program that does the work.
#[derive(Debug, Args)]
struct Arguments {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

fn main() -> ExitCode {
    let Err(error) = run(Cli::parse().task) else {
        return ExitCode::SUCCESS;
    };
    eprintln!("error: {error}");
    ExitCode::FAILURE
}

/// Becomes a mode of `tasker-chaos`, which starts the services as well.
fn chaos(mode: &str, arguments: Vec<OsString>) -> Failure {
    let packages = ["tasker-chaos", "tasker-worker", "tasker-orchestration"];
    let arguments = std::iter::once(mode.into()).chain(arguments);
    launch::become_tool("dev", &packages, &[], arguments)
}

fn run(task: Task) -> Result {
    match task {
        Task::Demo(Arguments { arguments }) => {
            let packages = ["tasker-demo", "tasker-worker", "tasker-orchestration"];
            let examples = ["example_worker"];
            Err(launch::become_tool("dev", &packages, &examples, arguments))
        }
        Task::Test(Arguments { arguments }) => {
            let mut tests = launch::with_servers();
            tests.args([
                "cargo",
                "test",
                "--workspace",
                "--all-features",
                "--no-fail-fast",
            ]);
            tests.args(arguments);
            Err(launch::become_command(tests))
        }
        Task::Pooled(Arguments { arguments }) => {
            let mut tests = launch::with_servers();
            tests.args(["--pooler", "cargo", "test", "--all-features"]);
            tests.args(["--no-fail-fast", "--test", "it"]);
            for package in ["shared", "orchestration", "worker"] {
                tests.args(["--package", &format!("tasker-{package}")]);
            }
            tests.arg("--");
            // Tests about Redis alone, about passwords, and those that have a pooler of their own.
            for module in [
                "cache::",
                "cache_faults::",
                "redis_kinds::",
                "secrets",
                "pooler::",
            ] {
                tests.args(["--skip", module]);
            }
            tests.args(arguments);
            Err(launch::become_command(tests))
        }
        Task::Bench(Arguments { arguments }) => Err(launch::become_tool(
            "bench-run",
            &["tasker-bench"],
            &[],
            arguments,
        )),
        Task::Chaos(Arguments { arguments }) => Err(chaos("chaos", arguments)),
        Task::Faults(Arguments { arguments }) => Err(chaos("faults", arguments)),
        Task::Soak(Arguments { arguments }) => Err(chaos("soak", arguments)),
        Task::Generate { check } => generate::run(check),
    }
}
