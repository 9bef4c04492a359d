//! Reasons for which a row cannot be measured.

use std::fmt::Debug;

pub(crate) use tasker_test_support::{Failure, Result};

/// Fails unless both are equal.
pub(crate) fn expect<T: PartialEq + Debug>(what: &str, expected: &T, found: &T) -> Result {
    if expected == found {
        return Ok(());
    }
    Err(format!("{what}: expected {expected:?}, found {found:?}").into())
}
