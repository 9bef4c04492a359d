//! Discovery of template files: registers those that changed, and reports errors and warnings.

use serde_json::Value;
use tasker_shared::registry::{RegistrationStatus, TaskTemplateDiscoveryResult};
use tempfile::TempDir;

use crate::app::{TestApp, current, document, folder, marker};
use crate::every_cache::with_every_cache;
use crate::registration::written_rows;

with_every_cache! {
    a_discovery_registers_what_it_can_and_names_the_rest,
    a_discovery_writes_only_templates_that_changed,
    a_row_that_was_changed_by_hand_is_registered_from_its_file_again,
    two_files_with_one_template_are_reported_each_time,
    warnings_are_reported_each_time,
    a_file_that_says_the_same_in_other_words_writes_nothing,
    a_default_that_is_written_out_is_another_content_and_is_kept,
}

/// Runs a discovery in a process that has just started.
async fn discover(app: &TestApp, folder: &TempDir) -> TaskTemplateDiscoveryResult {
    let registry = app.registry().await;
    let found = registry.discover_and_register_templates(folder.path());
    let found = found.await.unwrap();
    registry.shutdown().await;
    found
}

fn statuses(found: &TaskTemplateDiscoveryResult) -> Vec<RegistrationStatus> {
    found.registered.iter().map(|one| one.status).collect()
}

fn write(folder: &TempDir, name: &str, text: &str) {
    std::fs::write(folder.path().join(name), text).unwrap();
}

async fn a_discovery_registers_what_it_can_and_names_the_rest(app: TestApp) {
    let registry = app.registry().await;
    let folder = folder();
    let result = registry
        .discover_and_register_templates(folder.path())
        .await
        .unwrap();
    assert_eq!(result.total_files, 2);
    assert_eq!(result.registered.len(), 1);
    assert_eq!(result.errors.len(), 1);
    assert!(result.errors[0].file.ends_with("wrong.yaml"));
    assert_eq!(result.invalidation.error, None);
    current(&registry).await;
}

async fn a_discovery_writes_only_templates_that_changed(app: TestApp) {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, document: &Value| {
        let path = folder.path().join(format!("{name}.yaml"));
        std::fs::write(path, document.to_string()).unwrap();
    };
    let names = ["changed", "deleted", "same", "strategy"];
    for name in names {
        let mut document = document("payments", name, 1);
        document["identity_strategy"] = "always_unique".into();
        write(name, &document);
    }
    let discover = async || {
        // A process that has just started.
        let registry = app.registry().await;
        let found = registry.discover_and_register_templates(folder.path());
        let registered = found.await.unwrap().registered;
        let statuses: Vec<_> = registered.iter().map(|one| one.status).collect();
        let uuids: Vec<_> = registered.iter().map(|one| one.named_task_uuid).collect();
        (registry, statuses, uuids)
    };
    let (_, first, uuids) = discover().await;
    assert_eq!(first, [RegistrationStatus::Created; 4]);
    let before = (app.sequence().await, written_rows(&app).await);
    let (_, second, same) = discover().await;
    assert_eq!(second, [RegistrationStatus::Unchanged; 4]);
    assert_eq!(same, uuids);
    assert_eq!((app.sequence().await, written_rows(&app).await), before);

    let mut changed = document("payments", "changed", 2);
    changed["identity_strategy"] = "always_unique".into();
    write("changed", &changed);
    app.commit(&[
        "DELETE FROM tasker.named_tasks WHERE name = 'deleted'",
        "UPDATE tasker.named_tasks SET identity_strategy = 'strict' WHERE name = 'strategy'",
    ])
    .await;
    let (registry, third, again) = discover().await;
    assert_eq!(
        third,
        [
            RegistrationStatus::Updated,
            RegistrationStatus::Created,
            RegistrationStatus::Unchanged,
            RegistrationStatus::Updated,
        ]
    );
    for name in names {
        let resolved = registry.get_template("payments", name, "1.0.0").await;
        let resolved = resolved.unwrap();
        let index = names.iter().position(|other| *other == name).unwrap();
        assert_eq!(resolved.named_task_uuid, again[index]);
        assert_eq!(resolved.identity_strategy.name(), "always_unique");
        assert_eq!(marker(&resolved), if name == "changed" { 2 } else { 1 });
    }
}

async fn a_row_that_was_changed_by_hand_is_registered_from_its_file_again(app: TestApp) {
    let folder = folder();
    let mut with_strategy = document("payments", "refund", 1);
    with_strategy["identity_strategy"] = "always_unique".into();
    write(&folder, "refund.yaml", &with_strategy.to_string());
    discover(&app, &folder).await;
    let changes: [(&[&str], RegistrationStatus); 7] = [
        (
            &[
                "UPDATE tasker.named_tasks SET configuration = configuration || '{\"version\": \"9\"}'",
            ],
            RegistrationStatus::Updated,
        ),
        (
            &["UPDATE tasker.named_tasks SET identity_strategy = 'strict'"],
            RegistrationStatus::Updated,
        ),
        (
            &["UPDATE tasker.named_tasks SET name = 'other'"],
            RegistrationStatus::Created,
        ),
        (
            &[
                "DELETE FROM tasker.named_tasks",
                "UPDATE tasker.task_namespaces SET name = 'billing'",
            ],
            RegistrationStatus::Created,
        ),
        (
            &["UPDATE tasker.task_namespaces SET name = 'other' WHERE name = 'payments'"],
            RegistrationStatus::Created,
        ),
        (
            &["UPDATE tasker.named_tasks SET version = '9.0.0'"],
            RegistrationStatus::Created,
        ),
        (
            &["TRUNCATE tasker.named_tasks CASCADE"],
            RegistrationStatus::Created,
        ),
    ];
    for (statements, expected) in changes {
        app.commit(statements).await;
        let found = discover(&app, &folder).await;
        assert_eq!(statuses(&found), [expected], "{statements:?}");
        let registry = app.registry().await;
        assert_eq!(current(&registry).await, 1, "{statements:?}");
        let again = discover(&app, &folder).await;
        assert_eq!(
            statuses(&again),
            [RegistrationStatus::Unchanged],
            "{statements:?}"
        );
        registry.shutdown().await;
    }
}

async fn two_files_with_one_template_are_reported_each_time(app: TestApp) {
    let folder = folder();
    let text = document("payments", "refund", 1).to_string();
    write(&folder, "refund_again.yaml", &text);
    let files_of = |problems: &[tasker_shared::registry::DiscoveryProblem]| -> Vec<String> {
        let files = problems.iter().map(|problem| problem.file.file_name());
        files
            .map(|name| name.unwrap().to_string_lossy().into_owned())
            .collect()
    };
    for expected in [RegistrationStatus::Created, RegistrationStatus::Unchanged] {
        let found = discover(&app, &folder).await;
        assert_eq!(statuses(&found), [expected]);
        assert_eq!(files_of(&found.warnings), ["refund_again.yaml"]);
        assert_eq!(files_of(&found.errors), ["wrong.yaml"]);
    }
    // Neither of two different documents replaces the registered one, whatever the order of files.
    for (file, marker) in [("before.yaml", 2), ("refund_other.yaml", 3)] {
        write(
            &folder,
            file,
            &document("payments", "refund", marker).to_string(),
        );
        let found = discover(&app, &folder).await;
        assert!(statuses(&found).is_empty(), "{:?}", found.registered);
        let conflict = &found.errors[0];
        assert!(
            conflict.message.contains("neither is registered"),
            "{conflict:?}"
        );
        assert_eq!(current(&app.registry().await).await, 1);
    }
}

async fn warnings_are_reported_each_time(app: TestApp) {
    let folder = tempfile::tempdir().unwrap();
    let text = "name: refund\nnamespace_name: payments\nversion: 1.10\nsteps:\n  - name: only\n    handler:\n      callable: Only\n";
    write(&folder, "doubtful.yaml", text);
    for expected in [RegistrationStatus::Created, RegistrationStatus::Unchanged] {
        let found = discover(&app, &folder).await;
        assert_eq!(statuses(&found), [expected]);
        assert_eq!(found.warnings.len(), 1);
        assert_eq!(found.warnings[0].line, Some(3));
    }
}

/// One document: key order, quotes, comments, anchors, escapes and the spelling of numbers differ.
const SPELLINGS: [&str; 4] = [
    r#"{"name": "refund", "namespace_name": "payments", "version": "1.0.0",
        "task_handler": {"callable": "Refund",
            "initialization": {"rate": 0.25, "most": 100.0, "count": 16, "named": "caf\u00e9",
                "first": {"a": 1, "b": [true, null]}, "second": {"a": 1, "b": [true, null]}}},
        "steps": [{"name": "only", "handler": {"callable": "Only"}}]}"#,
    "# reviewed
steps:
  - {handler: {callable: Only}, name: only}
task_handler:
  initialization:
    second: {b: [true, null], a: 1}
    first: {b: [true, null], a: 1}
    named: café
    count: 0x10
    most: 1e2
    rate: 25e-2
  callable: Refund
version: '1.0.0'
namespace_name: payments
name: refund
",
    "name: 'refund'
namespace_name: \"payments\"
version: 1.0.0 # no number
task_handler:
  callable: >-
    Refund
  initialization:
    rate: 0.250
    most: +100.00
    count: +16
    named: \"caf\\xe9\"
    first: &same
      b:
        - true
        - ~
      a: 1
    second: *same
steps:
  - name: only
    handler:
      callable: Only
",
    "name: refund\r\nnamespace_name: payments\r\nversion: 1.0.0\r\ntask_handler: {callable: Refund, initialization: {rate: .25, most: 100., count: 0o20, named: café, first: {a: 1, b: [true, null]}, second: {a: 1, b: [true, null]}}}\r\nsteps: [{name: only, handler: {callable: Only}}]\r\n",
];

async fn a_file_that_says_the_same_in_other_words_writes_nothing(app: TestApp) {
    let folder = tempfile::tempdir().unwrap();
    let mut before = None;
    // The first one again, after the others.
    for text in SPELLINGS.iter().chain(&SPELLINGS[..1]) {
        write(&folder, "refund.yaml", text);
        let found = discover(&app, &folder).await;
        assert!(found.errors.is_empty(), "{:?}", found.errors);
        let written = (app.sequence().await, written_rows(&app).await);
        let Some(before) = &before else {
            assert_eq!(statuses(&found), [RegistrationStatus::Created]);
            before = Some(written);
            continue;
        };
        assert_eq!(statuses(&found), [RegistrationStatus::Unchanged], "{text}");
        assert_eq!(written, *before);
    }
    // All of them together are one template.
    for (number, text) in SPELLINGS.iter().enumerate() {
        write(&folder, &format!("refund{number}.yaml"), text);
    }
    let found = discover(&app, &folder).await;
    assert_eq!(statuses(&found), [RegistrationStatus::Unchanged]);
    let codes: Vec<_> = found.warnings.iter().map(|one| one.code).collect();
    assert_eq!(codes, ["same_template"; SPELLINGS.len()]);
}

/// Readers of the table see what the author wrote, so it is kept, also if it means the same here.
async fn a_default_that_is_written_out_is_another_content_and_is_kept(app: TestApp) {
    let folder = tempfile::tempdir().unwrap();
    let plain = "name: refund\nnamespace_name: payments\nversion: 1.0.0\nsteps:\n  - name: only\n    handler: {callable: Only}\n";
    let mut clock = None;
    for (more, key, kept) in [
        ("", "/steps/0/timeout_seconds", None),
        (
            "    timeout_seconds: ~\n",
            "/steps/0/timeout_seconds",
            Some(Value::Null),
        ),
        (
            "    dependencies: []\n",
            "/steps/0/dependencies",
            Some(Value::Array(Vec::new())),
        ),
        ("metadata: {}\n", "/metadata", Some(serde_json::json!({}))),
    ] {
        let text = format!("{plain}{more}");
        for again in [false, true] {
            write(&folder, "refund.yaml", &text);
            let found = discover(&app, &folder).await;
            let expected = match (again, &clock) {
                (true, _) => RegistrationStatus::Unchanged,
                (false, None) => RegistrationStatus::Created,
                (false, Some(_)) => RegistrationStatus::Updated,
            };
            assert_eq!(statuses(&found), [expected], "{text}");
            let moved = app.sequence().await;
            assert_eq!(clock == Some(moved), again, "{text}");
            clock = Some(moved);
        }
        let stored: Value = sqlx::query_scalar("SELECT configuration FROM tasker.named_tasks")
            .fetch_one(&app.pool)
            .await
            .unwrap();
        assert_eq!(stored.pointer(key), kept.as_ref(), "{stored}");
    }
}

#[tokio::test]
async fn without_a_cache_a_description_that_was_changed_by_hand_is_put_right() {
    let app = TestApp::start().await;
    let folder = folder();
    discover(&app, &folder).await;
    app.commit(&["UPDATE tasker.named_tasks SET description = 'by hand'"])
        .await;
    let found = discover(&app, &folder).await;
    assert_eq!(statuses(&found), [RegistrationStatus::Updated]);
}
