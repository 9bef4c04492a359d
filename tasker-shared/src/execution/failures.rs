//! The beginning and the end of failures of recurring work, so that each is logged once.

/// Says when work that recurs begins to fail, and when it succeeds again.
///
/// Work that fails each second would otherwise fill the log for as long as a database takes no writes.
#[derive(Debug, Default)]
pub struct Failures {
    fails: bool,
}

impl Failures {
    /// Notes a failure. Returns true if it is the first one after a success.
    pub fn begin(&mut self) -> bool {
        !std::mem::replace(&mut self.fails, true)
    }

    /// Notes a success. Returns true if it is the first one after a failure.
    pub fn end(&mut self) -> bool {
        std::mem::take(&mut self.fails)
    }
}

#[cfg(test)]
mod tests {
    use super::Failures;

    #[test]
    fn each_spell_of_failures_has_one_beginning_and_one_end() {
        let mut failures = Failures::default();
        assert!(!failures.end());
        for _ in 0..2 {
            assert!(failures.begin());
            assert!(!failures.begin());
            assert!(failures.end());
            assert!(!failures.end());
        }
    }
}
