//! A line on the terminal while a command takes longer than a second.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use tokio::time::{Instant, interval_at};

use crate::output::harmless;
use crate::style;

/// The time after which the line appears.
const AFTER: Duration = Duration::from_secs(1);
/// The time between two pictures.
const EVERY: Duration = Duration::from_millis(200);
/// Clears the line.
const CLEAR: &str = "\r\x1b[K";
const PICTURES: [char; 4] = ['|', '/', '-', '\\'];

/// Awaits `work`. Shows `doing` and the seconds so far on standard error if that is a terminal.
pub(crate) async fn during<T>(doing: &str, work: impl Future<Output = T>) -> T {
    if !is_shown() {
        return work.await;
    }
    let begun = Instant::now();
    let mut ticks = interval_at(begun + AFTER, EVERY);
    let mut pictures = PICTURES.iter().cycle();
    let mut was_shown = false;
    let mut work = std::pin::pin!(work);
    loop {
        tokio::select! {
            done = &mut work => {
                if was_shown {
                    show(CLEAR);
                }
                return done;
            }
            _ = ticks.tick() => {
                was_shown = true;
                let picture = pictures.next().unwrap_or(&'.');
                let seconds = begun.elapsed().as_secs();
                show(&format!("{CLEAR}{picture} {doing} ({seconds} s)"));
            }
        }
    }
}

/// Prints a line to standard error, in place of the one that shows progress.
pub(crate) fn note(text: &str) {
    let clear = if is_shown() { CLEAR } else { "" };
    show(&format!("{clear}{}\n", harmless(text)));
}

fn is_shown() -> bool {
    io::stderr().is_terminal() && !style::is_dumb()
}

fn show(text: &str) {
    let mut stderr = io::stderr().lock();
    // The line is for a person who watches; without one nothing is lost.
    drop(stderr.write_all(text.as_bytes()));
    drop(stderr.flush());
}
