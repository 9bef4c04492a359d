use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// Cargo builds examples beside the folder of the tests.
fn owner_program() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.ancestors().nth(2).unwrap().join("examples/owner")
}

struct Owner {
    process: Child,
    ports: [u16; 2],
    folder: PathBuf,
}

fn start_owner() -> Owner {
    let mut process = Command::new(owner_program())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(process.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let mut words = line.split_whitespace();
    let ports = [(); 2].map(|()| words.next().unwrap().parse().unwrap());
    let socket = words.next().unwrap().strip_prefix("unix://").unwrap();
    let folder = PathBuf::from(socket).parent().unwrap().to_path_buf();
    Owner {
        process,
        ports,
        folder,
    }
}

fn wait_until(what: &str, reached: impl Fn() -> bool) {
    let start = Instant::now();
    while !reached() {
        assert!(start.elapsed() < Duration::from_secs(15), "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn nothing_is_left_after(signal: Signal) {
    let mut owner = start_owner();
    for port in owner.ports {
        assert!(TcpStream::connect(("127.0.0.1", port)).is_ok());
    }
    assert!(owner.folder.is_dir());
    kill_process(Pid::from_child(&owner.process), signal).unwrap();
    owner.process.wait().unwrap();
    for port in owner.ports {
        wait_until("a server still runs", || {
            TcpStream::connect(("127.0.0.1", port)).is_err()
        });
    }
    wait_until("its folder is still there", || !owner.folder.exists());
}

#[test]
fn nothing_is_left_of_an_owner_that_was_killed() {
    nothing_is_left_after(Signal::KILL);
}

#[test]
fn nothing_is_left_of_an_owner_that_was_interrupted() {
    nothing_is_left_after(Signal::INT);
}
