//! Colours and progress are for terminals only.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use tempfile::TempDir;

use crate::broken::WARNED;
use crate::common::program;
use crate::http::{read_request, response, serve};

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// A pseudo-terminal: the end of the person, and the end of the program.
fn terminal() -> (File, OwnedFd) {
    let person = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&person).unwrap();
    unlockpt(&person).unwrap();
    let path = ptsname(&person, Vec::new()).unwrap();
    let program = OpenOptions::new()
        .read(true)
        .write(true)
        .open(path.to_str().unwrap())
        .unwrap();
    (person.into(), program.into())
}

/// Reads everything that appears on a terminal, until the program's end is closed.
fn read_all(mut terminal: File) -> Receiver<String> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let mut buffer = [0; 4096];
        // Linux reports the closed end as an error.
        while let Ok(read @ 1..) = terminal.read(&mut buffer) {
            if sender
                .send(String::from_utf8_lossy(&buffer[..read]).into_owned())
                .is_err()
            {
                return;
            }
        }
    });
    receiver
}

fn rest(receiver: &Receiver<String>) -> String {
    let mut text = String::new();
    while let Ok(more) = receiver.recv_timeout(PATIENCE) {
        text.push_str(&more);
    }
    text
}

#[test]
fn a_terminal_shows_colours_and_a_pipe_does_not() {
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("warned.yaml"), WARNED).unwrap();
    let command = || {
        let mut command = program(folder.path());
        command
            .args(["template", "validate", "warned.yaml"])
            .env("TERM", "xterm");
        command
    };
    let piped = crate::common::outcome(&mut command()).stdout;
    assert!(!piped.contains('\x1b'), "{piped}");

    let (person, end) = terminal();
    let mut coloured = command();
    let child = coloured.stdout(Stdio::from(end)).spawn().unwrap();
    drop(coloured);
    let shown = rest(&read_all(person));
    assert!(shown.contains("\x1b[33mwarning\x1b[0m"), "{shown:?}");
    assert!(finished(child));

    let (person, end) = terminal();
    let mut plain = command();
    let child = plain
        .env("NO_COLOR", "1")
        .stdout(Stdio::from(end))
        .spawn()
        .unwrap();
    drop(plain);
    let shown = rest(&read_all(person));
    assert!(!shown.contains('\x1b'), "{shown:?}");
    assert!(finished(child));
}

fn finished(mut child: Child) -> bool {
    child.wait().unwrap().success()
}

#[test]
fn a_dumb_terminal_gets_no_escape_sequences() {
    let task = r#"{"task_uuid":"1","status":"pending","completed_steps":0,"total_steps":1,
        "steps":[]}"#;
    let answers = [task.to_owned(), task.replace("pending", "complete")];
    let url = serve(answers.iter().map(|body| response(200, body)).collect());
    let (person, end) = terminal();
    let mut dumb = program("/".as_ref());
    let nobody = "00000000-0000-0000-0000-000000000000";
    let child = dumb
        .args(["task", "watch", nobody, "--interval-ms", "1"])
        .args(["--url", &url])
        .env("TERM", "dumb")
        .stderr(Stdio::from(end.try_clone().unwrap()))
        .stdout(Stdio::from(end))
        .spawn()
        .unwrap();
    drop(dumb);
    let shown = rest(&read_all(person));
    assert!(shown.contains("complete"), "{shown:?}");
    assert!(!shown.contains('\x1b'), "{shown:?}");
    assert!(finished(child));
}

#[test]
fn a_watch_draws_in_place_if_the_terminal_is_high_enough() {
    let long = "x".repeat(100);
    let task = |status: &str| {
        let task = format!(
            r#"{{"task_uuid":"1","status":"{status}","completed_steps":0,"total_steps":1,
            "steps":[{{"name":"{long}"}}]}}"#
        );
        response(200, &task)
    };
    // A drawing has two lines, and the cursor is below them.
    for (rows, is_in_place) in [(3, true), (2, false)] {
        let url = serve(vec![task("pending"), task("complete")]);
        let (person, end) = terminal();
        let size = Winsize {
            ws_row: rows,
            ws_col: 20,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&person, size).unwrap();
        let nobody = "00000000-0000-0000-0000-000000000000";
        let mut watch = program("/".as_ref());
        watch
            .args(["task", "watch", nobody, "--interval-ms", "1"])
            .args(["--url", &url])
            .env("TERM", "xterm")
            .stdout(Stdio::from(end));
        let child = watch.spawn().unwrap();
        drop(watch);
        let shown = rest(&read_all(person));
        assert_eq!(shown.contains("\x1b[2A\x1b[J"), is_in_place, "{shown:?}");
        // Lines do not wrap, so that two lines are two rows.
        assert_eq!(shown.matches("\x1b[?7l").count(), 2, "{shown:?}");
        assert!(shown.ends_with("\x1b[?7h"), "{shown:?}");
        assert!(finished(child));
    }
}

#[test]
fn a_terminal_shows_progress_and_a_pipe_does_not() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", server.local_addr().unwrap());
    let command = || {
        let mut command = program("/".as_ref());
        command.args(["queue", "--url", &url]).env("TERM", "xterm");
        command
    };
    let piped = command()
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (first, _) = server.accept().unwrap();

    let (person, end) = terminal();
    let mut shown = command();
    let watched = shown
        .stdout(Stdio::null())
        .stderr(Stdio::from(end))
        .spawn()
        .unwrap();
    drop(shown);
    let (second, _) = server.accept().unwrap();

    // The service answers once the progress was seen, so that both have waited long enough for it.
    let screen = read_all(person);
    let mut seen = String::new();
    while !seen.contains("waiting for the service (1 s)") {
        seen.push_str(&screen.recv_timeout(PATIENCE).unwrap());
    }
    for connection in [first, second] {
        answer(connection);
    }
    seen.push_str(&rest(&screen));
    assert!(seen.ends_with("\r\x1b[K"), "{seen:?}");
    assert!(finished(watched));
    let output = piped.wait_with_output().unwrap();
    assert!(output.status.success());
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

/// Reads a request and answers with an empty list.
fn answer(mut connection: TcpStream) {
    read_request(&mut connection);
    let body = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\nconnection: close\r\n\r\n[]";
    connection.write_all(body).unwrap();
}
