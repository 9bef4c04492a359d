//! A task is followed while its service restarts, and its id is never lost.

use std::fs::File;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::common::{Outcome, outcome, program};
use crate::http::{read_request, response, serve};

const TASK: &str = "01a22e34-46ea-7323-bcd1-cbb34b763eb6";
const RUN: [&str; 3] = ["task", "run", "shop/orders/1.0.0"];

fn created() -> String {
    let body = format!(r#"{{"task_uuid":"{TASK}","status":"pending","step_count":1}}"#);
    response(201, &body)
}

fn task(status: &str) -> String {
    let body = format!(
        r#"{{"task_uuid":"{TASK}","status":"{status}","completed_steps":0,"total_steps":1,
            "steps":[]}}"#
    );
    response(200, &body)
}

fn problem(status: u16, code: &str) -> String {
    response(status, &format!(r#"{{"code":"{code}","detail":"Said."}}"#))
}

/// Two failures that a restart of the service gives: a connection that is closed, and a refusal.
fn restart() -> [String; 2] {
    [String::new(), problem(503, "starting")]
}

fn run(answers: Vec<String>, arguments: &[&str]) -> Outcome {
    let mut command = program(Path::new("/"));
    outcome(command.args(arguments).env("TASKER_URL", serve(answers)))
}

fn assert_followed(outcome: &Outcome) {
    assert_eq!(outcome.code, 0, "{outcome:?}");
    assert!(outcome.stdout.contains(": complete ("), "{outcome:?}");
    assert_eq!(outcome.stderr.lines().count(), 1, "{outcome:?}");
    assert!(outcome.stderr.ends_with("; trying again\n"), "{outcome:?}");
}

fn assert_named(outcome: &Outcome, code: i32, cause: &str) {
    assert_eq!(outcome.code, code, "{outcome:?}");
    let sentence = format!("error: task {TASK} cannot be followed: ");
    let remedy = format!("help: do not create it again; `tasker task watch {TASK}` waits");
    for part in [&sentence, cause, &remedy] {
        assert!(outcome.stderr.contains(part), "{outcome:?}");
    }
}

#[test]
fn a_wait_and_a_watch_go_on_while_the_service_restarts() {
    let [closed, refused] = restart();
    let answers = vec![
        created(),
        task("pending"),
        closed,
        refused,
        task("complete"),
    ];
    assert_followed(&run(answers, &[&RUN[..], &["--wait"]].concat()));

    let [closed, refused] = restart();
    let answers = vec![task("pending"), closed, refused, task("complete")];
    let watch = ["task", "watch", TASK, "--interval-ms", "1"];
    assert_followed(&run(answers, &watch));
}

#[test]
fn a_service_that_stays_away_ends_the_wait_at_its_limit() {
    // Nobody listens after the first answers.
    let limited = [&RUN[..], &["--wait", "--wait-limit", "1"]].concat();
    assert_named(&run(vec![created()], &limited), 69, "does not answer: ");
    let watch = ["task", "watch", TASK, "--outage-limit", "0"];
    let answers = vec![task("pending")];
    assert_named(&run(answers, &watch), 69, "does not answer: ");
}

#[test]
fn an_address_that_never_answered_is_not_watched() {
    let outcome = run(Vec::new(), &["task", "watch", TASK]);
    assert_eq!(outcome.code, 69, "{outcome:?}");
    assert!(outcome.stderr.starts_with("error: the service at "));
}

#[test]
fn errors_after_the_creation_name_the_task() {
    let wait = [&RUN[..], &["--wait"]].concat();
    let answers = vec![created(), problem(404, "task_not_found")];
    assert_named(&run(answers, &wait), 1, "[task_not_found]");
    let answers = vec![created(), response(200, "<html>")];
    assert_named(&run(answers, &wait), 69, "is not a Tasker service");

    let full = File::options().write(true).open("/dev/full").unwrap();
    let mut command = program(Path::new("/"));
    let child = command
        .args(RUN)
        .env("TASKER_URL", serve(vec![created()]))
        .stdout(full)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let output = child.wait_with_output().unwrap();
    let outcome = Outcome {
        code: output.status.code().unwrap(),
        stdout: String::new(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    };
    assert_named(&outcome, 73, "the answer cannot be written: ");
}

#[test]
fn a_signal_that_ends_a_wait_leaves_the_id_of_the_task() {
    for signal in ["-INT", "-TERM"] {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut command = program(Path::new("/"));
        let child = command
            .args(RUN)
            .arg("--wait")
            .env(
                "TASKER_URL",
                format!("http://{}", server.local_addr().unwrap()),
            )
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (mut connection, _) = server.accept().unwrap();
        read_request(&mut connection);
        std::io::Write::write_all(&mut connection, created().as_bytes()).unwrap();
        // The wait has begun with the second request.
        let (mut connection, _) = server.accept().unwrap();
        read_request(&mut connection);
        let id = child.id().to_string();
        let killed = Command::new("kill").args([signal, &id]).status().unwrap();
        assert!(killed.success());
        let output = child.wait_with_output().unwrap();
        let outcome = Outcome {
            code: output.status.code().unwrap(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        };
        assert_named(&outcome, 130, "a signal ended the command");
    }
}

#[test]
fn a_limit_may_be_longer_than_a_clock_can_count() {
    let limit = u64::MAX.to_string();
    let wait = [&RUN[..], &["--wait", "--wait-limit", &limit]].concat();
    let outcome = run(vec![created(), task("complete")], &wait);
    assert_eq!(outcome.code, 0, "{outcome:?}");
}

#[test]
fn a_service_that_hangs_does_not_prolong_the_wait() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", server.local_addr().unwrap());
    std::thread::spawn(move || {
        let mut held = Vec::new();
        for (number, connection) in server.incoming().enumerate() {
            let mut connection = connection.unwrap();
            read_request(&mut connection);
            let answer = [created(), task("pending")].into_iter().nth(number);
            std::io::Write::write_all(&mut connection, answer.unwrap_or_default().as_bytes())
                .unwrap();
            if number > 1 {
                // The answer never comes.
                held.push(connection);
            }
        }
    });
    let mut command = program(Path::new("/"));
    command
        .args(RUN)
        .args(["--wait", "--wait-limit", "2", "--url", &url]);
    let outcome = outcome(&mut command);
    assert_eq!(outcome.code, 1, "{outcome:?}");
    assert!(outcome.stdout.contains(": pending ("), "{outcome:?}");
    let sentence = format!("error: task {TASK} has not ended within 2 s\n");
    assert!(outcome.stderr.starts_with(&sentence), "{outcome:?}");
}
