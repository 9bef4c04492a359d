//! Commands on the database.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tasker_test_support::{PgBouncer, TestDatabase};
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
async fn the_program_works_behind_a_pooler_in_transaction_mode() {
    let database = TestDatabase::create().await.unwrap();
    let pooler = PgBouncer::before(database.url(), "transaction")
        .await
        .unwrap();
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("orders.yaml"), GOOD).unwrap();
    let run = async |direct: &str, arguments: &[&str]| {
        let mut command = program(folder.path());
        command
            .args(arguments)
            .env("DATABASE_URL", pooler.url())
            .env("TASKER__COMMON__DATABASE__POOL_MODE", "transaction")
            .env("TASKER__COMMON__DATABASE__DIRECT_URL", direct);
        tokio::task::spawn_blocking(move || outcome(&mut command))
            .await
            .unwrap()
    };
    let check = run("", &["migrate", "--check"]).await;
    assert_eq!(check.code, 1, "{check:?}");
    let refused = run("", &["migrate"]).await;
    assert_eq!(refused.code, 69, "{refused:?}");
    assert!(refused.stderr.contains("direct_url"), "{refused:?}");
    let migrated = run(database.url(), &["migrate"]).await;
    assert_eq!(migrated.code, 0, "{migrated:?}");
    for direct in ["", database.url()] {
        for _ in 0..3 {
            let registered = run(direct, &["template", "register", "orders.yaml"]).await;
            assert_eq!(registered.code, 0, "{registered:?}");
            let listed = run(direct, &["template", "list"]).await;
            assert!(listed.stdout.contains("shop/orders/1.0.0"), "{listed:?}");
        }
    }
    // A URL as an argument is not the one that the configuration describes.
    let argument = ["migrate", "--check", "--database-url", database.url()];
    let direct = run("postgres://nobody@127.0.0.1:1/none", &argument).await;
    assert_eq!(direct.code, 0, "{direct:?}");
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

#[tokio::test(flavor = "multi_thread")]
async fn files_are_registered_as_the_configuration_of_templates_says() {
    let app = App::start().await;
    let run = async |variable: (&'static str, &'static str), file: &'static str| {
        let mut command = program(app.folder.path());
        command
            .args(["template", "register", file])
            .envs(app.environment())
            .env(
                format!("TASKER__COMMON__TASK_TEMPLATES__{}", variable.0),
                variable.1,
            );
        tokio::task::spawn_blocking(move || outcome(&mut command))
            .await
            .unwrap()
    };
    app.write("orders.yaml", GOOD);
    let refuse = ("ON_CHANGED_VERSION", "refuse");
    assert_eq!(run(refuse, "orders.yaml").await.code, 0);
    let listed = app.json(&["template", "list"]).await;
    let changed = GOOD.replace("max_attempts: 5", "max_attempts: 6");
    app.write("orders.yaml", &changed);
    let refused = run(refuse, "orders.yaml").await;
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.stdout.contains("[changed_version]"), "{refused:?}");
    assert_eq!(app.json(&["template", "list"]).await, listed);

    // The content of a retired template is kept, too.
    let name = "shop/orders/1.0.0";
    app.json(&["template", "retire", name]).await;
    let refused = run(refuse, "orders.yaml").await;
    assert_eq!(refused.code, 1, "{refused:?}");
    for code in ["[changed_version]", "[template_retired]"] {
        assert!(refused.stdout.contains(code), "{refused:?}");
    }
    app.run(&["template", "retire", name, "--undo"]).await;
    let restored = app.json(&["template", "list"]).await;
    assert_eq!(restored[0]["hash"], listed[0]["hash"]);
    app.json(&["template", "retire", name]).await;
    app.write("orders.yaml", GOOD);
    let same = run(refuse, "orders.yaml").await;
    assert_eq!(same.code, 0, "{same:?}");
    for text in [
        "  unchanged\n",
        "end the retirement: `tasker template retire",
    ] {
        assert!(same.stdout.contains(text), "{same:?}");
    }
    app.run(&["template", "retire", name, "--undo"]).await;
    app.write("orders.yaml", &changed);
    for (mode, warns) in [("replace", false), ("warn", true)] {
        let mode = ("ON_CHANGED_VERSION", mode);
        app.write("orders.yaml", &changed.replace("shop.Check", mode.1));
        let replaced = run(mode, "orders.yaml").await;
        assert_eq!(replaced.code, 0, "{replaced:?}");
        let warned = replaced.stdout.contains("[version_replaced]");
        assert_eq!(warned, warns, "{replaced:?}");
    }
    app.write("orders.yaml", &changed);
    let listed = app.json(&["template", "list"]).await;

    app.write("broken.yaml", "name: a\nsteps: []\n");
    let strict = run(("STRICT_BOOT", "true"), ".").await;
    assert_eq!(strict.code, 1, "{strict:?}");
    assert_eq!(app.json(&["template", "list"]).await, listed);

    let long = format!("{changed}#{}\n", "x".repeat(1024));
    app.write("orders.yaml", &long);
    let limited = run(("MAX_FILE_BYTES", "1024"), "orders.yaml").await;
    assert_eq!(limited.code, 1, "{limited:?}");
    assert!(limited.stdout.contains("max_file_bytes"), "{limited:?}");
    assert_eq!(app.json(&["template", "list"]).await, listed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_without_templates_is_not_registered_in_silence() {
    let app = App::start().await;
    let outcome = app.run(&["template", "register", "."]).await;
    let remedy = "name files, or folders with files";
    assert_refused(&outcome, 66, "no template file is in .", remedy);
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
    let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/../config/tasks");
    let paths = [".", shipped, "--output", "json"];
    let checked = app
        .run(&[&["template", "validate"], &paths[..]].concat())
        .await;
    let registered = app
        .run(&[&["template", "register"], &paths[..]].concat())
        .await;
    assert_eq!((checked.code, registered.code), (1, 1));
    let (checked, mut registered) = (checked.json(), registered.json());
    for template in registered["templates"].as_array_mut().unwrap() {
        let status = template.as_object_mut().unwrap().remove("status");
        assert_eq!(status, Some(json!("created")));
    }
    for key in ["files", "errors", "warnings", "problems"] {
        assert_eq!(checked[key], registered[key]);
    }
    assert!(checked["errors"].as_u64().unwrap() > 40, "{checked}");
    assert!(checked["warnings"].as_u64().unwrap() > 2, "{checked}");
    let sorted = |answer: &Value| -> BTreeSet<String> {
        let templates = answer["templates"].as_array().unwrap().iter();
        templates.map(ToString::to_string).collect()
    };
    assert_eq!(sorted(&checked), sorted(&registered));

    let text = app.run(&["template", "register", "needs.yaml"]).await;
    let line = app.run(&["template", "validate", "needs.yaml"]).await;
    assert_eq!(text.stdout.lines().nth(1), line.stdout.lines().next());
}
