//! Help, completions and wrong command lines.

use std::fs::File;
use std::path::Path;
use std::process::Stdio;

use crate::common::program;
use crate::run_in;

fn run(arguments: &[&str]) -> crate::common::Outcome {
    run_in(Path::new("/"), arguments)
}

#[test]
fn help_has_examples_and_exit_codes() {
    let help = run(&["--help"]);
    assert_eq!(help.code, 0);
    assert!(help.stdout.contains("Examples:"), "{}", help.stdout);
    assert!(help.stdout.contains("Exit codes:"), "{}", help.stdout);
    for command in [
        "validate", "explain", "graph", "diff", "new", "register", "retire",
    ] {
        let help = run(&["template", command, "--help"]);
        assert_eq!(help.code, 0);
        assert!(
            help.stdout.contains("Usage: tasker template"),
            "{}",
            help.stdout
        );
    }
}

#[test]
fn help_that_cannot_be_written_is_a_failure() {
    let full = File::options().write(true).open("/dev/full").unwrap();
    let mut command = program(Path::new("/"));
    let child = command.arg("--help").stdout(full).stderr(Stdio::piped());
    let output = child.spawn().unwrap().wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(73));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(
        stderr.starts_with("error: the answer cannot be written: "),
        "{stderr}"
    );
}

#[test]
fn a_file_without_end_is_not_read_for_ever() {
    let context = [
        "task",
        "run",
        "shop/orders/1.0.0",
        "--context",
        "@/dev/zero",
    ];
    let outcome = run(&context);
    assert_eq!(outcome.code, 66, "{outcome:?}");
    assert!(
        outcome.stderr.contains("--context has more than 64 MiB"),
        "{outcome:?}"
    );
}

#[test]
fn a_wrong_command_line_has_its_own_exit_code_and_a_suggestion() {
    let outcome = run(&["template", "valdate", "x"]);
    assert_eq!(outcome.code, 64);
    assert!(outcome.stderr.contains("'validate'"), "{outcome:?}");
    let outcome = run(&["template", "graph", "x", "--format", "png"]);
    assert_eq!(outcome.code, 64);
    assert!(
        outcome
            .stderr
            .contains("possible values: dot, mermaid, svg"),
        "{outcome:?}"
    );
}

#[test]
fn completions_exist_for_each_shell() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let outcome = run(&["completions", shell]);
        assert_eq!(outcome.code, 0);
        assert!(outcome.stdout.contains("validate"), "{shell}");
    }
}

#[test]
fn a_service_or_database_that_is_not_there_has_its_own_exit_code() {
    // A port that nothing listens on, because it was given back.
    let port = tasker_test_support::free_port().unwrap();
    let url = format!("http://127.0.0.1:{port}");
    for command in [
        &["queue"][..],
        &["workers"],
        &["cache", "status"],
        &["task", "list"],
    ] {
        let outcome = run(&[command, &["--url", &url]].concat());
        assert_eq!(outcome.code, 69, "{outcome:?}");
        assert!(outcome.stderr.contains("does not answer"), "{outcome:?}");
        assert!(
            outcome.stderr.contains("help: check --url or TASKER_URL"),
            "{outcome:?}"
        );
    }
    let url = format!("postgres://tasker:s3cret@127.0.0.1:{port}/tasker");
    let outcome = run(&["template", "list", "--database-url", &url]);
    assert_eq!(outcome.code, 69, "{outcome:?}");
    assert!(
        outcome.stderr.contains("help: check --database-url"),
        "{outcome:?}"
    );
    assert!(!outcome.stderr.contains("s3cret"), "{outcome:?}");
}

#[test]
fn no_password_of_an_address_is_shown() {
    let secret = |value: &str, arguments: &[&str]| {
        let mut command = crate::common::program(Path::new("/"));
        command.args(arguments);
        for name in ["TASKER_URL", "TASKER_WORKER_URL", "DATABASE_URL"] {
            command.env(name, value);
        }
        let outcome = crate::common::outcome(&mut command);
        assert!(!outcome.stdout.contains("s3cret"), "{outcome:?}");
        assert!(!outcome.stderr.contains("s3cret"), "{outcome:?}");
        outcome.code
    };
    for command in [
        &["task", "list"][..],
        &["cache", "clear"],
        &["template", "list"],
    ] {
        for url in ["http://ada:s3cret@localhost", "http://ada:s3cret@host:x"] {
            assert_eq!(secret(url, &[command, &["--help"]].concat()), 0);
        }
    }
    for command in [&["task", "list"][..], &["cache", "clear"]] {
        assert_eq!(secret("http://ada:s3cret@host:x", command), 64);
        assert_eq!(secret("https://ada:s3cret@127.0.0.1:1", command), 69);
        assert_eq!(secret("ftp://ada:s3cret@host", command), 64);
    }
}
