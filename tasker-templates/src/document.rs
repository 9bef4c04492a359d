//! The author's document.

use serde::Deserialize;
use serde_json::Value;

use super::{Problem, TaskTemplate, TemplateError, TemplateLimits, validation, yaml};

/// A checked template with everything that its author wrote.
///
/// Two are equal when their documents are, whether they were read from YAML or not.
#[derive(Debug, Clone)]
pub struct TemplateDocument {
    json: Value,
    template: TaskTemplate,
    warnings: Vec<Problem>,
}

impl TemplateDocument {
    /// Reads and checks a YAML document. JSON is YAML, so it may be JSON too.
    ///
    /// Problems and warnings name their lines. `limits` bound the time that it takes.
    ///
    /// # Errors
    /// Fails if the bytes are not one YAML document that JSON can hold, or if it is not a template.
    /// The error lists all problems, as far as one does not hide the others, and all warnings.
    pub fn from_yaml(bytes: &[u8], limits: TemplateLimits) -> Result<Self, TemplateError> {
        let text = yaml::checked_text(bytes, limits)?;
        let yaml::Loaded { value, warnings } = yaml::load(&text, limits)?;
        let mut findings = validation::check(&value, true);
        if !findings.errors.is_empty() || !findings.warnings.is_empty() {
            let locations = yaml::locations(&text, limits);
            let problems = findings.errors.iter_mut().chain(&mut findings.warnings);
            for problem in problems.filter(|problem| problem.is_of_a_place()) {
                let at = locations.find(&problem.path);
                problem.line = at.map(|at| at.line);
                problem.column = at.map(|at| at.column);
            }
        }
        findings.warnings.splice(0..0, warnings);
        Self::from_checked(value, findings)
    }

    /// Checks a JSON document. Its problems have no lines.
    ///
    /// # Errors
    /// Fails if it is not a template, or if PostgreSQL cannot store it.
    pub fn from_json(json: Value) -> Result<Self, TemplateError> {
        let findings = validation::check(&json, false);
        Self::from_checked(json, findings)
    }

    /// Returns the document of a template that was built in code.
    ///
    /// # Errors
    /// See [`Self::from_json`].
    pub fn from_template(template: &TaskTemplate) -> Result<Self, TemplateError> {
        let json = serde_json::to_value(template).map_err(TemplateError::Shape)?;
        Self::from_json(json)
    }

    fn from_checked(json: Value, findings: validation::Findings) -> Result<Self, TemplateError> {
        let in_order = |mut problems: Vec<Problem>| {
            problems.sort_by_key(|problem| problem.line.unwrap_or(usize::MAX));
            problems
        };
        let warnings = in_order(findings.warnings);
        if !findings.errors.is_empty() {
            let problems = in_order(findings.errors);
            return Err(TemplateError::Invalid { problems, warnings });
        }
        let template = TaskTemplate::deserialize(&json).map_err(TemplateError::Shape)?;
        Ok(Self {
            json,
            template,
            warnings,
        })
    }

    /// Returns the document as written, with unknown keys.
    #[must_use]
    pub fn json(&self) -> &Value {
        &self.json
    }

    /// Returns the typed view.
    #[must_use]
    pub fn template(&self) -> &TaskTemplate {
        &self.template
    }

    /// Returns the warnings in the order of lines.
    #[must_use]
    pub fn warnings(&self) -> &[Problem] {
        &self.warnings
    }
}

impl PartialEq for TemplateDocument {
    fn eq(&self, other: &Self) -> bool {
        self.json == other.json
    }
}
