//! The commands that the server refuses whatever their key is, and the lines about them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::log_limit::LogLimit;
use super::reports::LOG_PERIOD;
use crate::cache::Refusal;

#[derive(Default)]
pub(super) struct Refusals {
    /// True while a command is refused, so that the lock is not needed for each success.
    any: AtomicBool,
    commands: Mutex<BTreeMap<&'static str, Refused>>,
}

/// A command that the server refuses, or did.
struct Refused {
    /// The error code; none once the command was accepted again.
    code: Option<String>,
    log: LogLimit,
    logged: bool,
}

impl Refusals {
    /// Notes that `command` was refused, and logs that once.
    pub(super) fn refused(&self, command: &'static str, refusal: &Refusal) {
        let mut commands = self.commands();
        let entry = commands.entry(command).or_insert_with(|| Refused {
            code: None,
            log: LogLimit::new(LOG_PERIOD),
            logged: false,
        });
        entry.code = Some(refusal.code().to_owned());
        self.any.store(true, Ordering::Relaxed);
        // A server that comes and goes does not fill the log. The supervisor sends a refused command again
        // and again, so a refusal that lasts is logged in the end.
        if !entry.logged && entry.log.admit(Instant::now()).is_some() {
            entry.logged = true;
            tracing::warn!(
                command,
                error = %refusal,
                "the cache refuses a command; requests continue without it"
            );
        }
    }

    /// Notes that `command` was accepted.
    pub(super) fn accepted(&self, command: &'static str) {
        if !self.any.load(Ordering::Relaxed) {
            return;
        }
        let mut commands = self.commands();
        if let Some(entry) = commands.get_mut(command)
            && entry.code.take().is_some()
            && std::mem::take(&mut entry.logged)
        {
            tracing::warn!(command, "the cache accepts the command again");
        }
        let any = commands.values().any(|entry| entry.code.is_some());
        self.any.store(any, Ordering::Relaxed);
    }

    /// Returns the commands that are refused now, with their error codes.
    pub(super) fn now(&self) -> Vec<(&'static str, String)> {
        let commands = self.commands();
        let refused = commands.iter();
        refused
            .filter_map(|(command, entry)| Some((*command, entry.code.clone()?)))
            .collect()
    }

    fn commands(&self) -> MutexGuard<'_, BTreeMap<&'static str, Refused>> {
        self.commands.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{LogLimit, Refusals};
    use crate::cache::Refusal;

    #[test]
    fn a_refusal_that_was_not_logged_is_logged_later_if_it_lasts() {
        let refusals = Refusals::default();
        let refuse = || {
            refusals.refused("SET", &Refusal::new("OOM"));
            refusals.commands()["SET"].logged
        };
        assert!(refuse());
        refusals.accepted("SET");
        assert!(!refuse(), "the period is not over");
        let mut commands = refusals.commands();
        commands.get_mut("SET").expect("it is refused").log = LogLimit::new(Duration::ZERO);
        drop(commands);
        assert!(refuse());
    }
}
