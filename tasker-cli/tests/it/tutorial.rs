//! The commands of `docs/tutorial.md`, and their output.

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::json;
use tasker_worker::{Handlers, StepContext, StepError, Worker};

use crate::app::App;
use crate::common::outcome;

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

#[tokio::test(flavor = "multi_thread")]
async fn the_tutorial_works_as_it_is_written() {
    let app = App::start().await;
    let folder = app.folder.path().to_owned();
    let done = async |_: StepContext| Ok::<_, StepError>(json!({"done": true}));
    let handlers = Handlers::new()
        .function("orders.Validate", done)
        .function("orders.Notify", done)
        .function("orders.Charge", move |_: StepContext| {
            let is_open = folder.join("bank-is-open").exists();
            async move {
                if is_open {
                    Ok(json!({"charged": true}))
                } else {
                    Err(StepError::permanent("the bank is closed"))
                }
            }
        });
    let _worker = Worker::builder(Arc::clone(&app.context))
        .handlers(handlers)
        .start();

    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/tutorial.md");
    let examples = examples(&std::fs::read_to_string(page).unwrap());
    assert!(examples.len() > 10, "{examples:?}");
    // In one shell, because a command may set a variable for the next ones.
    let commands = examples.iter().enumerate();
    let commands: Vec<String> = commands
        .map(|(number, example)| format!("echo '{MARK}{number}'\n{}\n", example.command))
        .collect();
    let script = commands.concat();
    let tasker = PathBuf::from(env!("CARGO_BIN_EXE_tasker"));
    let path = std::env::var("PATH").unwrap();
    let path = format!("{}:{path}", tasker.parent().unwrap().display());
    let mut shell = std::process::Command::new("bash");
    shell
        .envs(app.environment())
        .env("PATH", path)
        .args(["-c", &script]);
    shell.current_dir(app.folder.path());
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
            "{example:?} printed {lines:#?}; errors:\n{}",
            ended.stderr
        );
    }
}
