//! The sources of configured values, for operators.

use super::config_loader::ConfigLoader;
use super::env_override::{self, variable_for};
use super::errors::{ConfigError, Origin};
use super::fields::{Fields, schema};
use super::flatten::flatten;
use super::merge;

/// A key with its value in force.
#[derive(Debug, Clone, PartialEq)]
pub struct ExplainedKey {
    /// The dotted path.
    pub path: String,
    /// The value as JSON, without secrets.
    pub value: serde_json::Value,
    /// The sources that set the key, the strongest first.
    pub sources: Vec<Origin>,
    /// The variable that overrides all of them.
    pub variable: String,
    /// The meaning of the key.
    pub about: String,
}

impl ConfigLoader {
    /// Returns the keys at or below the dotted path `at` with their values in force; all keys if it is
    /// empty, and none if no key or section has this path.
    ///
    /// # Errors
    /// See [`ConfigLoader::load`].
    pub fn explain(&self, at: &str) -> Result<Vec<ExplainedKey>, ConfigError> {
        let config = self.load()?;
        // Its own serialization hides secrets.
        let config = serde_json::to_value(&config).unwrap_or_default();
        // Problems are those that loading has reported.
        let mut ignored = Vec::new();
        let mut sources: Vec<(String, Origin)> = Vec::new();
        for layer in self.files(&mut ignored) {
            let values = flatten(layer.table, &layer.origin, &mut ignored);
            sources.extend(
                values
                    .into_iter()
                    .map(|(path, located)| (path, located.origin)),
            );
        }
        let overrides = env_override::read(self.variables(), &mut ignored);
        let lookup = |name: &str| self.variable(name);
        let files = merge::merge(self.files(&mut ignored), Vec::new(), lookup, &mut ignored);
        sources.extend(
            files
                .into_iter()
                .filter(|(_, located)| matches!(located.origin, Origin::Variable(_)))
                .map(|(path, located)| (path, located.origin)),
        );
        sources.extend(
            overrides
                .into_iter()
                .map(|(path, located)| (path, located.origin)),
        );
        let keys = Fields::all()
            .values
            .keys()
            .filter(|path| is_below(path, at));
        Ok(keys
            .map(|path| ExplainedKey {
                value: config
                    .pointer(&format!("/{}", path.replace('.', "/")))
                    .cloned()
                    .unwrap_or_default(),
                sources: sources
                    .iter()
                    .rev()
                    .filter(|(set, _)| set == path)
                    .map(|(_, origin)| origin.clone())
                    .collect(),
                variable: variable_for(path),
                about: about(path),
                path: path.clone(),
            })
            .collect())
    }
}

/// Returns the known key or section that is most similar to `path`.
#[must_use]
pub fn nearest_key(path: &str) -> &'static str {
    Fields::all().nearest(path)
}

fn is_below(path: &str, at: &str) -> bool {
    at.is_empty()
        || path
            .strip_prefix(at)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// Returns the first paragraph of the documentation of a field, on one line.
pub(super) fn about(path: &str) -> String {
    let schema = schema();
    let pointer = format!("/properties/{}", path.replace('.', "/properties/"));
    let field = schema.pointer(&pointer);
    let text = field.and_then(|field| field["description"].as_str());
    let paragraph = text.unwrap_or_default().split("\n\n").next();
    let words = paragraph.unwrap_or_default().split_whitespace();
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::super::{ConfigLoader, Origin};
    use super::nearest_key;

    fn loader(variables: &[(&str, &str)]) -> ConfigLoader {
        let variables = variables.iter();
        let variables = variables.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        ConfigLoader::new(None, variables.collect::<BTreeMap<_, _>>())
    }

    #[test]
    fn the_strongest_source_comes_first() {
        let name = "TASKER__COMMON__CACHE__ENABLED";
        let keys = loader(&[(name, "true")])
            .explain("common.cache.enabled")
            .unwrap();
        assert_eq!(keys.len(), 1);
        assert_eq!(keys[0].value, json!(true));
        assert_eq!(keys[0].sources[0], Origin::Variable(name.to_owned()));
        assert!(matches!(keys[0].sources[1], Origin::Embedded(_)));
        assert_eq!(keys[0].variable, name);
        assert_eq!(keys[0].about, "Turns the caching of templates on.");
    }

    #[test]
    fn secrets_are_hidden() {
        let url = "postgres://app:s3cret@db/tasker";
        let keys = loader(&[("DATABASE_URL", url)]).explain("").unwrap();
        assert!(keys.len() > 20);
        assert!(!format!("{keys:?}").contains("s3cret"));
    }

    #[test]
    fn unknown_keys_have_a_neighbour() {
        assert!(loader(&[]).explain("common.cach").unwrap().is_empty());
        assert_eq!(nearest_key("common.cache.enabeld"), "common.cache.enabled");
    }
}
