//! Discovery of a large folder: one transaction, and outcomes in the order of the files.

use tasker_shared::registry::{RegistrationStatus, RegistryError};
use tempfile::TempDir;

use crate::app::{TestApp, document, marker};
use crate::every_cache::with_every_cache;

with_every_cache! {
    a_large_folder_is_registered_in_one_commit_in_the_order_of_its_files,
    a_folder_that_cannot_be_registered_whole_is_not_registered_at_all,
}

const TEMPLATES: usize = 300;

/// A folder with templates of two namespaces, about 600 KB.
fn large_folder() -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let padding = "x".repeat(2_000);
    for number in 0..TEMPLATES {
        let name = name(number);
        let document = document(namespace(number), &name, format!("{number}{padding}"));
        let path = folder.path().join(format!("{name}.yaml"));
        std::fs::write(path, document.to_string()).expect("the folder can be written to");
    }
    folder
}

fn namespace(number: usize) -> &'static str {
    ["orders", "payments"][number % 2]
}

fn name(number: usize) -> String {
    format!("t{number:03}")
}

async fn a_large_folder_is_registered_in_one_commit_in_the_order_of_its_files(app: TestApp) {
    let folder = large_folder();
    let registry = app.registry().await;
    let before = app.sequence().await;
    let found = registry.discover_and_register_templates(folder.path());
    let found = found.await.unwrap();
    assert_eq!(app.sequence().await, before + 1);
    assert_eq!(found.registered.len(), TEMPLATES);
    for (number, registered) in found.registered.iter().enumerate() {
        assert_eq!(registered.namespace, namespace(number));
        assert_eq!(registered.name, name(number));
        assert_eq!(registered.status, RegistrationStatus::Created);
        let name = name(number);
        let resolved = registry.get_template(namespace(number), &name, "1.0.0");
        let resolved = resolved.await.unwrap();
        assert_eq!(resolved.named_task_uuid, registered.named_task_uuid);
        let marker = marker(&resolved);
        let number = number.to_string();
        assert_eq!(marker.as_str().unwrap().trim_end_matches('x'), number);
    }

    let sequence = app.sequence().await;
    let again = app.registry().await;
    let again = again.discover_and_register_templates(folder.path());
    let again = again.await.unwrap().registered;
    for (first, again) in found.registered.iter().zip(&again) {
        assert_eq!(again.status, RegistrationStatus::Unchanged);
        assert_eq!(again.named_task_uuid, first.named_task_uuid);
    }
    assert_eq!(app.sequence().await, sequence);
}

async fn a_folder_that_cannot_be_registered_whole_is_not_registered_at_all(app: TestApp) {
    let folder = large_folder();
    app.commit(&[
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
         $$ BEGIN RAISE EXCEPTION 'not this one'; END $$",
        "CREATE TRIGGER refuse BEFORE INSERT ON tasker.named_tasks
         FOR EACH ROW WHEN (NEW.name = 't299') EXECUTE FUNCTION refuse()",
    ])
    .await;
    let registry = app.registry().await;
    let refused = registry.discover_and_register_templates(folder.path());
    assert!(matches!(
        refused.await.unwrap_err(),
        RegistryError::Database(_)
    ));
    let committed: i64 = sqlx::query_scalar("SELECT count(*) FROM tasker.named_tasks")
        .fetch_one(&app.pool)
        .await
        .unwrap();
    assert_eq!(committed, 0);
    app.commit(&["DROP TRIGGER refuse ON tasker.named_tasks"])
        .await;
    let found = registry.discover_and_register_templates(folder.path());
    let found = found.await.unwrap().registered;
    assert_eq!(found.len(), TEMPLATES);
    for found in found {
        assert_eq!(found.status, RegistrationStatus::Created);
    }
    for number in 0..TEMPLATES {
        let name = name(number);
        let resolved = registry.get_template(namespace(number), &name, "1.0.0");
        resolved.await.unwrap();
    }
}
