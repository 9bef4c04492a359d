//! Commands on the database.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tasker_test_support::TestDatabase;
use tempfile::TempDir;

use crate::app::{App, assert_refused};
use crate::broken::{self, GOOD, WARNED};
use crate::common::{outcome, program};

#[tokio::test(flavor = "multi_thread")]
async fn migrations_are_checked_and_applied() {
    let database = TestDatabase::create().await.unwrap();
    let folder = TempDir::new().unwrap();
    let run = async |arguments: &[&str]| {
        let mut command = program(folder.path());
        command.args(arguments).env("DATABASE_URL", database.url());
        tokio::task::spawn_blocking(move || outcome(&mut command))
            .await
            .unwrap()
    };
    let check = run(&["migrate", "--check"]).await;
    assert_eq!(check.code, 1, "{check:?}");
    assert!(check.stdout.contains("migrations missing\n"), "{check:?}");
    assert!(
        check.stdout.contains("\n  0001 workflow schema\n"),
        "{check:?}"
    );
    let list = run(&["template", "list"]).await;
    assert_eq!(list.code, 69, "{list:?}");
    assert!(
        list.stderr
            .contains("`tasker migrate` creates missing tables"),
        "{list:?}"
    );
    let migrated = run(&["migrate", "--output", "json"]).await;
    assert_eq!(migrated.code, 0, "{migrated:?}");
    assert_eq!(migrated.json()["applied"], true);
    assert!(migrated.json()["migrations"].as_array().unwrap().len() > 4);
    let check = run(&["migrate", "--check"]).await;
    assert_eq!((check.code, &*check.stdout), (0, "0 migrations missing\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn templates_are_registered_listed_compared_and_retired() {
    let app = App::start().await;
    app.write("orders.yaml", GOOD);
    let register = ["template", "register", "orders.yaml"];
    let registered = app.json(&register).await;
    assert_eq!(registered["templates"][0]["status"], "created");
    let again = app.run(&register).await;
    assert_eq!(again.code, 0);
    assert_eq!(
        again.stdout,
        "TEMPLATE           STATUS\nshop/orders/1.0.0  unchanged\n"
    );

    let listed = app.json(&["template", "list"]).await;
    let hash = &listed[0]["hash"];
    assert_eq!(*hash, registered["templates"][0]["hash"]);
    let listed = app
        .run(&["template", "list", "--namespace", "shop"])
        .await
        .stdout;
    assert!(listed.contains("\nshop/orders/1.0.0  "), "{listed}");
    assert!(listed.ends_with("  Takes orders\n"), "{listed}");
    assert_eq!(
        app.json(&["template", "list", "--namespace", "other"])
            .await,
        json!([])
    );

    let same = app.run(&["template", "diff", "orders.yaml"]).await;
    assert_eq!(
        (same.code, &*same.stdout),
        (0, "The templates mean the same.\n")
    );
    app.write(
        "orders.yaml",
        &GOOD.replace("max_attempts: 5", "max_attempts: 6"),
    );
    let differs = app.run(&["template", "diff", "orders.yaml"]).await;
    assert_eq!(differs.stdout, "~ step pay: retry.max_attempts: 5 -> 6\n");
    assert_eq!(differs.code, 1);

    let history = ["template", "history", "shop/orders/1.0.0"];
    let changes = app.json(&history).await;
    assert_eq!(changes[0]["file"], "orders.yaml");
    assert_eq!(changes[0]["hash"], *hash);
    assert!(
        changes[0]["process"]
            .as_str()
            .unwrap()
            .starts_with("tasker "),
        "{changes}"
    );
    let changes = app.json(&[&history[..], &["--documents"]].concat()).await;
    assert_eq!(changes[0]["document"]["name"], "orders");
    let text = app.run(&history).await.stdout;
    assert!(text.starts_with("SINCE "), "{text}");
    assert!(text.contains("  orders.yaml  tasker "), "{text}");
    let outcome = app.run(&["template", "history", "shop/oders/1.0.0"]).await;
    let remedy = "`tasker template list` shows the registered templates";
    assert_refused(
        &outcome,
        1,
        "no template shop/oders/1.0.0 is registered",
        remedy,
    );

    let retired = app
        .json(&["template", "retire", "shop/orders/1.0.0", "--by", "ada"])
        .await;
    assert_eq!(retired["retired_by"], "ada");
    assert_eq!(app.json(&["template", "list"]).await, json!([]));
    let restored = app
        .run(&["template", "retire", "shop/orders/1.0.0", "--undo"])
        .await;
    assert_eq!(restored.stdout, "shop/orders/1.0.0 restored\n");
    let absent = app.run(&["template", "retire", "shop/orders/2"]).await;
    let remedy = "`tasker template list` shows the registered templates";
    assert_refused(
        &absent,
        1,
        "no template shop/orders/2 is registered",
        remedy,
    );
    let wrong = app.run(&["template", "retire", "orders"]).await;
    assert_eq!(wrong.code, 64);
    assert!(
        wrong.stderr.contains("write NAMESPACE/NAME/VERSION"),
        "{wrong:?}"
    );
}

/// The problems of an answer, without the forms of the two commands.
fn problems(answer: &Value, key: &str) -> BTreeSet<String> {
    let problems = answer[key].as_array().unwrap().iter();
    let texts = problems.map(|one| {
        let fields = ["file", "line", "column", "path", "code", "message"];
        fields.map(|field| one[field].to_string()).join(" ")
    });
    texts.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_finds_exactly_the_problems_that_registering_finds() {
    let app = App::start().await;
    broken::write(app.folder.path());
    // The same document twice, and two documents of one name.
    app.write("same_a.yaml", GOOD);
    app.write("same_b.yaml", GOOD);
    app.write("other_a.yaml", &WARNED.replace("warned", "other"));
    app.write(
        "other_b.yaml",
        &WARNED.replace("warned", "other").replace("Only", "Other"),
    );
    app.write("wrong.ymal", GOOD);
    let checked = app
        .run(&["template", "validate", ".", "--output", "json"])
        .await;
    let registered = app
        .run(&["template", "register", ".", "--output", "json"])
        .await;
    assert_eq!((checked.code, registered.code), (1, 1));
    let (checked, registered) = (checked.json(), registered.json());
    for (severity, key) in [("error", "errors"), ("warning", "warnings")] {
        let of_severity = checked["problems"].as_array().unwrap().iter();
        let of_severity: Vec<&Value> = of_severity
            .filter(|one| one["severity"] == severity)
            .collect();
        let checked = problems(&json!({"all": of_severity}), "all");
        assert_eq!(checked, problems(&registered, key));
        assert!(!checked.is_empty());
    }
    assert_eq!(checked["files"], registered["files"]);
    let hashes = |answer: &Value| -> BTreeSet<String> {
        let templates = answer["templates"].as_array().unwrap().iter();
        templates.map(|one| one["hash"].to_string()).collect()
    };
    assert_eq!(hashes(&checked), hashes(&registered));
}
