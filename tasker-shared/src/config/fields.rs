//! The known keys, read from the JSON Schema of the configuration structs, so that a new field is
//! known to the loader, the variables and the reference without being listed again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use schemars::Schema;
use schemars::generate::SchemaSettings;
use serde_json::Value as Json;

use super::tasker::TaskerConfig;

/// The type of a key's value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Kind {
    Bool,
    /// With the bounds of the field's type and the bounds of the key.
    Integer(Bounds, Bounds),
    Text,
    TextList,
}

/// The least and the greatest value of an integer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Bounds {
    pub(super) least: i64,
    pub(super) most: i64,
}

/// All keys by their dotted paths.
#[derive(Debug, Default)]
pub(super) struct Fields {
    pub(super) values: BTreeMap<String, Kind>,
    pub(super) sections: BTreeSet<String>,
}

impl Fields {
    /// Returns the keys of [`TaskerConfig`].
    pub(super) fn all() -> &'static Self {
        static ALL: LazyLock<Fields> = LazyLock::new(|| {
            let mut fields = Fields::default();
            fields.collect("", schema().as_value());
            fields
        });
        &ALL
    }

    /// Returns the known key or section that is most similar to `path`.
    pub(super) fn nearest(&self, path: &str) -> &str {
        let path = path.to_lowercase();
        self.values
            .keys()
            .chain(&self.sections)
            .map(|known| {
                let likeness = strsim::normalized_damerau_levenshtein(&path, known);
                (likeness, known.as_str())
            })
            .max_by(|(one, _), (other, _)| one.total_cmp(other))
            .map_or("", |(_, known)| known)
    }

    fn collect(&mut self, path: &str, schema: &Json) {
        let Some(properties) = schema["properties"].as_object() else {
            self.values.insert(path.to_owned(), kind_of(schema));
            return;
        };
        if !path.is_empty() {
            self.sections.insert(path.to_owned());
        }
        for (name, property) in properties {
            self.collect(&join(path, name), property);
        }
    }
}

/// Returns the path of `name` below `parent`. The root's path is empty.
pub(super) fn join(parent: &str, name: &str) -> String {
    if parent.is_empty() {
        name.to_owned()
    } else {
        format!("{parent}.{name}")
    }
}

/// Returns the JSON Schema of the configuration with all sections inlined. Null is not allowed,
/// because TOML has none.
pub(super) fn schema() -> Schema {
    let mut schema = SchemaSettings::draft2020_12()
        .with(|settings| settings.inline_subschemas = true)
        .with_transform(schemars::transform::RecursiveTransform(without_null))
        .into_generator()
        .into_root_schema_for::<TaskerConfig>();
    schema.remove("default");
    schema
}

fn without_null(schema: &mut Schema) {
    if let Some(Json::Array(types)) = schema.get_mut("type") {
        types.retain(|name| name != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            schema.insert("type".to_owned(), only);
        }
    }
}

fn kind_of(schema: &Json) -> Kind {
    match schema["type"].as_str() {
        Some("boolean") => Kind::Bool,
        Some("integer") => integer(schema),
        Some("array") => Kind::TextList,
        _ => Kind::Text,
    }
}

fn integer(schema: &Json) -> Kind {
    let most = match schema["format"].as_str() {
        Some("uint32") => u32::MAX.into(),
        // TOML's integers have 64 bits and a sign.
        _ => i64::MAX,
    };
    let of_type = Bounds { least: 0, most };
    let of_key = Bounds {
        least: schema["minimum"].as_i64().unwrap_or(0),
        most: schema["maximum"].as_i64().unwrap_or(most),
    };
    Kind::Integer(of_type, of_key)
}
