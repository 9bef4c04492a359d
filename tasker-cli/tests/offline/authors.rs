//! Commands for authors: schema, explain, graph, diff, new.

use std::fs;

use tempfile::TempDir;

use crate::broken::GOOD;
use crate::run_in;

fn folder() -> TempDir {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("orders.yaml"), GOOD).unwrap();
    fs::write(folder.path().join("broken.yaml"), "name: a\nsteps: []\n").unwrap();
    folder
}

#[test]
fn the_schema_is_the_committed_one() {
    let outcome = run_in(folder().path(), &["template", "schema"]);
    assert_eq!(outcome.code, 0);
    let committed = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../config/template.schema.json"
    );
    assert!(outcome.stdout == fs::read_to_string(committed).unwrap());
}

#[test]
fn explain_shows_what_runs_in_an_environment() {
    let folder = folder();
    let explain = ["template", "explain", "orders.yaml"];
    let outcome = run_in(folder.path(), &explain);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    insta::assert_snapshot!("explain", outcome.stdout);
    // A worker may be allowed more than the default of 1 MiB.
    let long = format!("{GOOD}{}", "# note\n".repeat(200_000));
    fs::write(folder.path().join("long.yaml"), long).unwrap();
    let long = run_in(folder.path(), &["template", "explain", "long.yaml"]);
    assert_eq!(long.stdout, outcome.stdout, "{long:?}");
    let outcome = run_in(
        folder.path(),
        &[&explain[..], &["--environment", "test"]].concat(),
    );
    insta::assert_snapshot!("explain_test", outcome.stdout);
    let json = ["--environment", "test", "--output", "json"];
    let outcome = run_in(folder.path(), &[&explain[..], &json].concat());
    insta::assert_snapshot!("explain_json", outcome.stdout);
}

#[test]
fn texts_of_a_template_do_not_steer_the_terminal() {
    let folder = folder();
    let steering = GOOD
        .replace("Takes orders", "\"Takes\\e[2J orders\"")
        .replace("shop.Check", "\"shop\\e[2J.Check\"");
    fs::write(folder.path().join("steering.yaml"), steering).unwrap();
    let outcome = run_in(folder.path(), &["template", "explain", "steering.yaml"]);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    assert!(outcome.stdout.contains("Takes [2J orders"), "{outcome:?}");
    assert!(!outcome.stdout.contains('\x1b'), "{outcome:?}");
}

#[test]
fn an_environment_without_overrides_is_said_to_have_none() {
    let folder = folder();
    let arguments = ["template", "explain", "orders.yaml", "-e", "prodcution"];
    let outcome = run_in(folder.path(), &arguments);
    assert_eq!(outcome.code, 0);
    let expected = "overrides for prodcution: none; the template has some for test";
    assert!(outcome.stdout.contains(expected), "{}", outcome.stdout);
}

#[test]
fn each_command_on_a_file_refuses_a_broken_template_and_names_the_check() {
    let folder = folder();
    for arguments in [
        &["template", "explain", "broken.yaml"][..],
        &["template", "graph", "broken.yaml"],
        &["template", "diff", "orders.yaml", "broken.yaml"],
    ] {
        let outcome = run_in(folder.path(), arguments);
        assert_eq!(outcome.code, 66, "{outcome:?}");
        assert!(
            outcome.stderr.contains("broken.yaml is not a template: "),
            "{outcome:?}"
        );
        assert!(outcome.stderr.contains("namespace_name"), "{outcome:?}");
        let remedy = "help: `tasker template validate broken.yaml` lists all problems";
        assert!(outcome.stderr.contains(remedy), "{outcome:?}");
    }
    let outcome = run_in(folder.path(), &["template", "explain", "absent.yaml"]);
    assert_eq!(outcome.code, 66);
    assert!(
        outcome.stderr.contains("absent.yaml cannot be read: "),
        "{outcome:?}"
    );
}

#[test]
fn a_graph_has_three_languages() {
    let folder = folder();
    for format in ["dot", "mermaid", "svg"] {
        let arguments = ["template", "graph", "orders.yaml", "--format", format];
        let outcome = run_in(folder.path(), &arguments);
        assert_eq!(outcome.code, 0);
        insta::assert_snapshot!(format!("graph_{format}"), outcome.stdout);
    }
}

#[test]
fn templates_that_mean_the_same_do_not_differ() {
    let folder = folder();
    let other = GOOD
        .replace(
            "description: Takes orders",
            "description: \"Takes orders\"\nx-note: 1",
        )
        .replace(
            "    retry: {max_attempts: 5,",
            "    retry: {retryable: true, max_attempts: 5,",
        );
    fs::write(folder.path().join("other.yaml"), other).unwrap();
    let outcome = run_in(
        folder.path(),
        &["template", "diff", "orders.yaml", "other.yaml"],
    );
    assert_eq!(outcome.code, 0, "{outcome:?}");
    assert_eq!(outcome.stdout, "The templates mean the same.\n");
}

#[test]
fn differences_are_those_of_meaning() {
    let folder = folder();
    let other = GOOD
        .replace("version: \"1.0.0\"", "version: \"1.1.0\"")
        .replace("max_attempts: 5", "max_attempts: 6")
        .replace("dependencies: [pay, rows]", "dependencies: [rows]")
        .replace("name: check", "name: verify")
        .replace("[check]", "[verify]");
    fs::write(folder.path().join("other.yaml"), other).unwrap();
    let diff = ["template", "diff", "orders.yaml", "other.yaml"];
    let outcome = run_in(folder.path(), &diff);
    assert_eq!(outcome.code, 1);
    insta::assert_snapshot!("diff", outcome.stdout);
    let outcome = run_in(folder.path(), &[&diff[..], &["--output", "json"]].concat());
    assert_eq!(outcome.code, 1);
    insta::assert_snapshot!("diff_json", outcome.stdout);
}

#[test]
fn a_new_template_is_good_and_overwrites_nothing() {
    let folder = folder();
    let new = [
        "template",
        "new",
        "refunds",
        "--namespace",
        "shop",
        "--file",
        "refunds.yaml",
    ];
    let outcome = run_in(folder.path(), &new);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    assert_eq!(outcome.stdout, "wrote refunds.yaml\n");
    let arguments = ["template", "validate", "refunds.yaml", "--deny-warnings"];
    let outcome = run_in(folder.path(), &arguments);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let checked = run_in(folder.path(), &["template", "explain", "refunds.yaml"]);
    assert!(
        checked.stdout.starts_with("shop/refunds/0.1.0 "),
        "{checked:?}"
    );
    let outcome = run_in(folder.path(), &new);
    assert_eq!(outcome.code, 73);
    assert!(
        outcome.stderr.contains("help: name a new file"),
        "{outcome:?}"
    );
    // Names that YAML takes for something else, or that would add keys.
    for name in ["a/b", "1.0", "true", "a: b", "a\nversion: 2", "", "\"a\""] {
        let outcome = run_in(folder.path(), &["template", "new", name]);
        assert_eq!(outcome.code, 64, "{outcome:?}");
        assert!(outcome.stderr.contains("cannot be named"), "{outcome:?}");
        assert_eq!(outcome.stdout, "");
    }
}

#[test]
fn a_device_without_an_end_is_refused() {
    let outcome = run_in("/".as_ref(), &["template", "graph", "/dev/zero"]);
    assert_eq!(outcome.code, 66, "{outcome:?}");
    assert!(
        outcome.stderr.contains("more than the limit"),
        "{outcome:?}"
    );
}
