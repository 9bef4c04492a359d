//! The moment before which connections of this process count as expired.
//!
//! A connection can outlive the state of the server that it was made for: the server was demoted, a
//! restore replaced its tables, a migration changed the types. One statement finds out; the other
//! connections of the pools are then replaced before they are used again. There is one moment for all
//! pools, because a process uses one database.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::errors::is_outdated;
use super::{DatabaseError, addresses};

/// The least time between two moments, so that a server that goes on to refuse does not cost a
/// connection for each statement.
const INTERVAL: Duration = Duration::from_secs(1);

static EXPIRED_BEFORE: Mutex<Option<Instant>> = Mutex::new(None);

/// Has connections replaced before they are used again, if `error` is due to the state of the server for
/// which this one was made, and the addresses of the server looked at again, if it is due to the one that
/// is used. [`super::run_idempotent`] does that by itself.
pub fn note_failure(error: &DatabaseError) {
    addresses::note(error);
    let outdated = match error {
        DatabaseError::Failed(error) => is_outdated(error),
        DatabaseError::Standby => true,
        _ => false,
    };
    if outdated {
        expire_connections();
    }
}

/// Has all connections replaced that exist now, unless that was done within the last second.
pub(super) fn expire_connections() {
    let mut expired = EXPIRED_BEFORE
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    if expired.is_none_or(|moment| moment.elapsed() >= INTERVAL) {
        *expired = Some(Instant::now());
    }
}

/// Has all connections replaced that exist now.
pub(crate) fn expire_connections_now() {
    *EXPIRED_BEFORE
        .lock()
        .unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
}

/// Returns true if a connection of this age must not be used.
pub(super) fn is_expired(age: Duration) -> bool {
    let expired = *EXPIRED_BEFORE
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    expired.is_some_and(|moment| moment.elapsed() < age)
}
