//! The shape of templates: keys, types and bounds, read from the JSON Schema of the typed view, so
//! that each key is declared once.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::LazyLock;

use schemars::Schema;
use schemars::generate::SchemaSettings;
use serde_json::Value;

use crate::TaskTemplate;

/// The values that a key may have. Null is always allowed and means that the key is missing.
#[derive(Debug, Clone)]
pub(super) enum Shape {
    /// Any value.
    Any,
    /// A mapping with any keys.
    AnyMapping,
    /// A mapping with these keys.
    Mapping(Keys),
    /// A mapping from names to values of one shape.
    Named(Box<Shape>),
    /// A list with items of one shape.
    List(Box<Shape>),
    /// A text with at most so many characters.
    Text(Option<usize>),
    /// One of these texts. If it is not `strict`, another text is doubtful but no error.
    Word { known: Vec<String>, strict: bool },
    /// A whole number in this range.
    Whole(RangeInclusive<u64>),
    /// True or false.
    Bool,
}

/// The keys of a mapping.
#[derive(Debug, Clone)]
pub(super) struct Keys {
    pub(super) shapes: BTreeMap<String, Shape>,
    pub(super) required: Vec<String>,
}

/// Returns the JSON Schema of the typed view of templates.
pub(super) fn schema() -> Schema {
    SchemaSettings::draft2020_12()
        .with(|settings| settings.inline_subschemas = true)
        .into_generator()
        .into_root_schema_for::<TaskTemplate>()
}

impl Shape {
    /// Returns the shape of a template.
    pub(super) fn of_template() -> &'static Self {
        static SHAPE: LazyLock<Shape> = LazyLock::new(|| Shape::of(schema().as_value()));
        &SHAPE
    }

    fn of(schema: &Value) -> Self {
        if let Value::Array(variants) = &schema["anyOf"] {
            // An optional value is a choice between its schema and null.
            return Self::of(&variants[0]);
        }
        if let Some(known) = words(schema) {
            let strict = schema["examples"].is_null();
            return Self::Word { known, strict };
        }
        let kinds = schema["type"].as_array();
        let kind = kinds
            .and_then(|kinds| kinds.iter().find(|kind| *kind != "null"))
            .unwrap_or(&schema["type"]);
        let bound = |name: &str| schema[name].as_u64();
        match kind.as_str() {
            Some("object") => Self::of_mapping(schema),
            Some("array") => Self::List(Box::new(Self::of(&schema["items"]))),
            Some("string") => {
                Self::Text(bound("maxLength").and_then(|max| usize::try_from(max).ok()))
            }
            Some("integer") => {
                Self::Whole(bound("minimum").unwrap_or(0)..=bound("maximum").unwrap_or(u64::MAX))
            }
            Some("boolean") => Self::Bool,
            _ => Self::Any,
        }
    }

    fn of_mapping(schema: &Value) -> Self {
        if let Some(properties) = schema["properties"].as_object() {
            let mut shapes = BTreeMap::new();
            for (key, property) in properties {
                let shape = Self::of(property);
                if let Some(alias) = property["x-alias"].as_str() {
                    shapes.insert(alias.to_owned(), shape.clone());
                }
                shapes.insert(key.clone(), shape);
            }
            let required = texts(&schema["required"]);
            return Self::Mapping(Keys { shapes, required });
        }
        match &schema["additionalProperties"] {
            Value::Object(_) => Self::Named(Box::new(Self::of(&schema["additionalProperties"]))),
            _ => Self::AnyMapping,
        }
    }

    /// Returns the name of the shape in errors.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Any => "any value",
            Self::AnyMapping | Self::Mapping(_) | Self::Named(_) => "a mapping",
            Self::List(_) => "a list",
            Self::Text(_) | Self::Word { .. } => "text",
            Self::Whole(_) => "a whole number",
            Self::Bool => "true or false",
        }
    }
}

impl Keys {
    /// Returns true if `key` is known here, or in a mapping below.
    pub(super) fn has_anywhere(&self, key: &str) -> bool {
        fn has(shape: &Shape, key: &str) -> bool {
            match shape {
                Shape::Mapping(keys) => keys.has_anywhere(key),
                Shape::Named(shape) | Shape::List(shape) => has(shape, key),
                _ => false,
            }
        }
        self.shapes.contains_key(key) || self.shapes.values().any(|shape| has(shape, key))
    }
}

/// Returns the texts that the schema allows (`enum`, or `oneOf` constants) or usually has
/// (`examples`).
fn words(schema: &Value) -> Option<Vec<String>> {
    let variants = schema["oneOf"].as_array().map(Vec::as_slice);
    let constants: Vec<String> = variants
        .unwrap_or_default()
        .iter()
        .filter_map(|variant| Some(variant["const"].as_str()?.to_owned()))
        .collect();
    [
        constants,
        texts(&schema["enum"]),
        texts(&schema["examples"]),
    ]
    .into_iter()
    .find(|words| !words.is_empty())
}

fn texts(list: &Value) -> Vec<String> {
    let items = list.as_array().map(Vec::as_slice).unwrap_or_default();
    let texts = items.iter().filter_map(Value::as_str);
    texts.map(str::to_owned).collect()
}
