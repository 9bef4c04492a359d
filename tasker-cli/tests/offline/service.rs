//! Answers that are not those of a service.

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::thread;

use crate::common::{Outcome, outcome, program};
use crate::http::{read_request, response, serve};

const TASK: &str = "00000000-0000-0000-0000-000000000000";

/// Every command that asks a service.
const COMMANDS: [&str; 14] = [
    "task run shop/orders",
    "task run shop/orders/1.0.0",
    "task run shop/orders/1.0.0 --wait",
    "task list",
    "task show TASK",
    "task watch TASK",
    "task cancel TASK",
    "step retry TASK pay --reason again",
    "step resolve TASK TASK --reason again",
    "queue",
    "workers",
    "cache status",
    "cache entries",
    "cache clear",
];

/// Runs each command against a server that answers every request with `answer`.
fn each_command(answer: &'static str, check: impl Fn(&str, &Outcome)) {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://ada:s3cret@{}", server.local_addr().unwrap());
    thread::spawn(move || {
        for connection in server.incoming() {
            respond(connection.unwrap(), answer);
        }
    });
    for command in COMMANDS {
        let command = command.replace("TASK", TASK);
        let mut process = program(Path::new("/"));
        process
            .args(command.split(' '))
            .env("TASKER_URL", &url)
            .env("TASKER_WORKER_URL", &url);
        check(&command, &outcome(&mut process));
    }
}

fn respond(mut connection: TcpStream, answer: &str) {
    read_request(&mut connection);
    connection.write_all(answer.as_bytes()).unwrap();
}

fn assert_stranger(command: &str, outcome: &Outcome, cause: &str) {
    assert_eq!(outcome.code, 69, "{command}: {outcome:?}");
    assert_eq!(outcome.stdout, "", "{command}");
    let worker = if command == "cache clear" {
        "check --worker-url or TASKER_WORKER_URL"
    } else {
        "check --url or TASKER_URL"
    };
    for part in ["is not a Tasker service", cause, worker] {
        assert!(outcome.stderr.contains(part), "{command}: {outcome:?}");
    }
    assert!(!outcome.stderr.contains("s3cret"), "{command}: {outcome:?}");
}

#[test]
fn a_login_page_is_not_an_answer() {
    let page = "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 20\r\n\
                connection: close\r\n\r\n<html>log in!</html>";
    each_command(page, |command, outcome| {
        assert_stranger(
            command,
            outcome,
            "status 200 and text/html that is not JSON",
        );
    });
}

#[test]
fn a_redirection_is_not_followed_and_its_host_is_named() {
    // The host does not exist, so whoever follows reports that it cannot be reached.
    let page = "HTTP/1.1 302 Found\r\nlocation: http://login.invalid/?back=s3cret\r\n\
                content-length: 0\r\nconnection: close\r\n\r\n";
    each_command(page, |command, outcome| {
        assert_stranger(
            command,
            outcome,
            "status 302 and a redirection to login.invalid",
        );
    });
}

#[test]
fn json_without_what_a_command_needs_is_not_an_answer() {
    let json = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 11\r\n\
                connection: close\r\n\r\n{\"ok\":true}";
    each_command(json, |command, outcome| {
        assert_stranger(command, outcome, "status 200 and JSON without ");
    });
}

#[test]
fn an_error_page_of_a_proxy_is_not_a_refusal() {
    let page = "HTTP/1.1 403 Forbidden\r\ncontent-type: text/plain\r\ncontent-length: 2\r\n\
                connection: close\r\n\r\nno";
    each_command(page, |command, outcome| {
        assert_stranger(
            command,
            outcome,
            "status 403 and text/plain that is not JSON",
        );
    });
}

#[test]
fn a_cache_that_is_not_cleared_everywhere_is_a_failure() {
    let body = r#"{"success":false,"distributed":{"attempted":true,"error":"Redis is away"}}"#;
    let run = |more: &[&str]| {
        let mut command = program(Path::new("/"));
        command.args(["cache", "clear"]).args(more);
        outcome(command.env("TASKER_WORKER_URL", serve(vec![response(200, body)])))
    };
    for outcome in [run(&[]), run(&["--output", "json"])] {
        assert_eq!(outcome.code, 1, "{outcome:?}");
        for part in [
            "error: not all cached templates are deleted: Redis is away",
            "help: clear again once Redis works",
        ] {
            assert!(outcome.stderr.contains(part), "{outcome:?}");
        }
        assert!(!outcome.stdout.contains("cleared"), "{outcome:?}");
    }
}

#[test]
fn the_address_of_another_service_has_a_remedy() {
    let body = r#"{"code":"route_not_found","detail":"No route matches."}"#;
    let mut command = program(Path::new("/"));
    command.arg("queue");
    let outcome = outcome(command.env("TASKER_URL", serve(vec![response(404, body)])));
    assert_eq!(outcome.code, 1, "{outcome:?}");
    assert!(
        outcome.stderr.contains("help: check the address"),
        "{outcome:?}"
    );
}

#[test]
fn names_of_others_do_not_steer_the_terminal_or_tear_rows_apart() {
    let body = r#"[{"worker_uuid":"1","name":"a\nb\u001b[2J","running":0,"capacity":1}]"#;
    let mut command = program(Path::new("/"));
    command.arg("workers");
    let outcome = outcome(command.env("TASKER_URL", serve(vec![response(200, body)])));
    assert_eq!(outcome.code, 0, "{outcome:?}");
    assert_eq!(outcome.stdout.lines().count(), 2, "{outcome:?}");
    assert!(!outcome.stdout.contains('\x1b'), "{outcome:?}");
}

#[test]
fn handlers_over_http_are_counted() {
    let body = r#"[{"worker_uuid":"1","name":"a","host":"b","running":0,"capacity":4,
        "callables":["x"],"patterns":["https://%","http://%"],"seen_at":"now"}]"#;
    let (_, outcome) = exchange(&["workers"], 200, body);
    assert!(
        outcome.stdout.contains("0 of 4   3         now"),
        "{outcome:?}"
    );
}

#[test]
fn a_cached_document_that_is_outdated_and_a_silent_redis_are_shown() {
    let body = r#"{"caching":true,"total":7,"distributed_error":"Redis is away","entries":[
        {"namespace":"shop","name":"orders","version":"1","hash":"abc",
         "local":{"held":true,"matches_database":false}},
        {"namespace":"shop","name":"refunds","version":"1","hash":"abc",
         "local":{"held":true,"matches_database":true},"redis":{"held":false}}]}"#;
    let (_, outcome) = exchange(&["cache", "entries", "--verify"], 200, body);
    assert_eq!(
        outcome.stdout,
        "TEMPLATE        HASH  LOCAL     REDIS\n\
         shop/orders/1   abc   outdated  not asked\n\
         shop/refunds/1  abc   held      -\n\
         2 of 7 templates\n\
         warning: Redis did not answer: Redis is away\n"
    );
}

#[test]
fn what_cannot_be_meant_is_refused_and_an_empty_address_is_none() {
    let run = |arguments: &[&str]| {
        let mut command = program(Path::new("/"));
        command.args(arguments).env("TASKER_URL", "");
        outcome(command.env("TASKER_WORKER_URL", ""))
    };
    for arguments in [
        &["task", "watch", TASK, "--interval-ms", "0"][..],
        &["queue", "--request-timeout", "0"],
        &["task", "run", "shop/.."],
        &["task", "run", "./orders/1.0.0"],
    ] {
        let outcome = run(arguments);
        assert_eq!(outcome.code, 64, "{outcome:?}");
    }
    for arguments in [&["queue"][..], &["cache", "clear"]] {
        assert_ne!(run(arguments).code, 64, "{arguments:?}");
    }
}

/// Runs the program against a server that answers once. Returns the body of its request, too.
fn exchange(arguments: &[&str], status: u16, answer: &str) -> (String, Outcome) {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", server.local_addr().unwrap());
    let answer = response(status, answer);
    let request = thread::spawn(move || {
        let (mut connection, _) = server.accept().unwrap();
        let (_, body) = read_request(&mut connection);
        connection.write_all(answer.as_bytes()).unwrap();
        body
    });
    let mut command = program(Path::new("/"));
    let outcome = outcome(command.args(arguments).env("TASKER_URL", url));
    (request.join().unwrap(), outcome)
}

#[test]
fn numbers_keep_their_digits_on_both_ways() {
    let numbers = r#"{"id":12345678901234567890123,"price":1.10,"id":0.1000000000000000055511}"#;
    let run = ["task", "run", "shop/orders/1.0.0", "--context", numbers];
    let created = r#"{"task_uuid":"1","status":"pending","step_count":1}"#;
    let (sent, _) = exchange(&run, 201, created);
    assert!(sent.contains(&format!(r#""context":{numbers}"#)), "{sent}");

    let complete = [
        "step", "complete", TASK, TASK, "--reason", "by hand", "--result", numbers,
    ];
    let step = r#"{"name":"pay","results":{"id":12345678901234567890123,"price":1.10},"status":"complete"}"#;
    let json = [&complete[..], &["--output", "json"]].concat();
    let (sent, outcome) = exchange(&json, 200, step);
    assert!(
        sent.contains(&format!(r#""completion_data":{numbers}"#)),
        "{sent}"
    );
    let printed: String = outcome.stdout.split_whitespace().collect();
    assert_eq!(printed, step, "{outcome:?}");
}

#[test]
fn texts_of_a_service_do_not_steer_the_terminal() {
    let steer = "\\u001b[2J\\u009b2J\\r";
    let step = format!(r#"{{"name":"{steer}","status":"{steer}","dependencies":["{steer}"]}}"#);
    let task = format!(
        r#"{{"task_uuid":"{steer}","status":"{steer}","completed_steps":0,"total_steps":1,
            "steps":[{step}]}}"#
    );
    let problem = format!(r#"{{"code":"c","detail":"{steer}"}}"#);
    let retry = ["step", "retry", TASK, "pay", "--reason", "x"];
    for (arguments, status, answer) in [
        (&["task", "show", TASK][..], 200, task.clone()),
        (&retry, 200, task),
        (
            &["task", "list"],
            200,
            format!(r#"{{"tasks":[],"next_cursor":"{steer}"}}"#),
        ),
        (
            &["cache", "status"],
            200,
            format!(r#"{{"checks":{{"cache":{{"{steer}":"{steer}"}}}}}}"#),
        ),
        (&["queue"], 400, problem),
    ] {
        let (_, outcome) = exchange(arguments, status, &answer);
        let shown = format!("{}{}", outcome.stdout, outcome.stderr);
        assert!(shown.contains(" [2J"), "{arguments:?}: {outcome:?}");
        let steers = |char: char| char.is_control() && char != '\n';
        assert!(!shown.contains(steers), "{arguments:?}: {outcome:?}");
    }
}
