use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use super::{Budget, BudgetExceeded, MAX_VIOLATIONS, SchemaViolation, compile};

const BUDGET: Budget = Budget {
    steps: 500_000,
    time: Duration::from_mins(1),
    stack: 512 * 1024,
};

fn check(schema: &Value, context: &Value) -> Result<Vec<SchemaViolation>, BudgetExceeded> {
    let schema = compile(schema).expect("the schema is valid");
    schema.violations(context, BUDGET)
}

/// Wraps `inner` this many times.
fn nested(depth: usize, inner: Value, wrap: impl Fn(Value) -> Value) -> Value {
    (0..depth).fold(inner, |inner, _| wrap(inner))
}

fn in_a(depth: usize, inner: Value) -> Value {
    nested(depth, inner, |inner| json!({"a": inner}))
}

/// A schema that allows `definition` at each depth.
fn recursive(definition: &Value) -> Value {
    json!({"$defs": {"node": definition}, "$ref": "#/$defs/node"})
}

#[test]
fn every_violation_is_located_and_no_value_is_repeated() {
    let schema = json!({
        "type": "object",
        "required": ["order_id"],
        "properties": {
            "amount": {"type": "number", "minimum": 0},
            "lines": {"type": "array", "items": {"type": "object", "required": ["a/b"]}},
        },
    });
    let context = json!({"amount": "hunter2", "lines": [{"a/b": 1}, {}]});
    let violations = check(&schema, &context).unwrap();
    let found: Vec<_> = violations.iter().map(|v| v.pointer.as_str()).collect();
    assert_eq!(found.len(), 3, "{violations:?}");
    for pointer in ["", "/amount", "/lines/1"] {
        assert!(found.contains(&pointer), "{violations:?}");
    }
    assert!(violations.iter().all(|v| !v.message.contains("hunter2")));
    assert_eq!(check(&schema, &json!({"order_id": 1})), Ok(Vec::new()));
}

#[test]
fn a_schema_that_leads_elsewhere_is_refused() {
    for uri in [
        "http://127.0.0.1:1/x.json",
        "file:///etc/passwd",
        "other.json",
    ] {
        let error = compile(&json!({"$ref": uri})).unwrap_err();
        assert!(!error.to_string().contains("root:"), "{error}");
    }
    assert!(compile(&json!({"$ref": "#/$defs/a", "$defs": {"a": {}}})).is_ok());
}

#[test]
fn a_text_that_is_not_a_schema_is_an_error() {
    for schema in [
        json!({"type": "integr"}),
        json!({"required": "payment_id"}),
        json!({"pattern": "("}),
        json!(7),
    ] {
        assert!(compile(&schema).is_err(), "{schema}");
    }
}

#[test]
fn a_pattern_that_needs_backtracking_is_refused_with_the_reason() {
    let pattern = r"^([a-zA-Z0-9]+\.?)+(?<!\.)@example\.com$";
    let schema = json!({"properties": {"email": {"pattern": pattern}}});
    let error = compile(&schema).unwrap_err().to_string();
    assert!(error.contains("look-around"), "{error}");
    assert!(error.contains("/properties/email/pattern"), "{error}");
    for pattern in ["^(?=.*[A-Z])", r"(a)\1"] {
        assert!(compile(&json!({"pattern": pattern})).is_err(), "{pattern}");
        let names = json!({"patternProperties": {pattern: {}}});
        assert!(compile(&names).is_err(), "{pattern}");
    }
}

#[test]
fn patterns_are_limited_in_number_and_size() {
    for pattern in [
        r"^[\p{L}\p{N} .,'-]{1,128}$",
        r"^\w{1,255}$",
        "^[a-z]{1,4096}$",
    ] {
        assert!(compile(&json!({"pattern": pattern})).is_ok(), "{pattern}");
    }
    assert!(compile(&json!({"pattern": "((a{100}){100}){100}"})).is_err());
    let patterns = |number: usize| json!({"allOf": vec![json!({"pattern": "a"}); number]});
    assert!(compile(&patterns(super::MAX_PATTERNS)).is_ok());
    assert!(compile(&patterns(super::MAX_PATTERNS + 1)).is_err());
    let large = |number: usize| {
        let pattern =
            |index| json!({"pattern": format!("^{index}[a-z]{{1,4096}}[0-9]{{1,4096}}$")});
        json!({"allOf": (0..number).map(pattern).collect::<Vec<_>>()})
    };
    assert!(compile(&large(10)).is_ok());
    let error = compile(&large(super::MAX_PATTERNS))
        .unwrap_err()
        .to_string();
    assert!(error.contains("each may take 655 KiB"), "{error}");
}

#[test]
fn a_rule_language_ends_however_deep_the_rule() {
    let schema = recursive(&json!({"oneOf": [
        {"properties": {"not": {"$ref": "#/$defs/node"}}},
        {"properties": {"not": {"$ref": "#/$defs/node"},
            "and": {"items": {"$ref": "#/$defs/node"}}}},
        {"properties": {"not": {"$ref": "#/$defs/node"}, "field": {"type": "string"}}},
    ]}));
    let rule = nested(50, json!({"field": "a"}), |rule| json!({"not": rule}));
    assert_eq!(check(&schema, &rule), Err(BudgetExceeded));
    let rule = nested(3, json!({"field": "a"}), |rule| json!({"not": rule}));
    assert!(check(&schema, &rule).is_ok());
}

#[test]
fn schemas_that_visit_a_value_again_and_again_end() {
    let again = json!({"properties": {"a": {"$ref": "#/$defs/node"}}, "required": ["x"]});
    let once_more = json!({"properties": {"a": {"$ref": "#/$defs/node"}}, "required": ["y"]});
    let both = json!({"anyOf": [again, once_more]});
    let dynamic = |required: &str| json!({"properties": {"a": {"$dynamicRef": "#node"}}, "required": [required]});
    for schema in [
        recursive(&both),
        recursive(&json!({"dependentSchemas": {"a": both}})),
        recursive(&json!({"anyOf": [again, once_more], "unevaluatedProperties": false})),
        recursive(&json!({"if": again, "then": once_more, "else": both})),
        recursive(&json!({"not": {"not": {"anyOf": [{"not": again}, {"not": once_more}]}}})),
        json!({"$id": "https://schema.test/node", "$dynamicAnchor": "node",
            "anyOf": [dynamic("x"), dynamic("y")]}),
    ] {
        // Ended by the budget or by the validator's memory of what it has seen.
        let started = Instant::now();
        check(&schema, &in_a(100, json!({}))).ok();
        assert!(started.elapsed() < Duration::from_secs(30), "{schema}");
    }
    assert_eq!(
        check(&recursive(&both), &in_a(100, json!({}))),
        Err(BudgetExceeded)
    );
}

#[test]
fn patterns_take_linear_time() {
    let pattern = r"^([a-zA-Z0-9]+\.?)+@example\.com$";
    let texts = vec!["a".repeat(30) + "!"; 500];
    let names: Map<String, Value> = (0..500)
        .map(|number| (format!("{}{number}!", "a".repeat(30)), json!(0)))
        .collect();
    for (schema, context) in [
        (json!({"items": {"pattern": pattern}}), json!(texts)),
        (
            json!({"patternProperties": {pattern: false}}),
            Value::Object(names.clone()),
        ),
        (
            json!({"propertyNames": {"pattern": pattern}}),
            Value::Object(names),
        ),
        (json!({"pattern": "(x+x+)+y"}), json!("x".repeat(100_000))),
    ] {
        check(&schema, &context).unwrap();
    }
}

#[test]
fn formats_take_linear_time() {
    let draft = "http://json-schema.org/draft-07/schema#";
    for (format, text) in [
        ("regex", "(a|".repeat(10_000)),
        ("regex", String::from("((a{100}){100}){100}")),
        ("email", "a.".repeat(30_000) + "@" + &"b.".repeat(30_000)),
        ("hostname", "a.".repeat(50_000)),
        ("idn-hostname", "\u{f6}.".repeat(50_000)),
        ("uri", String::from("http://a/") + &"a/../".repeat(20_000)),
        ("uri-template", "{a}".repeat(30_000)),
    ] {
        check(&json!({"$schema": draft, "format": format}), &json!(text)).unwrap();
    }
}

#[test]
fn large_arrays_are_compared_within_the_budget() {
    let unique = json!({"uniqueItems": true});
    let numbers: Vec<usize> = (0..20_000).collect();
    assert_eq!(check(&unique, &json!(numbers)), Ok(Vec::new()));
    let lists = vec![vec![0; 20_000]; 15];
    assert_eq!(check(&unique, &json!(lists)), Err(BudgetExceeded));
    let contains = json!({"contains": {"const": 1}, "minContains": 0});
    assert_eq!(check(&contains, &json!(vec![0; 50_000])), Ok(Vec::new()));
}

#[test]
fn many_violations_cost_no_more_than_the_budget() {
    let schema = json!({"items": {"type": "string"}});
    let violations = check(&schema, &json!(vec![0; MAX_VIOLATIONS * 10])).unwrap();
    assert_eq!(violations.len(), MAX_VIOLATIONS);
    // Each violation takes memory, so only the first of very many is reported.
    let violations = check(&schema, &json!(vec![0; 100_000])).unwrap();
    assert_eq!(violations.len(), 1);
}

#[test]
fn deep_recursion_ends_before_the_stack_does() {
    let mut definitions: Map<String, Value> = (0..2_000)
        .map(|number| {
            let next = format!("#/$defs/d{}", number + 1);
            (format!("d{number}"), json!({"allOf": [{"$ref": next}, {}]}))
        })
        .collect();
    let last = json!({"properties": {"a": {"$ref": "#/$defs/d0"}}});
    definitions.insert(String::from("d2000"), last);
    let schema = json!({"$defs": definitions, "$ref": "#/$defs/d0"});
    let check = move || check(&schema, &in_a(100, json!({})));
    let thread = std::thread::Builder::new().stack_size(64 * 1024 * 1024);
    let result = thread.spawn(check).unwrap().join().unwrap();
    assert!(result.is_ok() || result == Err(BudgetExceeded));
}

#[test]
fn an_exhausted_budget_affects_no_later_check() {
    let schema = compile(&json!({"items": {"type": "integer"}})).unwrap();
    let tight = Budget {
        steps: 10,
        ..BUDGET
    };
    let context = json!(vec![0; 100]);
    for _ in 0..3 {
        assert_eq!(schema.violations(&context, tight), Err(BudgetExceeded));
        assert_eq!(schema.violations(&context, BUDGET), Ok(Vec::new()));
    }
}
