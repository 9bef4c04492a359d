//! Why a template cannot be used.

use super::Problem;
use super::problem::Listed;

/// Why a template cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TemplateError {
    /// The text is not one YAML document that JSON can hold. Mostly there is one problem, since
    /// what follows it cannot be understood.
    #[error("the template cannot be read: {}", Listed(problems))]
    Unreadable {
        /// What is wrong, in the order of lines. Never empty.
        problems: Vec<Problem>,
    },
    /// The document was read, but it is not a template.
    #[error("the template is not valid: {}", Listed(problems))]
    Invalid {
        /// Everything that is wrong, in the order of the document. Never empty.
        problems: Vec<Problem>,
    },
    /// The document passed every check and still has no typed view, or a template that was built
    /// in code has no document. Either is a defect of this software.
    #[error("the template and its document do not correspond")]
    Shape(#[source] serde_json::Error),
}

impl TemplateError {
    /// Everything that is wrong with the document.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        match self {
            Self::Unreadable { problems } | Self::Invalid { problems } => problems,
            Self::Shape(_) => &[],
        }
    }
}
