//! The database that commands connect to.

use std::net::TcpListener;
use std::path::Path;
use std::sync::mpsc::{self, Receiver};
use std::thread;

use crate::common::{Outcome, outcome, program};

/// Nothing listens on this port.
const CLOSED: &str = "postgres://tasker@127.0.0.1:1/tasker";
const CONFIGURED: &str = "TASKER__COMMON__DATABASE__URL";

/// Listens, and hangs up on a client. Returns the address, and a message once it has.
fn listen() -> (String, Receiver<()>) {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("postgres://tasker@{}/tasker", server.local_addr().unwrap());
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let connection = server.accept().unwrap();
        sender.send(()).unwrap();
        drop(connection);
    });
    (url, receiver)
}

fn list(variables: &[(&str, &str)], arguments: &[&str]) -> Outcome {
    let mut command = program(Path::new("/"));
    command.args(["template", "list"]).args(arguments);
    outcome(command.envs(variables.iter().copied()))
}

#[test]
fn the_url_is_that_of_the_option_or_else_of_the_configuration() {
    let reaches = |variables: &[(&str, &str)], arguments: &[&str], at: &Receiver<()>| {
        let outcome = list(variables, arguments);
        assert_eq!(outcome.code, 69, "{outcome:?}");
        assert!(at.try_recv().is_ok(), "{outcome:?}");
    };
    let (url, at) = listen();
    reaches(&[("DATABASE_URL", &url)], &[], &at);
    for variable in [CLOSED, ""] {
        let (url, at) = listen();
        reaches(&[("DATABASE_URL", variable), (CONFIGURED, &url)], &[], &at);
    }
    let (url, at) = listen();
    let variables = [("DATABASE_URL", CLOSED), (CONFIGURED, CLOSED)];
    reaches(&variables, &["--database-url", &url], &at);
}

#[test]
fn warnings_of_the_library_are_on_standard_error() {
    let url = format!("{CLOSED}?sslmod=require&a%0ab=1");
    for form in ["table", "json"] {
        let outcome = list(&[("DATABASE_URL", &url)], &["--output", form]);
        assert_eq!((outcome.code, &*outcome.stdout), (69, ""), "{outcome:?}");
        let (warning, rest) = outcome.stderr.split_once('\n').unwrap();
        assert_eq!(
            warning,
            "warning: parameters of the database URL have no effect parameters=\"sslmod a%0ab\""
        );
        assert!(rest.starts_with("error: "), "{outcome:?}");
    }
}
