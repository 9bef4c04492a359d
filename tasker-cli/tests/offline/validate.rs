//! `tasker template validate`.

use std::fs;

use tempfile::TempDir;

use crate::broken::{self, BROKEN, GOOD, WARNED};
use crate::run_in;

fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = TempDir::new().unwrap();
    for (name, text) in files {
        fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

const VALIDATE: [&str; 2] = ["template", "validate"];

fn validate(folder: &TempDir, arguments: &[&str]) -> crate::common::Outcome {
    run_in(folder.path(), &[&VALIDATE, arguments].concat())
}

#[test]
fn good_files_are_good() {
    let folder = folder(&[("orders.yaml", GOOD)]);
    let outcome = validate(&folder, &["."]);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    assert_eq!(
        outcome.stdout,
        "1 file, 1 good template, 0 errors, 0 warnings\n"
    );
    assert_eq!(outcome.stderr, "");
    let lint = run_in(folder.path(), &["template", "lint", "orders.yaml"]);
    assert_eq!(lint.stdout, outcome.stdout);
}

#[test]
fn every_broken_file_has_its_error_at_its_place() {
    let folder = TempDir::new().unwrap();
    broken::write(folder.path());
    let outcome = validate(&folder, &[".", "--output", "json"]);
    assert_eq!(outcome.code, 1);
    let report = outcome.json();
    assert_eq!(report["files"], BROKEN.len() + 1);
    assert_eq!(report["templates"].as_array().unwrap().len(), 1);
    for (name, _, code) in BROKEN {
        let file = format!("./{name}.yaml");
        let problems = report["problems"].as_array().unwrap().iter();
        let errors: Vec<_> = problems
            .filter(|one| one["file"] == file && one["severity"] == "error")
            .collect();
        assert!(
            errors.iter().any(|error| error["code"] == *code),
            "{name}: {errors:?}"
        );
    }
}

#[test]
fn warnings_fail_only_if_they_are_denied() {
    let folder = folder(&[("warned.yaml", WARNED)]);
    let outcome = validate(&folder, &["warned.yaml"]);
    assert_eq!(outcome.code, 0);
    insta::assert_snapshot!("warnings", outcome.stdout);
    assert_eq!(
        validate(&folder, &["warned.yaml", "--deny-warnings"]).code,
        1
    );
}

#[test]
fn the_report_has_four_forms() {
    let broken = "name: a b\nnamespace_name: s\nversion: '1'\nsteps:\n- {name: x, needs: [],\n   handler: {callable: X}}\n";
    let folder = folder(&[("a b.yaml", broken), ("c.yaml", WARNED)]);
    for form in ["table", "json", "github", "sarif"] {
        let outcome = validate(&folder, &[".", "--output", form]);
        assert_eq!(outcome.code, 1);
        insta::assert_snapshot!(format!("report_{form}"), outcome.stdout);
    }
}

#[test]
fn a_missing_path_is_named_with_a_remedy() {
    let folder = folder(&[]);
    let outcome = validate(&folder, &["absent"]);
    assert_eq!(outcome.code, 66);
    assert!(
        outcome.stderr.contains("absent cannot be read"),
        "{outcome:?}"
    );
    assert!(
        outcome.stderr.contains("help: name a file or a folder"),
        "{outcome:?}"
    );
    assert_eq!(outcome.stdout, "");
}

#[test]
fn a_folder_without_templates_is_no_success() {
    let folder = folder(&[("notes.txt", "")]);
    let outcome = validate(&folder, &["."]);
    assert_eq!(outcome.code, 66);
    assert!(
        outcome.stderr.contains("no template file is in ."),
        "{outcome:?}"
    );
}

#[test]
fn a_folder_whose_files_have_other_endings_is_no_success_and_says_why() {
    let folder = folder(&[("orders.YAML", GOOD)]);
    let outcome = validate(&folder, &["."]);
    assert_eq!(outcome.code, 66);
    assert!(
        outcome.stdout.contains("orders.YAML: warning: "),
        "{outcome:?}"
    );
    assert!(
        outcome.stderr.contains("no template file is in ."),
        "{outcome:?}"
    );
}

#[test]
fn names_of_files_do_not_steer_the_terminal_or_look_like_problems() {
    let folder = folder(&[("a\x1b[2J\nb.yaml: error: c.yaml", "")]);
    let outcome = validate(&folder, &["."]);
    assert_eq!(outcome.code, 1);
    assert_eq!(outcome.stdout.lines().count(), 2, "{outcome:?}");
    assert!(!outcome.stdout.contains('\x1b'), "{outcome:?}");
}

#[test]
fn a_file_that_is_named_twice_is_checked_once() {
    let folder = folder(&[("orders.yaml", GOOD)]);
    let outcome = validate(&folder, &[".", "orders.yaml", "./orders.yaml"]);
    assert_eq!(
        outcome.stdout,
        "1 file, 1 good template, 0 errors, 0 warnings\n"
    );
}

#[test]
fn shipped_templates_have_no_problems_and_name_the_schema() {
    let repository = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let arguments = ["template", "validate", "config/tasks", "--deny-warnings"];
    let outcome = run_in(repository.as_ref(), &arguments);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let outcome = run_in(
        repository.as_ref(),
        &[&arguments[..], &["--output", "json"]].concat(),
    );
    for template in outcome.json()["templates"].as_array().unwrap() {
        let file = format!("{repository}/{}", template["file"].as_str().unwrap());
        let text = fs::read_to_string(&file).unwrap();
        let schema = text
            .lines()
            .next()
            .and_then(|line| line.strip_prefix("# yaml-language-server: $schema="))
            .unwrap_or_else(|| panic!("{file} has no modeline"));
        let schema = std::path::Path::new(&file).with_file_name(schema);
        assert!(schema.is_file(), "{}", schema.display());
    }
}
