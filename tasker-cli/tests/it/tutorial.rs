//! The commands of `docs/tutorial.md`, and their output.

use std::fs;
use std::path::PathBuf;

use tasker_test_support::{example_program, free_port, page_block};

use crate::app::App;
use crate::common::outcome;

const PAGE: &str = include_str!("../../../docs/tutorial.md");
const EXAMPLE: &str = include_str!("../../examples/order_worker.rs");

/// Begins the output of a command.
const MARK: &str = "=== ";

/// A command and its output, as the page has them.
#[derive(Debug)]
struct Example {
    command: String,
    output: Vec<String>,
}

fn examples(page: &str) -> Vec<Example> {
    let mut examples: Vec<Example> = Vec::new();
    let mut is_console = false;
    for line in page.lines() {
        if line.starts_with("```") {
            is_console = line == "```console";
        } else if !is_console {
        } else if let Some(command) = line.strip_prefix("$ ") {
            examples.push(Example {
                command: command.to_owned(),
                output: Vec::new(),
            });
        } else if let Some(example) = examples.last_mut() {
            example.output.push(line.to_owned());
        }
    }
    examples
}

/// Returns true if `line` is `pattern`, in which `…` stands for anything.
fn matches(pattern: &str, line: &str) -> bool {
    match pattern.split_once('…') {
        None => pattern == line,
        Some((start, rest)) => line.strip_prefix(start).is_some_and(|line| {
            let ends = line.char_indices().map(|(index, _)| index);
            ends.chain([line.len()])
                .any(|end| matches(rest, &line[end..]))
        }),
    }
}

#[test]
fn the_worker_is_the_example() {
    let worker = page_block(PAGE, "A worker", "rust");
    assert_eq!(worker, EXAMPLE, "copy the example into docs/tutorial.md");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tutorial_works_as_it_is_written() {
    let app = App::start().await;
    let examples = examples(PAGE);
    assert!(examples.len() > 10, "{examples:?}");
    // In one shell, because a command may set a variable for the next ones.
    let commands = examples.iter().enumerate();
    let commands: Vec<String> = commands
        .map(|(number, example)| format!("echo '{MARK}{number}'\n{}\n", example.command))
        .collect();
    let script = format!("trap 'kill %1' EXIT\n{}", commands.concat());
    let mut path = std::env::var("PATH").unwrap();
    for program in [
        PathBuf::from(env!("CARGO_BIN_EXE_tasker")),
        example_program("tasker-cli", "order_worker"),
    ] {
        path = format!("{}:{path}", program.parent().unwrap().display());
    }
    let address = format!("127.0.0.1:{}", free_port().unwrap());
    // A page that waits for something else ends with an error.
    let mut shell = std::process::Command::new("timeout");
    shell
        .envs(app.environment())
        .env("PATH", path)
        .env("TASKER__WORKER__WEB__BIND_ADDRESS", address)
        .args(["120", "bash", "-c", &script])
        .current_dir(app.folder.path());
    let ended = tokio::task::spawn_blocking(move || outcome(&mut shell))
        .await
        .unwrap();
    let mut outputs = ended.stdout.split(MARK).skip(1);
    for example in &examples {
        let output = outputs.next().unwrap_or_default();
        let lines: Vec<&str> = output.lines().skip(1).collect();
        let is_same = lines.len() == example.output.len()
            && example
                .output
                .iter()
                .zip(&lines)
                .all(|(pattern, line)| matches(pattern, line));
        assert!(
            is_same,
            "{example:?} printed {lines:#?}; errors:\n{}\nworker:\n{}",
            ended.stderr,
            fs::read_to_string(app.folder.path().join("worker.log")).unwrap_or_default()
        );
    }
}
