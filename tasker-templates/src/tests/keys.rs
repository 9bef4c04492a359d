//! Keys that Tasker does not know, and keys without effect.

use super::{errors, read, shown, warnings, with, with_step, with_steps};

/// The one warning of a template, with its column.
fn warning(text: &str) -> String {
    let warnings = read(text).unwrap().warnings().to_vec();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    warnings[0].to_string()
}

#[test]
fn an_unknown_key_is_reported_at_its_own_line_and_column() {
    for (text, expected) in [
        (
            with("owner: me\nsteps: [{name: a, handler: {callable: A}}]"),
            "line 4, column 1: owner: the key \"owner\" is unknown and has no effect; keep notes under `metadata` or under a key that begins with `x-`",
        ),
        (
            with_step("notes: x"),
            "line 7, column 5: steps[0].notes: the key \"notes\" is unknown",
        ),
        (
            with_step("retry: {retryable: true, Backoff: none}"),
            "line 7, column 30: steps[0].retry.Backoff: the key \"Backoff\" is unknown and has no effect; perhaps \"backoff\" is meant",
        ),
        (
            with_step("batch_config: {batchsize: 1}"),
            "steps[0].batch_config.batchsize: the key \"batchsize\" is unknown and has no effect; perhaps \"batch_size\"",
        ),
        (
            with_step("publishes_events: [{name: x, schema: {}, publsher: p}]"),
            "steps[0].publishes_events[0].publsher: the key \"publsher\" is unknown and has no effect; perhaps \"publisher\"",
        ),
        (
            with(
                "domain_events: [{name: e, schma: {}}]\nsteps: [{name: a, handler: {callable: A}}]",
            ),
            "domain_events[0].schma: the key \"schma\" is unknown and has no effect; perhaps \"schema\"",
        ),
        (
            with("steps: [{name: a, handler: {callable: A, metod: run}}]"),
            "steps[0].handler.metod: the key \"metod\" is unknown and has no effect; perhaps \"method\"",
        ),
        (
            with_step("x-a: 1\nenvironments: {test: {step: []}}"),
            "environments.test.step: the key \"step\" is unknown and has no effect; perhaps \"steps\"",
        ),
        (
            with_step("x-a: 1\nenvironments: {test: {steps: [{name: a, timeout: 1}]}}"),
            "environments.test.steps[0].timeout: the key \"timeout\" is unknown and has no effect; perhaps \"timeout_seconds\"",
        ),
    ] {
        let warning = warning(&text);
        assert!(warning.contains(expected), "{warning}");
    }
}

#[test]
fn keys_of_other_workflow_engines_are_translated() {
    for (key, known) in [
        ("timeout: 5", "timeout_seconds"),
        ("timeoutSeconds: 5", "timeout_seconds"),
        ("retries: 3", "retry.max_attempts"),
        ("retry_limit: 3", "retry.max_attempts"),
        ("max_attempts: 3", "retry.max_attempts"),
        ("callable: B", "handler.callable"),
        ("retry: {limit: 3}", "max_attempts"),
        ("retry: {retries: 3}", "max_attempts"),
        ("retry: {initial_delay: 3}", "backoff_base_ms"),
        ("retry: {backoff_ms: 3}", "backoff_base_ms"),
        ("retry: {max_delay: 3}", "max_backoff_ms"),
    ] {
        let warning = warning(&with_step(key));
        assert!(
            warning.ends_with(&format!("perhaps {known:?} is meant")),
            "{warning}"
        );
    }
    let text = "name: n\nnamespace: s\nversion: '1'\nsteps: []\n";
    let error = read(text).unwrap_err();
    assert_eq!(
        shown(error.problems()),
        ["line 1: namespace_name: this is missing, or empty"]
    );
    assert!(shown(error.warnings())[0].ends_with("perhaps \"namespace_name\" is meant"));
}

#[test]
fn a_misspelt_key_of_the_graph_is_an_error() {
    for key in [
        "dependancies: []",
        "depends_on: []",
        "dependsOn: []",
        "needs: []",
        "depend: []",
        "depends_on_steps: []",
        "after: []",
        "requires: []",
        "wait_for: []",
        "typ: decision",
        "steptype: decision",
    ] {
        let errors = errors(&with_step(key));
        assert_eq!(errors.len(), 1, "{errors:?}");
        assert!(errors[0].starts_with("line 7: steps[0]."), "{errors:?}");
        assert!(errors[0].ends_with("is probably meant"), "{errors:?}");
    }
    let errors = errors(&with("step: [{name: a, handler: {callable: A}}]"));
    assert_eq!(
        errors,
        [
            "line 4: step: the key \"step\" is unknown, and without \"steps\" other steps run, or in another order; \"steps\" is probably meant"
        ]
    );
}

#[test]
fn an_override_without_effect_is_a_warning() {
    for (overrides, expected) in [
        (
            "steps: [{name: a, dependencies: []}]",
            "only `initialization` of handlers",
        ),
        (
            "steps: [{name: a, handler: {callable: B}}]",
            "only `initialization` of handlers",
        ),
        ("domain_events: []", "only `initialization` of handlers"),
        (
            "task_handler: {initialization: {a: 1}}",
            "has no `task_handler`",
        ),
        ("steps: [{name: a}]", "is empty and has no effect"),
        (
            "steps: [{name: a, timeout_seconds: }]",
            "is empty and has no effect",
        ),
        (
            "steps: [{name: b, timeout_seconds: 1}]",
            "no step has the name \"b\"",
        ),
    ] {
        let warning = warning(&with_step(&format!(
            "x-a: 1\nenvironments: {{test: {{{overrides}}}}}"
        )));
        assert!(warning.contains(expected), "{warning}");
    }
}

#[test]
fn steps_that_can_do_nothing_are_warnings() {
    assert_eq!(
        warnings(&with_step("type: deferred_convergence")),
        [
            "line 5: steps[0].dependencies: this convergence step has no dependencies, so it has nothing to wait for"
        ]
    );
    assert_eq!(
        warnings(&with_step("type: batch_worker")),
        [
            "line 5: steps[0]: no batchable step names this batch worker, so no batch is made from it; the step that makes its batches needs `type: batchable`, and this name as its `batch_config.worker_template`"
        ]
    );
    assert_eq!(
        warnings(&with_step("timeout_seconds: 0")),
        [
            "line 7: steps[0].timeout_seconds: with 0 seconds an attempt ends before its handler can wait for anything; write 1 or more, or remove it"
        ]
    );
    let overridden = "environments: {test: {steps: [{name: ALL, timeout_seconds: 0}]}}\nx-a: 1";
    assert_eq!(
        warnings(&with(&format!(
            "{overridden}\nsteps: [{{name: a, handler: {{callable: A}}}}]"
        )))
        .len(),
        1
    );
}

#[test]
fn a_batch_worker_depends_on_the_batchable_step_that_names_it() {
    let steps = |dependencies: &str| {
        with(&format!(
            "steps:\n- {{name: a, type: batchable, handler: {{callable: A, initialization: {{worker_template_name: b}}}}}}\n\
             - {{name: b, type: batch_worker, handler: {{callable: B}}, dependencies: [{dependencies}]}}\n\
             - {{name: c, handler: {{callable: C}}}}\n"
        ))
    };
    assert!(warnings(&steps("a")).is_empty());
    for dependencies in ["", "c"] {
        assert_eq!(
            warnings(&steps(dependencies)),
            [
                "line 6: steps[1].dependencies: the batchable step \"a\" names this batch worker, which does not depend on it, so no batch can be made from it; add \"a\" here"
            ]
        );
    }
    let error = read(&steps("aa")).unwrap_err();
    assert_eq!((error.problems().len(), error.warnings().len()), (1, 0));
    // A repeated name is an error by itself, and not compared again with all that name it.
    let again = "- {name: b, type: batch_worker, handler: {callable: B}}\n";
    let error = read(&format!("{}{again}", steps(""))).unwrap_err();
    assert_eq!((error.problems().len(), error.warnings().len()), (1, 1));
}

#[test]
fn a_batch_that_cannot_be_made_is_a_warning() {
    let sample = include_str!("samples/batch_processing_example.yaml");
    // A handler that chooses its worker need not name it.
    let nameless = sample.replace("worker_template_name:", "worker:");
    for text in [sample, &nameless] {
        assert_eq!(warnings(text), [""; 0]);
    }
    let typeless = nameless.replace("    batch_config:", "    x-batch_config:");
    let no_worker = "\n    type: batch_worker";
    for (text, expected) in [
        (
            sample.replace("\n    type: batchable", ""),
            &["steps[1]: no batchable step names this batch worker"][..],
        ),
        (
            sample.replace("name: \"process_batch\"", "name: \"proces_batch\""),
            &[
                "steps[0].handler.initialization.worker_template_name: no step has the name \"proces_batch\", so this changes nothing; perhaps \"process_batch\" is meant",
            ],
        ),
        (
            sample.replace(no_worker, ""),
            &[
                "steps[0].handler.initialization.worker_template_name: the step \"process_batch\" is not of the type batch_worker",
                "steps[1].batch_config.worker_template: the step \"process_batch\" is not of the type batch_worker",
            ],
        ),
        (
            typeless.replace(no_worker, ""),
            &["steps[0]: no batch worker depends on this batchable step"],
        ),
    ] {
        let warnings = warnings(&text);
        let is_expected = |(warning, expected): (&String, &&str)| warning.contains(*expected);
        assert!(
            warnings.len() == expected.len() && warnings.iter().zip(expected).all(is_expected),
            "{warnings:#?}"
        );
    }
}

#[test]
fn retry_settings_without_effect_are_warnings() {
    let overridden = |retry: &str| {
        let step = format!("steps: [{{name: ALL, retry: {{{retry}}}}}]");
        with_step(&format!("retry:\nenvironments: {{test: {{{step}}}}}"))
    };
    for (retry, expected) in [
        (
            "backoff_base_ms: 500, max_backoff_ms: 400",
            "retry.backoff_base_ms: the first pause of 500 ms is cut to `max_backoff_ms`, which is 400",
        ),
        (
            "backoff: none, backoff_base_ms: 500",
            "retry.backoff_base_ms: this has no effect with `backoff: none`",
        ),
        (
            "retryable: false, max_attempts: 2",
            "retry.max_attempts: this has no effect with `retryable: false`",
        ),
    ] {
        for text in [with_step(&format!("retry: {{{retry}}}")), overridden(retry)] {
            let warnings = warnings(&text);
            assert_eq!(warnings.len(), 1, "{text}: {warnings:?}");
            assert!(warnings[0].contains(expected), "{warnings:?}");
        }
    }
    // The default of `max_backoff_ms` holds for a step. An override has that of its step.
    let base = "backoff_base_ms: 40000";
    assert_eq!(warnings(&with_step(&format!("retry: {{{base}}}"))).len(), 1);
    assert!(warnings(&overridden(base)).is_empty());
    for retry in ["retryable: false, max_attempts: 1", "max_backoff_ms: 0"] {
        assert!(warnings(&with_step(&format!("retry: {{{retry}}}"))).is_empty());
    }
}

#[test]
fn the_name_of_a_batch_worker_leaves_room_for_the_numbers_of_its_batches() {
    let named = |length: usize, kind: &str| {
        let name = "b".repeat(length);
        read(&with(&format!(
            "steps: [{{name: {name}, type: {kind}, handler: {{callable: A}}}}]"
        )))
    };
    assert!(named(122, "batch_worker").is_ok());
    assert!(named(128, "standard").is_ok());
    for (length, max) in [(123, 122), (128, 122), (129, 128)] {
        let error = named(length, "batch_worker").unwrap_err();
        let expected = format!("{length} characters are more than the limit of {max}");
        assert_eq!(error.problems().len(), 1);
        assert_eq!(error.problems()[0].path, "steps[0].name");
        assert_eq!(error.problems()[0].kind.to_string(), expected);
    }
}

/// Nothing in Tasker acts on them, but other software may.
#[test]
fn keys_for_other_software_are_no_warnings() {
    let event = "{name: order.placed, schema: {}}";
    let step = format!("{{name: a, handler: {{callable: A}}, publishes_events: [{event}]}}");
    let text = format!("steps: [{step}]\nlifecycle: {{max_duration_minutes: 5}}");
    assert!(warnings(&with(&text)).is_empty());
}

#[test]
fn an_event_that_is_not_declared_is_a_warning() {
    let with_events = |declared: &str, event: &str| {
        with(&format!(
            "domain_events: [{declared}]\nsteps: [{{name: a, handler: {{callable: A}}, publishes_events: [{event}]}}]"
        ))
    };
    let warnings = |declared: &str, event: &str| warnings(&with_events(declared, event));
    assert_eq!(
        warnings("{name: order.placed}", "{name: order.palced, schema: {}}"),
        [
            "line 5: steps[0].publishes_events[0].name: `domain_events` does not declare the event \"order.palced\"; perhaps \"order.placed\" is meant"
        ]
    );
    assert_eq!(warnings("", "{name: order.placed}").len(), 1);
    for (declared, event) in [
        ("{name: order.placed}", "{name: order.placed}"),
        ("", "{name: order.placed, schema: {type: object}}"),
    ] {
        assert!(warnings(declared, event).is_empty());
    }
}

#[test]
fn a_refused_file_reports_its_warnings_too() {
    let error =
        read(&with_steps(&[("a", &["b"])]).replace("version: 1.0.0", "version: 1.0\nowner: me"))
            .unwrap_err();
    assert_eq!(error.problems().len(), 1);
    let warnings = shown(error.warnings());
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(warnings[0].starts_with("line 3: version:"), "{warnings:?}");
    assert!(warnings[1].starts_with("line 4: owner:"), "{warnings:?}");
}
