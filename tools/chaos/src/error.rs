//! Errors of the tool itself. A bar that is missed is a result and no error.

pub(crate) use tasker_test_support::{Failure, Result};
