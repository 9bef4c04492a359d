//! Every command: it succeeds, refuses bad input with a cause and a remedy, and answers in JSON.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use serde_json::Value;

use crate::app::{App, steady};
use crate::common::{Outcome, outcome, program};
use crate::shop::Shop;

/// A command with input that it takes and input that it refuses. Words in capitals are replaced, see
/// [`Words`], and `NAME=value` is a variable of the environment.
struct Case {
    command: &'static str,
    good: &'static str,
    /// The part of the JSON that the snapshot has, as a JSON pointer. None for a command without JSON.
    json: Option<&'static str>,
    bad: &'static str,
    code: i32,
    cause: &'static str,
    remedy: &'static str,
}

const fn case(
    (command, good): (&'static str, &'static str),
    json: Option<&'static str>,
    (bad, code): (&'static str, i32),
    cause: &'static str,
    remedy: &'static str,
) -> Case {
    Case {
        command,
        good,
        json,
        bad,
        code,
        cause,
        remedy,
    }
}

const ALL: Option<&str> = Some("");
const WRONG_CONFIG: &str = "TASKER__COMMON__CACHE__ENABLED=perhaps";
const TRY_HELP: &str = "For more information, try '--help'";
const CHECK_PATH: &str = "help: name a file or a folder that exists";
const CHECK_FILE: &str = "help: `tasker template validate broken.yaml` lists all problems";
const CHECK_DATABASE: &str = "help: check --database-url or DATABASE_URL";
const CHECK_URL: &str = "help: check --url or TASKER_URL";
const LIST_TEMPLATES: &str = "help: `tasker template list` shows the registered templates";
const LIST_TASKS: &str = "help: `tasker task list` shows the tasks";
const SHOW_TASK: &str = "help: `tasker task show` shows the state of the task";
const NO_POSTGRES: &str = "--database-url postgres://127.0.0.1:PORT/none";
const NO_SERVICE: &str = "--url http://127.0.0.1:PORT";
const SILENT: &str = "does not answer: ";

#[rustfmt::skip]
const CASES: &[Case] = &[
    case(("template validate", "orders.yaml warned.yaml"), ALL, ("absent", 66), "error: absent cannot be read: No such file", CHECK_PATH),
    case(("template schema", ""), Some("/title"), ("orders.yaml", 64), "unexpected argument 'orders.yaml'", TRY_HELP),
    case(("template explain", "orders.yaml"), ALL, ("broken.yaml", 66), "broken.yaml is not a template: ", CHECK_FILE),
    case(("template graph", "orders.yaml"), ALL, ("broken.yaml", 66), "broken.yaml is not a template: ", CHECK_FILE),
    case(("template diff", "orders.yaml orders.yaml"), ALL, ("orders.yaml absent", 66), "error: absent cannot be read: No such file", CHECK_PATH),
    case(("template register", "orders.yaml warned.yaml"), ALL, ("absent", 66), "error: absent cannot be read: No such file", CHECK_PATH),
    case(("template list", ""), ALL, (NO_POSTGRES, 69), "Connection refused", CHECK_DATABASE),
    case(("template history", "shop/orders/1.0.0"), ALL, ("shop/oders/1.0.0", 1), "no template shop/oders/1.0.0 is registered", LIST_TEMPLATES),
    case(("template retire", "shop/warned/1.0 --by ada"), ALL, ("shop/warned/1.1", 1), "no template shop/warned/1.1 is registered", LIST_TEMPLATES),
    case(("template new", "refunds"), Some("/file"), ("a/b", 64), "a template cannot be named default/a/b", "help: begin both with a letter"),
    case(("config check", ""), ALL, (WRONG_CONFIG, 78), "[config_wrong_type]", "help: `tasker config check` lists all problems"),
    case(("config explain", "common.cache.enabled"), ALL, ("common.cache.enabeld", 1), "there is no key or section common.cache.enabeld", "help: perhaps common.cache.enabled is meant"),
    case(("config dump", ""), Some("/common/cache"), (WRONG_CONFIG, 78), "[config_wrong_type]", "help: `tasker config check` lists all problems"),
    case(("migrate", ""), ALL, (NO_POSTGRES, 69), "Connection refused", CHECK_DATABASE),
    // Before the steps of other commands are due.
    case(("queue", ""), ALL, (NO_SERVICE, 69), SILENT, CHECK_URL),
    case(("task run", "shop/orders --context @context.json --wait"), ALL, ("shop/oders", 1), "[template_not_found]", LIST_TEMPLATES),
    case(("task list", "--name orders --limit 1"), ALL, ("--status eror", 64), "invalid value 'eror'", "tip: a similar value exists: 'error'"),
    case(("task show", "FAILED"), ALL, ("NOBODY", 1), "does not exist. [task_not_found]", LIST_TASKS),
    case(("task watch", "DONE --interval-ms 20"), ALL, ("NOBODY", 1), "does not exist. [task_not_found]", LIST_TASKS),
    case(("task cancel", "WAITING"), ALL, ("DONE", 1), "has ended. [task_ended]", SHOW_TASK),
    case(("step retry", "FAILED pay --reason again"), Some("/callable"), ("FAILED pya --reason again", 1), "the task has no step pya; it has check, pay, thank", "help: write one of these names"),
    case(("step resolve", "FAILED pay --reason cash"), ALL, ("DONE pay --reason cash", 1), "[step_state_conflict]", SHOW_TASK),
    case(("step complete", "FAILED pay --reason cash --result {}"), ALL, ("FAILED pay --reason cash --result {", 64), "--result is not JSON: ", "help: write JSON in quotes"),
    case(("workers", ""), ALL, (NO_SERVICE, 69), SILENT, CHECK_URL),
    case(("cache status", ""), ALL, (NO_SERVICE, 69), SILENT, CHECK_URL),
    case(("cache entries", "--verify"), ALL, (NO_SERVICE, 69), SILENT, CHECK_URL),
    case(("cache clear", "--worker-url WORKER"), ALL, ("--worker-url http://127.0.0.1:PORT", 69), SILENT, "help: check --worker-url or TASKER_WORKER_URL"),
    case(("completions", "bash"), None, ("tcsh", 64), "invalid value 'tcsh'", "[possible values: bash"),
];

const WARNED: &str = "\
name: warned
namespace_name: shop
version: 1.0
steps: [{name: only, handler: {callable: Only}}]
";
const IDLE: &str = "\
name: idle
namespace_name: shop
version: \"1.0.0\"
identity_strategy: always_unique
steps: [{name: only, handler: {callable: NoWorkerHasThis}}]
";

/// Replaces words of a case.
struct Words {
    shop: Shop,
    worker_url: String,
    /// A port that nothing listens on, because it was given back.
    port: String,
}

impl Words {
    async fn new() -> Self {
        let shop = Shop::open_in(App::start_with_cache().await).await;
        let app = &shop.app;
        app.write("warned.yaml", WARNED);
        app.write("idle.yaml", IDLE);
        app.write("broken.yaml", "name: a\nsteps: []\n");
        let registered = app
            .run(&["template", "register", "warned.yaml", "idle.yaml"])
            .await;
        assert_eq!(registered.code, 0, "{registered:?}");
        // A row of the queue.
        app.json(&["task", "run", "shop/idle"]).await;
        let worker_url = app.serve_worker().await;
        let port = tasker_test_support::free_port().unwrap().to_string();
        Self {
            shop,
            worker_url,
            port,
        }
    }

    async fn replace(&self, word: &str) -> String {
        match word {
            "FAILED" => self.shop.task().await,
            "DONE" => {
                self.shop.pays.store(true, Ordering::SeqCst);
                let task = self.shop.task().await;
                self.shop.pays.store(false, Ordering::SeqCst);
                task
            }
            "WAITING" => {
                let created = self.shop.app.json(&["task", "run", "shop/idle"]).await;
                created["task_uuid"].as_str().unwrap().to_owned()
            }
            "NOBODY" => String::from("00000000-0000-0000-0000-000000000000"),
            "WORKER" => self.worker_url.clone(),
            word => word.replace("PORT", &self.port),
        }
    }

    async fn run(&self, command: &str, input: &str, more: &[&str]) -> Outcome {
        let app = &self.shop.app;
        let mut process = program(app.folder.path());
        process.args(command.split(' ')).envs(app.environment());
        for word in input.split_whitespace() {
            match word.split_once('=') {
                Some((name, value)) => process.env(name, value),
                None => process.arg(self.replace(word).await),
            };
        }
        process.args(more);
        tokio::task::spawn_blocking(move || outcome(&mut process))
            .await
            .unwrap()
    }
}

/// The ends of keys whose values differ from run to run.
const DIFFER: [&str; 7] = [
    "_ms", "_seconds", "running", "process", "cursor", "since", "_up",
];

/// Replaces numbers and texts that differ from run to run, beyond those of [`steady`].
fn still(value: Value) -> Value {
    match value {
        Value::Object(map) => map
            .into_iter()
            .map(|(key, value)| {
                let differs = DIFFER.iter().any(|end| key.ends_with(end));
                let is_plain = value.is_number() || value.is_string();
                let value = if differs && is_plain {
                    Value::from("[differs]")
                } else {
                    still(value)
                };
                (key, value)
            })
            .collect(),
        Value::Array(items) => items.into_iter().map(still).collect(),
        other => other,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_succeeds_refuses_and_answers_in_json() {
    let words = Words::new().await;
    for case in CASES {
        let command = case.command;
        let refused = words.run(command, case.bad, &[]).await;
        assert_eq!(refused.code, case.code, "{command}: {refused:?}");
        assert_eq!(refused.stdout, "", "{command}");
        for part in [case.cause, case.remedy] {
            assert!(refused.stderr.contains(part), "{command}: {refused:?}");
        }

        // The task that it waits for fails.
        let expected = i32::from(command == "task run");
        let text = words.run(command, case.good, &[]).await;
        assert_eq!(text.code, expected, "{command}: {text:?}");
        assert_ne!(text.stdout, "", "{command}");
        assert_eq!(text.stderr, "", "{command}");
        if let Some(part) = case.json {
            let json = words.run(command, case.good, &["--output", "json"]).await;
            assert_eq!(json.code, expected, "{command}: {json:?}");
            let answer = json.json();
            let answer = still(steady(answer.pointer(part).unwrap()));
            insta::assert_json_snapshot!(command.replace(' ', "_"), answer);
        }
    }
}

/// Returns the commands below this one that have none below themselves.
fn leaves(command: &str) -> BTreeSet<String> {
    let words = command.split_whitespace().chain(["--help"]);
    let help = outcome(program("/".as_ref()).args(words)).stdout;
    let Some((_, listed)) = help.split_once("\nCommands:\n") else {
        return BTreeSet::from([command.to_owned()]);
    };
    listed
        .lines()
        .take_while(|line| line.starts_with("  "))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .flat_map(|name| leaves(format!("{command} {name}").trim()))
        .collect()
}

#[test]
fn no_command_is_without_a_case() {
    let cases: BTreeSet<String> = CASES.iter().map(|case| case.command.to_owned()).collect();
    assert_eq!(leaves(""), cases);
}
