//! The command line of both services.

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use clap::{Arg, ArgAction, Command};

use crate::exit;
use crate::parts::ServiceInfo;

/// The end of `--help`: configuration sources, variables and exit codes.
const AFTER_HELP: &str = "\
Configuration: built-in defaults, then config/tasker/base/*.toml, then
config/tasker/environments/$TASKER_ENV/*.toml, then TASKER__SECTION__KEY variables.

Environment:
  TASKER_ENV         the environment: development (default), test, production or your own
  DATABASE_URL       URL of PostgreSQL
  REDIS_URL          URL of Redis, used if the cache is enabled
  TASKER_WEB_BIND_ADDRESS  the address to listen on
  TASKER_CONFIG_PATH       one configuration file in place of the folders
  TASKER_LOG_FORMAT  json or human; default human on a terminal, else json
  TASKER_LOG         log filter, such as info,tasker_shared=debug; RUST_LOG if unset;
                     tasker::access=debug adds a line for each request

Exit codes:
  0   stopped by a signal, --check-config found no error, or --migrate succeeded
  64  wrong command line
  69  PostgreSQL cannot be connected to or migrated
  70  internal error
  71  the operating system refused a request, for example because the address is in use
  78  wrong configuration
  130 stopped by a second signal before all requests were answered";

/// The action that the command line selects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// Serve until a signal arrives.
    Serve,
    /// Load and check the configuration, and exit.
    CheckConfig,
    /// Migrate the schema, and exit.
    Migrate,
}

/// Reads the command line.
///
/// # Errors
/// Returns the exit code after it printed help, the version or a usage error.
pub(crate) fn parse(
    info: &ServiceInfo,
    arguments: impl IntoIterator<Item = OsString>,
) -> Result<Action, ExitCode> {
    match command(info).try_get_matches_from(arguments) {
        Ok(matches) if matches.get_flag("check-config") => Ok(Action::CheckConfig),
        Ok(matches) if matches.get_flag("migrate") => Ok(Action::Migrate),
        Ok(_) => Ok(Action::Serve),
        Err(answer) => {
            // A failed write is ignored because standard output may be a closed pipe.
            drop(answer.print());
            let code = if answer.use_stderr() {
                exit::USAGE
            } else {
                exit::OK
            };
            Err(ExitCode::from(code))
        }
    }
}

fn command(info: &ServiceInfo) -> Command {
    Command::new(info.name)
        .version(info.version)
        .about(info.about)
        .after_help(AFTER_HELP)
        .arg(
            Arg::new("check-config")
                .long("check-config")
                .action(ArgAction::SetTrue)
                .help("Check the configuration and exit"),
        )
        .arg(
            Arg::new("migrate")
                .long("migrate")
                .action(ArgAction::SetTrue)
                .conflicts_with("check-config")
                .help("Migrate the schema `tasker` and exit"),
        )
}

/// Prints the result of a successful `--check-config`, and the settings that have no effect.
pub(crate) fn print_config_is_right(unused: &[String]) {
    let mut out = std::io::stdout();
    drop(writeln!(out, "OK: the configuration is valid"));
    if !unused.is_empty() {
        let unused = unused.join(" ");
        drop(writeln!(
            out,
            "settings are present and have no effect: {unused}"
        ));
    }
}

/// Prints the result of a successful `--migrate`.
pub(crate) fn print_is_migrated() {
    drop(writeln!(std::io::stdout(), "OK: the schema is up to date"));
}

#[cfg(test)]
mod tests {
    use std::process::ExitCode;

    use super::{Action, command, exit, parse};
    use crate::parts::tests::INFO;

    #[test]
    fn the_command_is_consistent() {
        command(&INFO).debug_assert();
    }

    #[test]
    fn arguments_choose_the_action() {
        let parse = |arguments: &[&str]| parse(&INFO, arguments.iter().map(Into::into));
        assert_eq!(parse(&["it"]), Ok(Action::Serve));
        assert_eq!(parse(&["it", "--check-config"]), Ok(Action::CheckConfig));
        assert_eq!(parse(&["it", "--migrate"]), Ok(Action::Migrate));
        assert_eq!(parse(&["it", "--help"]), Err(ExitCode::SUCCESS));
        assert_eq!(parse(&["it", "--version"]), Err(ExitCode::SUCCESS));
        assert_eq!(parse(&["it", "--colour"]), Err(ExitCode::from(exit::USAGE)));
    }

    #[test]
    fn help_lists_variables_and_exit_codes() {
        insta::assert_snapshot!(command(&INFO).render_long_help().to_string());
    }
}
