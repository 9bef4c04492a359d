//! A template on its way to PostgreSQL.

use sha2::{Digest, Sha256};

use super::directory::TemplateName;
use crate::database::jsonb;
use crate::models::core::identity_strategy::IdentityStrategy;
use crate::models::core::task_template::TemplateDocument;
use crate::types::ContentHash;

/// What is sent of a template, and the hash that it will have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Submission {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) version: String,
    pub(super) description: Option<String>,
    pub(super) strategy: Option<&'static str>,
    /// The document as PostgreSQL writes it. Two documents are equal if these are.
    pub(crate) configuration: String,
    /// By our reckoning; PostgreSQL computes its own from what it has stored.
    pub(super) hash: ContentHash,
}

/// The description's column is shorter than what an author may write; the document keeps it all.
const DESCRIPTION_CHARACTERS: usize = 255;

impl Submission {
    pub(super) fn template_name(&self) -> TemplateName<'_> {
        TemplateName {
            namespace: &self.namespace,
            name: &self.name,
            version: &self.version,
        }
    }

    /// What dominates the size of a statement that carries it.
    pub(super) fn bytes(&self) -> usize {
        self.configuration.len()
    }
}

impl From<&TemplateDocument> for Submission {
    fn from(document: &TemplateDocument) -> Self {
        let template = document.template();
        let configuration = jsonb::text(document.json());
        Self {
            namespace: template.namespace_name.clone(),
            name: template.name.clone(),
            version: template.version.clone(),
            description: template
                .description
                .as_deref()
                .map(|text| text.chars().take(DESCRIPTION_CHARACTERS).collect()),
            strategy: template.identity_strategy.map(IdentityStrategy::name),
            hash: ContentHash::from_bytes(Sha256::digest(&configuration).into()),
            configuration,
        }
    }
}
