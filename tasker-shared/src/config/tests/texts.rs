//! Reading of texts: references in files, values of variables, addresses.

use toml::Value;

use super::super::env_override::parse;
use super::super::fields::{Bounds, Kind};
use super::super::interpolation::{Malformed, Piece, Unresolved, interpolate, parse as pieces};
use super::super::{checks, redis_checks};

#[test]
fn references_are_taken_out_of_a_text() {
    assert_eq!(pieces(""), Ok(vec![]));
    assert_eq!(pieces("a $ {b} $c"), Ok(vec![Piece::Literal("a $ {b} $c")]));
    assert_eq!(
        pieces("a${ONE}${TWO_2:-b:-c}d"),
        Ok(vec![
            Piece::Literal("a"),
            Piece::Reference {
                name: "ONE",
                default: None
            },
            Piece::Reference {
                name: "TWO_2",
                default: Some("b:-c")
            },
            Piece::Literal("d"),
        ])
    );
    for text in [
        "${",
        "${ONE",
        "a${}",
        "${one}",
        "${1}",
        "${ONE-default}",
        "${ ONE }",
    ] {
        assert_eq!(pieces(text), Err(Malformed), "{text}");
    }
}

#[test]
fn references_are_filled_with_the_variable_or_the_default() {
    let lookup = |name: &str| match name {
        "REDIS_URL" => Some("redis://a:${TASKER_ENV}@b"),
        "TASKER_ENV" => Some(""),
        "DATABASE_URL" => Some("ftp://b"),
        _ => None,
    };
    let filled = |text| interpolate(text, lookup);
    assert_eq!(
        filled("x ${REDIS_URL:-default}").unwrap(),
        "x redis://a:${TASKER_ENV}@b"
    );
    assert_eq!(filled("<${TASKER_ENV:-}>").unwrap(), "<>");
    assert_eq!(filled("${TASKER_TEMPLATE_PATH:-a/b}").unwrap(), "a/b");
    assert!(
        matches!(filled("${TASKER_ENV}"), Err(Unresolved::Unset(rule)) if rule.name == "TASKER_ENV")
    );
    assert!(
        matches!(filled("${DATABASE_URL:-x}"), Err(Unresolved::Refused(rule)) if rule.name == "DATABASE_URL")
    );
    assert_eq!(
        filled("${PATH:-x}"),
        Err(Unresolved::Unlisted("PATH".to_owned()))
    );
    assert_eq!(filled("${"), Err(Unresolved::Malformed));
}

#[test]
fn a_variable_is_read_as_its_key_asks() {
    let bounds = Bounds { least: 0, most: 10 };
    let integer = Kind::Integer(bounds, bounds);
    let list = |items: &[&str]| Some(Value::from(items.to_vec()));
    for (kind, text, value) in [
        (Kind::Bool, "true", Some(Value::Boolean(true))),
        (Kind::Bool, " False ", Some(Value::Boolean(false))),
        (Kind::Bool, "1", None),
        (Kind::Bool, "", None),
        (integer, "7", Some(Value::Integer(7))),
        (integer, "11", None),
        (integer, "-1", None),
        (integer, "7.0", None),
        (integer, "99999999999999999999", None),
        (Kind::Text, " as it is ", Some(Value::from(" as it is "))),
        (Kind::Text, "true", Some(Value::from("true"))),
        (Kind::TextList, "a, b,,c ", list(&["a", "b", "c"])),
        (Kind::TextList, "", list(&[])),
        (Kind::TextList, "[\"a,b\", 'c']", list(&["a,b", "c"])),
        (Kind::TextList, "[]", list(&[])),
        (Kind::TextList, "[1]", None),
        (Kind::TextList, "[\"a\"", None),
        (Kind::TextList, "[\"a\"]\nother = 1", None),
    ] {
        assert_eq!(parse(kind, text), value, "{kind:?} {text}");
    }
}

#[test]
fn addresses_to_listen_on_have_a_host_and_a_port() {
    for address in [
        "127.0.0.1:8080",
        "0.0.0.0:0",
        "[::1]:80",
        "localhost:8080",
        "host-1.example:1",
    ] {
        assert!(checks::bind_address(address).is_ok(), "{address}");
    }
    for address in [
        "",
        ":8080",
        "localhost",
        "localhost:",
        "localhost:65536",
        "::1:80a",
        "a b:1",
        "http://a:1",
    ] {
        assert!(checks::bind_address(address).is_err(), "{address}");
    }
}

#[test]
fn redis_urls_are_those_of_one_server() {
    for url in [
        "redis://localhost",
        "rediss://:secret@cache.example:6380/2",
        "redis://user:secret@[::1]:6379",
        "unix:///run/redis.sock",
        "redis+unix:///run/redis.sock?db=1&pass=secret",
        "unix:///run/redis@1/redis.sock?user=app@server&pass=a@b",
        "redis://app:a%3Fb%23c@localhost?protocol=2",
    ] {
        assert!(redis_checks::url(url).is_ok(), "{url}");
    }
    for url in [
        "",
        "localhost:6379",
        "redis://",
        "redis:localhost",
        "redis://one,two:6379,three:6379",
        "redis://localhost/one",
        "redis://localhost/-1",
        "unix://run/redis.sock",
        "unix:///",
        "unix:///run/redis.sock?db=one",
        "redis+cluster://localhost",
        "http://localhost",
        "redis://app:53/cret@localhost",
        "redis://app:53?cret@localhost",
        "redis://app:53?cret=a@localhost",
        "redis://app:53#cret@localhost",
        "unix:///run/redis.sock?pass=one&two@",
        "unix:///run/redis.sock?pass=one#two",
        "redis://$HOST:6379",
        "redis://localhost/#insecure",
        "rediss://localhost/#insecure",
        "rediss://localhost/#verify",
        "redis://localhost?protocol=x",
        "unix:///run/redis.sock?protocol=x",
        "redis://0.0.0.0:6379",
        "redis://[::]:6379",
        "redis://app:%ff@localhost",
        "redis://%ff:secret@localhost",
    ] {
        assert!(redis_checks::url(url).is_err(), "{url}");
    }
}

#[test]
fn database_urls_are_postgresql_s() {
    for url in [
        "postgres://localhost/tasker",
        "postgresql://app:secret@db:5432/tasker?sslmode=require",
        "postgres:///tasker?host=/run/postgresql",
        "postgres://db/tasker?user=app@server&password=a@b",
        "postgres://postgres@127.0.0.1:55432/",
        "postgres://app:a$SECRET@db/tasker",
    ] {
        assert!(checks::database_url(url).is_ok(), "{url}");
    }
    for url in [
        "",
        "localhost/tasker",
        "postgres:tasker",
        "mysql://db/tasker",
        "postgres://db:port/tasker",
        "postgres://db/tasker?sslmode=required",
        "postgres://$HOST/tasker",
        "postgres://app:secret@db/$DATABASE",
        "postgres://app:53/secret@db/tasker",
        "postgres://app:53?secret@db/tasker",
        "postgres://app:53?secret=a@db/tasker",
        "postgres://app:53#secret@db/tasker",
    ] {
        assert!(checks::database_url(url).is_err(), "{url}");
    }
}
