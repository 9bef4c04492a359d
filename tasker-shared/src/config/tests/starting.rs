//! Configurations that a service starts with although something in them is wrong or means nothing, and
//! the variables of other software.

use std::fs;

use tempfile::TempDir;

use super::super::ConfigLoader;
use super::super::tasker::TaskerConfig;
use super::{Folder, shown, variables};

fn start(env: &[(&str, &str)]) -> TaskerConfig {
    loader(env).load_to_start().expect("a service starts")
}

fn loader(env: &[(&str, &str)]) -> ConfigLoader {
    ConfigLoader::new(None, variables(env))
}

#[test]
fn nonsense_in_the_caches_section_leaves_the_cache_out_and_is_an_error_otherwise() {
    for wrong in [
        &[("TASKER__COMMON__CACHE__OPERATION_TIMEOUT_MS", "soon")][..],
        &[("TASKER__COMMON__CACHE__OPERATION_TIMEOUT_MS", "0")],
        &[("TASKER__COMMON__CACHE__TYPO", "1")],
        &[("TASKER__COMMON__CACHE__REDIS", "redis://localhost")],
        &[("TASKER__COMMON__CACHE__REDIS__MODE", "clustr")],
        &[("TASKER__COMMON__CACHE__REDIS__URL", "http://localhost")],
        &[("REDIS_URL", "localhost:6379")],
        &[
            ("REDIS_URL", "redis://localhost/1"),
            ("TASKER__COMMON__CACHE__REDIS__DATABASE", "2"),
        ],
    ] {
        let enabled = ("TASKER__COMMON__CACHE__ENABLED", "true");
        let wrong = [wrong, &[enabled]].concat();
        let config = start(&wrong);
        assert_eq!(config.common.cache, None, "{wrong:?}");
        let strict = shown(loader(&wrong).load()).join("\n");
        assert_eq!(config.common.cache_refused, Some(strict), "{wrong:?}");
    }
}

#[test]
fn nonsense_about_redis_is_no_error_of_a_start_with_the_cache_off() {
    for wrong in [
        &[("REDIS_URL", "localhost:6379")][..],
        &[("TASKER__COMMON__CACHE__REDIS__MODE", "clustr")],
        &[("TASKER__COMMON__CACHE__REDIS", "redis://localhost")],
        &[
            ("REDIS_URL", "redis://localhost/1"),
            ("TASKER__COMMON__CACHE__REDIS__DATABASE", "2"),
        ],
    ] {
        let common = start(wrong).common;
        assert_eq!(common.cache_refused, None, "{wrong:?}");
        assert!(!common.cache.expect("a section").enabled, "{wrong:?}");
        loader(wrong).load().expect_err("a check reports it");
    }
    // Somebody may have meant to turn the cache on.
    for doubtful in [
        "TASKER__COMMON__CACHE__ENABLED",
        "TASKER__COMMON__CACHE__ENABELD",
    ] {
        let config = start(&[(doubtful, "yes")]);
        assert!(config.common.cache_refused.is_some(), "{doubtful}");
    }
}

#[test]
fn what_is_wrong_elsewhere_is_an_error_together_with_what_is_wrong_in_the_cache() {
    let wrong = [
        ("TASKER__COMMON__CACHE__ENABLED", "true"),
        ("REDIS_URL", "localhost:6379"),
        ("TASKER__WORKER__WEB__MAX_BODY_BYTES", "1"),
    ];
    assert_eq!(shown(loader(&wrong).load_to_start()).len(), 2);
}

#[test]
fn a_database_in_the_redis_url_is_used_and_contradicts_only_another_one() {
    let url = ("REDIS_URL", "redis://localhost:6379/1");
    let folder = Folder::with(&[("base/common.toml", "[common.cache.redis]\ndatabase = 0")]);
    folder.load(&[url]).expect("0 is no contradiction");
    let same = ("TASKER__COMMON__CACHE__REDIS__DATABASE", "1");
    loader(&[url, same]).load().expect("the same twice");
    let other = ("TASKER__COMMON__CACHE__REDIS__DATABASE", "2");
    let lines = shown(loader(&[url, other]).load());
    assert!(lines[0].contains("another database"), "{lines:?}");
}

#[test]
fn a_cache_has_a_redis_only_if_somebody_names_one() {
    let enabled = ("TASKER__COMMON__CACHE__ENABLED", "true");
    let redis = |config: TaskerConfig| config.common.cache.expect("a section").redis;
    // A program may enable the cache after loading.
    assert_eq!(redis(start(&[])), None);
    assert_eq!(redis(start(&[enabled])), None);
    let folder = Folder::with(&[("base/common.toml", "[common.cache]\nenabled = true")]);
    assert_eq!(redis(folder.load(&[]).expect("it is right")), None);
    let named = redis(start(&[enabled, ("REDIS_URL", "redis://cache:6379")]));
    assert_eq!(named.expect("it is named").url, "redis://cache:6379");
    let mode = ("TASKER__COMMON__CACHE__REDIS__MAX_CONNECTIONS", "3");
    let section = redis(start(&[enabled, mode])).expect("the section is there");
    assert_eq!(section.url, "redis://localhost:6379");
}

#[test]
fn the_bind_address_is_that_of_each_service_and_weaker_than_its_own_variable() {
    let address = ("TASKER_WEB_BIND_ADDRESS", "0.0.0.0:9000");
    let config = start(&[address]);
    assert_eq!(config.orchestration.web.bind_address, "0.0.0.0:9000");
    assert_eq!(config.worker.web.bind_address, "0.0.0.0:9000");
    let own = ("TASKER__WORKER__WEB__BIND_ADDRESS", "127.0.0.1:1");
    let config = start(&[address, own]);
    assert_eq!(config.orchestration.web.bind_address, "0.0.0.0:9000");
    assert_eq!(config.worker.web.bind_address, "127.0.0.1:1");
    let lines = shown(loader(&[("TASKER_WEB_BIND_ADDRESS", "9000")]).load());
    assert!(lines[0].contains("TASKER_WEB_BIND_ADDRESS"), "{lines:?}");
}

/// The merged file of another software has sections that mean nothing here.
#[test]
fn one_merged_file_replaces_the_folders_and_its_unknown_keys_are_no_errors() {
    let folder = TempDir::new().expect("a temporary folder can be made");
    let file = folder.path().join("worker-production.toml");
    let text = r#"
        [common.database]
        url = "${DATABASE_URL:-postgres://localhost/one}"
        [common.database.pool]
        max_connections = 7
        idle_timeout_seconds = 30
        [common.backoff]
        default_backoff_seconds = [1, 2, 4]
        [orchestration.web]
        bind_address = "${TASKER_WEB_BIND_ADDRESS:-0.0.0.0:8080}"
        [rust_worker]
        enabled = true
    "#;
    fs::write(&file, text).expect("a file can be written");
    let path = file.to_str().expect("the path is text");
    let env = [("TASKER_CONFIG_PATH", path), ("TASKER_CACHE_ENABLED", "1")];
    let config = loader(&env).load().expect("unknown keys are no errors");
    assert_eq!(config.common.database.url, "postgres://localhost/one");
    assert_eq!(config.common.database.pool.max_connections, 7);
    assert_eq!(config.orchestration.web.bind_address, "0.0.0.0:8080");
    let mut unused = loader(&env).read().unused;
    unused.sort();
    assert_eq!(
        unused,
        [
            "TASKER_CACHE_ENABLED",
            "common.backoff",
            "common.database.pool.idle_timeout_seconds",
            "rust_worker",
        ]
    );
    let missing = [("TASKER_CONFIG_PATH", "/no/such/file.toml")];
    let lines = shown(loader(&missing).load());
    assert!(
        lines[0].starts_with("[config_unreadable] /no/such/file.toml"),
        "{lines:?}"
    );
}
