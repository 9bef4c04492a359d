//! Errors of reading and checking templates.

use super::Problem;
use super::problem::Listed;

/// A template cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TemplateError {
    /// The text is not one YAML document that JSON can hold. Mostly there is one problem, because
    /// the rest of the text cannot be interpreted after it.
    #[error("the template cannot be read: {}", Listed(problems))]
    Unreadable {
        /// The problems in the order of lines. Never empty.
        problems: Vec<Problem>,
        /// Warnings about the part that was read.
        warnings: Vec<Problem>,
    },
    /// The document was read, but it is not a template.
    #[error("the template is not valid: {}", Listed(problems))]
    Invalid {
        /// All problems in the order of lines. Never empty.
        problems: Vec<Problem>,
        /// The warnings in the order of lines.
        warnings: Vec<Problem>,
    },
    /// The document passed each check and has no typed view, or a template that was built in code
    /// has no document. Either is a defect of this software.
    #[error("the template and its document do not correspond")]
    Shape(#[source] serde_json::Error),
}

impl TemplateError {
    /// Returns all problems of the document.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        match self {
            Self::Unreadable { problems, .. } | Self::Invalid { problems, .. } => problems,
            Self::Shape(_) => &[],
        }
    }

    /// Returns the warnings beside the problems.
    #[must_use]
    pub fn warnings(&self) -> &[Problem] {
        match self {
            Self::Unreadable { warnings, .. } | Self::Invalid { warnings, .. } => warnings,
            Self::Shape(_) => &[],
        }
    }
}
