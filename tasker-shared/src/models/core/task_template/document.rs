//! The author's document. (Stub: the documents module's owner completes it.)

use serde_json::Value;

use super::TaskTemplate;

/// Why a template cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TemplateError {
    /// The document is not a template.
    #[error("the template cannot be read")]
    Shape(#[source] serde_json::Error),
}

/// A checked template with everything that its author wrote.
#[derive(Debug, Clone, PartialEq)]
pub struct TemplateDocument {
    json: Value,
    template: TaskTemplate,
}

impl TemplateDocument {
    /// Checks a JSON document.
    pub fn from_json(json: Value) -> Result<Self, TemplateError> {
        let template = serde_json::from_value(json.clone()).map_err(TemplateError::Shape)?;
        Ok(Self { json, template })
    }

    /// The document as written, unknown keys included.
    #[must_use]
    pub fn json(&self) -> &Value {
        &self.json
    }

    /// The row's description.
    #[must_use]
    pub fn row_description(&self) -> Option<String> {
        self.template.description.clone()
    }

    /// The typed view.
    #[must_use]
    pub fn template(&self) -> &TaskTemplate {
        &self.template
    }
}
