use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use url::Url;

struct Owner {
    process: Child,
    ports: [u16; 2],
    folder: PathBuf,
}

impl Drop for Owner {
    /// A test that fails must not leave its owner behind.
    fn drop(&mut self) {
        let _ = (self.process.kill(), self.process.wait());
    }
}

fn start_owner() -> Owner {
    let mut process = Command::new(env!("CARGO_BIN_EXE_servers"))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = BufReader::new(process.stdout.take().unwrap());
    let urls = output
        .lines()
        .take(3)
        .map(|line| Url::parse(&line.unwrap()).unwrap());
    let [postgres, redis, socket] = urls.collect::<Vec<_>>().try_into().unwrap();
    let folder = Path::new(socket.path()).parent().unwrap().to_path_buf();
    let ports = [postgres, redis].map(|url| url.port().unwrap());
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
