//! Reasons for which a row cannot be measured. They are printed and end the run, so none has a type.

use std::error::Error;
use std::fmt::Debug;

pub(crate) type Failure = Box<dyn Error + Send + Sync>;
pub(crate) type Result<T = ()> = std::result::Result<T, Failure>;

/// Fails unless both are equal.
pub(crate) fn expect<T: PartialEq + Debug>(what: &str, expected: &T, found: &T) -> Result {
    if expected == found {
        return Ok(());
    }
    Err(format!("{what}: expected {expected:?}, found {found:?}").into())
}
