//! A template on its way to PostgreSQL.

use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::index::TemplateName;
use super::known_files::Marks;
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
    pub(super) content: Content,
    /// By our reckoning; PostgreSQL computes its own from what it has stored.
    pub(super) hash: ContentHash,
    /// Of a template from a file that need not be parsed again once this is registered.
    pub(super) marks: Option<Marks>,
}

/// What there is to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Content {
    /// The document as PostgreSQL writes it. Two documents are equal if these are.
    Document(String),
    /// Nothing: PostgreSQL has said that it is registered as it is, in the row of this key.
    Registered(Uuid),
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
        self.document().len()
    }

    /// The document, if there is one to send.
    pub(super) fn document(&self) -> &str {
        match &self.content {
            Content::Document(text) => text,
            Content::Registered(_) => "",
        }
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
            content: Content::Document(configuration),
            marks: None,
        }
    }
}
