//! Formats an error with its causes.

use std::error::Error;
use std::fmt;

/// An error and its causes in one line. A cause that the text before it already ends with is left out,
/// because some libraries print the source as part of their own message.
#[derive(Debug)]
pub struct Chain<'a>(pub &'a (dyn Error + 'a));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = self.0.to_string();
        f.write_str(&shown)?;
        let mut next = self.0.source();
        while let Some(cause) = next {
            let text = cause.to_string();
            if !shown.ends_with(&text) {
                write!(f, ": {text}")?;
            }
            shown = text;
            next = cause.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::Chain;

    #[derive(Debug, thiserror::Error)]
    enum Failure {
        #[error("the cache cannot be reached")]
        Lost(#[source] Box<Failure>),
        /// Prints its source.
        #[error("cannot read: {0}")]
        Read(#[source] io::Error),
    }

    #[test]
    fn each_cause_is_shown_once() {
        let read = Failure::Read(io::Error::other("gone"));
        assert_eq!(
            Chain(&Failure::Lost(Box::new(read))).to_string(),
            "the cache cannot be reached: cannot read: gone"
        );
    }
}
