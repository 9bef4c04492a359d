//! Every key of every struct arrives from every layer. A new text key makes these tests fail until
//! it has samples here.

use serde_json::Value as Json;
use toml::Value;

use super::super::ConfigProblem;
use super::super::env_override::variable_for;
use super::super::fields::{Fields, Kind};
use super::super::tasker::TaskerConfig;
use super::{Folder, load_with};

/// Two values of the key, neither of them the default if it has more than two.
fn samples(path: &str, kind: Kind, default: &Json) -> [Value; 2] {
    match kind {
        Kind::Bool => {
            let default = default.as_bool().unwrap();
            [Value::Boolean(!default), Value::Boolean(default)]
        }
        Kind::Integer(..) => {
            let default = default.as_i64().unwrap();
            [Value::Integer(default + 1), Value::Integer(default + 2)]
        }
        Kind::TextList if path == "common.cache.redis.nodes" => [
            Value::Array(vec!["one:1".into(), "[::1]:2".into()]),
            Value::Array(vec!["two:2".into()]),
        ],
        Kind::TextList => [
            Value::Array(vec!["a".into(), "b".into()]),
            Value::Array(vec!["c".into()]),
        ],
        Kind::Text => text_samples(path).map(Value::from),
    }
}

fn text_samples(path: &str) -> [&'static str; 2] {
    match path {
        "common.environment" => ["blue", "green"],
        "common.database.pool_mode" => ["transaction", "session"],
        "common.database.url" | "common.database.direct_url" => {
            ["postgres://one:1/db", "postgres://two:2/db"]
        }
        "common.cache.key_prefix" | "common.cache.redis.sentinel_master_name" => ["one", "two"],
        "common.cache.redis.url" => ["redis://one:1", "redis://two:2"],
        "common.task_templates.on_changed_version" => ["replace", "refuse"],
        "common.cache.redis.mode" => ["cluster", "single"],
        "common.cache.redis.username" | "common.cache.redis.sentinel_username" => ["ann", "bob"],
        "common.cache.redis.tls_ca_file"
        | "common.cache.redis.tls_cert_file"
        | "common.cache.redis.tls_key_file" => ["/one.pem", "two.pem"],
        // Shown as nothing or as asterisks; another test looks at what arrives.
        "common.cache.redis.password"
        | "common.cache.redis.sentinel_password"
        | "worker.http_handlers.signing_secret" => ["***", ""],
        "orchestration.web.bind_address" | "worker.web.bind_address" => ["[::1]:1", "localhost:2"],
        _ => panic!("give {path} two samples"),
    }
}

/// Names Redis at its default address, because a cache has no section for Redis otherwise.
const REDIS: (&str, &str) = ("REDIS_URL", "redis://localhost:6379");

/// The variables without which the key would mean nothing.
fn companions(path: &str) -> &'static [(&'static str, &'static str)] {
    const TLS: (&str, &str) = ("TASKER__COMMON__CACHE__REDIS__URL", "rediss://one");
    const SENTINEL: (&str, &str) = ("TASKER__COMMON__CACHE__REDIS__MODE", "sentinel");
    const NAME: (&str, &str) = ("TASKER__COMMON__CACHE__REDIS__SENTINEL_MASTER_NAME", "one");
    match path {
        "common.cache.redis.nodes" => &[("TASKER__COMMON__CACHE__REDIS__MODE", "cluster")],
        "common.cache.redis.username" => &[("TASKER__COMMON__CACHE__REDIS__PASSWORD", "x")],
        "common.cache.redis.sentinel_master_name" => &[SENTINEL],
        "common.cache.redis.sentinel_username" => &[
            SENTINEL,
            NAME,
            ("TASKER__COMMON__CACHE__REDIS__SENTINEL_PASSWORD", "x"),
        ],
        "common.cache.redis.sentinel_password" => &[SENTINEL, NAME],
        "common.cache.redis.tls_ca_file" => &[TLS],
        "common.cache.redis.tls_cert_file" => {
            &[TLS, ("TASKER__COMMON__CACHE__REDIS__TLS_KEY_FILE", "x")]
        }
        "common.cache.redis.tls_key_file" => {
            &[TLS, ("TASKER__COMMON__CACHE__REDIS__TLS_CERT_FILE", "x")]
        }
        _ => &[],
    }
}

fn and<'a>(
    companions: &[(&'a str, &'a str)],
    more: &[(&'a str, &'a str)],
) -> Vec<(&'a str, &'a str)> {
    [companions, more].concat()
}

fn at<'a>(config: &'a Json, path: &str) -> &'a Json {
    path.split('.').fold(config, |section, key| &section[key])
}

fn in_file(path: &str, value: &Value) -> String {
    let (section, key) = path.rsplit_once('.').unwrap();
    format!("[{section}]\n{key} = {value}\n")
}

fn in_variable(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// The keys that can be set to more than one value.
fn changeable() -> impl Iterator<Item = (&'static String, Kind)> {
    Fields::all()
        .values
        .iter()
        .filter(|(path, _)| *path != "common.cache.backend")
        .map(|(path, kind)| (path, *kind))
}

#[test]
fn every_key_arrives_from_every_layer() {
    let defaults = load_with(&[REDIS]).unwrap().to_public_json();
    for (path, kind) in changeable() {
        let [one, other] = samples(path, kind, at(&defaults, path));
        let (in_base, in_environment) = (in_file(path, &one), in_file(path, &other));
        let variable = (variable_for(path), in_variable(&one));
        let expect = |config: &TaskerConfig, value: &Value, layer: &str| {
            let expected = serde_json::to_value(value).unwrap();
            assert_eq!(
                at(&config.to_public_json(), path),
                &expected,
                "{path} in {layer}"
            );
        };

        let companions = companions(path);
        let base = Folder::with(&[("base/common.toml", &in_base)]);
        expect(&base.load(companions).unwrap(), &one, "a base file");

        let both = Folder::with(&[
            ("base/common.toml", &in_base),
            ("environments/test/common.toml", &in_environment),
        ]);
        let chosen = ("TASKER_ENV", "test");
        expect(
            &both.load(&and(companions, &[chosen])).unwrap(),
            &other,
            "an environment's file",
        );

        let all = and(companions, &[chosen, (&variable.0, &variable.1)]);
        let config = both.load(&all).unwrap();
        expect(&config, &one, "a variable");
    }
}

#[test]
fn a_key_that_is_set_changes_no_other_key() {
    let defaults = load_with(&[REDIS]).unwrap().to_public_json();
    for (path, kind) in changeable() {
        let [one, _] = samples(path, kind, at(&defaults, path));
        let (name, text) = (variable_for(path), in_variable(&one));
        let set = and(companions(path), &[REDIS, (&name, &text)]);
        let config = load_with(&set).unwrap().to_public_json();
        let is_set = |other: &str| set.iter().any(|(name, _)| *name == variable_for(other));
        for other in Fields::all().values.keys().filter(|other| !is_set(other)) {
            assert_eq!(
                at(&config, other),
                at(&defaults, other),
                "{other} by {path}"
            );
        }
    }
}

#[test]
fn every_key_is_reported_when_its_type_is_wrong() {
    for path in Fields::all().values.keys() {
        let folder = Folder::with(&[(
            "base/common.toml",
            &in_file(path, &Value::Table(toml::Table::new())),
        )]);
        let error = folder.load(&[]).unwrap_err();
        assert!(
            matches!(error.problems(), [ConfigProblem::WrongType { path: found, .. }] if found == path),
            "{path}: {error}"
        );
    }
}

#[test]
fn every_bound_that_the_schema_states_is_enforced() {
    let schema = super::super::fields::schema().to_value();
    let mut bounds = 0;
    for path in Fields::all().values.keys() {
        let field = schema
            .pointer(&format!(
                "/properties/{}",
                path.replace('.', "/properties/")
            ))
            .unwrap();
        let below = field["minimum"].as_i64().map(|least| least - 1);
        let above = field["maximum"].as_i64().map(|most| most + 1);
        for beyond in [below, above].into_iter().flatten() {
            bounds += 1;
            let error = load_with(&[(&variable_for(path), &beyond.to_string())]).unwrap_err();
            assert_eq!(
                error.problems()[0].path(),
                Some(path.as_str()),
                "{beyond}: {error}"
            );
        }
    }
    assert!(bounds > 30, "{bounds}");
}

#[test]
fn the_backend_arrives_too_and_must_be_redis() {
    let error = load_with(&[("TASKER__COMMON__CACHE__BACKEND", "memcached")]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "[config_invalid] the variable TASKER__COMMON__CACHE__BACKEND: `common.cache.backend` must be `redis`"
    );
}
