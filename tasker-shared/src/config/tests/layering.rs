//! The order of the sources, and the settings of each environment of the repository.

use super::super::cache::CacheConfig;
use super::super::redis::RedisConfig;
use super::super::tasker::TaskerConfig;
use super::super::{ConfigLoader, ConfigProblem};
use super::{Folder, load_with, repository, shown, variables};

#[test]
fn without_files_the_embedded_defaults_are_those_of_the_structs() {
    let mut defaults = TaskerConfig::default();
    // The embedded files write the optional sections out. That of Redis counts once somebody names it.
    defaults.common.cache = Some(CacheConfig::default());
    assert_eq!(load_with(&[]).unwrap(), defaults);
    defaults.common.cache = Some(CacheConfig {
        redis: Some(RedisConfig::default()),
        ..CacheConfig::default()
    });
    let named = ("TASKER__COMMON__CACHE__REDIS__DATABASE", "0");
    assert_eq!(load_with(&[named]).unwrap(), defaults);
}

#[test]
fn a_stronger_layer_overrides_key_by_key_and_leaves_the_other_keys() {
    let folder = Folder::with(&[
        (
            "base/common.toml",
            "[common.cache]\nkey_prefix = \"base\"\ntemplate_ttl_seconds = 1",
        ),
        (
            "environments/test/common.toml",
            "[common.cache]\ntemplate_ttl_seconds = 2\nanalytics_ttl_seconds = 2",
        ),
    ]);

    let config = folder
        .load(&[
            ("TASKER_ENV", "test"),
            ("TASKER__COMMON__CACHE__ANALYTICS_TTL_SECONDS", "3"),
        ])
        .unwrap();

    let cache = config.common.cache.unwrap();
    assert_eq!(cache.key_prefix, "base");
    assert_eq!(cache.template_ttl_seconds, 2);
    assert_eq!(cache.analytics_ttl_seconds, 3);
    assert_eq!(cache.default_ttl_seconds, 3600);
}

#[test]
fn files_of_another_environment_are_not_read() {
    let folder = Folder::with(&[
        (
            "environments/test/common.toml",
            "[common.cache]\nenabled = true",
        ),
        ("environments/development/common.toml", "this is no TOML"),
    ]);
    let config = folder.load(&[("TASKER_ENV", "test")]).unwrap();
    assert!(config.common.cache.unwrap().enabled);
}

#[test]
fn the_environment_is_development_unless_a_variable_names_another() {
    let folder = Folder::with(&[(
        "environments/development/common.toml",
        "[common.cache]\nenabled = true",
    )]);
    for env in [&[][..], &[("TASKER_ENV", "")]] {
        let config = folder.load(env).unwrap();
        assert_eq!(config.common.environment, "development");
        assert!(config.common.cache.unwrap().enabled);
    }
    let config = load_with(&[("TASKER_ENV", "staging")]).unwrap();
    assert_eq!(config.common.environment, "staging");
}

#[test]
fn in_one_folder_the_file_with_the_later_name_wins() {
    let folder = Folder::with(&[
        (
            "base/20-local.toml",
            "[common.cache]\nkey_prefix = \"later\"",
        ),
        (
            "base/10-common.toml",
            "[common.cache]\nkey_prefix = \"earlier\"",
        ),
        ("base/notes.txt", "not read"),
    ]);
    let config = folder.load(&[]).unwrap();
    assert_eq!(config.common.cache.unwrap().key_prefix, "later");
}

#[test]
fn a_list_replaces_a_list() {
    let folder = Folder::with(&[(
        "base/common.toml",
        "[common.task_templates]\nsearch_paths = [\"/srv/templates\"]",
    )]);
    let config = folder.load(&[]).unwrap();
    assert_eq!(
        config.common.task_templates.search_paths,
        ["/srv/templates"]
    );
}

#[test]
fn a_web_section_that_sets_one_key_keeps_its_own_address() {
    let folder = Folder::with(&[(
        "base/all.toml",
        "[orchestration.web]\nmax_body_bytes = 2048\n[worker.web]\nmax_body_bytes = 4096",
    )]);
    let config = folder.load(&[]).unwrap();
    assert_eq!(config.orchestration.web.bind_address, "127.0.0.1:8080");
    assert_eq!(config.orchestration.web.max_body_bytes, 2048);
    assert_eq!(config.worker.web.bind_address, "127.0.0.1:8081");
    assert_eq!(config.worker.web.max_body_bytes, 4096);
}

#[test]
fn names_of_variables_may_be_in_lower_case() {
    let config = load_with(&[("tasker__common__Cache__ENABLED", "TRUE")]).unwrap();
    assert!(config.common.cache.unwrap().enabled);
}

#[test]
fn addresses_come_from_their_variables_and_default_without() {
    let config = load_with(&[
        ("DATABASE_URL", "postgresql://app:secret@db/tasker"),
        ("REDIS_URL", "unix:///run/redis.sock"),
    ])
    .unwrap();
    assert_eq!(
        config.common.database.url,
        "postgresql://app:secret@db/tasker"
    );
    let redis = config.common.cache.unwrap().redis.unwrap();
    assert_eq!(redis.url, "unix:///run/redis.sock");

    let config = load_with(&[("REDIS_URL", "")]).unwrap();
    assert_eq!(config.common.cache.unwrap().redis, None);
}

#[test]
fn the_variable_of_an_address_is_stronger_than_a_file_with_another_address() {
    let folder = Folder::with(&[(
        "base/common.toml",
        "[common.database]\nurl = \"postgres://file/one\"\n
         [common.cache.redis]\nurl = \"redis://file:1\"",
    )]);
    let addresses = |env: &[(&str, &str)]| {
        let common = folder.load(env).unwrap().common;
        (
            common.database.url,
            common.cache.unwrap().redis.unwrap().url,
        )
    };
    let expected = |database: &str, redis: &str| (database.to_owned(), redis.to_owned());
    let none = [("DATABASE_URL", ""), ("REDIS_URL", "")];
    assert_eq!(
        addresses(&none),
        expected("postgres://file/one", "redis://file:1")
    );
    let both = [
        ("DATABASE_URL", "postgres://variable/two"),
        ("REDIS_URL", "redis://variable:2"),
    ];
    assert_eq!(
        addresses(&both),
        expected("postgres://variable/two", "redis://variable:2")
    );
    let own = ("TASKER__COMMON__DATABASE__URL", "postgres://own/three");
    let all = [both[0], both[1], own];
    assert_eq!(
        addresses(&all),
        expected("postgres://own/three", "redis://variable:2")
    );

    let lines = shown(folder.load(&[("DATABASE_URL", "mysql://nowhere")]));
    assert!(
        lines[0].contains("the variable DATABASE_URL must be"),
        "{lines:?}"
    );
}

#[test]
fn a_file_that_refers_to_the_variable_of_an_address_is_used_as_it_is_written() {
    let folder = Folder::with(&[(
        "base/common.toml",
        "[common.database]\nurl = \"${DATABASE_URL:-postgres://file/one}?sslmode=require\"",
    )]);
    let config = folder
        .load(&[("DATABASE_URL", "postgres://variable/two")])
        .unwrap();
    assert_eq!(
        config.common.database.url,
        "postgres://variable/two?sslmode=require"
    );
}

#[test]
fn variables_that_nothing_in_force_refers_to_are_listed_as_unused() {
    let env = variables(&[
        ("DATABASE_URL", "postgres://variable/two"),
        ("TASKER__COMMON__DATABASE__URL", "postgres://own/three"),
        ("REDIS_URL", "redis://variable:2"),
        ("REDIS_PASSWORD", "unheard"),
        ("TASKER_ENV", "test"),
        ("TASKER_TEMPLATE_PATH", "/srv/templates"),
    ]);
    let unused = ConfigLoader::new(None, env).read().unused;
    assert_eq!(unused, ["DATABASE_URL", "REDIS_PASSWORD"]);
}

#[test]
fn a_variable_that_no_value_in_force_refers_to_is_not_looked_at() {
    let config = load_with(&[
        ("REDIS_URL", "not a URL"),
        ("TASKER__COMMON__CACHE__REDIS__URL", "redis://elsewhere"),
    ])
    .unwrap();
    let redis = config.common.cache.unwrap().redis.unwrap();
    assert_eq!(redis.url, "redis://elsewhere");
}

#[test]
fn each_environment_of_the_repository_has_the_cache_that_it_should() {
    for (environment, enabled, template_ttl, analytics_ttl) in [
        ("test", true, 300, 30),
        ("development", true, 3600, 60),
        ("production", true, 3600, 120),
    ] {
        let env = variables(&[("TASKER_ENV", environment)]);
        let config = ConfigLoader::new(Some(repository()), env).load().unwrap();
        let cache = config.common.cache.unwrap();
        let redis = cache.redis.unwrap();
        assert_eq!(config.common.environment, environment);
        assert_eq!(cache.enabled, enabled);
        assert_eq!(cache.backend, "redis");
        assert_eq!(cache.default_ttl_seconds, 3600);
        assert_eq!(cache.template_ttl_seconds, template_ttl, "{environment}");
        assert_eq!(cache.analytics_ttl_seconds, analytics_ttl, "{environment}");
        assert_eq!(cache.key_prefix, "tasker");
        assert_eq!(redis.url, "redis://localhost:6379");
        assert_eq!(redis.max_connections, 10);
        assert_eq!(redis.connection_timeout_seconds, 5);
        assert_eq!(redis.database, 0);
    }
}

#[test]
fn the_files_of_the_test_environment_name_one_database() {
    let read = |path: &str| std::fs::read_to_string(repository().join(path)).unwrap();
    let value = |text: &str, key: &str| {
        let line = text.lines().find_map(|line| line.trim().strip_prefix(key));
        line.unwrap().trim().to_owned()
    };
    let url = value(&read("dotenv/test.env"), "DATABASE_URL=");
    let database = value(&read("../docker/docker-compose.test.yml"), "POSTGRES_DB:");
    assert_eq!(url.rsplit_once('/').unwrap().1, database);
}

#[test]
fn sections_deserialize_with_defaults_for_what_they_leave_out() {
    let cache: CacheConfig = toml::from_str("enabled = true").unwrap();
    assert_eq!(
        cache,
        CacheConfig {
            enabled: true,
            ..CacheConfig::default()
        }
    );
    assert!(!CacheConfig::default().enabled);
    assert_eq!(cache.redis, None);

    let redis: RedisConfig = toml::from_str("max_connections = 3").unwrap();
    assert_eq!(redis.max_connections, 3);
    assert_eq!(redis.url, "redis://localhost:6379");

    let config: TaskerConfig = toml::from_str("[common.cache.redis]\ndatabase = 2").unwrap();
    assert_eq!(config.common.cache.unwrap().redis.unwrap().database, 2);
}

#[test]
fn a_folder_that_is_named_and_missing_is_an_error() {
    let folder = Folder::with(&[]);
    let missing = folder.0.path().join("elsewhere");
    let error = ConfigLoader::new(Some(missing.clone()), variables(&[]))
        .load()
        .unwrap_err();
    assert!(matches!(
        error.problems(),
        [ConfigProblem::MissingFolder { folder }] if *folder == missing.join("tasker")
    ));
}

#[test]
fn an_environment_that_the_folder_does_not_have_is_an_error_if_somebody_chose_it() {
    let folder = Folder::with(&[
        ("environments/test/common.toml", ""),
        ("environments/production/common.toml", ""),
    ]);
    folder.load(&[]).unwrap();
    let lines = shown(folder.load(&[("TASKER_ENV", "prodution")]));
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains("`prodution`"), "{lines:?}");
    assert!(
        lines[0].ends_with("use one of production, test"),
        "{lines:?}"
    );
}
