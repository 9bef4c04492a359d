//! Errors of the tool itself. They are printed and end the run, so none has a type. A bar that is
//! missed is a result and no error.

use std::error::Error;

pub(crate) type Failure = Box<dyn Error + Send + Sync>;
pub(crate) type Result<T = (), E = Failure> = std::result::Result<T, E>;
