//! A reader that goes away, as `head` does, changes no exit code.

use std::fs;
use std::io::pipe;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::broken::GOOD;
use crate::common::program;
use crate::http::{response, serve};

/// Runs the program without a reader. Returns its exit code and its errors.
fn unread(command: &mut Command) -> (i32, String) {
    let (reader, writer) = pipe().unwrap();
    drop(reader);
    let output = command.stdout(writer).output().unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    (output.status.code().unwrap(), errors)
}

#[test]
fn a_closed_pipe_leaves_the_exit_code_of_the_command() {
    let folder = TempDir::new().unwrap();
    let path = folder.path();
    fs::write(path.join("good.yaml"), GOOD).unwrap();
    fs::write(path.join("other.yaml"), GOOD.replace("1.0.0", "1.1.0")).unwrap();
    fs::write(path.join("bad.yaml"), "name: a\nsteps: []\n").unwrap();
    for (arguments, code) in [
        (&["template", "validate", "good.yaml"][..], 0),
        (&["template", "validate", "bad.yaml"], 1),
        (&["template", "diff", "good.yaml", "good.yaml"], 0),
        (&["template", "diff", "good.yaml", "other.yaml"], 1),
        (&["--help"], 0),
    ] {
        let ended = unread(program(path).args(arguments));
        assert_eq!(ended, (code, String::new()), "{arguments:?}");
    }
}

#[test]
fn a_watch_ends_when_nobody_reads_it() {
    let nobody = "00000000-0000-0000-0000-000000000000";
    for (status, code) in [("pending", 1), ("complete", 0)] {
        let task = format!(
            r#"{{"task_uuid":"1","status":"{status}","completed_steps":0,"total_steps":1,"steps":[]}}"#
        );
        // A second look would find nobody, and wait.
        let url = serve(vec![response(200, &task)]);
        let mut watch = program(Path::new("/"));
        watch.args(["task", "watch", nobody, "--url", &url]);
        assert_eq!(unread(&mut watch), (code, String::new()), "{status}");
    }
}
