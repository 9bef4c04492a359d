//! Which steps follow from which outcome.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{Existing, Outcome, PlannedStep, outcome, plan};
use crate::{StepType, TaskTemplate};

fn template(steps: &[(&str, &str, &[&str])]) -> TaskTemplate {
    let steps: Vec<Value> = steps
        .iter()
        .map(|(name, kind, dependencies)| {
            json!({"name": name, "type": kind, "dependencies": dependencies,
                   "handler": {"callable": "h"}})
        })
        .collect();
    serde_json::from_value(json!({"name": "t", "steps": steps})).unwrap()
}

fn existing(steps: &[(&str, bool)]) -> Existing {
    steps
        .iter()
        .map(|(name, complete)| ((*name).to_owned(), *complete))
        .collect()
}

fn chosen(names: &[&str]) -> Outcome {
    Outcome::Steps(names.iter().map(|name| (*name).to_owned()).collect())
}

/// The created steps with their parents, as `name<parent,parent`.
fn planned(
    template: &TaskTemplate,
    existing: &Existing,
    current: &str,
    outcome: &Outcome,
) -> Result<Vec<String>, String> {
    let steps = plan(template, existing, current, outcome, 3).map_err(|error| error.to_string())?;
    Ok(steps
        .iter()
        .map(|step| format!("{}<{}", step.name, step.parents.join(",")))
        .collect())
}

const APPROVAL: &[(&str, &str, &[&str])] = &[
    ("validate", "standard", &[]),
    ("route", "decision", &["validate"]),
    (
        "finish",
        "deferred_convergence",
        &["auto", "manager", "finance"],
    ),
    ("auto", "standard", &["route"]),
    ("manager", "standard", &["route"]),
    ("finance", "standard", &["route"]),
    ("mail", "standard", &["finish"]),
];

#[test]
fn a_decision_creates_what_it_chose_and_what_waits_for_only_that() {
    let template = template(APPROVAL);
    let now = existing(&[("validate", true), ("route", false)]);
    let steps = planned(&template, &now, "route", &chosen(&["manager", "finance"])).unwrap();
    assert_eq!(
        steps,
        [
            "manager<route",
            "finance<route",
            "finish<finance,manager",
            "mail<finish"
        ]
    );
    assert!(
        planned(&template, &now, "route", &chosen(&[]))
            .unwrap()
            .is_empty()
    );
}

#[test]
fn names_that_the_decision_cannot_create_are_refused() {
    let template = template(APPROVAL);
    let now = existing(&[("validate", true), ("route", false)]);
    let refused = |names: &[&str]| planned(&template, &now, "route", &chosen(names)).unwrap_err();
    assert!(refused(&["nobody"]).contains("no step `nobody`"));
    assert!(refused(&["validate"]).contains("does not depend"));
    assert!(refused(&["mail"]).contains("depends on `finish`"));
}

#[test]
fn a_convergence_waits_until_the_last_decision_above_it() {
    let template = template(&[
        ("first", "decision", &[]),
        ("plain", "standard", &["first"]),
        ("second", "decision", &["first"]),
        ("deep", "standard", &["second"]),
        ("end", "deferred_convergence", &["plain", "deep"]),
    ]);
    let now = existing(&[("first", false)]);
    let steps = planned(&template, &now, "first", &chosen(&["plain", "second"])).unwrap();
    assert_eq!(steps, ["plain<first", "second<first"]);
    let steps = planned(&template, &now, "first", &chosen(&["plain"])).unwrap();
    assert_eq!(steps, ["plain<first", "end<plain"]);
    let later = existing(&[("first", true), ("plain", true), ("second", false)]);
    let steps = planned(&template, &later, "second", &chosen(&["deep"])).unwrap();
    assert_eq!(steps, ["deep<second", "end<deep,plain"]);
    let steps = planned(&template, &later, "second", &chosen(&[])).unwrap();
    assert_eq!(steps, ["end<plain"]);
}

#[test]
fn what_another_decision_has_created_is_not_created_again() {
    let template = template(&[
        ("first", "decision", &[]),
        ("second", "decision", &["first"]),
        ("both", "standard", &["first", "second"]),
        ("after", "standard", &["both"]),
    ]);
    let now = existing(&[("first", false)]);
    let steps = planned(&template, &now, "first", &chosen(&["second", "both"])).unwrap();
    assert_eq!(steps, ["second<first", "both<first,second", "after<both"]);
    let later = existing(&[
        ("first", true),
        ("second", false),
        ("both", false),
        ("after", false),
    ]);
    for names in [&["both"][..], &["both", "after"], &[]] {
        let steps = planned(&template, &later, "second", &chosen(names)).unwrap();
        assert!(steps.is_empty(), "{steps:?}");
    }
}

#[test]
fn a_decision_may_name_what_follows_from_its_choice_by_itself() {
    let template = template(APPROVAL);
    let now = existing(&[("validate", true), ("route", false)]);
    for names in [
        &["auto"][..],
        &["auto", "finish"],
        &["mail", "finish", "auto"],
    ] {
        let steps = planned(&template, &now, "route", &chosen(names)).unwrap();
        let sorted: std::collections::BTreeSet<_> = steps.iter().map(String::as_str).collect();
        let expected = ["auto<route", "finish<auto", "mail<finish"];
        assert_eq!(sorted, expected.into(), "{names:?}");
    }
    let steps = planned(&template, &now, "route", &chosen(&["finish"])).unwrap();
    assert_eq!(steps, ["finish<", "mail<finish"]);
}

#[test]
fn decisions_are_limited_in_depth() {
    let template = template(&[
        ("a", "decision", &[]),
        ("b", "decision", &["a"]),
        ("c", "decision", &["b"]),
        ("d", "decision", &["c"]),
        ("e", "standard", &["d"]),
    ]);
    let now = existing(&[("a", true), ("b", true), ("c", true), ("d", false)]);
    let error = planned(&template, &now, "d", &chosen(&["e"])).unwrap_err();
    assert!(error.contains("max_decision_depth"), "{error}");
}

#[test]
fn a_convergence_waits_for_what_follows_wherever_it_stands_in_the_template() {
    let mut steps = vec![
        ("end", "deferred_convergence", &["plain", "after"][..]),
        ("after", "standard", &["inner"]),
        ("inner", "deferred_convergence", &["plain"]),
        ("plain", "standard", &["route"]),
        ("route", "decision", &[]),
    ];
    let now = existing(&[("route", false)]);
    for _ in 0..2 {
        let planned = planned(&template(&steps), &now, "route", &chosen(&["plain"])).unwrap();
        assert_eq!(planned.last().unwrap(), "end<after,plain");
        assert_eq!(planned.len(), 4);
        steps.reverse();
    }
}

#[test]
fn a_plan_takes_no_longer_for_the_number_of_paths_through_the_template() {
    let mut steps = vec![
        (String::from("route"), "decision", vec![]),
        (String::from("other"), "decision", vec![]),
    ];
    let mut last = String::from("other");
    for stage in 0..10 {
        let fan: Vec<String> = (0..8).map(|n| format!("step-{stage}-{n}")).collect();
        steps.extend(
            fan.iter()
                .map(|name| (name.clone(), "standard", vec![last.clone()])),
        );
        last = format!("join-{stage}");
        steps.push((last.clone(), "standard", fan));
    }
    steps.push((
        String::from("chosen"),
        "standard",
        vec![String::from("route")],
    ));
    let both = vec![String::from("chosen"), last];
    steps.push((String::from("end"), "deferred_convergence", both));
    let template = owned(steps);
    let now = existing(&[("route", false), ("other", false)]);
    let started = Instant::now();
    let steps = planned(&template, &now, "route", &chosen(&["chosen"])).unwrap();
    assert_eq!(steps, ["chosen<route"]);
    assert!(started.elapsed() < Duration::from_secs(1));
}

#[test]
fn a_chain_as_long_as_a_template_can_have_needs_no_deep_stack() {
    const LENGTH: usize = 10_000;
    for first in ["standard", "decision"] {
        let mut steps = vec![
            (String::from("route"), "decision", vec![]),
            (String::from("step-0"), first, vec![String::from("route")]),
        ];
        for n in 1..LENGTH {
            steps.push((
                format!("step-{n}"),
                "standard",
                vec![format!("step-{}", n - 1)],
            ));
        }
        steps.push((
            String::from("end"),
            "deferred_convergence",
            vec![String::from("route"), format!("step-{}", LENGTH - 1)],
        ));
        steps.reverse();
        let template = owned(steps);
        let now = existing(&[("route", false)]);
        let count = |names: &[&str]| plan(&template, &now, "route", &chosen(names), 3);
        let expected = if first == "standard" { LENGTH + 1 } else { 1 };
        assert_eq!(count(&["step-0"]).unwrap().len(), expected);
        // Nothing of the chain will ever exist, so its end waits for the decision alone.
        assert_eq!(count(&[]).unwrap().len(), 1);
    }
}

fn owned(steps: Vec<(String, &str, Vec<String>)>) -> TaskTemplate {
    let steps: Vec<Value> = steps
        .into_iter()
        .map(|(name, kind, dependencies)| {
            json!({"name": name, "type": kind, "dependencies": dependencies,
                   "handler": {"callable": "h"}})
        })
        .collect();
    serde_json::from_value(json!({"name": "t", "steps": steps})).unwrap()
}

const BATCH: &[(&str, &str, &[&str])] = &[
    ("analyze", "batchable", &[]),
    ("work", "batch_worker", &["analyze"]),
    ("sum", "deferred_convergence", &["work"]),
];

fn batches(count: usize) -> Outcome {
    let cursors: Vec<Value> = (0..count).map(|n| json!({"batch_id": n})).collect();
    let result = json!({"batch_processing_outcome": {
        "type": "create_batches", "worker_template_name": "work", "worker_count": count,
        "cursor_configs": cursors, "total_items": count,
    }});
    outcome(StepType::Batchable, &result.to_string())
        .unwrap()
        .unwrap()
}

fn inputs(step: &PlannedStep<'_>) -> Value {
    step.inputs.as_ref().unwrap().to_value().unwrap()
}

#[test]
fn a_cursor_keeps_all_its_digits() {
    let digits = "123456789012345678901234567890";
    let result = format!(
        r#"{{"batch_processing_outcome": {{"type": "create_batches", "worker_template_name": "work",
            "cursor_configs": [{{"start_cursor": {digits}}}]}}}}"#
    );
    let cut = outcome(StepType::Batchable, &result).unwrap().unwrap();
    let template = template(BATCH);
    let now = existing(&[("analyze", false)]);
    let steps = plan(&template, &now, "analyze", &cut, 3).unwrap();
    let inputs = steps[0].inputs.as_ref().unwrap().as_json();
    assert!(inputs.contains(digits), "{inputs}");
}

#[test]
fn batches_are_numbered_and_the_convergence_waits_for_all() {
    let template = template(BATCH);
    let now = existing(&[("analyze", false)]);
    let steps = planned(&template, &now, "analyze", &batches(2)).unwrap();
    assert_eq!(
        steps,
        [
            "work_001<analyze",
            "work_002<analyze",
            "sum<work_001,work_002"
        ]
    );
    let steps = plan(&template, &now, "analyze", &batches(10_000), 3).unwrap();
    assert_eq!((steps.len(), &*steps[9_999].name), (10_001, "work_10000"));
    assert!(planned(&template, &now, "analyze", &batches(10_001)).is_err());
}

#[test]
fn no_batches_create_a_placeholder() {
    let template = template(BATCH);
    let now = existing(&[("analyze", false)]);
    let steps = plan(&template, &now, "analyze", &Outcome::Batches(None), 3).unwrap();
    assert_eq!(steps.len(), 2);
    assert_eq!(steps[0].name, "work_000");
    assert_eq!(inputs(&steps[0])["is_no_op"], true);
    assert_eq!(steps[1].parents, ["work_000"]);
}

#[test]
fn settings_of_batches_stand_at_the_worker_or_at_the_step_that_cuts_them() {
    let step = |name: &str, kind: &str, parents: &[&str], config: Value| {
        json!({"name": name, "type": kind, "dependencies": parents, "batch_config": config,
               "handler": {"callable": "h"}})
    };
    let cutter = json!({"worker_template": "work", "cursor_field": "row", "batch_size": 50});
    let template: TaskTemplate = serde_json::from_value(json!({"name": "t", "steps": [
        step("analyze", "batchable", &[], cutter),
        step("other", "batch_worker", &["analyze"], Value::Null),
        step("work", "batch_worker", &["analyze"], json!({"failure_strategy": "fail_fast"})),
        step("sum", "deferred_convergence", &["work"], Value::Null),
    ]}))
    .unwrap();
    let now = existing(&[("analyze", false)]);
    let expected = json!({
        "checkpoint_interval": 50, "cursor_field": "row", "failure_strategy": "fail_fast",
    });
    for (outcome, first) in [
        (batches(1), "work_001"),
        (Outcome::Batches(None), "work_000"),
    ] {
        let steps = plan(&template, &now, "analyze", &outcome, 3).unwrap();
        let names: Vec<&str> = steps.iter().map(|step| &*step.name).collect();
        assert_eq!(names, [first, "sum"]);
        assert_eq!(inputs(&steps[0])["batch_metadata"], expected);
    }
}

#[test]
fn a_convergence_waits_for_all_steps_that_cut_work_for_one_worker() {
    let template = template(&[
        ("first", "batchable", &[]),
        ("second", "batchable", &[]),
        ("work", "batch_worker", &["first", "second"]),
        ("sum", "deferred_convergence", &["work"]),
    ]);
    let now = existing(&[("first", false), ("second", false)]);
    let steps = planned(&template, &now, "first", &batches(1)).unwrap();
    assert_eq!(steps, ["work_001<first,second"]);
    let later = existing(&[("first", true), ("second", false), ("work_001", false)]);
    let steps = planned(&template, &later, "second", &batches(1)).unwrap();
    assert_eq!(steps, ["work_002<first,second", "sum<work_001,work_002"]);
}

#[test]
fn steps_that_cut_work_for_one_worker_are_numbered_on() {
    let template = template(&[
        ("first", "batchable", &[]),
        ("second", "batchable", &[]),
        ("work", "batch_worker", &["first", "second"]),
        ("sum", "deferred_convergence", &["work"]),
    ]);
    let none = Outcome::Batches(None);
    for (earlier, outcome, expected) in [
        ("work_001", &none, "work_002"),
        ("work_000", &none, "work_001"),
        ("work_000", &batches(1), "work_001"),
        ("work_007", &batches(1), "work_008"),
    ] {
        let now = existing(&[("first", true), ("second", false), (earlier, true)]);
        let steps = plan(&template, &now, "second", outcome, 3).unwrap();
        assert_eq!(steps[0].name, expected);
        assert_eq!(steps[1].parents, [earlier, expected]);
    }
}

#[test]
fn a_step_that_is_named_as_a_batch_is_none() {
    let template = template(&[
        ("analyze", "batchable", &[]),
        ("work", "batch_worker", &["analyze"]),
        ("work_2", "standard", &[]),
        ("work_002", "standard", &["work_2"]),
        ("sum", "deferred_convergence", &["work"]),
    ]);
    let now = existing(&[("analyze", false), ("work_2", true), ("work_002", false)]);
    let steps = planned(&template, &now, "analyze", &batches(2)).unwrap();
    assert_eq!(
        steps,
        [
            "work_001<analyze",
            "work_003<analyze",
            "sum<work_001,work_003"
        ]
    );
}

#[test]
fn an_outcome_must_be_there_and_well_formed() {
    let error = outcome(StepType::Decision, "{}").unwrap_err().to_string();
    assert!(error.contains("decision_point_outcome"), "{error}");
    let odd = r#"{"decision_point_outcome": {"type": "create_steps"}}"#;
    let error = outcome(StepType::Decision, odd).unwrap_err().to_string();
    assert!(error.contains("step_names"), "{error}");
    assert_eq!(outcome(StepType::Standard, "1"), Ok(None));
    for (odd, reason) in [
        ("7", "the result has no `batch_processing_outcome`"),
        (
            r#"{"batch_processing_outcome": {"type": "create_batches"}}"#,
            "missing field",
        ),
        (
            r#"{"batch_processing_outcome": {"type": "cut"}}"#,
            "unknown variant",
        ),
    ] {
        let error = outcome(StepType::Batchable, odd).unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
    }
}
