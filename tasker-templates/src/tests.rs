//! Template documents from the author's side.

use serde_json::{Value, json};

use super::{Problem, TaskTemplate, TemplateDocument, TemplateError, TemplateLimits};

mod fuzz;
mod keys;
mod typos;

/// A template with everything that authors write, oddities included.
const COMPLETE: &str = include_str!("tests/complete.yaml");

fn read(text: &str) -> Result<TemplateDocument, TemplateError> {
    TemplateDocument::from_yaml(text.as_bytes(), TemplateLimits::default())
}

/// Shows problems without their columns, which tests of their own check.
fn shown(problems: &[Problem]) -> Vec<String> {
    let without_column = |problem: &Problem| Problem {
        column: None,
        ..problem.clone()
    };
    let problems = problems.iter().map(without_column);
    problems.map(|problem| problem.to_string()).collect()
}

fn errors(text: &str) -> Vec<String> {
    shown(read(text).unwrap_err().problems())
}

fn warnings(text: &str) -> Vec<String> {
    shown(read(text).unwrap().warnings())
}

/// A valid template, with `more` at its end.
fn with(more: &str) -> String {
    format!("name: n\nnamespace_name: s\nversion: 1.0.0\n{more}")
}

/// A valid template whose one step has `more` keys.
fn with_step(more: &str) -> String {
    with(&format!(
        "steps:\n  - name: a\n    handler: {{callable: A}}\n    {more}\n"
    ))
}

/// A valid template with steps that have names and dependencies.
fn with_steps(steps: &[(&str, &[&str])]) -> String {
    let steps: Vec<String> = steps
        .iter()
        .map(|(name, dependencies)| {
            let dependencies = dependencies.join(", ");
            format!(
                "  - {{name: {name}, handler: {{callable: A}}, dependencies: [{dependencies}]}}\n"
            )
        })
        .collect();
    with(&format!("steps:\n{}", steps.concat()))
}

#[test]
fn a_complete_template_is_valid() {
    let document = read(COMPLETE).unwrap();
    assert_eq!(
        shown(document.warnings()),
        [
            "line 7: version: the version 2.10 is a number to YAML; it is kept as the text \"2.10\"; quote it",
            "line 73: steps[1].retry.max_attempts: with 0 attempts only the first one is made; write 1, or `retryable: false`",
            "line 80: steps[2].publishes_events[0].name: `domain_events` does not declare the event \"claim.settled\"",
            "line 95: steps[3].approval_group: the key \"approval_group\" is unknown and has no effect; keep notes under `metadata` or under a key that begins with `x-`",
            "line 114: future_key: the key \"future_key\" is unknown and has no effect; keep notes under `metadata` or under a key that begins with `x-`",
        ]
    );
    let template = document.template();
    assert_eq!(template.version, "2.10");
    assert_eq!(template.steps.len(), 5);
    let expected: Value = serde_json::from_str(include_str!("tests/complete.json")).unwrap();
    assert_eq!(*document.json(), expected);
}

#[test]
fn templates_of_the_field_have_no_warning_without_a_cause() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/tests/samples");
    let mut found = Vec::new();
    for file in std::fs::read_dir(folder).unwrap() {
        let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
        let document = read(&text).unwrap();
        let name = &document.template().name;
        found.extend(
            shown(document.warnings())
                .iter()
                .map(|warning| format!("{name}: {warning}")),
        );
    }
    assert_eq!(
        found,
        [
            "boundary_max_attempts_zero: line 24: steps[0].retry.max_attempts: with 0 attempts only the first one is made; write 1, or `retryable: false`"
        ]
    );
}

#[test]
fn a_document_is_the_same_by_way_of_yaml_json_and_text() {
    let document = read(COMPLETE).unwrap();
    let from_json = TemplateDocument::from_json(document.json().clone()).unwrap();
    assert_eq!(document, from_json);
    let text = document.json().to_string();
    assert_eq!(read(&text).unwrap(), document);
    let typed: TaskTemplate = serde_json::from_str(&text).unwrap();
    assert_eq!(&typed, document.template());
}

#[test]
fn a_template_that_was_built_in_code_has_a_document() {
    let template = read(COMPLETE).unwrap().template().clone();
    let document = TemplateDocument::from_template(&template).unwrap();
    assert_eq!(document.template(), &template);
    let bad = TaskTemplate {
        name: "a:b".into(),
        ..template
    };
    assert!(TemplateDocument::from_template(&bad).is_err());
}

#[test]
fn names_are_there_and_fit_where_they_are_used() {
    assert_eq!(
        errors("steps: []\n"),
        [
            "line 1: name: this is missing, or empty",
            "line 1: namespace_name: this is missing, or empty",
            "line 1: version: this is missing, or empty",
        ]
    );
    for name in [
        "a:b", "a*", "a b", "a/b", "\"a\\n\"", "ä", "..", "-a", "'[a]'", "'%41'",
    ] {
        let text = format!("name: {name}\nnamespace_name: s\nversion: 1.0.0\n");
        assert_eq!(errors(&text).len(), 1, "{name}");
    }
    for namespace in ["a.b", "a-b", "'*'", &"a".repeat(30)] {
        let text = format!("name: n\nnamespace_name: {namespace}\nversion: 1.0.0\n");
        assert_eq!(errors(&text).len(), 1, "{namespace}");
    }
    for version in ["'1:0'", "' '", ".5.0", "12345678901234567", "true", "''"] {
        let text = format!("name: n\nnamespace_name: s\nversion: {version}\n");
        assert_eq!(errors(&text).len(), 1, "{version}");
    }
    for (name, version) in [("a.b-c_D9", "1.0.0-rc.1+b2"), ("_x", "v2")] {
        let text = format!("name: {name}\nnamespace_name: A_9\nversion: {version}\nsteps: []\n");
        read(&text).unwrap();
    }
    assert!(
        errors(&format!(
            "name: {}\nnamespace_name: s\nversion: v1\n",
            "n".repeat(65)
        ))[0]
            .ends_with("65 characters are more than the limit of 64")
    );
    assert!(errors("name: \"a\\0b\"\n")[0].contains("NUL"));
}

#[test]
fn steps_have_names_of_their_own() {
    assert_eq!(
        errors(&with_steps(&[("a", &[]), ("b", &[]), ("a", &[])])),
        ["line 7: steps[2].name: steps[0] has the name \"a\" already; names of steps are unique"]
    );
    assert_eq!(
        errors(&with("steps:\n  - handler: {callable: A}\n")),
        ["line 5: steps[0].name: this is missing, or empty"]
    );
    let long = "x".repeat(129);
    assert_eq!(errors(&with_steps(&[(&long, &[])])).len(), 1);
}

#[test]
fn dependencies_are_steps() {
    assert_eq!(
        errors(&with_steps(&[("validate", &[]), ("pay", &["valdiate"])])),
        [
            "line 6: steps[1].dependencies[0]: no step has the name \"valdiate\"; perhaps \"validate\" is meant"
        ]
    );
    assert_eq!(
        errors(&with_steps(&[("a", &["a"])])),
        ["line 5: steps[0].dependencies[0]: a step cannot depend on itself"]
    );
    assert_eq!(
        warnings(&with_steps(&[("a", &[]), ("b", &["a", "a"])])),
        ["line 6: steps[1].dependencies[1]: the dependency \"a\" is listed twice"]
    );
}

#[test]
fn steps_that_wait_for_each_other_are_named() {
    assert_eq!(
        errors(&with_steps(&[
            ("z", &["c"]),
            ("a", &["c"]),
            ("b", &["a"]),
            ("c", &["b"])
        ])),
        ["line 6: steps[1].dependencies: these steps wait for each other: a -> c -> b -> a"]
    );
}

#[test]
fn handlers_have_a_callable() {
    for (step, path) in [
        ("{name: a}", "steps[0].handler"),
        ("{name: a, handler: }", "steps[0].handler"),
        ("{name: a, handler: {}}", "steps[0].handler.callable"),
        (
            "{name: a, handler: {callable: ''}}",
            "steps[0].handler.callable",
        ),
    ] {
        assert_eq!(
            errors(&with(&format!("steps:\n  - {step}\n"))),
            [format!("line 5: {path}: this is missing, or empty")]
        );
    }
    assert_eq!(
        errors(&with("task_handler: {method: run}\nsteps:\n")),
        ["line 4: task_handler.callable: this is missing, or empty"]
    );
}

#[test]
fn unknown_words_are_errors_with_a_suggestion() {
    assert_eq!(
        errors(&with_step("type: bachable")),
        [
            "line 7: steps[0].type: \"bachable\" is not one of standard, decision, deferred_convergence, batchable, batch_worker, deferred; perhaps \"batchable\" is meant"
        ]
    );
    assert_eq!(
        errors(&with_step("retry: {backoff: cubic}")),
        [
            "line 7: steps[0].retry.backoff: \"cubic\" is not one of none, linear, exponential, fibonacci"
        ]
    );
    assert_eq!(
        errors(&with("identity_strategy: Strict\nsteps:\n")),
        [
            "line 4: identity_strategy: \"Strict\" is not one of strict, caller_provided, always_unique; perhaps \"strict\" is meant"
        ]
    );
    assert_eq!(
        errors(&with_step("type: decision\n    step_type: decision")),
        [
            "line 5: steps[0]: `type` and `step_type` are two names for one thing; remove one of the two"
        ]
    );
}

#[test]
fn numbers_are_whole_and_not_negative() {
    for more in [
        "timeout_seconds: -1",
        "timeout_seconds: 1.5",
        "timeout_seconds: 4294967296",
        "retry: {max_attempts: -3}",
        "retry: {backoff_base_ms: -1}",
        "batch_config: {batch_size: 0}",
    ] {
        let errors = errors(&with_step(more));
        assert_eq!(errors.len(), 1, "{more}: {errors:?}");
        assert!(errors[0].contains("whole number"), "{errors:?}");
    }
}

#[test]
fn types_are_what_the_typed_view_expects() {
    for more in [
        "description: [1]",
        "task_handler: text",
        "task_handler: {callable: A, initialization: [1]}",
        "task_handler: {callable: A, method: 1}",
        "system_dependencies: []",
        "system_dependencies: {secondary: [1]}",
        "domain_events: [text]",
        "domain_events: {a: 1}",
        "input_schema: true",
        "lifecycle: 1",
        "steps: {a: 1}",
        "steps: [null]",
        "environments: []",
        "environments: {test: 1}",
        "environments: {test: {steps: [{name: ALL, timeout_seconds: soon}]}}",
        "environments: {test: {steps: [{timeout_seconds: 1}]}}",
        "environments: {test: {task_handler: {initialization: 1}}}",
        "environments: {test: {steps: [{name: ALL, handler: {initialization: 1}}]}}",
    ] {
        assert_eq!(errors(&with(more)).len(), 1, "{more}");
    }
    for more in [
        "retry: 3",
        "retry: {retryable: 1}",
        "dependencies: b",
        "dependencies: [1]",
        "timeout_seconds: soon",
        "publishes_events: [x]",
        "publishes_events: [{description: x}]",
        "publishes_events: [{name: x, publisher: 1}]",
        "batch_config: 1",
        "batch_config: {cursor_field: 1}",
        "system_dependency: 1",
    ] {
        assert_eq!(errors(&with_step(more)).len(), 1, "{more}");
    }
    assert_eq!(
        errors("- a\n"),
        ["line 1: a mapping is expected here, not a list"]
    );
    assert_eq!(
        errors("a\n"),
        ["line 1: a mapping is expected here, not text"]
    );
}

#[test]
fn what_is_doubtful_is_a_warning() {
    for (text, expected) in [
        (with(""), "there are no steps"),
        (with("steps: []"), "there are no steps"),
        (
            with_step("batch_config: {worker_template: b}"),
            "no step has the name",
        ),
        (
            with_step("batch_config: {worker_template: a}"),
            "not of the type batch_worker",
        ),
        (
            with_step("publishes_events: [{name: x, schema: {}, condition: succes}]"),
            "perhaps \"success\"",
        ),
        (
            with_step("publishes_events: [{name: x, schema: {}, delivery_mode: slow}]"),
            "is not one of",
        ),
        (
            with_step(
                "description: x\nenvironments: {test: {steps: [{name: aa, timeout_seconds: 1}]}}",
            ),
            "changes nothing",
        ),
        (
            with_step(&format!("retry:\ndescription: {}", "x".repeat(256))),
            "256 characters",
        ),
    ] {
        let warnings = warnings(&text);
        assert_eq!(warnings.len(), 1, "{text}: {warnings:?}");
        assert!(warnings[0].contains(expected), "{warnings:?}");
        assert!(warnings[0].starts_with("line "), "{warnings:?}");
    }
}

#[test]
fn metadata_and_keys_of_the_author_are_free() {
    let text = with_step("x-notes: kept\nx-owner: me\nmetadata: {notes: [1], tag: x, anything: }");
    let document = read(&text).unwrap();
    assert!(document.warnings().is_empty());
    assert_eq!(document.json()["x-owner"], "me");
    assert_eq!(document.json()["metadata"]["anything"], Value::Null);
    assert_eq!(document.json()["steps"][0]["x-notes"], "kept");
}

#[test]
fn all_problems_are_listed_and_those_past_the_limit_counted() {
    let text = "name: a*\nnamespace_name: s\nversion: 1.0.0\nsteps:\n- name: a\n- name: a\n  handler: {callable: x}\n  dependencies: [b, a]\n";
    assert_eq!(errors(text).len(), 4);
    let mut steps = String::from("steps:\n");
    for _ in 0..500 {
        steps.push_str("- {}\n");
    }
    let errors = errors(&with(&steps));
    assert_eq!(errors.len(), 101);
    assert_eq!(errors[100], "and 900 more");
}

#[test]
fn an_input_schema_is_compiled() {
    assert_eq!(
        errors(&with("input_schema:\n  required: payment_id\nsteps: []\n")),
        [
            "line 5: input_schema.required: this is not a JSON Schema that can be used: value is not of type \"array\""
        ]
    );
    for schema in [
        "{properties: {id: {type: nonsense}}}",
        "{pattern: '('}",
        "{$ref: 'http://localhost/x.json'}",
    ] {
        assert_eq!(
            errors(&with(&format!("input_schema: {schema}\nsteps:\n"))).len(),
            1
        );
    }
}

#[test]
fn json_that_cannot_be_stored_is_refused() {
    let with_name = |name: &str, value: Value| json!({"name": "n", "namespace_name": "s", "version": "1", "steps": [], name: value});
    for (path, json) in [
        ("notes[0]", with_name("notes", json!(["a\0"]))),
        ("[\"a\\0\"]", with_name("a\0", json!(1))),
    ] {
        let error = TemplateDocument::from_json(json).unwrap_err();
        assert_eq!(
            shown(error.problems()),
            [format!(
                "{path}: a text with a NUL character cannot be stored; remove it"
            )]
        );
    }
    let mut deep = json!(1);
    for _ in 0..1_000 {
        deep = Value::Array(vec![deep]);
    }
    let error = TemplateDocument::from_json(with_name("notes", deep)).unwrap_err();
    assert!(shown(error.problems())[0].contains("64 levels"));
    assert!(TemplateDocument::from_json(json!(null)).is_err());
}

#[test]
fn a_file_over_the_limit_is_refused() {
    let limits = TemplateLimits::with_max_bytes(10);
    let error = TemplateDocument::from_yaml(b"name: too_long", limits).unwrap_err();
    assert!(shown(error.problems())[0].starts_with("14 bytes are more than the limit of 10"));
}

#[test]
fn an_error_names_its_first_problem() {
    let error = read("name: a*\n").unwrap_err();
    let text = error.to_string();
    assert!(
        text.starts_with("the template is not valid: line 1, column 1: name: \"a*\""),
        "{text}"
    );
    assert!(text.ends_with("(and 2 more)"), "{text}");
}

#[test]
fn a_url_that_no_request_can_be_sent_to_is_a_warning() {
    let of = |callable: &str| {
        let text = format!(
            "name: t\nnamespace_name: n\nversion: 1.0.0\nsteps:\n  - name: a\n    handler: {{callable: {callable:?}}}\n"
        );
        shown(read(&text).unwrap().warnings())
    };
    for fine in [
        "http://a.example/b%20c?d=e",
        "Shop::Step One",
        "HTTPS://A.example",
    ] {
        assert!(of(fine).is_empty(), "{fine}");
    }
    assert_eq!(
        of("http://a.example/b c"),
        [
            "line 6: steps[0].handler.callable: \"http://a.example/b c\" has characters other than those of a URL; encode them, as %20"
        ]
    );
}
