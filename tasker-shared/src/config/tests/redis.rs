//! Combinations of `[common.cache.redis]` that are accepted, and the errors of the others.

use super::super::ConfigError;
use super::super::tasker::{RedisConfig, TaskerConfig};
use super::{Folder, load_with, shown};

/// Loads with these keys of the section, by variables.
fn load(keys: &[(&str, &str)]) -> Result<TaskerConfig, ConfigError> {
    let named: Vec<(String, &str)> = keys
        .iter()
        .map(|(key, value)| {
            let name = format!("TASKER__COMMON__CACHE__REDIS__{}", key.to_uppercase());
            (name, *value)
        })
        .collect();
    let env: Vec<(&str, &str)> = named
        .iter()
        .map(|(name, value)| (name.as_str(), *value))
        .collect();
    load_with(&env)
}

fn redis(config: TaskerConfig) -> RedisConfig {
    let cache = config.common.cache.expect("the defaults have the section");
    cache.redis.expect("the defaults have the section")
}

#[test]
fn every_kind_of_server_can_be_configured() {
    for keys in [
        &[("url", "unix:///run/redis.sock"), ("password", "x")][..],
        &[("url", "redis://ann@cache"), ("password", "x")],
        &[
            ("url", "redis://ann:a%40b@cache"),
            ("username", "ann"),
            ("password", "a@b"),
        ],
        &[("url", "rediss://cache:6380"), ("tls_ca_file", "ca.pem")],
        &[
            ("url", "rediss://cache:6380"),
            ("tls_cert_file", "client.pem"),
            ("tls_key_file", "client.key"),
        ],
        &[
            ("mode", "cluster"),
            ("url", "redis://one/0"),
            ("nodes", "two:6379,[::1]:6379"),
        ],
        &[("mode", "cluster"), ("url", "rediss://one")],
        &[
            ("mode", "sentinel"),
            ("nodes", "two:26379"),
            ("database", "3"),
            ("sentinel_master_name", "main"),
            ("sentinel_username", "ann"),
            ("sentinel_password", "x"),
        ],
    ] {
        let config = load(keys).unwrap_or_else(|error| panic!("{keys:?}: {error}"));
        assert_eq!(redis(config).problem(), None, "{keys:?}");
    }
}

/// Each of these is refused with a sentence that has the other text.
const NONSENSE: &[(&[(&str, &str)], &str)] = &[
    (&[("url", "http://localhost")], "must be a URL of the form"),
    (
        &[("url", "redis://localhost/one")],
        "must name the database by a number",
    ),
    (
        &[("mode", "clustr")],
        "must be `single`, `cluster` or `sentinel`",
    ),
    (
        &[("mode", "cluster"), ("nodes", "one")],
        "list of `host:port`",
    ),
    (
        &[("mode", "cluster"), ("nodes", "::1:6379")],
        "list of `host:port`",
    ),
    (
        &[("mode", "cluster"), ("nodes", "redis://one:1")],
        "list of `host:port`",
    ),
    (
        &[("nodes", "one:1")],
        "`nodes` has no meaning with `mode = \"single\"`",
    ),
    (
        &[("mode", "cluster"), ("database", "1")],
        "`database` must be 0",
    ),
    (
        &[
            ("mode", "cluster"),
            ("database", "1"),
            ("url", "redis://one/1"),
        ],
        "`database` must be 0",
    ),
    (
        &[("url", "redis://one/1"), ("database", "2")],
        "`url` names another database",
    ),
    (
        &[("mode", "cluster"), ("url", "unix:///run/redis.sock")],
        "`url` must not be a socket",
    ),
    (
        &[
            ("mode", "sentinel"),
            ("url", "unix:///run/redis.sock"),
            ("sentinel_master_name", "main"),
        ],
        "`url` must not be a socket",
    ),
    (
        &[("mode", "sentinel")],
        "`sentinel_master_name` must be set",
    ),
    (
        &[("sentinel_master_name", "main")],
        "need `mode = \"sentinel\"`",
    ),
    (
        &[("mode", "cluster"), ("sentinel_password", "x")],
        "need `mode = \"sentinel\"`",
    ),
    (
        &[("tls_ca_file", "ca.pem")],
        "let `url` start with `rediss://`",
    ),
    (
        &[
            ("url", "unix:///run/redis.sock"),
            ("tls_cert_file", "a"),
            ("tls_key_file", "b"),
        ],
        "let `url` start with `rediss://`",
    ),
    (
        &[("url", "rediss://one"), ("tls_cert_file", "a")],
        "set both or neither",
    ),
    (
        &[("url", "rediss://one"), ("tls_key_file", "a")],
        "set both or neither",
    ),
    (&[("username", "ann")], "a user in `url`, needs `password`"),
    (
        &[("url", "redis://ann@cache")],
        "a user in `url`, needs `password`",
    ),
    (
        &[("url", "unix:///run/redis.sock?user=ann")],
        "a user in `url`, needs `password`",
    ),
    (
        &[
            ("mode", "sentinel"),
            ("sentinel_master_name", "main"),
            ("sentinel_username", "ann"),
        ],
        "`sentinel_username` needs `sentinel_password`",
    ),
    (
        &[("url", "redis://:one@cache"), ("password", "two")],
        "`url` has another user or password",
    ),
    (
        &[
            ("url", "redis://ann:x@cache"),
            ("username", "bob"),
            ("password", "x"),
        ],
        "`url` has another user or password",
    ),
    (
        &[
            ("url", "unix:///run/redis.sock?pass=one"),
            ("password", "two"),
        ],
        "`url` has another user or password",
    ),
];

#[test]
fn what_makes_no_sense_is_told_with_the_fields_and_what_to_do() {
    for (keys, told) in NONSENSE {
        let lines = shown(load(keys));
        assert_eq!(lines.len(), 1, "{keys:?}: {lines:?}");
        assert!(lines[0].contains(told), "{keys:?}: {lines:?}");
        assert!(lines[0].contains("`common.cache.redis"), "{lines:?}");
    }
}

#[test]
fn a_file_may_refer_to_the_variables_that_hold_credentials() {
    let folder = Folder::with(&[(
        "base/common.toml",
        "[common.cache.redis]\nusername = \"${REDIS_USERNAME}\"\npassword = \"${REDIS_PASSWORD}\"\n\
         mode = \"sentinel\"\nsentinel_master_name = \"main\"\n\
         sentinel_username = \"${REDIS_SENTINEL_USERNAME}\"\n\
         sentinel_password = \"${REDIS_SENTINEL_PASSWORD}\"",
    )]);
    let config = folder
        .load(&[
            ("REDIS_USERNAME", "ann"),
            ("REDIS_PASSWORD", "one ${x}"),
            ("REDIS_SENTINEL_USERNAME", "bob"),
            ("REDIS_SENTINEL_PASSWORD", "two"),
        ])
        .unwrap();
    let redis = redis(config);
    assert_eq!(redis.username, "ann");
    assert_eq!(redis.password.expose(), "one ${x}");
    assert_eq!(redis.sentinel_username, "bob");
    assert_eq!(redis.sentinel_password.expose(), "two");
    let lines = shown(folder.load(&[("REDIS_USERNAME", "ann"), ("REDIS_PASSWORD", "a\nb")]));
    assert!(
        lines
            .join(" ")
            .contains("REDIS_PASSWORD must be a text without"),
        "{lines:?}"
    );
}
