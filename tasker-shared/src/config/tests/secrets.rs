//! No configured secret is shown by anything.

use std::error::Error;

use super::super::{ConfigError, ConfigLoader};
use super::{Folder, load_with, variables};

const SECRET: &str = "s3cret";

fn assert_hidden(text: &str) {
    assert!(!text.contains(SECRET), "{text}");
}

fn assert_hides(error: &ConfigError) {
    assert!(!error.problems().is_empty());
    for text in [
        format!("{error}"),
        format!("{error:?}"),
        format!("{error:#?}"),
    ] {
        assert_hidden(&text);
    }
    for problem in error.problems() {
        let mut cause: Option<&dyn Error> = Some(problem);
        while let Some(error) = cause {
            assert_hidden(&format!("{error} {error:?}"));
            cause = error.source();
        }
    }
}

#[test]
fn a_loaded_configuration_hides_them() {
    let env = [
        (
            "DATABASE_URL",
            "postgres://app:s3cret@db/tasker?sslpassword=s3cret",
        ),
        (
            "TASKER__COMMON__DATABASE__DIRECT_URL",
            "postgres://app:s3cret@db/tasker",
        ),
        ("REDIS_URL", "rediss://s3cret@cache:6379"),
        ("TASKER__COMMON__CACHE__REDIS__MODE", "sentinel"),
        ("TASKER__COMMON__CACHE__REDIS__SENTINEL_MASTER_NAME", "one"),
        (
            "TASKER__COMMON__CACHE__REDIS__SENTINEL_PASSWORD",
            "s3cret-1",
        ),
        ("TASKER__COMMON__CACHE__REDIS__PASSWORD", "s3cret-2"),
    ];
    let config = load_with(&env).unwrap();
    assert!(config.common.database.url.contains(SECRET));
    let redis = config.common.cache.clone().unwrap().redis.unwrap();
    assert_eq!(redis.sentinel_password.expose(), "s3cret-1");
    assert_eq!(redis.password.expose(), "s3cret-2");
    for text in [
        format!("{config:?}"),
        format!("{config:#?}"),
        config.to_public_json().to_string(),
        serde_json::to_string(&config).unwrap(),
        toml::to_string(&config).unwrap(),
        format!("{:?}", ConfigLoader::new(None, variables(&env))),
    ] {
        assert_hidden(&text);
    }
    assert_eq!(
        config.to_public_json()["common"]["database"]["url"],
        "postgres://app:***@db/tasker?sslpassword=***"
    );
}

#[test]
fn a_variable_that_is_wrong_is_not_shown() {
    for (name, value) in [
        ("REDIS_URL", "http://:s3cret@cache"),
        ("REDIS_URL", ":s3cret@cache"),
        ("REDIS_URL", "redis://:s3cret@"),
        ("REDIS_URL", "redis://:s3cret@cache/zero"),
        ("REDIS_URL", "redis://:s3/cret@cache:port"),
        ("REDIS_URL", "unix://s3cret/run"),
        ("DATABASE_URL", "mysql://app:s3cret@db"),
        (
            "TASKER__COMMON__DATABASE__DIRECT_URL",
            "mysql://app:s3cret@db",
        ),
        ("DATABASE_URL", "postgres://app:s3cret@db:port"),
        ("TASKER__COMMON__DATABASE__URL", "app:s3cret@db"),
        ("TASKER__COMMON__CACHE__REDIS__URL", "redis://:s3cret@"),
        (
            "TASKER__COMMON__CACHE__REDIS__DATABASE",
            "redis://:s3cret@cache",
        ),
        ("TASKER__COMMON__CACHE__KEY_PREFIX", "s3cret*"),
        ("TASKER__COMMON__CACHE__REDIS", "redis://:s3cret@cache"),
        ("TASKER__COMMON__CACHE__ENABLED", "s3cret"),
        ("TASKER__COMMON__TASK_TEMPLATES__SEARCH_PATHS", "[s3cret]"),
        ("TASKER__COMMON__CACHE__REDIS__SENTINEL_PASSWORD", "s3cret"),
        ("TASKER__COMMON__CACHE__REDIS__NODES", "s3cret"),
        ("TASKER__COMMON__CACHE__REDIS__MODE", "s3cret"),
        ("TASKER__ORCHESTRATION__WEB__BIND_ADDRESS", "s3cret"),
        ("TASKER_ENV", "s3cret/../.."),
    ] {
        let error = load_with(&[(name, value)]).expect_err(value);
        assert_hides(&error);
    }
}

#[test]
fn a_file_that_is_wrong_is_not_quoted() {
    for text in [
        "common.database.url = \"postgres://app:s3cret@db",
        "common.database.url = postgres://app:s3cret@db",
        "common.database.url = 's3cret' s3cret",
        "common.database.url = [\"postgres://app:s3cret@db\"]",
        "common.database.url = \"postgres://app:s3cret@db:port\"",
        "common.database.url = \"postgres://app:${s3cret@db\"",
        "common.database.url = \"postgres://app:${s3cret}@db\"",
        "common.database.url = \"${DATABASE_URL:-postgres://app:s3cret@db:port}\"",
        "common.database.password = \"s3cret\"",
        "common.cache.redis = \"redis://:s3cret@cache\"",
        "common.cache.redis.url = \"redis://:s3cret@cache/x\"",
        "common.cache.enabled = \"\\q s3cret\"",
    ] {
        let folder = Folder::with(&[("base/common.toml", text)]);
        let error = folder.load(&[]).expect_err(text);
        assert_hides(&error);
    }
}
