//! `tasker config`.

use std::path::Path;

use crate::common::{Outcome, outcome, program};

fn run(variables: &[(&str, &str)], arguments: &[&str]) -> Outcome {
    let mut command = program(Path::new("/"));
    command.args(["config"]).args(arguments);
    outcome(command.envs(variables.iter().copied()))
}

#[test]
fn a_configuration_is_checked_with_all_its_problems() {
    let good = run(&[("TASKER_ENV", "test")], &["check"]);
    assert_eq!(
        (good.code, &*good.stdout),
        (0, "OK: the configuration is valid (test)\n")
    );
    // The first is one of our own.
    let unused = [
        ("TASKER_URL", "http://localhost"),
        ("TASKER_CONFIG_PAHT", "/x"),
    ];
    let shown = run(&unused, &["check"]);
    let line = "\nsettings are present and have no effect: TASKER_CONFIG_PAHT\n";
    assert!(shown.stdout.ends_with(line), "{shown:?}");
    let json = run(&unused, &["check", "--output", "json"]).json();
    assert_eq!(json["unused"], serde_json::json!(["TASKER_CONFIG_PAHT"]));
    let wrong = [
        ("TASKER__COMMON__CACHE__ENABLED", "perhaps"),
        ("TASKER__COMMON__CACHE__TTL", "5"),
    ];
    let bad = run(&wrong, &["check"]);
    assert_eq!(bad.code, 78);
    assert!(bad.stderr.contains("[config_wrong_type]"), "{bad:?}");
    assert!(bad.stderr.contains("[config_unknown_key]"), "{bad:?}");
    let bad = run(&wrong, &["check", "--output", "json"]);
    assert_eq!(bad.code, 78);
    insta::assert_snapshot!("config_check_json", bad.stdout);
}

#[test]
fn a_key_is_explained_with_its_sources() {
    let variables = [("TASKER__COMMON__CACHE__ENABLED", "true")];
    let explained = run(&variables, &["explain", "common.cache.enabled"]);
    assert_eq!(explained.code, 0, "{explained:?}");
    insta::assert_snapshot!("config_explain", explained.stdout);
    let json = ["explain", "common.cache.enabled", "--output", "json"];
    insta::assert_snapshot!("config_explain_json", run(&variables, &json).stdout);
    let unknown = run(&[], &["explain", "common.cache.enabeld"]);
    assert_eq!(unknown.code, 1);
    assert!(
        unknown
            .stderr
            .contains("there is no key or section common.cache.enabeld")
    );
    assert!(
        unknown
            .stderr
            .contains("help: perhaps common.cache.enabled is meant"),
        "{unknown:?}"
    );
}

#[test]
fn a_dump_has_every_key_and_no_secret() {
    let variables = [("DATABASE_URL", "postgres://app:s3cret@db/tasker")];
    let dump = run(&variables, &["dump"]);
    assert_eq!(dump.code, 0, "{dump:?}");
    assert!(
        dump.stdout
            .contains("common.database.url = \"postgres://app:***@db/tasker\"  # "),
        "{}",
        dump.stdout
    );
    assert!(!dump.stdout.contains("s3cret"));
    let dump = run(&variables, &["dump", "--output", "json"]);
    assert_eq!(
        dump.json()["common"]["database"]["url"],
        "postgres://app:***@db/tasker"
    );
}
