//! Random documents and mutations of valid ones.

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use serde_json::{Map, Value};

use super::{COMPLETE, read};
use crate::yaml;
use crate::{TemplateDocument, TemplateError, TemplateLimits, apply_environment};

/// Reads whatever it is. It may be refused, but never for a defect of ours.
fn survive(bytes: &[u8]) {
    match TemplateDocument::from_yaml(bytes, TemplateLimits::default()) {
        Ok(document) => survive_valid(&document),
        Err(error) => survive_refused(&error),
    }
}

fn survive_valid(document: &TemplateDocument) {
    for environment in ["test", "development"] {
        let changed = apply_environment(document.json(), environment);
        TemplateDocument::from_json(changed).expect("checked overrides leave a template valid");
    }
}

fn survive_refused(error: &TemplateError) {
    assert!(!matches!(error, TemplateError::Shape(_)), "{error:?}");
    assert!(!error.problems().is_empty());
}

/// Text without what YAML or PostgreSQL refuses.
fn text() -> impl Strategy<Value = String> {
    "\\PC{0,12}|[a-z_:#\\[\\]{}&*!|>'\"%@`<?,. \t\n-]{0,12}".prop_map(|text| text.replace('\0', ""))
}

fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        text().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 64, 6, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(Value::from),
            btree_map(text(), inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

/// Values of the kinds that keys of a template have, right and wrong ones.
fn plausible() -> impl Strategy<Value = Value> {
    prop_oneof![
        2 => json(),
        1 => prop::sample::select(vec!["a", "b", "ALL", "decision", "linear", "strict", "1.0.0"])
            .prop_map(Value::from),
        1 => (0_u32..4).prop_map(Value::from),
    ]
}

proptest! {
    #[test]
    fn arbitrary_bytes_are_survived(bytes in vec(any::<u8>(), 0..400)) {
        survive(&bytes);
    }

    #[test]
    fn arbitrary_yaml_is_survived(text in "[a-c0-1:#\\[\\]{}&*!|>'\"%<?,. \t\n\\\\~-]{0,200}") {
        survive(text.as_bytes());
    }

    #[test]
    fn mutated_templates_are_survived(
        cuts in vec((0..COMPLETE.len(), 0..12_usize, "[a-z0-9:\\[\\]{}&*!|>'\" \n-]{0,4}"), 1..6),
    ) {
        let mut bytes = COMPLETE.as_bytes().to_vec();
        for (start, length, insert) in cuts {
            let start = start.min(bytes.len());
            let end = (start + length).min(bytes.len());
            bytes.splice(start..end, insert.bytes());
        }
        survive(&bytes);
    }

    #[test]
    fn templates_with_odd_values_are_survived(
        places in vec((0..1_000_usize, plausible()), 1..4),
    ) {
        let mut value = read(COMPLETE).unwrap().json().clone();
        for (place, odd) in places {
            replace_nth(&mut value, place, &odd);
        }
        match TemplateDocument::from_json(value) {
            Ok(document) => survive_valid(&document),
            Err(error) => survive_refused(&error),
        }
    }

    #[test]
    fn json_is_yaml(value in json(), is_pretty in any::<bool>()) {
        prop_assume!(!value.is_null());
        let text = if is_pretty {
            serde_json::to_string_pretty(&value).unwrap()
        } else {
            value.to_string()
        };
        let limits = TemplateLimits::default();
        let loaded = yaml::load(&text, limits).unwrap();
        // At the top, a number under `version` is kept as text.
        let has_version = value.get("version").is_some_and(Value::is_number);
        prop_assert!(has_version || loaded.value == value, "{text}");
        prop_assert!(has_version || loaded.warnings.is_empty());
    }
}

/// Replaces the value that comes `place`-th on a walk through `value`, round and round.
fn replace_nth(value: &mut Value, place: usize, odd: &Value) {
    let count = walk(value, usize::MAX, odd).1;
    walk(value, place % count, odd);
}

/// Walks until `left` values were passed, replaces the next one, and says whether it did, and how
/// many values it passed.
fn walk(value: &mut Value, left: usize, odd: &Value) -> (bool, usize) {
    if left == 0 {
        *value = odd.clone();
        return (true, 1);
    }
    let mut passed = 1;
    let children: Vec<&mut Value> = match value {
        Value::Array(items) => items.iter_mut().collect(),
        Value::Object(map) => map.values_mut().collect(),
        _ => Vec::new(),
    };
    for child in children {
        let (is_done, count) = walk(child, left - passed, odd);
        passed += count;
        if is_done || passed > left {
            return (true, passed);
        }
    }
    (false, passed)
}
