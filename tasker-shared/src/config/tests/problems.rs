//! The problems of wrong configurations.

use std::ffi::OsString;

use super::super::{ConfigLoader, ConfigProblem};
use super::{Folder, load_with, shown};

#[test]
fn an_unknown_key_in_a_file_is_reported_with_the_nearest_known_one() {
    let folder = Folder::with(&[(
        "base/common.toml",
        "[common.cache]\nenabld = true\n[common.cache.reddis]\nurl = \"x\"\n[comon.database]\nurl = 1",
    )]);
    let file = folder.file("base/common.toml").display().to_string();
    let mut lines = shown(folder.load(&[]));
    lines.sort();
    assert_eq!(
        lines,
        [
            format!(
                "[config_unknown_key] {file}: `common.cache.enabld` is not a known key; the nearest is `common.cache.enabled`"
            ),
            format!(
                "[config_unknown_key] {file}: `common.cache.reddis` is not a known key; the nearest is `common.cache.redis`"
            ),
            format!(
                "[config_unknown_key] {file}: `comon` is not a known key; the nearest is `common`"
            ),
        ]
    );
}

#[test]
fn an_unknown_key_in_a_variable_is_reported_with_the_nearest_variable() {
    assert_eq!(
        shown(load_with(&[("TASKER__COMMON_CACHE__ENABLED", "true")])),
        [
            "[config_unknown_key] the variable TASKER__COMMON_CACHE__ENABLED: `common_cache.enabled` is not a known key; \
          the nearest is `TASKER__COMMON__CACHE__ENABLED`"
        ]
    );
}

#[test]
fn a_quoted_key_with_a_dot_is_not_the_key_below() {
    let folder = Folder::with(&[("base/common.toml", "[common]\n\"cache.enabled\" = true")]);
    let error = folder.load(&[]).unwrap_err();
    assert!(
        matches!(error.problems(), [ConfigProblem::UnknownKey { .. }]),
        "{error}"
    );
}

#[test]
fn a_wrong_type_is_reported_with_the_expected_one() {
    let folder = Folder::with(&[(
        "base/common.toml",
        "common.cache.enabled = \"yes\"\ncommon.cache.redis = true\ncommon.cache.template_ttl_seconds = -1\n\
         common.cache.max_staleness_ms = -5\n\
         common.task_templates.search_paths = [1]",
    )]);
    let lines = shown(folder.load(&[])).join("\n");
    for expected in [
        "`common.cache.enabled` must be `true` or `false`, and is a text",
        "`common.cache.redis` must be a section, and is `true` or `false`",
        "`common.cache.template_ttl_seconds` must be an integer from 1 to 4294967295, and is another integer",
        "`common.cache.max_staleness_ms` must be an integer from 0 to 3600000, and is another integer",
        "`common.task_templates.search_paths` must be a list of texts",
    ] {
        assert!(lines.contains(expected), "{expected} in {lines}");
    }
    assert_eq!(lines.lines().count(), 5, "{lines}");
}

#[test]
fn a_variable_of_the_wrong_type_or_for_a_section_is_reported() {
    let lines = shown(load_with(&[
        ("TASKER__COMMON__CACHE__ENABLED", "yes"),
        ("TASKER__COMMON__CACHE__LOCAL_MAX_BYTES", "64 MiB"),
        ("TASKER__COMMON__CACHE", "true"),
    ]))
    .join("\n");
    assert_eq!(lines.matches("[config_wrong_type]").count(), 3, "{lines}");
    assert!(lines.contains("the variable TASKER__COMMON__CACHE: `common.cache` must be a section"));
}

#[test]
fn two_spellings_of_one_variable_are_reported() {
    let lines = shown(load_with(&[
        ("TASKER__COMMON__CACHE__ENABLED", "true"),
        ("TASKER__common__cache__enabled", "false"),
    ]));
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(
        lines[0].starts_with("[config_duplicate_variable]"),
        "{lines:?}"
    );
}

#[test]
fn a_broken_constraint_is_reported_with_its_place() {
    let folder = Folder::with(&[(
        "base/common.toml",
        "[common.cache]\nmax_staleness_ms = 3600001\nkey_prefix = \"a*\"\n\
         [common.database.pool]\nmin_connections = 50",
    )]);
    let file = folder.file("base/common.toml").display().to_string();
    assert_eq!(
        shown(folder.load(&[])),
        [
            format!("[config_invalid] {file}: `common.cache.key_prefix` must consist of letters, digits and `_ . : {{ }} -`"),
            format!("[config_invalid] {file}: `common.cache.max_staleness_ms` must be at most 3600000"),
            "[config_invalid] `common.database.pool` `min_connections` must be at most `max_connections`".to_owned(),
        ]
    );
}

#[test]
fn the_url_selects_the_database_and_another_number_contradicts_it() {
    for (url, database, agree) in [
        ("redis://localhost:6379/3", "3", true),
        ("redis://localhost:6379/3", "0", true),
        ("redis://localhost:6379/3", "4", false),
        ("redis://localhost:6379/0", "3", false),
        ("redis://localhost:6379/", "3", true),
        ("unix:///run/redis.sock?db=3", "3", true),
        ("unix:///run/redis.sock?db=3", "4", false),
        ("unix:///run/redis.sock", "4", true),
    ] {
        let result = load_with(&[
            ("REDIS_URL", url),
            ("TASKER__COMMON__CACHE__REDIS__DATABASE", database),
        ]);
        assert_eq!(result.is_ok(), agree, "{url} and {database}");
        if let Err(error) = result {
            assert_eq!(error.problems()[0].path(), Some("common.cache.redis"));
            assert_eq!(error.problems().len(), 1, "{error}");
        }
    }
}

#[test]
fn a_value_that_is_wrong_is_not_blamed_for_what_its_default_would_break() {
    let lines = shown(load_with(&[
        ("REDIS_URL", "redis://localhost/3"),
        ("TASKER__COMMON__CACHE__REDIS__DATABASE", "three"),
    ]));
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].starts_with("[config_wrong_type]"), "{lines:?}");
}

#[test]
fn a_reference_to_an_unlisted_variable_is_reported_even_if_overridden() {
    let folder = Folder::with(&[
        (
            "base/common.toml",
            "[common.cache]\nkey_prefix = \"${HOME}\"",
        ),
        (
            "environments/development/common.toml",
            "[common.cache]\nkey_prefix = \"a\"",
        ),
    ]);
    let file = folder.file("base/common.toml").display().to_string();
    assert_eq!(
        shown(folder.load(&[("HOME", "/root")])),
        [format!(
            "[config_unlisted_variable] {file}: `common.cache.key_prefix` refers to the variable HOME; \
             files may refer to DATABASE_URL, REDIS_URL, REDIS_USERNAME, REDIS_PASSWORD, REDIS_SENTINEL_USERNAME, REDIS_SENTINEL_PASSWORD, TASKER_ENV, TASKER_WEB_BIND_ADDRESS, TASKER_TEMPLATE_PATH only"
        )]
    );
}

#[test]
fn a_variable_that_a_file_needs_and_that_is_unset_is_reported() {
    let folder = Folder::with(&[(
        "base/common.toml",
        "[common.task_templates]\nsearch_paths = [\"a\", \"${TASKER_TEMPLATE_PATH}\"]",
    )]);
    let lines = shown(folder.load(&[]));
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].ends_with("needs the variable TASKER_TEMPLATE_PATH, which is not set"));

    let config = folder.load(&[("TASKER_TEMPLATE_PATH", "b")]).unwrap();
    assert_eq!(config.common.task_templates.search_paths, ["a", "b"]);
}

#[test]
fn a_variable_that_does_not_match_its_pattern_is_reported_with_the_file() {
    for (name, value) in [
        ("REDIS_URL", "http://localhost"),
        ("REDIS_URL", "redis://"),
        ("REDIS_URL", "localhost:6379"),
        ("DATABASE_URL", "mysql://localhost/tasker"),
    ] {
        let lines = shown(load_with(&[(name, value)]));
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(
            lines[0].starts_with(&format!(
                "[config_bad_variable] the variable {name} must be a URL"
            )),
            "{lines:?}"
        );
        assert!(
            lines[0].contains("in the built-in common.toml"),
            "{lines:?}"
        );
    }
}

#[test]
fn an_environment_name_cannot_leave_the_folder() {
    let folder = Folder::with(&[("environments/test/common.toml", "")]);
    for name in ["../base", "a/b", ".", "a b", "a\0b"] {
        let lines = shown(folder.load(&[("TASKER_ENV", name)]));
        assert_eq!(
            lines,
            [
                "[config_bad_variable] the variable TASKER_ENV must be 1 to 64 letters, digits, `_` and `-`"
            ]
        );
    }
}

#[test]
fn what_is_no_toml_is_reported_with_its_line_and_the_rest_is_still_checked() {
    let folder = Folder::with(&[
        ("base/a.toml", "[common]\n\nenvironment = \"a\n"),
        ("base/b.toml", "unknown = 1"),
    ]);
    let lines = shown(folder.load(&[]));
    assert_eq!(lines.len(), 2, "{lines:?}");
    let file = folder.file("base/a.toml").display().to_string();
    assert!(
        lines[0].starts_with(&format!("[config_syntax] {file}, line 3, column ")),
        "{lines:?}"
    );
    assert!(lines[1].starts_with("[config_unknown_key]"), "{lines:?}");
}

#[test]
fn a_file_that_cannot_be_read_as_text_is_reported() {
    let folder = Folder::with(&[("base/a.toml", "")]);
    std::fs::write(folder.file("base/a.toml"), [0xff, 0xfe]).unwrap();
    let lines = shown(folder.load(&[]));
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains("a.toml cannot be read: "), "{lines:?}");
}

#[test]
fn a_value_of_the_process_that_is_no_text_is_reported_if_it_matters_here() {
    use std::os::unix::ffi::OsStringExt as _;
    let garbage = || OsString::from_vec(vec![0xff]);
    let variable = |name: &str| (OsString::from(name), garbage());

    let loader = ConfigLoader::from_variables([variable("LS_COLORS")]);
    loader.load().unwrap();
    let loader = ConfigLoader::from_variables([variable("REDIS_URL"), variable("TASKER__X")]);
    assert_eq!(
        shown(loader.load()),
        [
            "[config_not_unicode] the variable REDIS_URL is not valid UTF-8",
            "[config_not_unicode] the variable TASKER__X is not valid UTF-8",
        ]
    );
}

#[test]
fn the_process_names_its_folder_by_variable() {
    let folder = Folder::with(&[("base/common.toml", "[common.cache]\nkey_prefix = \"mine\"")]);
    let root = ("TASKER_CONFIG_ROOT".into(), folder.0.path().into());
    let config = ConfigLoader::from_variables([root]).load().unwrap();
    assert_eq!(config.common.cache.unwrap().key_prefix, "mine");

    let missing = ("TASKER_CONFIG_ROOT".into(), folder.file("missing").into());
    let lines = shown(ConfigLoader::from_variables([missing]).load());
    assert!(lines[0].starts_with("[config_missing_folder]"), "{lines:?}");
}
